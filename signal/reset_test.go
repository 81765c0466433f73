package signal_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/signal"
)

// resetCode has an administrator make one.
func (p *person) resetCode(of *person) *pb.AdminReset {
	p.w.t.Helper()
	out := &pb.AdminReset{}
	p.admin(http.MethodPost, "/users/"+of.id.String()+"/reset", nil).want(http.StatusOK, out)
	return out
}

func (w *world) resetParams(user, code string) response {
	w.t.Helper()
	return w.do(request{method: http.MethodPost, path: "/api/v1/reset/params", body: &pb.ResetParamsRequest{User: user, Code: code}})
}

// renewal is who starts again under somebody's account, and the request that makes it so.
func (p *person) renewal(code string) (*person, *pb.ResetRequest) {
	again := &person{w: p.w, user: p.user, id: p.id, identity: signKey(), key: sealKey(), auth: proto.RandomKey(), device: newDevice()}
	next := proto.NextDeviceList(p.list, 4)
	next.IdentityKey, next.Devices = public(again.identity), []*pb.DeviceKeys{again.keys()}
	next.Generation++
	next.AccountKey = again.key.PublicKey().Bytes()
	return again, &pb.ResetRequest{
		User: p.user, Code: code, DeviceList: again.take(next), Password: again.password(), KeyRing: sealed(), DeviceName: "anew",
	}
}

func (w *world) reset(req *pb.ResetRequest) response {
	w.t.Helper()
	return w.do(request{method: http.MethodPost, path: "/api/v1/reset", body: req})
}

// TestReset: with an administrator's code a person starts again; everything of before ends at once, and contacts hear of it.
func TestReset(t *testing.T) {
	turn := &turnServer{servers: &pb.IceServers{ExpiresMs: 1}}
	w := newWorld(t, withSetup, func(c *signal.Config) { c.ICE = turn })
	admin, mia, ben := w.administrator("anna"), w.register("Mia"), w.register("ben")
	sm, sb := mia.connect(mia.device), ben.connect(ben.device)
	befriend(mia, ben, sm, sb)
	mia.setRecovery(mia.token, &pb.SetRecovery{Ticket: mia.login().GetTicket(), Recovery: &pb.Recovery{AuthSecret: proto.RandomKey(), WrappedMaster: sealed()}}).want(http.StatusNoContent, nil)
	ticket := mia.login().GetTicket()
	made := admin.resetCode(mia)
	if want := uint64(w.clock.Now().Add(7 * 24 * time.Hour).UnixMilli()); made.GetExpiresMs() != want || len(made.GetCode()) != 26 {
		t.Errorf("the code is %v", made)
	}
	sm.ok(ice()) // nothing has ended

	params := &pb.ResetParams{}
	w.resetParams("mia", strings.ToUpper(made.GetCode()[:13])+" - "+made.GetCode()[13:]).want(http.StatusOK, params)
	if !gproto.Equal(params.GetDeviceList(), mia.list.Signed) || proto.ID(params.GetAccount()) != mia.id {
		t.Errorf("the parameters are %v", params)
	}
	again, req := mia.renewal(made.GetCode())
	again.opened(w.reset(req))
	sm.closed(4401)
	if _, revoked := turn.seen(); len(revoked) != 1 || revoked[0] != (turnUser{mia.id, mia.device.id}) {
		t.Errorf("TURN credentials of %v ended", revoked)
	}
	sb.push("the new list", func(f *pb.Frame) bool {
		all := f.GetAccountChanges().GetContacts()
		return len(all) == 1 && all[0].GetState() == pb.ContactState_CONTACT_STATE_ACCEPTED && gproto.Equal(all[0].GetDeviceList(), again.list.Signed)
	})
	welcome := again.connect(again.device).welcome.GetChanges()
	if welcome.GetProfile().GetRecovery() || welcome.GetProfile().GetUserName() != "Mia" || len(welcome.GetContacts()) != 1 {
		t.Errorf("the new identity is welcomed with %v", welcome)
	}
	w.do(mia.loginRequest(mia.auth)).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	again.login()
	w.do(request{method: http.MethodPut, path: "/api/v1/devices", body: &pb.UpdateDevices{Ticket: ticket, DeviceList: mia.list.Signed}}).
		refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	w.resetParams("mia", made.GetCode()).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	if strings.Contains(w.logs.String(), made.GetCode()) {
		t.Error("the code stands in the log")
	}
}

// TestResetRefuses: nobody starts again without the newest code, in time, and with a list that is another identity's.
func TestResetRefuses(t *testing.T) {
	w := newWorld(t, withSetup)
	admin, mia, guest := w.administrator("anna"), w.register("mia"), w.register("berta")
	ask := func(p *person, id string) response { return p.admin(http.MethodPost, "/users/"+id+"/reset", nil) }
	ask(admin, admin.id.String()).refused(http.StatusConflict, pb.ErrorCode_ERROR_CODE_CONFLICT)
	ask(admin, proto.NewID().String()).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	ask(admin, "x").refused(http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_MALFORMED)
	ask(guest, mia.id.String()).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)

	_, req := mia.renewal("guess")
	w.reset(req).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED) // no code is open
	first, code := admin.resetCode(mia).GetCode(), admin.resetCode(mia).GetCode()
	for name, c := range map[string]struct {
		change func(*pb.ResetRequest)
		status int
		code   pb.ErrorCode
	}{
		"the code before":  {func(r *pb.ResetRequest) { r.Code = first }, http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED},
		"another's name":   {func(r *pb.ResetRequest) { r.User = "berta" }, http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED},
		"nobody's name":    {func(r *pb.ResetRequest) { r.User = "carla" }, http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED},
		"no password":      {func(r *pb.ResetRequest) { r.Password = nil }, http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_MALFORMED},
		"weak password":    {func(r *pb.ResetRequest) { r.Password.Params.MemoryKib = 8 }, http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_WEAK_PARAMETERS},
		"no key ring":      {func(r *pb.ResetRequest) { r.KeyRing = nil }, http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_MALFORMED},
		"the list before":  {func(r *pb.ResetRequest) { r.DeviceList = mia.list.Signed }, http.StatusForbidden, pb.ErrorCode_ERROR_CODE_FORBIDDEN},
		"list of another":  {func(r *pb.ResetRequest) { r.DeviceList = guest.list.Signed }, http.StatusForbidden, pb.ErrorCode_ERROR_CODE_FORBIDDEN},
		"not signed":       {func(r *pb.ResetRequest) { r.DeviceList.Signature[0] ^= 1 }, http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_BAD_SIGNATURE},
		"the same devices": {func(r *pb.ResetRequest) { r.DeviceList = keeping(mia) }, http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_MALFORMED},
	} {
		t.Run(name, func(*testing.T) {
			_, req := mia.renewal(code)
			c.change(req)
			w.reset(req).refused(c.status, c.code)
			w.clock.advance(20 * time.Minute) // nobody waits for having failed
		})
	}
	w.clock.advance(7 * 24 * time.Hour)
	_, req = mia.renewal(code)
	w.reset(req).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	mia.connect(mia.device) // nothing of the above had an effect
}

// keeping is the list of a new identity with a device of before.
func keeping(p *person) *pb.Signed {
	again, _ := p.renewal("")
	l := gproto.CloneOf(again.list.DeviceList)
	l.Devices = append(l.Devices, p.keys())
	return must(proto.SignDeviceList(again.identity, l))
}

// TestResetThrottle: guessing a code is slowed as guessing a password is.
func TestResetThrottle(t *testing.T) {
	w := newWorld(t, withSetup)
	admin, mia := w.administrator("anna"), w.register("mia")
	code := admin.resetCode(mia).GetCode()
	guess := func() response { return w.resetParams("mia", "guess") }
	for range 4 {
		guess().refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	}
	guess().refused(http.StatusTooManyRequests, pb.ErrorCode_ERROR_CODE_RATE_LIMITED)
	_, req := mia.renewal(code)
	w.reset(req).refused(http.StatusTooManyRequests, pb.ErrorCode_ERROR_CODE_RATE_LIMITED)
}

// TestFormerKeys: the recovery code of before gives the key ring of before, to a session of the account only.
func TestFormerKeys(t *testing.T) {
	w := newWorld(t, withSetup)
	admin, mia := w.administrator("anna"), w.register("mia")
	secret, master := proto.RandomKey(), sealed()
	mia.setRecovery(mia.token, &pb.SetRecovery{Ticket: mia.login().GetTicket(), Recovery: &pb.Recovery{AuthSecret: secret, WrappedMaster: master}}).want(http.StatusNoContent, nil)
	ring := mia.login().GetKeyRing()
	again, req := mia.renewal(admin.resetCode(mia).GetCode())
	again.opened(w.reset(req))
	former := func(token string, secret []byte) response {
		return w.do(request{method: http.MethodPost, path: "/api/v1/recovery/former", token: token, body: &pb.FormerRequest{AuthSecret: secret}})
	}
	former("", secret).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	former(mia.token, secret).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	former(admin.token, secret).refused(http.StatusForbidden, pb.ErrorCode_ERROR_CODE_FORBIDDEN)
	out := &pb.FormerKeys{}
	former(again.token, secret).want(http.StatusOK, out)
	if !gproto.Equal(out.GetKeyRing(), ring) || !gproto.Equal(out.GetWrappedMaster(), master) {
		t.Errorf("former keys %v", out)
	}
	for range 4 {
		former(again.token, proto.RandomKey()).refused(http.StatusForbidden, pb.ErrorCode_ERROR_CODE_FORBIDDEN)
	}
	former(again.token, secret).refused(http.StatusTooManyRequests, pb.ErrorCode_ERROR_CODE_RATE_LIMITED)
}

// TestDeviceLinkAfterReset: a device is added with the account keys of the new identity, since nobody has those before.
func TestDeviceLinkAfterReset(t *testing.T) {
	w := newWorld(t, withSetup)
	admin, mia := w.administrator("anna"), w.register("mia")
	again, req := mia.renewal(admin.resetCode(mia).GetCode())
	again.opened(w.reset(req))
	link := &pb.DeviceLink{}
	w.do(request{method: http.MethodPost, path: "/api/v1/devices/links", token: again.token}).want(http.StatusOK, link)
	w.do(request{method: http.MethodPut, path: "/api/v1/devices/links/" + link.GetCode(), body: &pb.DeviceLinkAsk{Ask: sealed()}}).want(http.StatusNoContent, nil)
	d := newDevice()
	next := proto.NextDeviceList(again.list, 5)
	next.Devices = append(next.Devices, d.keys())
	grant := must(proto.GrantGeneration(again.id, d.keys(), &pb.AccountKey{Generation: 2, PrivateKey: again.key.Bytes()}))
	u := &pb.UpdateDevices{DeviceList: again.take(next), NewDevice: d.id.Bytes(), Link: link.GetCode()}
	again.update(u, again.token).refused(http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_MALFORMED)
	u.GenerationGrants = []*pb.GenerationGrant{grant}
	again.update(u, again.token).want(http.StatusNoContent, nil)
}
