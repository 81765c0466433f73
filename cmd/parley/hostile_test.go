package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/encoding/protojson"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// middle stands between one peer and the real server and does what a taken-over server could: it reads, records, alters,
// drops, repeats and invents what passes. Without filters it passes everything on.
type middle struct {
	t      *testing.T
	url    string // for the peer
	server *url.URL
	web    *httptest.Server

	mu      sync.Mutex
	down    func(*pb.Frame) []*pb.Frame // from the server to the peer; nil: unchanged
	up      func(*pb.Frame) []*pb.Frame // from the peer to the server; nil: unchanged
	answers map[string]func([]byte) []byte
	asked   map[string]int // REST requests by "METHOD path"
	tape    bytes.Buffer   // all that passed, both ways
	ends    map[*wire]bool
	small   bool // see narrow
	away    bool // see goAway
	closing bool
	pumps   sync.WaitGroup
}

// wire is one WebSocket as the middle sees it.
type wire struct {
	mu           sync.Mutex // one writer at a time
	peer, server *websocket.Conn
}

func newMiddle(t *testing.T, server string) *middle {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	m := &middle{t: t, server: u, answers: make(map[string]func([]byte) []byte), asked: make(map[string]int), ends: make(map[*wire]bool)}
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.ModifyResponse = m.answer
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/socket", m.socket)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		m.record(body)
		m.mu.Lock()
		m.asked[r.Method+" "+r.URL.Path]++
		m.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	})
	m.web = httptest.NewServer(mux)
	m.url = m.web.URL
	t.Cleanup(m.close)
	return m
}

func (m *middle) close() {
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	m.hangUp()
	m.pumps.Wait()
	m.web.Close()
}

// hangUp ends every connection; the peer comes back by itself.
func (m *middle) hangUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.ends {
		_ = w.peer.Close()
		_ = w.server.Close()
	}
}

func (m *middle) record(b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tape.Write(b)
}

// recorded is all that passed so far.
func (m *middle) recorded() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.tape.Bytes())
}

// times is how often a REST request came through.
func (m *middle) times(request string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[request]
}

// toPeer sets what happens to frames for the peer, toServer to those for the server.
func (m *middle) toPeer(f func(*pb.Frame) []*pb.Frame) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = f
}

func (m *middle) toServer(f func(*pb.Frame) []*pb.Frame) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.up = f
}

// narrow makes later connections to the server hold little that was not read yet.
func (m *middle) narrow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.small = true
}

// goAway ends every connection and lets no other through until it comes back.
func (m *middle) goAway(away bool) {
	m.mu.Lock()
	m.away = away
	m.mu.Unlock()
	if away {
		m.hangUp()
	}
}

// honest lets everything pass again.
func (m *middle) honest() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down, m.up = nil, nil
	clear(m.answers)
}

// onAnswer alters the answers to a REST request.
func onAnswer[M gproto.Message](m *middle, request string, body M, alter func(M)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[request] = func(b []byte) []byte {
		gproto.Reset(body)
		if err := protojson.Unmarshal(b, body); err != nil {
			m.t.Errorf("answer to %s: %v", request, err)
			return b
		}
		alter(body)
		return must(protojson.Marshal(body))
	}
}

func (m *middle) answer(r *http.Response) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	m.record(body)
	m.mu.Lock()
	alter := m.answers[r.Request.Method+" "+r.Request.URL.Path]
	m.mu.Unlock()
	if alter != nil && r.StatusCode == http.StatusOK {
		body = alter(body)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.Header.Del("Content-Length")
	return nil
}

// socket pipes a WebSocket through the filters.
func (m *middle) socket(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	away := m.away
	m.mu.Unlock()
	if away {
		http.Error(w, "", http.StatusBadGateway)
		return
	}
	header := http.Header{}
	if token := r.Header.Get("Authorization"); token != "" {
		header.Set("Authorization", token)
	}
	dialer := websocket.Dialer{Subprotocols: websocket.Subprotocols(r)}
	server, response, err := dialer.DialContext(r.Context(), "ws"+strings.TrimPrefix(m.server.String(), "http")+r.URL.Path, header)
	if err != nil {
		status := http.StatusBadGateway
		if response != nil {
			status = response.StatusCode
			_ = response.Body.Close()
		}
		http.Error(w, "", status)
		return
	}
	m.mu.Lock()
	small := m.small
	m.mu.Unlock()
	if tcp, ok := server.NetConn().(*net.TCPConn); ok && small {
		_ = tcp.SetReadBuffer(16 << 10)
	}
	upgrader := websocket.Upgrader{Subprotocols: []string{server.Subprotocol()}}
	peer, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		_ = server.Close()
		return
	}
	pair := &wire{peer: peer, server: server}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		_, _ = peer.Close(), server.Close()
		return
	}
	m.ends[pair] = true
	m.pumps.Go(func() { m.pump(pair, server, peer, true) })
	m.pumps.Go(func() {
		m.pump(pair, peer, server, false)
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.ends, pair)
	})
}

// pump passes messages on until one side ends, and tells the other side why.
func (m *middle) pump(w *wire, from, to *websocket.Conn, down bool) {
	defer func() { _, _ = from.Close(), to.Close() }()
	for {
		kind, b, err := from.ReadMessage()
		if err != nil {
			var end *websocket.CloseError
			if errors.As(err, &end) && end.Code != websocket.CloseNoStatusReceived && end.Code != websocket.CloseAbnormalClosure {
				w.mu.Lock()
				_ = to.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(end.Code, end.Text))
				w.mu.Unlock()
			}
			return
		}
		m.record(b)
		m.mu.Lock()
		filter := m.up
		if down {
			filter = m.down
		}
		m.mu.Unlock()
		if filter == nil {
			w.mu.Lock()
			err = to.WriteMessage(kind, b)
			w.mu.Unlock()
			if err != nil {
				return
			}
			continue
		}
		f := &pb.Frame{}
		if err := proto.Unmarshal(b, f); err != nil {
			m.t.Errorf("a frame is not understood: %v", err)
			return
		}
		for _, out := range filter(f) {
			w.mu.Lock()
			err = to.WriteMessage(websocket.BinaryMessage, must(gproto.Marshal(out)))
			w.mu.Unlock()
			if err != nil {
				return
			}
		}
	}
}

// push invents a frame for the peer on its present connection.
func (m *middle) push(f *pb.Frame) { m.raw(websocket.BinaryMessage, must(gproto.Marshal(f))) }

// raw sends the peer any message.
func (m *middle) raw(kind int, b []byte) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.ends) == 0 {
		m.t.Fatal("the peer is not connected")
	}
	for w := range m.ends {
		w.mu.Lock()
		_ = w.peer.WriteMessage(kind, b)
		w.mu.Unlock()
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// events are the events in a frame from the server, pushed or as a page of an answer.
func events(f *pb.Frame) []*pb.Event {
	if page := f.GetPage(); page != nil {
		return page.GetEvents()
	}
	return f.GetEvents().GetEvents()
}

// alterEnvelopes is a filter that changes every envelope on its way to the peer.
func alterEnvelopes(change func(*pb.Event, *pb.Envelope)) func(*pb.Frame) []*pb.Frame {
	return func(f *pb.Frame) []*pb.Frame {
		for _, e := range events(f) {
			if env := e.GetEnvelope(); env != nil {
				change(e, env)
			}
		}
		return []*pb.Frame{f}
	}
}

// alterCommits is a filter that changes every commit on its way to the peer.
func alterCommits(change func(*pb.CommitEvent)) func(*pb.Frame) []*pb.Frame {
	return func(f *pb.Frame) []*pb.Frame {
		for _, e := range events(f) {
			if commit := e.GetCommit(); commit != nil {
				change(commit)
			}
		}
		return []*pb.Frame{f}
	}
}
