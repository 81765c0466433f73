package signal_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/signal"
)

// TestUnknownNames: nothing tells a name that exists from one that does not.
func TestUnknownNames(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	params := func(user string) *pb.PasswordParams {
		out := &pb.PasswordParams{}
		w.do(request{method: http.MethodPost, path: "/api/v1/login/params", body: &pb.LoginParamsRequest{User: user}}).want(http.StatusOK, out)
		return out
	}
	existing, invented := params("anna"), params("nobody")
	if err := proto.CheckPasswordParams(invented); err != nil {
		t.Errorf("invented parameters: %v", err)
	}
	if !gproto.Equal(invented, params("NoBody")) {
		t.Error("the invented answer is not stable")
	}
	if gproto.Equal(invented, params("nobody2")) || gproto.Equal(existing, invented) {
		t.Error("two names have one salt")
	}
	existing.Salt, invented.Salt = existing.GetSalt()[:0], invented.GetSalt()[:0]
	if !gproto.Equal(existing, invented) {
		t.Errorf("existing %v and invented %v differ in more than the salt", existing, invented)
	}
	wrong := w.do(anna.loginRequest(proto.RandomKey()))
	unknown := w.do(w.newPerson("nobody").loginRequest(proto.RandomKey()))
	if wrong.status != http.StatusUnauthorized || wrong.status != unknown.status || string(wrong.body) != string(unknown.body) {
		t.Errorf("a wrong password answers %d %s, a wrong name %d %s", wrong.status, wrong.body, unknown.status, unknown.body)
	}
}

// TestThrottle: guessing gets slower and slower, the person it is about is not locked out.
func TestThrottle(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	guess := anna.loginRequest(proto.RandomKey())
	refused := 0
	for range 20 {
		if w.do(guess).status == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused < 15 {
		t.Errorf("%d of 20 guesses were refused", refused)
	}
	answer := w.do(anna.loginRequest(anna.auth))
	p := answer.refused(http.StatusTooManyRequests, pb.ErrorCode_ERROR_CODE_RATE_LIMITED)
	if p.GetRetryAfterMs() == 0 || answer.header.Get("Retry-After") == "" {
		t.Errorf("no word on when to come back: %v", p)
	}
	elsewhere := anna.loginRequest(anna.auth)
	elsewhere.from = "127.0.0.2"
	w.do(elsewhere).want(http.StatusOK, nil)

	// each failure after the wait makes the next wait longer
	before := time.Duration(p.GetRetryAfterMs()) * time.Millisecond
	w.clock.advance(before)
	w.do(guess).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	longer := w.do(guess).refused(http.StatusTooManyRequests, pb.ErrorCode_ERROR_CODE_RATE_LIMITED)
	if got := time.Duration(longer.GetRetryAfterMs()) * time.Millisecond; got <= before {
		t.Errorf("waits %v after %v", got, before)
	}
	// and the right password is let in as soon as it is over
	w.clock.advance(5 * time.Minute)
	anna.login()
	w.do(guess).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
}

// TestThrottleAddress: many names from one address slow the address, and no other.
func TestThrottleAddress(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	limited := 0
	for i := range 30 {
		if w.do(w.newPerson(fmt.Sprintf("name%d", i)).loginRequest(proto.RandomKey())).status == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited == 0 {
		t.Error("an address may try one password at any number of names")
	}
	w.do(anna.loginRequest(anna.auth)).refused(http.StatusTooManyRequests, pb.ErrorCode_ERROR_CODE_RATE_LIMITED)
	elsewhere := anna.loginRequest(anna.auth)
	elsewhere.from = "127.0.0.3"
	w.do(elsewhere).want(http.StatusOK, nil)
}

// TestThrottleAtOnce: guesses made at the same moment are no way around the limit.
func TestThrottleAtOnce(t *testing.T) {
	w := newWorld(t)
	guess := w.newPerson("anna").loginRequest(proto.RandomKey())
	answers := make(chan int)
	const guesses = 16
	for range guesses {
		go func() { answers <- w.do(guess).status }()
	}
	var tried int
	for range guesses {
		if <-answers == http.StatusUnauthorized {
			tried++
		}
	}
	if tried > 5 {
		t.Errorf("%d guesses at once were tried", tried)
	}
}

// browser registers as a page does and returns its cookie.
func (w *world) browser(p *person) (cookie string, res response) {
	w.t.Helper()
	res = w.do(request{method: http.MethodPost, path: "/api/v1/register", body: p.registration(), origin: w.url})
	out := &pb.SessionOpened{}
	res.want(http.StatusOK, out)
	if out.GetToken() != "" {
		w.t.Error("a page can read the token")
	}
	set := res.header.Get("Set-Cookie")
	id := w.store.ServerID()
	for _, want := range []string{"__Host-parley-", "; Path=/", "; HttpOnly", "; Secure", "; SameSite=Strict"} {
		if !strings.Contains(set, want) {
			w.t.Errorf("cookie %q lacks %q", set, want)
		}
	}
	if strings.Contains(set, "Domain") || !strings.Contains(set, hex.EncodeToString(id[:4])+"=") {
		w.t.Errorf("cookie %q", set)
	}
	cookie, _, _ = strings.Cut(set, ";")
	return cookie, res
}

func TestCookies(t *testing.T) {
	w := newWorld(t)
	anna := w.newPerson("anna")
	cookie, _ := w.browser(anna)
	loopback := strings.Replace(w.url, "127.0.0.1", "localhost", 1)
	logout := request{method: http.MethodDelete, path: "/api/v1/session"}
	for name, c := range map[string]struct {
		cookie, token, origin string
		unmarked              bool
		rest, socket          int
	}{
		"own":              {cookie: cookie, origin: w.url, socket: http.StatusSwitchingProtocols},
		"no origin":        {cookie: cookie, rest: http.StatusForbidden, socket: http.StatusForbidden},
		"evil":             {cookie: cookie, origin: "https://evil.example", rest: http.StatusForbidden, socket: http.StatusForbidden},
		"null":             {cookie: cookie, origin: "null", rest: http.StatusForbidden, socket: http.StatusForbidden},
		"other port":       {cookie: cookie, origin: "http://127.0.0.1:1", rest: http.StatusForbidden, socket: http.StatusForbidden},
		"other scheme":     {cookie: cookie, origin: "https" + strings.TrimPrefix(w.url, "http") + "0", rest: http.StatusForbidden, socket: http.StatusForbidden},
		"longer":           {cookie: cookie, origin: w.url + ".evil.example", rest: http.StatusForbidden, socket: http.StatusForbidden},
		"other loopback":   {cookie: cookie, origin: loopback, rest: http.StatusForbidden, socket: http.StatusForbidden},
		"without X-Parley": {cookie: cookie, origin: w.url, unmarked: true, rest: http.StatusForbidden},
		"wrong cookie":     {cookie: cookie + "x", origin: w.url, rest: http.StatusUnauthorized, socket: http.StatusUnauthorized},
		"no cookie":        {origin: w.url, rest: http.StatusUnauthorized, socket: http.StatusUnauthorized},
		"token and origin": {token: w.register("berta").token, origin: w.url, rest: http.StatusForbidden, socket: http.StatusForbidden},
		"token and evil":   {token: w.register("clara").token, origin: "https://evil.example", rest: http.StatusForbidden, socket: http.StatusForbidden},
		"cookie as token":  {token: strings.SplitN(cookie, "=", 2)[1], origin: w.url, rest: http.StatusForbidden, socket: http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			r := logout
			r.cookie, r.token, r.origin, r.unmarked = c.cookie, c.token, c.origin, c.unmarked
			if c.rest != 0 {
				w.do(r).want(c.rest, nil)
			}
			if c.socket == 0 {
				return
			}
			if _, res := w.dial(r); res.code != c.socket {
				t.Errorf("handshake: %d, want %d", res.code, c.socket)
			}
		})
	}
	logout.cookie, logout.origin = cookie, w.url
	gone := w.do(logout).want(http.StatusNoContent, nil).header.Get("Set-Cookie")
	if !strings.Contains(gone, "Max-Age=0") {
		t.Errorf("logging out leaves the cookie: %q", gone)
	}
}

// TestForeignPages: no write is taken from a foreign page, whatever it is about.
func TestForeignPages(t *testing.T) {
	w := newWorld(t)
	for _, route := range w.server.Routes() {
		method, path, _ := strings.Cut(route, " ")
		if method == http.MethodGet {
			continue
		}
		for _, r := range []request{{origin: "https://evil.example"}, {origin: w.url, unmarked: true}, {origin: "null"}} {
			r.method, r.path, r.raw = method, path, "{}"
			if strings.HasPrefix(path, "/api/v1/admin/") { // not even that it is there; see TestAdministrationByCookie
				w.do(r).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
				continue
			}
			w.do(r).refused(http.StatusForbidden, pb.ErrorCode_ERROR_CODE_FORBIDDEN)
		}
	}
}

// TestNothingSecretIsLogged drives everything that handles secrets with the log at debug.
func TestNothingSecretIsLogged(t *testing.T) {
	const sdp, text, note, setting = "v=0 sdp-canary", "message-canary", "note-canary", "setting-canary"
	w := newWorld(t, func(c *signal.Config) { c.Setup = setupSecret })
	a, b := w.newPerson("anna"), w.register("berta")
	req := a.registration()
	req.Setup = setupSecret
	w.post("/api/v1/register", req).want(http.StatusGone, nil)
	a = w.register("anna")
	sa, sb := a.connect(a.device), b.connect(b.device)
	ask := askContact(b)
	ask.GetAskContact().Note = note
	sa.ok(ask)
	sb.ok(acceptContact(a, b.firstCommit(a, nil)))
	sa.ok(a.envelope(b, 1, 1, text))
	sa.ok(signalTo(b, b.device, description(sdp)))
	sa.ok(&pb.Frame{Kind: &pb.Frame_SetSetting{SetSetting: &pb.SetSetting{Setting: &pb.Setting{Key: "theme", Value: []byte(setting)}}}})
	ticket := a.login().GetTicket()
	w.do(a.loginRequest(proto.RandomKey())).want(http.StatusUnauthorized, nil)
	w.do(request{method: http.MethodPut, path: "/api/v1/devices", body: &pb.UpdateDevices{Ticket: ticket, DeviceList: a.list.Signed}}).want(http.StatusConflict, nil)
	w.do(request{method: http.MethodPost, path: "/api/v1/login", raw: text}).want(http.StatusBadRequest, nil)
	sa.write([]byte(text))
	sa.closed(4400)
	w.do(request{method: http.MethodDelete, path: "/api/v1/session", token: b.token}).want(http.StatusNoContent, nil)
	sb.closed(4401)
	w.server.Close()

	log := w.logs.String()
	if !strings.Contains(log, "socket closed") {
		t.Fatal("the log is not at debug")
	}
	canaries := []string{sdp, text, note, setting, setupSecret, ticket, a.token, b.token}
	for _, secret := range [][]byte{a.auth, b.auth} {
		canaries = append(canaries, string(secret), hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret))
	}
	if i := slices.IndexFunc(canaries, func(s string) bool { return strings.Contains(log, s) }); i >= 0 {
		t.Errorf("canary %d is in the log", i)
	}
}
