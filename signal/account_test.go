package signal_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/signal"
	"github.com/parley-chat/parley/store"
)

func setting(key, value string) *pb.Frame {
	return &pb.Frame{Kind: &pb.Frame_SetSetting{SetSetting: &pb.SetSetting{Setting: &pb.Setting{Key: key, Value: []byte(value)}}}}
}

func TestSettings(t *testing.T) {
	w := newWorld(t)
	anna, berta := w.register("anna"), w.register("berta")
	other := anna.addDevice()
	here, there, stranger := anna.connect(anna.device), anna.connect(other), berta.connect(berta.device)
	here.ok(setting("theme", "dark"))
	here.ok(setting("theme", "light"))
	there.push("the setting", func(f *pb.Frame) bool {
		s := f.GetAccountChanges().GetSettings()
		return len(s) == 1 && s[0].GetKey() == "theme" && string(s[0].GetValue()) == "light"
	})
	here.ok(setting("empty", ""))
	for key, code := range map[string]pb.ErrorCode{
		"":                          pb.ErrorCode_ERROR_CODE_MALFORMED,
		strings.Repeat("k", 65):     pb.ErrorCode_ERROR_CODE_MALFORMED,
		"with space":                pb.ErrorCode_ERROR_CODE_MALFORMED,
		"zero\x00":                  pb.ErrorCode_ERROR_CODE_MALFORMED,
		strings.Repeat("k", 64):     0,
		"call/00000000-0000-0000-7": 0,
	} {
		if got := here.ask(setting(key, "x")).GetError().GetCode(); got != code {
			t.Errorf("key %q: %v, want %v", key, got, code)
		}
	}
	here.ok(setting("large", strings.Repeat("v", proto.MaxSettingValue)))
	here.refused(setting("large", strings.Repeat("v", proto.MaxSettingValue+1)), pb.ErrorCode_ERROR_CODE_TOO_LARGE)
	account, err := w.store.AccountID(t.Context(), anna.id)
	for i := 0; err == nil && i < store.MaxSettings-5; i++ { // not by the socket: so many frames at once end a connection
		err = w.store.SetSetting(t.Context(), account, fmt.Sprint(i), []byte("x"))
	}
	if err != nil {
		t.Fatal(err)
	}
	here.refused(setting("too many", "x"), pb.ErrorCode_ERROR_CODE_MALFORMED)
	here.refused(setting("many", "x"), pb.ErrorCode_ERROR_CODE_TOO_LARGE)
	here.ok(setting("theme", "one that is there"))
	stranger.none("setting", func(f *pb.Frame) bool { return len(f.GetAccountChanges().GetSettings()) > 0 })

	// a device that was away reads all of them, page by page
	got := map[string]bool{}
	late := anna.connect(other)
	changes := late.welcome.GetChanges()
	for {
		for _, s := range changes.GetSettings() {
			got[s.GetKey()] = true
		}
		if !changes.GetMore() {
			break
		}
		changes = late.ok(&pb.Frame{Kind: &pb.Frame_AccountSync{AccountSync: &pb.AccountSync{After: changes.GetVersion()}}}).GetAccountChanges()
	}
	if len(got) != store.MaxSettings {
		t.Errorf("%d settings came", len(got))
	}
	if again := anna.connectAt(other, changes.GetVersion()).welcome.GetChanges(); len(again.GetSettings()) != 0 {
		t.Errorf("known settings came again: %v", again)
	}
}

func TestProfile(t *testing.T) {
	w := newWorld(t)
	_, _, sa, sb := w.connected()
	eve := w.register("eve")
	se := eve.connect(eve.device)
	rename := func(name string) *pb.Frame {
		return &pb.Frame{Kind: &pb.Frame_SetProfile{SetProfile: &pb.SetProfile{Nickname: name}}}
	}
	sa.ok(rename("  Anna \u00a0 B. "))
	sb.push("the new nickname", func(f *pb.Frame) bool {
		c := f.GetAccountChanges().GetContacts()
		return len(c) > 0 && c[len(c)-1].GetProfile().GetNickname() == "Anna B."
	})
	sa.push("the own nickname", func(f *pb.Frame) bool { return f.GetAccountChanges().GetProfile().GetNickname() == "Anna B." })
	se.none("nickname", func(f *pb.Frame) bool { return f.GetAccountChanges() != nil })
	sa.refused(rename(" "), pb.ErrorCode_ERROR_CODE_NAME_INVALID)
	sa.refused(rename(strings.Repeat("x", proto.MaxNickname+1)), pb.ErrorCode_ERROR_CODE_NAME_INVALID)
}

func (p *person) update(req *pb.UpdateDevices, token string) response {
	return p.w.do(request{method: http.MethodPut, path: "/api/v1/devices", token: token, body: req})
}

// TestRevokeDevice: the revoked device is out at once, the others get the new key, and conversations wait
// for a new epoch.
func TestRevokeDevice(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	lost, kept := a.addDevice(), a.addDevice()
	sl, sk := a.connect(lost), a.connect(kept)
	a.update(a.revocation(lost.id), a.token).want(http.StatusNoContent, nil)
	sl.closed(4401)
	if _, res := w.dial(request{token: lost.token}); res.code != http.StatusUnauthorized {
		t.Errorf("the revoked device's session: %d", res.code)
	}
	changes := sk.push("the grant", func(f *pb.Frame) bool { return len(f.GetAccountChanges().GetGenerationGrants()) > 0 }).GetAccountChanges()
	grants := changes.GetGenerationGrants()
	key, err := proto.OpenGeneration(kept.seal.Bytes(), a.id, grants[0])
	if len(grants) != 1 || err != nil || !bytes.Equal(key, a.key.Bytes()) || !gproto.Equal(changes.GetDeviceList(), a.list.Signed) {
		t.Errorf("the device that stays gets %v, %v", changes, err)
	}
	if got := a.connectAt(kept, 0).welcome.GetChanges().GetGenerationGrants(); len(got) != 1 {
		t.Errorf("%d grants after it was away", len(got))
	}
	sb.push("the new list", func(f *pb.Frame) bool {
		c := f.GetAccountChanges().GetContacts()
		return len(c) > 0 && gproto.Equal(c[len(c)-1].GetDeviceList(), a.list.Signed)
	})
	for _, s := range []*socket{sa, sb} {
		s.pushed = nil
	}
	if _, code := posted(t, sb.ok(b.envelope(a, 1, 1, "hi"))); code != pb.ErrorCode_ERROR_CODE_NEEDS_EPOCH {
		t.Errorf("a post after the revocation: %v", code)
	}
	ring := a.login().GetKeyRing()
	if ring == nil {
		t.Error("the key ring is gone")
	}
}

// TestRevokeSignedOutDevice: a device that had signed out still knows the account key.
func TestRevokeSignedOutDevice(t *testing.T) {
	w := newWorld(t)
	a, b, _, sb := w.connected()
	lost := a.addDevice()
	w.do(request{method: http.MethodDelete, path: "/api/v1/session", token: lost.token}).want(http.StatusNoContent, nil)
	a.update(a.revocation(lost.id), a.token).want(http.StatusNoContent, nil)
	if _, code := posted(t, sb.ok(b.envelope(a, 1, 1, "hi"))); code != pb.ErrorCode_ERROR_CODE_NEEDS_EPOCH {
		t.Errorf("a post after the revocation: %v", code)
	}
}

func TestUpdateDevicesRefuses(t *testing.T) {
	w := newWorld(t)
	a := w.register("anna")
	lost, kept := a.addDevice(), a.addDevice()
	before := a.list
	cases := map[string]func(*pb.UpdateDevices){
		"no key ring": func(u *pb.UpdateDevices) { u.KeyRing = nil },
		"no grant for who stays": func(u *pb.UpdateDevices) {
			for i, g := range u.GetGenerationGrants() {
				if proto.ID(g.GetDevice()) == kept.id {
					u.GenerationGrants = append(u.GenerationGrants[:i:i], u.GenerationGrants[i+1:]...)
					return
				}
			}
		},
		"grant for who goes": func(u *pb.UpdateDevices) { u.GenerationGrants[0].Device = lost.id.Bytes() },
		"two grants":         func(u *pb.UpdateDevices) { u.GenerationGrants = append(u.GenerationGrants, u.GenerationGrants[0]) },
		"other generation":   func(u *pb.UpdateDevices) { u.GenerationGrants[0].Generation++ },
		"short grant":        func(u *pb.UpdateDevices) { u.GenerationGrants[0].Ciphertext = nil },
		"not a new device":   func(u *pb.UpdateDevices) { u.NewDevice = kept.id.Bytes() },
	}
	for name, change := range cases {
		t.Run(name, func(*testing.T) {
			a.list = before
			req := a.revocation(lost.id)
			change(req)
			a.update(req, a.token).refused(http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_MALFORMED)
		})
	}
	a.list = before
	next := proto.NextDeviceList(a.list, 4)
	next.Devices = append(next.Devices, newDevice().keys())
	a.update(&pb.UpdateDevices{DeviceList: a.take(next), KeyRing: sealed()}, a.token).refused(http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_MALFORMED)
	a.list = before
	berta := w.register("berta")
	a.update(a.revocation(lost.id), berta.token).refused(http.StatusForbidden, pb.ErrorCode_ERROR_CODE_FORBIDDEN)
	a.list = before
	a.update(a.revocation(lost.id), a.token).want(http.StatusNoContent, nil) // nothing of the above had an effect
}

func TestWeb(t *testing.T) {
	web := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/missing" {
			http.NotFound(rw, r)
			return
		}
		rw.Header().Set("Content-Security-Policy", "default-src 'self'")
		_, _ = rw.Write([]byte("the page " + r.URL.Path))
	})
	for name, with := range map[string]bool{"with the web app": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *signal.Config) {
				if with {
					c.Web = web
				}
			})
			for _, path := range []string{"/api", "/api/", "/api/v1/nothing", "/api/v2/server"} {
				res := w.do(request{method: http.MethodGet, path: path})
				res.refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
				if res.header.Get("Content-Security-Policy") != "default-src 'none'; frame-ancestors 'none'" {
					t.Errorf("%s: headers %v", path, res.header)
				}
			}
			w.do(request{method: http.MethodPost, path: "/i/code"}).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
			page := w.do(request{method: http.MethodGet, path: "/i/code"})
			if !with {
				page.refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
				return
			}
			if page.status != http.StatusOK || string(page.body) != "the page /i/code" || page.header.Get("Content-Security-Policy") != "default-src 'self'" {
				t.Errorf("the page: %d %s %v", page.status, page.body, page.header)
			}
			w.do(request{method: http.MethodGet, path: "/missing"}).want(http.StatusNotFound, nil)
			w.do(request{method: http.MethodGet, path: "/api/v1/server"}).want(http.StatusOK, nil)
		})
	}
}
