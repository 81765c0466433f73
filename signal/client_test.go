package signal_test

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// socket is a raw client: a goroutine reads everything into frames until the connection ends.
type socket struct {
	t       testing.TB
	ws      *websocket.Conn
	frames  chan *pb.Frame
	ended   chan error // why, once
	request uint64
	pushed  []*pb.Frame // read while waiting for something else
	welcome *pb.Welcome
}

// handshake is the server's answer to one.
type handshake struct {
	code   int
	header http.Header
}

// dial opens a WebSocket without greeting; there is none if the server refuses.
func (w *world) dial(r request) (*websocket.Conn, handshake) {
	w.t.Helper()
	d := websocket.Dialer{Subprotocols: []string{"parley.v1"}}
	h := w.headers(r)
	h.Del("X-Parley") // browsers cannot set it here
	ws, res, err := d.DialContext(w.t.Context(), "ws"+strings.TrimPrefix(w.url, "http")+"/api/v1/socket", h)
	if err != nil && !errors.Is(err, websocket.ErrBadHandshake) {
		w.t.Fatal(err)
	}
	_ = res.Body.Close()
	if ws != nil {
		w.t.Cleanup(func() { _ = ws.Close() })
	}
	return ws, handshake{res.StatusCode, res.Header}
}

// open dials with a device's token and reads in the background.
func (w *world) open(d *device) *socket {
	w.t.Helper()
	ws, res := w.dial(request{token: d.token})
	if ws == nil {
		w.t.Fatalf("handshake: %d", res.code)
	}
	return w.reader(ws)
}

func (w *world) reader(ws *websocket.Conn) *socket {
	s := &socket{t: w.t, ws: ws, frames: make(chan *pb.Frame, 1<<16), ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			_, b, err := ws.ReadMessage()
			f := &pb.Frame{}
			if err == nil {
				err = gproto.Unmarshal(b, f)
			}
			if err != nil {
				s.ended <- err
				_ = ws.Close()
				return
			}
			s.frames <- f
		}
	}()
	w.t.Cleanup(func() { _ = ws.Close(); <-done })
	return s
}

// connect opens a socket and says hello.
func (p *person) connect(d *device) *socket { return p.connectAt(d, 0) }

func (p *person) connectAt(d *device, version uint64) *socket {
	p.w.t.Helper()
	s := p.w.open(d)
	s.welcome = s.ok(hello(version)).GetWelcome()
	if s.welcome == nil {
		s.t.Fatal("hello was not answered by welcome")
	}
	return s
}

func hello(version uint64) *pb.Frame {
	return &pb.Frame{Kind: &pb.Frame_Hello{Hello: &pb.Hello{Version: 1, Client: "test", AccountVersion: version}}}
}

func ice() *pb.Frame { return &pb.Frame{Kind: &pb.Frame_IceRequest{IceRequest: &pb.IceRequest{}}} }

func (s *socket) write(b []byte) {
	s.t.Helper()
	if err := s.ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
		s.t.Fatal(err)
	}
}

// ask sends a request and returns its answer; what comes before it is kept in pushed.
func (s *socket) ask(f *pb.Frame) *pb.Frame {
	s.t.Helper()
	s.request++
	f.Request = s.request
	s.write(must(gproto.Marshal(f)))
	for {
		got := s.next()
		if got.GetRequest() == s.request {
			return got
		}
		s.pushed = append(s.pushed, got)
	}
}

func (s *socket) next() *pb.Frame {
	s.t.Helper()
	select {
	case f := <-s.frames:
		return f
	default:
	}
	select {
	case f := <-s.frames:
		return f
	case err := <-s.ended:
		s.t.Fatalf("the connection ended: %v", err)
	case <-time.After(patience):
		s.t.Fatal("nothing came")
	}
	return nil
}

// ok asks and fails the test if the answer is an error.
func (s *socket) ok(f *pb.Frame) *pb.Frame {
	s.t.Helper()
	got := s.ask(f)
	if e := got.GetError(); e != nil {
		s.t.Fatalf("%T: %v", f.GetKind(), e)
	}
	return got
}

// refused asks and checks the code of the error.
func (s *socket) refused(f *pb.Frame, code pb.ErrorCode) *pb.Error {
	s.t.Helper()
	got := s.ask(f)
	if got.GetError().GetCode() != code {
		s.t.Fatalf("%T: got %v, want error %v", f.GetKind(), got, code)
	}
	return got.GetError()
}

// push waits for a frame that the server sends on its own account.
func (s *socket) push(what string, is func(*pb.Frame) bool) *pb.Frame {
	s.t.Helper()
	for i, f := range s.pushed {
		if is(f) {
			s.pushed = append(s.pushed[:i:i], s.pushed[i+1:]...)
			return f
		}
	}
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		f := s.next()
		if is(f) {
			return f
		}
		s.pushed = append(s.pushed, f)
	}
	s.t.Fatalf("no %s came", what)
	return nil
}

// none checks that no such frame has come. Everything sent before on this connection has arrived then,
// because the server's queue keeps order.
func (s *socket) none(what string, is func(*pb.Frame) bool) {
	s.t.Helper()
	s.ok(ice())
	for _, f := range s.pushed {
		if is(f) {
			s.t.Fatalf("%s came: %v", what, f)
		}
	}
}

// closed waits for the end and checks the close code.
func (s *socket) closed(code int) {
	s.t.Helper()
	if err := s.end(); !websocket.IsCloseError(err, code) {
		s.t.Fatalf("closed with %v, want %d", err, code)
	}
}

// end waits for the end, whatever it is.
func (s *socket) end() error {
	s.t.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(patience):
		s.t.Fatal("the connection was not closed")
		return nil
	}
}

func isSignal(f *pb.Frame) bool   { return f.GetSignalFrom() != nil }
func isPresence(f *pb.Frame) bool { return f.GetPresences() != nil }
func isEvents(f *pb.Frame) bool   { return f.GetEvents() != nil }

func conversation(a, b *person) []byte { return proto.PairID(a.id, b.id).Bytes() }

// signalTo sends a signal to a device.
func signalTo(p *person, d *device, signal *pb.Signal) *pb.Frame {
	return &pb.Frame{Kind: &pb.Frame_SignalTo{SignalTo: &pb.SignalTo{Account: p.id.Bytes(), Device: d.id.Bytes(), Signal: signal}}}
}

func description(sdp string) *pb.Signal {
	return &pb.Signal{Link: bytes.Repeat([]byte{7}, proto.IDSize), Kind: &pb.Signal_Description{Description: &pb.Description{Sdp: sdp}}}
}

func candidate(text string) *pb.Signal {
	return &pb.Signal{Link: bytes.Repeat([]byte{7}, proto.IDSize), Kind: &pb.Signal_Candidate{Candidate: &pb.Candidate{Candidate: text}}}
}
