package signal_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/relay"
	"github.com/parley-chat/parley/relay/bus"
	"github.com/parley-chat/parley/signal"
	"github.com/parley-chat/parley/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience    = 20 * time.Second // for what must come; never waited out by a test that passes
	setupSecret = "setup-secret-canary"
)

// clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// logs collects everything that server, store and relay log.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// hints joins relay's bus and what signal asks for.
type hints struct{ *bus.Local }

func (h hints) Publish(f *pb.Frame, accounts ...proto.ID) {
	h.Local.Publish(f, proto.ID{}, accounts...)
}

func (h hints) Subscribe(account, device proto.ID, sink signal.Sink) func() {
	return h.Local.Subscribe(account, device, sink)
}

// world is a whole server on loopback: real store, real relay.
type world struct {
	t      testing.TB
	url    string
	store  *store.Store
	server *signal.Server
	web    *httptest.Server
	logs   *logs
	clock  *clock
}

func newWorld(t testing.TB, change ...func(*signal.Config)) *world {
	t.Helper()
	w := &world{t: t, logs: &logs{}, clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
	logger := slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	w.store, err = store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "parley.db"), Clock: w.clock.Now, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	w.web = httptest.NewUnstartedServer(nil)
	w.url = "http://" + w.web.Listener.Addr().String()
	local := bus.NewLocal()
	cfg := signal.Config{
		Store: w.store, Conversations: relay.New(relay.Config{Store: w.store, Bus: local, Logger: logger, Clock: w.clock.Now}), Hints: hints{local},
		Logger: logger, Registration: signal.Open, URL: w.url, Version: "test", Clock: w.clock.Now,
	}
	for _, c := range change {
		c(&cfg)
	}
	if w.server, err = signal.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	w.web.Config.Handler = w.server.Handler()
	w.web.Start()
	t.Cleanup(func() {
		w.server.Close()
		w.web.Close()
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// request is one REST request. Empty fields send no header.
type request struct {
	method, path          string
	body                  gproto.Message
	raw                   string // instead of body
	token, cookie, origin string
	unmarked              bool   // with an Origin, but without X-Parley
	from                  string // the client's address
	host                  string // for the Host header
}

type response struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
}

// transport dials from a loopback address of the caller's choice.
func transport(from string) *http.Transport {
	d := &net.Dialer{}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	return &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}
}

func (w *world) do(r request) response {
	w.t.Helper()
	var body io.Reader = strings.NewReader(r.raw)
	if r.body != nil {
		b, err := protojson.Marshal(r.body)
		if err != nil {
			w.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, w.url+r.path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	maps.Copy(req.Header, w.headers(r))
	if r.host != "" {
		req.Host = r.host
	}
	res, err := (&http.Client{Transport: transport(r.from)}).Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response{w.t, res.StatusCode, res.Header, b}
}

func (w *world) headers(r request) http.Header {
	h := http.Header{}
	if r.token != "" {
		h.Set("Authorization", "Bearer "+r.token)
	}
	if r.cookie != "" {
		h.Set("Cookie", r.cookie)
	}
	if r.origin != "" {
		h.Set("Origin", r.origin)
		if !r.unmarked {
			h.Set("X-Parley", "1")
		}
	}
	return h
}

// want checks the status, and reads the body into m unless it is nil.
func (r response) want(status int, m gproto.Message) response {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	if m != nil {
		if err := protojson.Unmarshal(r.body, m); err != nil {
			r.t.Fatal(err)
		}
	}
	return r
}

// refused checks that the answer is a problem with this status and code.
func (r response) refused(status int, code pb.ErrorCode) *pb.Problem {
	r.t.Helper()
	p := &pb.Problem{}
	r.want(status, p)
	name := (&proto.Error{Code: code}).Name()
	if r.header.Get("Content-Type") != "application/problem+json" || p.GetCode() != name || p.GetStatus() != uint32(status) {
		r.t.Fatalf("not a problem %q: %s %s", name, r.header.Get("Content-Type"), r.body)
	}
	return p
}

func (w *world) info() *pb.ServerInfo {
	info := &pb.ServerInfo{}
	w.do(request{method: http.MethodGet, path: "/api/v1/server"}).want(http.StatusOK, info)
	return info
}
