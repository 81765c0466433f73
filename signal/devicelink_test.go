package signal_test

import (
	"crypto/ecdh"
	"net/http"
	"runtime"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/signal"
)

func (p *person) deviceLink() *pb.DeviceLink {
	p.w.t.Helper()
	link := &pb.DeviceLink{}
	p.w.do(request{method: http.MethodPost, path: "/api/v1/devices/links", token: p.token}).want(http.StatusOK, link)
	return link
}

func (w *world) askByLink(code string, ask *pb.Sealed) response {
	return w.do(request{method: http.MethodPut, path: "/api/v1/devices/links/" + code, body: &pb.DeviceLinkAsk{Ask: ask}})
}

// addition is the update that adds a device by a link: with a grant of every generation of the account key.
func (p *person) addition(code string, d *device, keys ...*ecdh.PrivateKey) *pb.UpdateDevices {
	next := proto.NextDeviceList(p.list, 4)
	next.Devices = append(next.Devices, d.keys())
	req := &pb.UpdateDevices{NewDevice: d.id.Bytes(), DeviceName: "linked", Link: code, DeviceList: must(proto.SignDeviceList(p.identity, next))}
	for i, key := range keys {
		grant := must(proto.GrantGeneration(p.id, d.keys(), &pb.AccountKey{Generation: uint32(i + 1), PrivateKey: key.Bytes()}))
		req.GenerationGrants = append(req.GenerationGrants, grant)
	}
	return req
}

// link puts an addition in force.
func (p *person) link(req *pb.UpdateDevices) response {
	r := p.update(req, p.token)
	if r.status < 300 {
		p.list = must(proto.OpenDeviceList(req.GetDeviceList()))
	}
	return r
}

// signIn opens a session by the device's signature.
func (p *person) signIn(d *device) response {
	p.w.t.Helper()
	challenge := &pb.Challenge{}
	p.w.do(request{method: http.MethodPost, path: "/api/v1/session/challenge", body: &pb.ChallengeRequest{Account: p.id.Bytes(), Device: d.id.Bytes()}}).
		want(http.StatusOK, challenge)
	r := p.w.do(request{method: http.MethodPost, path: "/api/v1/session", body: &pb.SessionRequest{Login: must(proto.SignMessage(
		d.sign, proto.LabelLogin, &pb.DeviceLogin{Host: "localhost", Account: p.id.Bytes(), Device: d.id.Bytes(), Nonce: challenge.GetNonce()}))}})
	if r.status == http.StatusOK {
		opened := &pb.SessionOpened{}
		r.want(http.StatusOK, opened)
		d.token = opened.GetToken()
	}
	return r
}

func isDeviceAsks(f *pb.Frame) bool { return f.GetDeviceAsks() != nil }

// TestDeviceLink: a new device is added by an older one, without a password, and has every account key.
func TestDeviceLink(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	keys := []*ecdh.PrivateKey{anna.key}
	anna.update(anna.revocation(anna.addDevice().id), anna.token).want(http.StatusNoContent, nil)
	keys = append(keys, anna.key)
	s := anna.connect(anna.device)
	link, ask, d := anna.deviceLink(), sealed(), newDevice()
	if link.GetExpiresMs() != uint64(w.clock.Now().Add(10*time.Minute).UnixMilli()) {
		t.Errorf("the code lasts until %d", link.GetExpiresMs())
	}
	anna.link(anna.addition(link.GetCode(), d, keys...)).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND) // nobody asked
	w.askByLink(link.GetCode(), ask).want(http.StatusNoContent, nil)
	got := s.push("the ask", isDeviceAsks).GetDeviceAsks()
	if got.GetCode() != link.GetCode() || !gproto.Equal(got.GetAsk(), ask) {
		t.Errorf("pushed %v", got)
	}
	w.askByLink(link.GetCode(), sealed()).refused(http.StatusGone, pb.ErrorCode_ERROR_CODE_USED_UP)
	again := anna.connect(anna.device).push("the ask, to who comes later", isDeviceAsks).GetDeviceAsks()
	if !gproto.Equal(again, got) {
		t.Errorf("pushed again: %v", again)
	}
	anna.signIn(d).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)

	berta := w.register("berta")
	bad := map[string]*pb.UpdateDevices{
		"no grants": anna.addition(link.GetCode(), d), "one too few": anna.addition(link.GetCode(), d, keys[0]),
		"one too many": anna.addition(link.GetCode(), d, append(keys, anna.key)...),
	}
	bad["of another device"] = anna.addition(link.GetCode(), d, keys...)
	bad["of another device"].GenerationGrants[1].Device = anna.device.id.Bytes()
	bad["with a key ring"] = anna.addition(link.GetCode(), d, keys...)
	bad["with a key ring"].KeyRing = sealed()
	bad["no device"] = anna.addition(link.GetCode(), d, keys...)
	bad["no device"].NewDevice = nil
	for name, req := range bad {
		if r := anna.link(req); r.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	foreign := berta.addition(link.GetCode(), newDevice(), berta.key)
	berta.link(foreign).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND) // anna's code

	anna.link(anna.addition(link.GetCode(), d, keys...)).want(http.StatusNoContent, nil)
	anna.signIn(d).want(http.StatusOK, nil)
	changes := anna.connect(d).welcome.GetChanges()
	if len(changes.GetGenerationGrants()) != 2 {
		t.Fatalf("the new device has %d grants", len(changes.GetGenerationGrants()))
	}
	for i, g := range changes.GetGenerationGrants() {
		if key := must(proto.OpenGeneration(d.seal.Bytes(), anna.id, g)); string(key) != string(keys[i].Bytes()) {
			t.Errorf("generation %d opens to another key", g.GetGeneration())
		}
	}
	next := anna.addition(link.GetCode(), newDevice(), keys...)
	anna.link(next).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND) // a code adds one device
	s2 := anna.connect(anna.device)
	s2.none("an old ask", isDeviceAsks)
}

// TestDeviceLinkLimits: codes are few, end, and cannot be guessed.
func TestDeviceLinkLimits(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	w.do(request{method: http.MethodPost, path: "/api/v1/devices/links"}).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	first := anna.deviceLink()
	anna.deviceLink()
	anna.deviceLink()
	w.do(request{method: http.MethodPost, path: "/api/v1/devices/links", token: anna.token}).refused(http.StatusRequestEntityTooLarge, pb.ErrorCode_ERROR_CODE_TOO_LARGE)
	w.askByLink(first.GetCode(), nil).refused(http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_MALFORMED)
	w.askByLink(first.GetCode(), &pb.Sealed{Nonce: make([]byte, 12), Ciphertext: make([]byte, 2000)}).refused(http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_MALFORMED)
	w.askByLink("x", sealed()).refused(http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_MALFORMED)
	w.askByLink("aaaaaaaaaaaaaaaa", sealed()).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	w.clock.advance(10 * time.Minute)
	w.askByLink(first.GetCode(), sealed()).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	fresh := anna.deviceLink()
	w.askByLink(fresh.GetCode(), sealed()).want(http.StatusNoContent, nil)
	w.clock.advance(10 * time.Minute)
	anna.link(anna.addition(fresh.GetCode(), newDevice(), anna.key)).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	fresh = anna.deviceLink()
	for range 61 {
		w.askByLink("aaaaaaaaaaaaaaaa", sealed())
	}
	w.askByLink(fresh.GetCode(), sealed()).refused(http.StatusTooManyRequests, pb.ErrorCode_ERROR_CODE_RATE_LIMITED)
}

// TestSignOutAllOthers: one list ends several devices at once.
func TestSignOutAllOthers(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	others := []*device{anna.addDevice(), anna.addDevice(), anna.addDevice()}
	var sockets []*socket
	for _, d := range others {
		sockets = append(sockets, anna.connect(d))
	}
	own := anna.connect(anna.device)
	anna.update(anna.revocation(others[0].id, others[1].id, others[2].id), anna.token).want(http.StatusNoContent, nil)
	for i, s := range sockets {
		s.closed(4401)
		anna.signIn(others[i]).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	}
	own.ok(ice())
	ended := 0
	for _, d := range anna.connect(anna.device).welcome.GetChanges().GetDevices() {
		if d.GetEnded() {
			ended++
		}
	}
	if ended != 3 {
		t.Errorf("%d devices have ended", ended)
	}
}

// TestUseOfDevices: an account's devices see when and from where each was used, written at most once a minute.
func TestUseOfDevices(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	start, other := w.clock.Now(), anna.addDevice()
	request := request{method: http.MethodPost, path: "/api/v1/devices/links", token: anna.token}
	w.do(request).want(http.StatusOK, nil)
	used := func() (uint64, string) {
		t.Helper()
		for _, d := range anna.connect(other).welcome.GetChanges().GetDevices() {
			if proto.ID(d.GetDevice()) == anna.device.id {
				return d.GetLastUsedMs(), d.GetLastAddress()
			}
		}
		t.Fatal("the device is not there")
		return 0, ""
	}
	if at, from := used(); at != uint64(start.UnixMilli()) || from != "127.0.0.1" {
		t.Errorf("used at %d from %q", at, from)
	}
	request.from = "127.0.0.7"
	w.clock.advance(59 * time.Second)
	w.do(request).want(http.StatusOK, nil)
	if at, from := used(); at != uint64(start.UnixMilli()) || from != "127.0.0.1" {
		t.Errorf("within a minute: used at %d from %q", at, from)
	}
	w.clock.advance(time.Second)
	w.do(request).want(http.StatusOK, nil)
	if at, from := used(); at != uint64(start.Add(time.Minute).UnixMilli()) || from != "127.0.0.7" {
		t.Errorf("after a minute: used at %d from %q", at, from)
	}
}

// TestUseWhileConnected: a device that stays connected is noted as used now and then, and when it goes.
func TestUseWhileConnected(t *testing.T) {
	w := newWorld(t, func(c *signal.Config) { c.Timing.Ping = 10 * time.Millisecond })
	anna := w.register("anna")
	s := anna.connect(anna.device)
	used := func(is time.Time) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; {
			session := must(w.store.SessionByToken(t.Context(), tokenHash(anna.token)))
			if session.LastUsedMS == is.UnixMilli() {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("last used at %d, want %d", session.LastUsedMS, is.UnixMilli())
			}
			runtime.Gosched()
		}
	}
	used(w.clock.Now())
	for range 3 {
		w.clock.advance(time.Hour)
		used(w.clock.Now())
	}
	w.clock.advance(2 * time.Minute)
	_ = s.ws.Close()
	used(w.clock.Now())
}
