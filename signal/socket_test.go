package signal_test

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/encoding/protowire"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/signal"
)

// padded is a valid frame of exactly n bytes: its last field is one that nobody knows.
func padded(t *testing.T, f *pb.Frame, n int) []byte {
	t.Helper()
	b := must(gproto.Marshal(f))
	const unknown = 999
	room := n - len(b) - protowire.SizeTag(unknown)
	fill := room - protowire.SizeVarint(uint64(room))
	b = protowire.AppendTag(b, unknown, protowire.BytesType)
	b = protowire.AppendBytes(b, make([]byte, fill))
	if len(b) != n {
		t.Fatalf("made %d bytes, not %d", len(b), n)
	}
	return b
}

func numbered(f *pb.Frame, n uint64) *pb.Frame {
	f.Request = n
	return f
}

func TestFrameSizes(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	s := w.open(anna.device)
	s.write(padded(t, hello(0), proto.MaxFirstFrame+1))
	s.closed(websocket.CloseMessageTooBig)

	s = w.open(anna.device)
	s.write(padded(t, numbered(hello(0), 1), proto.MaxFirstFrame))
	if s.next().GetWelcome() == nil {
		t.Error("a hello of 4 KiB is not answered")
	}
	s.write(padded(t, numbered(ice(), 2), proto.MaxFrame))
	s.push("the answer", func(f *pb.Frame) bool { return f.GetIceServers() != nil })
	s.write(padded(t, numbered(ice(), 3), proto.MaxFrame+1))
	s.closed(websocket.CloseMessageTooBig)
}

// TestEndlessFragments: a message that never ends is cut off at the limit.
func TestEndlessFragments(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	s := anna.connect(anna.device)
	writer, err := s.ws.NextWriter(websocket.BinaryMessage)
	if err != nil {
		t.Fatal(err)
	}
	for range 8 * proto.MaxFrame / 1024 {
		if _, err := writer.Write(make([]byte, 1024)); err != nil {
			break // the server has closed
		}
	}
	s.closed(websocket.CloseMessageTooBig)
}

func TestHelloDeadline(t *testing.T) {
	w := newWorld(t, func(c *signal.Config) { c.Timing.Hello = time.Second })
	anna, berta := w.register("anna"), w.register("berta")
	silent, s := w.open(anna.device), w.open(berta.device)
	old := hello(0)
	old.GetHello().Version = 0
	s.refused(old, pb.ErrorCode_ERROR_CODE_UNSUPPORTED) // an answer, but no more time
	_ = s.end()
	_ = silent.end()
}

func TestFirstFrame(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	s := w.open(anna.device)
	s.write(must(gproto.Marshal(numbered(ice(), 1))))
	s.closed(4400)

	s = w.open(anna.device)
	old := hello(0)
	old.GetHello().Version = 0
	if e := s.refused(old, pb.ErrorCode_ERROR_CODE_UNSUPPORTED); !strings.Contains(e.GetMessage(), "update") {
		t.Errorf("no word on what to do: %v", e)
	}
	newer := hello(0)
	newer.GetHello().Version = 7
	if got := s.ok(newer).GetWelcome().GetVersion(); got != 1 {
		t.Errorf("version %d is spoken", got)
	}
}

// TestMalformedFrames: nonsense closes the connection it came on and no other.
func TestMalformedFrames(t *testing.T) {
	w := newWorld(t)
	anna, berta := w.register("anna"), w.register("berta")
	bystander := berta.connect(berta.device)
	group := bytes.Repeat([]byte{0xfb, 0x07}, 20_000) // start of field 127, never ended
	for name, b := range map[string][]byte{
		"nonsense":      []byte("\xff\xff\xff"),
		"cut off":       must(gproto.Marshal(numbered(askContact(berta), 1)))[:8],
		"deep groups":   group,
		"unended group": {0xfb, 0x07},
	} {
		t.Run(name, func(*testing.T) {
			s := anna.connect(anna.device)
			s.write(b)
			s.closed(4400)
		})
	}
	s := anna.connect(anna.device)
	if err := s.ws.WriteMessage(websocket.TextMessage, must(gproto.Marshal(numbered(ice(), 1)))); err != nil {
		t.Fatal(err)
	}
	s.closed(4400)
	bystander.ok(ice())
}

func TestUnknownFrames(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	s := anna.connect(anna.device)
	s.request++
	unknown := protowire.AppendTag(must(gproto.Marshal(&pb.Frame{Request: s.request})), 139, protowire.BytesType)
	s.write(protowire.AppendBytes(unknown, []byte("later")))
	if got := s.next(); got.GetError().GetCode() != pb.ErrorCode_ERROR_CODE_UNSUPPORTED || got.GetRequest() != s.request {
		t.Errorf("an unknown frame is answered with %v", got)
	}
	for _, f := range []*pb.Frame{ // known, but not for a client to send
		{Kind: &pb.Frame_Ping{Ping: &pb.Ping{}}},
		{Kind: &pb.Frame_Welcome{Welcome: &pb.Welcome{}}},
		{Kind: &pb.Frame_Direct{Direct: &pb.Direct{}}},
	} {
		s.refused(f, pb.ErrorCode_ERROR_CODE_UNSUPPORTED)
	}
	s.ok(ice())
}

func TestHandshake(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	w.do(request{method: http.MethodGet, path: "/api/v1/socket", token: anna.token}).refused(http.StatusBadRequest, pb.ErrorCode_ERROR_CODE_UNSUPPORTED)
	h := http.Header{"Authorization": {"Bearer " + anna.token}}
	_, res, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(w.url, "http")+"/api/v1/socket", h)
	if !errors.Is(err, websocket.ErrBadHandshake) || res.StatusCode != http.StatusBadRequest {
		t.Fatalf("without the subprotocol: %v", err)
	}
	_ = res.Body.Close()
	ws, answer := w.dial(request{token: anna.token})
	if ws.Subprotocol() != "parley.v1" || answer.header.Get("Sec-WebSocket-Extensions") != "" {
		t.Errorf("handshake answers %v", answer.header)
	}
}

// flood sends frames that want no answer, until the server closes.
func flood(s *socket, frames int) {
	frame := must(gproto.Marshal(ice()))
	for range frames {
		if s.ws.WriteMessage(websocket.BinaryMessage, frame) != nil {
			return
		}
	}
}

// TestFlood: who floods is cut off, also after coming back, and nobody else notices.
func TestFlood(t *testing.T) {
	w := newWorld(t) // whose clock stands still
	anna, berta := w.register("anna"), w.register("berta")
	other := berta.connect(berta.device)
	for range 2 {
		s := anna.connect(anna.device)
		flood(s, 5000)
		other.ok(ice())
		s.closed(4429)
	}
	w.clock.advance(time.Second) // 400 more for the account, fewer than a connection's
	s := anna.connect(anna.device)
	flood(s, 500)
	s.closed(4429)
	w.clock.advance(time.Minute)
	s = anna.connect(anna.device)
	flood(s, 500)
	s.ok(ice())
	other.ok(ice())
}

// TestSlowReader: who does not read is cut off, others go on, and nothing is lost for who comes back.
func TestSlowReader(t *testing.T) {
	w := newWorld(t, func(c *signal.Config) { c.Timing.Write = 2 * time.Second })
	anna, berta, sa, sb := w.connected()
	slow := anna.addDevice()
	ws, _ := w.dial(request{token: slow.token})
	must(0, ws.WriteMessage(websocket.BinaryMessage, must(gproto.Marshal(numbered(hello(0), 1)))))
	if _, _, err := ws.ReadMessage(); err != nil { // the welcome, and then nothing any more
		t.Fatal(err)
	}
	text := strings.Repeat("x", proto.MaxText-1000)
	var last uint64
	for i := range uint64(300) {
		seq, code := posted(t, sb.ok(berta.envelope(anna, 1, i+1, text)))
		if code != 0 {
			t.Fatalf("post %d: %v", i, code)
		}
		last = seq
		if strings.Contains(w.logs.String(), "code=4408") {
			break
		}
	}
	w.logged("code=4408")
	sa.push("the last message", func(f *pb.Frame) bool {
		events := f.GetEvents().GetEvents()
		return len(events) > 0 && events[len(events)-1].GetSeq() == last
	})
	_ = w.reader(ws).end()

	back := anna.connect(slow)
	if behind := back.welcome.GetBehind(); len(behind) != 1 || behind[0].GetHeadSeq() != last {
		t.Fatalf("welcomed with %v, head is %d", behind, last)
	}
	var got, after uint64
	for after < last {
		page := back.ok(&pb.Frame{Kind: &pb.Frame_Sync{Sync: &pb.Sync{Conversation: conversation(anna, berta), After: after, Limit: 200}}}).GetPage()
		got += uint64(len(page.GetEvents()))
		after = page.GetThroughSeq()
	}
	if got != last {
		t.Errorf("%d of %d events came by sync", got, last)
	}
}

// logged waits until the log holds a text.
func (w *world) logged(text string) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !strings.Contains(w.logs.String(), text) {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("never logged: %s", text)
		}
	}
}

func TestSameDeviceTwice(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	first := anna.connect(anna.device)
	second := anna.connect(anna.device)
	first.closed(4409)
	second.ok(ice())
	third := anna.connect(anna.device)
	second.closed(4409)
	third.ok(ice())
}

// TestPing: the server notices who is gone, and keeps who answers its pings.
func TestPing(t *testing.T) {
	w := newWorld(t, func(c *signal.Config) { c.Timing.Ping, c.Timing.Silence = 50*time.Millisecond, 1500*time.Millisecond })
	anna, berta := w.register("anna"), w.register("berta")
	gone := w.open(anna.device)
	gone.ws.SetPingHandler(func(string) error { return nil })
	gone.ok(hello(0))
	alive := w.open(berta.device)
	pings := make(chan struct{}, 1000)
	answer := alive.ws.PingHandler()
	alive.ws.SetPingHandler(func(data string) error { pings <- struct{}{}; return answer(data) })
	alive.ok(hello(0))
	_ = gone.end()
	for range 50 { // more than the silence that is allowed
		select {
		case <-pings:
		case err := <-alive.ended:
			t.Fatalf("closed although it answered: %v", err)
		case <-time.After(patience):
			t.Fatal("no pings")
		}
	}
	alive.ok(ice())
}

func TestGoodbye(t *testing.T) {
	w := newWorld(t)
	anna, berta := w.register("anna"), w.register("berta")
	sockets := []*socket{anna.connect(anna.device), berta.connect(berta.device), anna.connect(anna.addDevice())}
	idle := w.open(w.register("clara").device) // has not said hello
	w.server.Close()
	for _, s := range sockets {
		f := s.push("goodbye", func(f *pb.Frame) bool { return f.GetGoodbye() != nil })
		if e := f.GetGoodbye().GetError(); !e.GetRetryable() || e.GetRetryAfterMs() < 500 {
			t.Errorf("goodbye %v", e)
		}
		s.closed(websocket.CloseServiceRestart)
	}
	idle.closed(websocket.CloseServiceRestart)
	if ws, _ := w.dial(request{token: anna.token}); ws != nil {
		if _, _, err := ws.ReadMessage(); err == nil {
			t.Error("a socket opens after Close")
		}
	}
	w.server.Close() // again
}

// TestSignalsToSlowReader: what somebody else can make up at will, signals and typing, does not have a connection cut off that is
// slow to read them. They are dropped, and the sender of a signal hears it.
func TestSignalsToSlowReader(t *testing.T) {
	w := newWorld(t, func(c *signal.Config) { c.Timing.Write = time.Minute })
	anna, berta, sa, sb := w.connected()
	slow := anna.addDevice()
	ws, _ := w.dial(request{token: slow.token})
	must(0, ws.WriteMessage(websocket.BinaryMessage, must(gproto.Marshal(numbered(hello(0), 1)))))
	if _, _, err := ws.ReadMessage(); err != nil {
		t.Fatal(err)
	}
	large := signalTo(anna, slow, description(strings.Repeat("x", proto.MaxSDP)))
	full := false
	for range 300 { // beyond what the sockets' buffers hold
		if full = sb.ask(large).GetError().GetCode() == pb.ErrorCode_ERROR_CODE_OFFLINE; full {
			break
		}
	}
	if !full {
		t.Fatal("everything was queued")
	}
	if _, code := posted(t, sb.ok(berta.envelope(anna, 1, 1, "there is room for what counts"))); code != 0 {
		t.Fatal(code)
	}
	sa.push("the message", isEvents)
	reader := w.reader(ws)
	for reader.next().GetEvents() == nil { //nolint:revive // signals come first
	}
	sb.ok(signalTo(anna, slow, description("v=0")))
	reader.push("a signal again", func(f *pb.Frame) bool { return f.GetSignalFrom().GetSignal().GetDescription().GetSdp() == "v=0" })
}

// TestCloseWithSlowReaders: a client that takes nothing does not hold the server up.
func TestCloseWithSlowReaders(t *testing.T) {
	w := newWorld(t)
	anna, berta, sa, sb := w.connected()
	slow := anna.addDevice()
	ws, _ := w.dial(request{token: slow.token})
	must(0, ws.WriteMessage(websocket.BinaryMessage, must(gproto.Marshal(numbered(hello(0), 1)))))
	if _, _, err := ws.ReadMessage(); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", proto.MaxText-1000)
	for i := range uint64(60) {
		sb.ok(berta.envelope(anna, 1, i+1, text))
	}
	w.server.Close()
	sa.closed(websocket.CloseServiceRestart)
	_ = sb.end()
}
