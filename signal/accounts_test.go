package signal_test

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/signal"
)

func TestRegistrationModes(t *testing.T) {
	for mode, allowed := range map[signal.Registration]bool{signal.Open: true, signal.Invite: false, signal.Closed: false} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, func(c *signal.Config) { c.Registration = mode })
			if got := w.info().GetRegistration(); got != string(mode) {
				t.Errorf("server says %q", got)
			}
			answer := w.post("/api/v1/register", w.newPerson("anna").registration())
			if allowed {
				answer.want(http.StatusOK, nil)
				return
			}
			answer.refused(http.StatusForbidden, pb.ErrorCode_ERROR_CODE_REGISTRATION_CLOSED)
		})
	}
}

// TestSetup: the secret works once, and only for the first account.
func TestSetup(t *testing.T) {
	w := newWorld(t, func(c *signal.Config) { c.Registration, c.Setup = signal.Closed, setupSecret })
	if !w.info().GetSetup() {
		t.Error("an empty server does not ask to be set up")
	}
	register := func(p *person, secret string) response {
		req := p.registration()
		req.Setup, req.ServerName = secret, "Home"
		return w.post("/api/v1/register", req)
	}
	register(w.newPerson("mallory"), "guess").refused(http.StatusForbidden, pb.ErrorCode_ERROR_CODE_FORBIDDEN)
	register(w.newPerson(""), setupSecret).refused(http.StatusForbidden, pb.ErrorCode_ERROR_CODE_FORBIDDEN)
	admin := w.newPerson("anna")
	admin.opened(register(admin, setupSecret))
	register(w.newPerson("mallory"), setupSecret).refused(http.StatusGone, pb.ErrorCode_ERROR_CODE_USED_UP)
	if info := w.info(); info.GetSetup() || info.GetName() != "Home" {
		t.Errorf("after set-up: %v", info)
	}
	if p := admin.connect(admin.device).welcome.GetChanges().GetProfile(); !p.GetAdmin() {
		t.Errorf("the first account is no administrator: %v", p)
	}
}

func TestSetupAfterAnAccount(t *testing.T) {
	w := newWorld(t, func(c *signal.Config) { c.Setup = setupSecret })
	first := w.register("anna")
	req := w.newPerson("mallory").registration()
	req.Setup = setupSecret
	w.post("/api/v1/register", req).refused(http.StatusGone, pb.ErrorCode_ERROR_CODE_USED_UP)
	if first.connect(first.device).welcome.GetChanges().GetProfile().GetAdmin() {
		t.Error("an account without the secret became administrator")
	}
}

func TestRegisterRefuses(t *testing.T) {
	w := newWorld(t)
	anna := w.register("Anna")
	cases := map[string]struct {
		change func(*person, *pb.RegisterRequest)
		status int
		code   pb.ErrorCode
	}{
		"name taken":        {func(_ *person, r *pb.RegisterRequest) { r.User = "aNNA" }, http.StatusConflict, pb.ErrorCode_ERROR_CODE_CONFLICT},
		"bad name":          {func(_ *person, r *pb.RegisterRequest) { r.User = "a" }, http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_NAME_INVALID},
		"no nickname":       {func(_ *person, r *pb.RegisterRequest) { r.Nickname = " " }, http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_NAME_INVALID},
		"no password":       {func(_ *person, r *pb.RegisterRequest) { r.Password = nil }, http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_MALFORMED},
		"no key ring":       {func(_ *person, r *pb.RegisterRequest) { r.KeyRing = nil }, http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_MALFORMED},
		"weak password":     {func(_ *person, r *pb.RegisterRequest) { r.Password.Params.MemoryKib = 8 }, http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_WEAK_PARAMETERS},
		"somebody's list":   {func(_ *person, r *pb.RegisterRequest) { r.DeviceList = anna.list.Signed }, http.StatusConflict, pb.ErrorCode_ERROR_CODE_CONFLICT},
		"list not signed":   {func(_ *person, r *pb.RegisterRequest) { r.DeviceList.Signature[0] ^= 1 }, http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_BAD_SIGNATURE},
		"two devices":       {func(p *person, r *pb.RegisterRequest) { r.DeviceList = p.take(withDevice(p)) }, http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_MALFORMED},
		"name without name": {func(_ *person, r *pb.RegisterRequest) { r.User, r.Password, r.KeyRing = "", nil, nil }, http.StatusForbidden, pb.ErrorCode_ERROR_CODE_FORBIDDEN},
	}
	for name, c := range cases {
		t.Run(name, func(*testing.T) {
			p := w.newPerson("berta")
			req := p.registration()
			c.change(p, req)
			w.post("/api/v1/register", req).refused(c.status, c.code)
		})
	}
	w.do(request{method: http.MethodPost, path: "/api/v1/register", raw: "{"}).refused(http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_MALFORMED)
	large := `{"nickname":"` + string(bytes.Repeat([]byte("x"), proto.MaxBody)) + `"}`
	w.do(request{method: http.MethodPost, path: "/api/v1/register", raw: large}).refused(http.StatusRequestEntityTooLarge, pb.ErrorCode_ERROR_CODE_TOO_LARGE)
}

func withDevice(p *person) *pb.DeviceList {
	next := proto.NextDeviceList(p.list, 1)
	next.Version, next.Previous = 1, nil
	next.Devices = append(next.Devices, newDevice().keys())
	return next
}

// TestSecondDevice: a ticket is good for one device list, and a device for one session of its own.
func TestSecondDevice(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	first := anna.connect(anna.device)
	second := anna.addDevice()
	s := anna.connect(second)
	if got := len(s.welcome.GetChanges().GetDevices()); got != 2 {
		t.Errorf("the new device hears of %d devices", got)
	}
	first.push("the new device", func(f *pb.Frame) bool { return len(f.GetAccountChanges().GetDevices()) > 0 })

	// a ticket is used up by its first use, whatever comes of it
	ticket := anna.login().GetTicket()
	stale := &pb.UpdateDevices{Ticket: ticket, DeviceList: anna.list.Signed}
	w.do(request{method: http.MethodPut, path: "/api/v1/devices", body: stale}).refused(http.StatusConflict, pb.ErrorCode_ERROR_CODE_STALE_LIST)
	w.do(request{method: http.MethodPut, path: "/api/v1/devices", body: stale}).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)

	// and it does not last
	ticket = anna.login().GetTicket()
	w.clock.advance(10*time.Minute + time.Second)
	w.do(request{method: http.MethodPut, path: "/api/v1/devices", body: &pb.UpdateDevices{Ticket: ticket, DeviceList: anna.list.Signed}}).
		refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
}

// TestSessionLogin: a device gets a new session by signing, once per nonce, until it has ended.
func TestSessionLogin(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	nonce := func() []byte {
		challenge := &pb.Challenge{}
		w.do(request{method: http.MethodPost, path: "/api/v1/session/challenge", body: &pb.ChallengeRequest{Account: anna.id.Bytes(), Device: anna.device.id.Bytes()}}).
			want(http.StatusOK, challenge)
		return challenge.GetNonce()
	}
	login := func(host string, nonce []byte) response {
		return w.do(request{method: http.MethodPost, path: "/api/v1/session", body: &pb.SessionRequest{Login: must(proto.SignMessage(
			anna.sign, proto.LabelLogin, &pb.DeviceLogin{Host: host, Account: anna.id.Bytes(), Device: anna.device.id.Bytes(), Nonce: nonce}))}})
	}
	n := nonce()
	opened := &pb.SessionOpened{}
	login("localhost", n).want(http.StatusOK, opened)
	anna.connect(&device{token: opened.GetToken()})
	login("localhost", n).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	login("localhost", make([]byte, proto.LoginNonceSize)).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	login("evil.example", nonce()).refused(http.StatusForbidden, pb.ErrorCode_ERROR_CODE_FORBIDDEN)
	n = nonce()
	w.clock.advance(time.Minute + time.Second)
	login("localhost", n).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)

	w.do(request{method: http.MethodDelete, path: "/api/v1/session", token: anna.token}).want(http.StatusNoContent, nil)
	login("localhost", nonce()).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
}

// TestForwardedLogin: a log-in signed for another server is no use here, even with that server's name in
// the Host header.
func TestForwardedLogin(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	challenge := &pb.Challenge{}
	w.do(request{method: http.MethodPost, path: "/api/v1/session/challenge", body: &pb.ChallengeRequest{Account: anna.id.Bytes(), Device: anna.device.id.Bytes()}}).
		want(http.StatusOK, challenge)
	signed := must(proto.SignMessage(anna.sign, proto.LabelLogin, &pb.DeviceLogin{
		Host: "evil.example", Account: anna.id.Bytes(), Device: anna.device.id.Bytes(), Nonce: challenge.GetNonce(),
	}))
	w.do(request{method: http.MethodPost, path: "/api/v1/session", host: "evil.example", body: &pb.SessionRequest{Login: signed}}).
		refused(http.StatusForbidden, pb.ErrorCode_ERROR_CODE_FORBIDDEN)
}

func TestLogoutEndsTheSocket(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	other := anna.addDevice()
	s, rest := anna.connect(anna.device), anna.connect(other)
	w.do(request{method: http.MethodDelete, path: "/api/v1/session", token: anna.token}).want(http.StatusNoContent, nil)
	s.closed(4401)
	w.do(request{method: http.MethodDelete, path: "/api/v1/session", token: anna.token}).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	if _, res := w.dial(request{token: anna.token}); res.code != http.StatusUnauthorized {
		t.Errorf("handshake after log-out: %d", res.code)
	}
	ended := rest.push("the ended device", func(f *pb.Frame) bool { return len(f.GetAccountChanges().GetDevices()) > 0 })
	if d := ended.GetAccountChanges().GetDevices()[0]; proto.ID(d.GetDevice()) != anna.device.id || !d.GetEnded() || d.GetName() != "first" {
		t.Errorf("the other device hears %v", d)
	}
}

func TestSessionExpires(t *testing.T) {
	w := newWorld(t, func(c *signal.Config) { c.Timing.Ping = 20 * time.Millisecond })
	anna := w.register("anna")
	s := anna.connect(anna.device)
	w.clock.advance(90*24*time.Hour + time.Second)
	s.closed(4401)
	if _, res := w.dial(request{token: anna.token}); res.code != http.StatusUnauthorized {
		t.Errorf("handshake with an expired session: %d", res.code)
	}
}

func TestChangePassword(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	other := anna.addDevice()
	here, there := anna.connect(anna.device), anna.connect(other)
	change := func(token, ticket string, auth []byte) response {
		setup := anna.password()
		setup.AuthSecret = auth
		return w.do(request{method: http.MethodPut, path: "/api/v1/password", token: token, body: &pb.ChangePassword{Ticket: ticket, Password: setup}})
	}
	fresh := proto.RandomKey()
	change(anna.token, "", fresh).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	change("", anna.login().GetTicket(), fresh).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	change(anna.token, w.register("berta").login().GetTicket(), fresh).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	change(anna.token, anna.login().GetTicket(), fresh).want(http.StatusNoContent, nil)
	there.closed(4401)
	here.ok(ice())
	w.do(request{method: http.MethodDelete, path: "/api/v1/session", token: other.token}).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	w.do(anna.loginRequest(anna.auth)).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	anna.auth = fresh
	anna.login()
}
