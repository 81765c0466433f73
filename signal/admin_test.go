package signal_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/signal"
)

func withSetup(c *signal.Config) { c.Setup = setupSecret }

// admin asks as somebody for an address of the administration.
func (p *person) admin(method, path string, body gproto.Message) response {
	return p.w.do(request{method: method, path: "/api/v1/admin" + path, token: p.token, body: body})
}

// adminRequests are all that an administrator may ask.
func adminRequests(about *person, code string) map[string]request {
	return map[string]request{
		"users":        {method: http.MethodGet, path: "/users"},
		"invitations":  {method: http.MethodGet, path: "/invitations"},
		"stats":        {method: http.MethodGet, path: "/stats"},
		"settings":     {method: http.MethodGet, path: "/settings"},
		"set settings": {method: http.MethodPut, path: "/settings", body: &pb.AdminSettings{Registration: "closed"}},
		"suspend":      {method: http.MethodPut, path: "/users/" + about.id.String() + "/suspension", body: &pb.AdminSuspend{Suspended: true}},
		"reset":        {method: http.MethodPost, path: "/users/" + about.id.String() + "/reset"},
		"revoke":       {method: http.MethodDelete, path: "/invitations/" + code},
	}
}

// TestAdministrationIsHidden: for everybody but an administrator there is nothing, to the byte.
func TestAdministrationIsHidden(t *testing.T) {
	w := newWorld(t, withSetup)
	admin, berta := w.administrator("anna"), w.register("berta")
	code := w.invite(berta, berta.connect(berta.device), 1, time.Hour).secret.Code
	want := w.do(request{method: http.MethodGet, path: "/api/v1/nothing"})
	for name, r := range adminRequests(admin, code) {
		r.path = "/api/v1/admin" + r.path
		for who, change := range map[string]func(*request){
			"a user": func(r *request) { r.token = berta.token }, "nobody": func(*request) {}, "a wrong token": func(r *request) { r.token = "x" },
			"a foreign page": func(r *request) { r.token, r.origin = admin.token, "https://evil.example" },
		} {
			q := r
			change(&q)
			got := w.do(q)
			if got.status != want.status || string(got.body) != string(want.body) || got.header.Get("Content-Type") != want.header.Get("Content-Type") {
				t.Errorf("%s by %s: %d %s", name, who, got.status, got.body)
			}
		}
	}
	if info := w.info(); info.GetRegistration() != "open" {
		t.Errorf("it had an effect: %v", info)
	}
	for name, r := range adminRequests(berta, code) {
		r.path, r.token = "/api/v1/admin"+r.path, admin.token
		if got := w.do(r); got.status >= 300 {
			t.Errorf("%s by the administrator: %d %s", name, got.status, got.body)
		}
	}
}

// TestAdministrationByCookie: writes of a page carry the header that no other page can set.
func TestAdministrationByCookie(t *testing.T) {
	w := newWorld(t, withSetup)
	admin := w.newPerson("anna")
	req := admin.registration()
	req.Setup = setupSecret
	r := w.do(request{method: http.MethodPost, path: "/api/v1/register", body: req, origin: w.url})
	cookie, _, _ := strings.Cut(r.header.Get("Set-Cookie"), ";")
	set := request{method: http.MethodPut, path: "/api/v1/admin/settings", body: &pb.AdminSettings{Registration: "closed"}, cookie: cookie, origin: w.url}
	set.unmarked = true
	w.do(set).refused(http.StatusForbidden, pb.ErrorCode_ERROR_CODE_FORBIDDEN)
	set.unmarked = false
	w.do(set).want(http.StatusOK, nil)
}

// TestAdminUsers: accounts are found by their names and come in pages.
func TestAdminUsers(t *testing.T) {
	w := newWorld(t, withSetup)
	admin := w.administrator("anna")
	berta := w.register("Berta")
	find := func(q string) []*pb.AdminUser {
		t.Helper()
		out := &pb.AdminUsers{}
		admin.admin(http.MethodGet, "/users?q="+q, nil).want(http.StatusOK, out)
		return out.GetUsers()
	}
	for q, want := range map[string]int{"": 2, "bert": 1, "BERT": 1, "nick": 2, "nick%20b": 1, "%25": 0, "_": 0, "!": 0, "x": 0, "'": 0} {
		if got := find(q); len(got) != want {
			t.Errorf("%q finds %d", q, len(got))
		}
	}
	u := find("")
	if a := u[0]; !a.GetAdmin() || a.GetUserName() != "anna" || a.GetDevices() != 1 || a.GetLastSeenMs() != uint64(w.clock.Now().UnixMilli()) || a.GetStoredBytes() != 0 {
		t.Errorf("the administrator: %v", a)
	}
	if b := u[1]; b.GetAdmin() || b.GetUserName() != "Berta" || b.GetNickname() != "Nick Berta" || b.GetCreatedMs() != uint64(w.clock.Now().UnixMilli()) || b.GetSuspendedMs() != 0 {
		t.Errorf("another: %v", b)
	}
	sa, sb := admin.connect(admin.device), berta.connect(berta.device)
	befriend(admin, berta, sa, sb)
	posted(t, sb.ok(berta.envelope(admin, 1, 1, strings.Repeat("x", 1000))))
	if got := find("berta")[0].GetStoredBytes(); got < 1000 || got > 2000 {
		t.Errorf("%d bytes are stored", got)
	}
	for i := range 101 {
		w.register(fmt.Sprint("user", i))
	}
	first, rest := &pb.AdminUsers{}, &pb.AdminUsers{}
	admin.admin(http.MethodGet, "/users", nil).want(http.StatusOK, first)
	admin.admin(http.MethodGet, "/users?after="+first.GetAfter(), nil).want(http.StatusOK, rest)
	if len(first.GetUsers()) != 100 || len(rest.GetUsers()) != 3 || rest.GetAfter() != "" || rest.GetUsers()[0].GetUserName() != "user98" {
		t.Errorf("pages of %d and %d, then %q", len(first.GetUsers()), len(rest.GetUsers()), rest.GetAfter())
	}
}

// TestSuspend: everything of an account ends at once, log-in says why, and all is as before when it is let in again.
func TestSuspend(t *testing.T) {
	w := newWorld(t, withSetup)
	admin, berta := w.administrator("anna"), w.register("berta")
	other := berta.addDevice()
	sa, sb, so := admin.connect(admin.device), berta.connect(berta.device), berta.connect(other)
	befriend(admin, berta, sa, sb)
	ticket := berta.login().GetTicket()
	suspend := func(p *person, on bool) response {
		return admin.admin(http.MethodPut, "/users/"+p.id.String()+"/suspension", &pb.AdminSuspend{Suspended: on})
	}
	suspend(w.newPerson("nobody"), true).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	suspend(admin, true).refused(http.StatusConflict, pb.ErrorCode_ERROR_CODE_CONFLICT)
	suspend(berta, true).want(http.StatusNoContent, nil)
	suspend(berta, true).want(http.StatusNoContent, nil)
	sb.closed(4401)
	so.closed(4401)
	sa.push("that they are gone", func(f *pb.Frame) bool {
		p := f.GetPresences().GetPresences()
		return len(p) == 1 && p[0].GetState() == pb.PresenceState_PRESENCE_STATE_OFFLINE
	})
	if _, res := w.dial(request{token: berta.token}); res.code != http.StatusUnauthorized {
		t.Errorf("a session opens a socket: %d", res.code)
	}
	w.do(request{method: http.MethodPut, path: "/api/v1/devices", body: &pb.UpdateDevices{Ticket: ticket, DeviceList: berta.list.Signed}}).
		refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	for name, got := range map[string]response{"the password": w.do(berta.loginRequest(berta.auth)), "a signature": berta.signIn(berta.device)} {
		if p := got.refused(http.StatusForbidden, pb.ErrorCode_ERROR_CODE_FORBIDDEN); !strings.Contains(p.GetDetail(), "suspended") {
			t.Errorf("%s: %s", name, p.GetDetail())
		}
	}
	w.do(berta.loginRequest(proto.RandomKey())).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED) // tells only who knows it
	users := &pb.AdminUsers{}
	admin.admin(http.MethodGet, "/users?q=berta", nil).want(http.StatusOK, users)
	if users.GetUsers()[0].GetSuspendedMs() != uint64(w.clock.Now().UnixMilli()) {
		t.Errorf("the list says %v", users)
	}
	suspend(berta, false).want(http.StatusNoContent, nil)
	berta.login()
	berta.signIn(berta.device).want(http.StatusOK, nil)
	if got := contactOf(berta.connect(berta.device).welcome.GetChanges(), admin); got.GetState() != pb.ContactState_CONTACT_STATE_ACCEPTED {
		t.Errorf("afterwards the contact is %v", got)
	}
}

// TestAdminInvitations: all invitations are listed, newest first, and any of them can be revoked.
func TestAdminInvitations(t *testing.T) {
	w := newWorld(t, withSetup)
	admin, berta := w.administrator("anna"), w.register("berta")
	sb := berta.connect(berta.device)
	first, second := w.invite(berta, sb, 3, time.Hour), w.invite(berta, sb, 1, time.Hour)
	first.register(w.newPerson("carla")).want(http.StatusOK, nil)
	list := func() []*pb.AdminInvitation {
		out := &pb.AdminInvitations{}
		admin.admin(http.MethodGet, "/invitations", nil).want(http.StatusOK, out)
		return out.GetInvitations()
	}
	all := list()
	if len(all) != 2 || all[0].GetCode() != second.secret.Code || all[1].GetUses() != 3 || all[1].GetUsesLeft() != 2 || all[1].GetNickname() != "Nick berta" || proto.ID(all[1].GetAccount()) != berta.id {
		t.Errorf("listed: %v", all)
	}
	sb.clear()
	admin.admin(http.MethodDelete, "/invitations/"+first.secret.Code, nil).want(http.StatusNoContent, nil)
	admin.admin(http.MethodDelete, "/invitations/"+first.secret.Code, nil).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	admin.admin(http.MethodDelete, "/invitations/aaaaaaaaaaaaaaaa", nil).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	sb.push("the revocation", func(f *pb.Frame) bool {
		i := f.GetAccountChanges().GetInvitations()
		return len(i) == 1 && i[0].GetRevoked()
	})
	first.fetch().refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	if all := list(); !all[1].GetRevoked() || all[0].GetRevoked() {
		t.Errorf("afterwards: %v", all)
	}
}

// TestAdminSettings: registration and name change for the next request and outlive the server.
func TestAdminSettings(t *testing.T) {
	w := newWorld(t, withSetup)
	admin := w.administrator("anna")
	set := func(s *pb.AdminSettings) response { return admin.admin(http.MethodPut, "/settings", s) }
	got := &pb.AdminSettings{}
	admin.admin(http.MethodGet, "/settings", nil).want(http.StatusOK, got)
	if got.GetRegistration() != "open" || got.GetServerName() != "Parley" {
		t.Errorf("at first: %v", got)
	}
	set(&pb.AdminSettings{Registration: "everybody"}).refused(http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_MALFORMED)
	set(&pb.AdminSettings{Registration: "closed", ServerName: "\u202e"}).refused(http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_NAME_INVALID)
	w.register("berta")
	set(&pb.AdminSettings{Registration: "closed"}).want(http.StatusOK, got)
	set(&pb.AdminSettings{ServerName: "Home"}).want(http.StatusOK, got)
	if got.GetRegistration() != "closed" || got.GetServerName() != "Home" {
		t.Errorf("set: %v", got)
	}
	i := w.invite(admin, admin.connect(admin.device), 5, time.Hour)
	w.post("/api/v1/register", w.newPerson("carla").registration()).refused(http.StatusForbidden, pb.ErrorCode_ERROR_CODE_REGISTRATION_CLOSED)
	i.register(w.newPerson("carla")).refused(http.StatusForbidden, pb.ErrorCode_ERROR_CODE_REGISTRATION_CLOSED)
	info := &pb.InvitationInfo{}
	if i.fetch().want(http.StatusOK, info); info.GetRegistration() != "closed" {
		t.Errorf("the invitation says %q", info.GetRegistration())
	}
	set(&pb.AdminSettings{Registration: "invite"}).want(http.StatusOK, nil)
	i.register(w.newPerson("carla")).want(http.StatusOK, nil)
	w.post("/api/v1/register", w.newPerson("dora").registration()).refused(http.StatusForbidden, pb.ErrorCode_ERROR_CODE_REGISTRATION_CLOSED)
	if info := w.info(); info.GetRegistration() != "invite" || info.GetName() != "Home" {
		t.Errorf("the server says %v", info)
	}
	again, err := signal.New(t.Context(), w.server.Config) // started with the flag that it had
	if err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	again.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/server", nil))
	after := &pb.ServerInfo{}
	response{t, answer.Code, answer.Header(), answer.Body.Bytes()}.want(http.StatusOK, after)
	if after.GetRegistration() != "invite" || after.GetName() != "Home" {
		t.Errorf("after a restart: %v", after)
	}
}

// TestAdminSeesNoContent: no answer to an administrator has a conversation, a contact, or anything that was written.
func TestAdminSeesNoContent(t *testing.T) {
	w := newWorld(t, withSetup)
	admin := w.administrator("anna")
	b, c := w.register("berta"), w.register("carla")
	sb, sc := b.connect(b.device), c.connect(c.device)
	befriend(b, c, sb, sc)
	note := askContact(admin)
	note.GetAskContact().Note = "canary-note"
	sb.ok(note)
	post := b.envelope(c, 1, 1, "canary-text")
	e := post.GetPost().GetEnvelopes()[0]
	posted(t, sb.ok(post))
	sb.ok(&pb.Frame{Kind: &pb.Frame_SetSetting{SetSetting: &pb.SetSetting{Setting: &pb.Setting{Key: "canary-key", Value: []byte("canary-value")}}}})
	i := w.invite(b, sb, 2, time.Hour)
	secret := map[string][]byte{
		"the conversation": conversation(b, c), "the header": e.GetHeader(), "the ciphertext": e.GetCiphertext(), "the signature": e.GetSignature(),
		"a device": b.device.id.Bytes(), "a device's key": public(b.sign), "the account key": b.list.GetAccountKey(), "an identity key": public(b.identity),
	}
	stats := &pb.AdminStats{}
	for _, path := range []string{"/users", "/invitations", "/stats", "/settings", "/users?q=canary"} {
		got := admin.admin(http.MethodGet, path, nil).want(http.StatusOK, nil)
		if path == "/stats" {
			got.want(http.StatusOK, stats)
		}
		for what, b := range secret {
			for form, text := range map[string]string{
				"base64": strings.TrimRight(base64.StdEncoding.EncodeToString(b), "="), "hex": fmt.Sprintf("%x", b), "id": fmt.Sprintf("%x-%x", b[:4], b[4:6]),
			} {
				if strings.Contains(string(got.body), text) {
					t.Errorf("%s says %s in %s: %s", path, what, form, got.body)
				}
			}
		}
		for _, word := range []string{"canary", "127.0.0.1", "first", i.join(c).String()} {
			if strings.Contains(string(got.body), word) {
				t.Errorf("%s says %q: %s", path, word, got.body)
			}
		}
	}
	want := &pb.AdminStats{Accounts: 3, AccountsSeenToday: 3, Devices: 3, Connections: 2, Conversations: 1, Messages: 1, InvitationsOpen: 1, DatabaseBytes: stats.GetDatabaseBytes()}
	if !gproto.Equal(stats, want) || stats.GetDatabaseBytes() < 10_000 {
		t.Errorf("totals: %v, want %v", stats, want)
	}
	sa := admin.connect(admin.device)
	for name, f := range about(conversation(b, c), admin) {
		got := sa.ask(f)
		code := got.GetError().GetCode()
		if results := got.GetPosted().GetResults(); len(results) == 1 {
			code = results[0].GetError().GetCode()
		}
		if code != pb.ErrorCode_ERROR_CODE_NOT_FOUND {
			t.Errorf("%s by the administrator: %v", name, got)
		}
	}
}
