package signal_test

import (
	"net/http"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func (p *person) recoveryRequest(auth []byte) request {
	return request{method: http.MethodPost, path: "/api/v1/login/recovery", body: &pb.LoginRequest{User: p.user, AuthSecret: auth}}
}

func (p *person) setRecovery(token string, body *pb.SetRecovery) response {
	return p.w.do(request{method: http.MethodPut, path: "/api/v1/recovery", token: token, body: body})
}

// TestRecovery: a code logs in until it is replaced or taken away; setting one takes a log-in of the account.
func TestRecovery(t *testing.T) {
	w := newWorld(t)
	anna, berta := w.register("anna"), w.register("berta")
	s := anna.connect(anna.device)
	first, second := &pb.Recovery{AuthSecret: proto.RandomKey(), WrappedMaster: sealed()}, &pb.Recovery{AuthSecret: proto.RandomKey(), WrappedMaster: sealed()}
	wrong := func(auth []byte) {
		t.Helper()
		w.do(anna.recoveryRequest(auth)).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	}
	right := func(r *pb.Recovery) string {
		t.Helper()
		grant := &pb.LoginGrant{}
		w.do(anna.recoveryRequest(r.GetAuthSecret())).want(http.StatusOK, grant)
		if !gproto.Equal(grant.GetWrappedMaster(), r.GetWrappedMaster()) || grant.GetKeyRing() == nil || !gproto.Equal(grant.GetDeviceList(), anna.list.Signed) {
			t.Errorf("the code is answered with %v", grant)
		}
		return grant.GetTicket()
	}
	wrong(first.GetAuthSecret())
	wrong(nil)
	for name, r := range map[string]struct {
		token, ticket string
		status        int
	}{
		"without a session":         {"", anna.login().GetTicket(), http.StatusUnauthorized},
		"without a ticket":          {anna.token, "", http.StatusUnauthorized},
		"with somebody else's":      {anna.token, berta.login().GetTicket(), http.StatusUnauthorized},
		"with somebody's session":   {berta.token, anna.login().GetTicket(), http.StatusUnauthorized},
		"with a ticket that is old": {anna.token, "old", http.StatusUnauthorized},
	} {
		if got := anna.setRecovery(r.token, &pb.SetRecovery{Ticket: r.ticket, Recovery: first}); got.status != r.status {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	for name, r := range map[string]*pb.Recovery{
		"short": {AuthSecret: []byte("short"), WrappedMaster: sealed()}, "without a key": {AuthSecret: proto.RandomKey()},
		"large": {AuthSecret: proto.RandomKey(), WrappedMaster: &pb.Sealed{Nonce: make([]byte, 12), Ciphertext: make([]byte, 2000)}},
	} {
		if got := anna.setRecovery(anna.token, &pb.SetRecovery{Ticket: anna.login().GetTicket(), Recovery: r}); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	wrong(first.GetAuthSecret())

	anna.setRecovery(anna.token, &pb.SetRecovery{Ticket: anna.login().GetTicket(), Recovery: first}).want(http.StatusNoContent, nil)
	s.push("the profile", func(f *pb.Frame) bool { return f.GetAccountChanges().GetProfile().GetRecovery() })
	ticket := right(first)
	right(first) // a used one stays valid
	w.do(berta.recoveryRequest(first.GetAuthSecret())).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	w.do(anna.loginRequest(first.GetAuthSecret())).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	anna.setRecovery(anna.token, &pb.SetRecovery{Ticket: ticket, Recovery: second}).want(http.StatusNoContent, nil)
	wrong(first.GetAuthSecret())

	// whoever lost everything else adds a device, and sets a new password
	lost := anna.auth
	d := newDevice()
	next := proto.NextDeviceList(anna.list, 2)
	next.Devices = append(next.Devices, d.keys())
	ticket = right(second)
	opened := &pb.SessionOpened{}
	w.do(request{method: http.MethodPut, path: "/api/v1/devices", body: &pb.UpdateDevices{
		Ticket: ticket, DeviceList: anna.take(next), NewDevice: d.id.Bytes(), DeviceName: "found",
	}}).want(http.StatusOK, opened)
	anna.auth = proto.RandomKey()
	w.do(request{method: http.MethodPut, path: "/api/v1/password", token: opened.GetToken(), body: &pb.ChangePassword{Ticket: right(second), Password: anna.password()}}).
		want(http.StatusNoContent, nil)
	w.do(anna.loginRequest(lost)).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	right(second)

	anna.setRecovery(opened.GetToken(), &pb.SetRecovery{Ticket: anna.login().GetTicket()}).want(http.StatusNoContent, nil)
	wrong(second.GetAuthSecret())
}

// TestRecoveryTellsNothing: a name that does not exist, one without a code and a wrong code get the same bytes,
// and are slowed alike, apart from log-ins by password.
func TestRecoveryTellsNothing(t *testing.T) {
	w := newWorld(t)
	anna, berta, nobody := w.register("anna"), w.register("berta"), w.newPerson("nobody")
	code := &pb.Recovery{AuthSecret: proto.RandomKey(), WrappedMaster: sealed()}
	anna.setRecovery(anna.token, &pb.SetRecovery{Ticket: anna.login().GetTicket(), Recovery: code}).want(http.StatusNoContent, nil)
	for range 5 {
		var want response
		for _, p := range []*person{anna, berta, nobody} {
			got := w.do(p.recoveryRequest(proto.RandomKey()))
			if want.body == nil {
				want = got
			} else if got.status != want.status || string(got.body) != string(want.body) {
				t.Errorf("%s: %d %s, anna: %d %s", p.user, got.status, got.body, want.status, want.body)
			}
		}
	}
	w.do(anna.recoveryRequest(code.GetAuthSecret())).refused(http.StatusTooManyRequests, pb.ErrorCode_ERROR_CODE_RATE_LIMITED)
	anna.login()
	right := anna.recoveryRequest(code.GetAuthSecret())
	right.from = "127.0.0.2"
	w.do(right).want(http.StatusOK, nil) // from elsewhere
	w.clock.advance(5 * time.Minute)
	w.do(anna.recoveryRequest(code.GetAuthSecret())).want(http.StatusOK, nil)
}
