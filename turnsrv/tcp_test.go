package turnsrv

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v3"
)

// malformed are streams that no frame can be read from, or datagrams that are none.
func malformed(t testing.TB) map[string][]byte {
	t.Helper()
	binding := build(t, stun.MethodBinding).Raw
	overflow := bytes.Clone(binding)
	overflow[2], overflow[3] = 0xff, 0xec // with the header, 65,536: 0 in 16 bits
	long := bytes.Clone(binding)
	long[2], long[3] = 0x10, 0x00
	odd := append(bytes.Clone(binding), 0, 0, 0, 0)
	odd[3] = 3
	return map[string][]byte{
		"a length that overflows": append(overflow, make([]byte, 32)...),
		"a length beyond a frame": long,
		"an odd length":           odd,
		"HTTP":                    []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), // reads as ChannelData of 21,536 bytes
		"TLS":                     {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"an endless channel":      {0x40, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0},
		"a reserved first byte":   {0xC0, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0},
		"an RTP packet":           {0x80, 0x60, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1},
	}
}

// A connection with malformed framing ends; the others and the listener go on.
func TestMalformedStream(t *testing.T) {
	s := serve(t, nil)
	good := dial(t, s, "tcp", "ann")
	good.allocate()
	for name, data := range malformed(t) {
		c := dial(t, s, "tcp", "")
		c.write(data)
		if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.conn.Read(make([]byte, 100)); n != 0 || isTimeout(err) {
			t.Errorf("%s: %d bytes, %v, want the connection closed", name, n, err)
		}
	}
	eventually(t, "the bad connections end", func() bool { return s.Stats().TCPConns == 1 })
	if got := s.Stats().Refused[RefusedMalformed]; got != uint64(len(malformed(t))) {
		t.Errorf("%d counted", got)
	}
	if code := good.refresh(600); code != 0 {
		t.Errorf("another connection: %v", code)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// Malformed datagrams get no answer and do no harm.
func TestMalformedDatagrams(t *testing.T) {
	s := serve(t, nil)
	c := dial(t, s, "udp", "ann")
	c.allocate()
	frames := malformed(t)
	for _, n := range []int{1, 3, 19} {
		frames[string(rune(n))] = build(t, stun.MethodBinding).Raw[:n]
	}
	frames["a full buffer"] = make([]byte, maxFrame+100)
	frames["a response"] = mustBuild(t, stun.NewType(stun.MethodBinding, stun.ClassSuccessResponse))
	frames["an unknown method"] = mustBuild(t, stun.NewType(stun.MethodConnect, stun.ClassRequest))
	frames["a Send without data"] = mustBuild(t, stun.NewType(stun.MethodSend, stun.ClassIndication))
	frames["a wrong cookie"] = append([]byte{0, 1, 0, 0, 1, 2, 3, 4}, make([]byte, 12)...)
	frames["an attribute that is too long"] = append(build(t, stun.MethodBinding).Raw[:20:20], 0, 6, 0xff, 0xff)
	frames["an attribute that is too long"][3] = 4
	for _, frame := range frames {
		c.write(frame)
	}
	c.write(mustBuild(t, stun.NewType(stun.MethodBinding, stun.ClassIndication))) // well-formed, no answer
	if code := c.refresh(600); code != 0 || len(c.waiting) != 0 {
		t.Errorf("refresh: %v, %d answers to malformed datagrams", code, len(c.waiting))
	}
	// What looks like ChannelData of no known channel is pion's to drop.
	if got := s.Stats().Refused[RefusedMalformed]; got != uint64(len(frames)) {
		t.Errorf("%d counted, want %d", got, len(frames))
	}
}

func mustBuild(t testing.TB, kind stun.MessageType) []byte {
	t.Helper()
	m, err := stun.Build(stun.TransactionID, kind)
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

// Broken attributes in requests that are signed.
func TestMalformedRequests(t *testing.T) {
	s := serve(t, nil)
	c := dial(t, s, "udp", "ann")
	for _, value := range [][]byte{nil, {17}, {17, 0, 0, 0, 0}} {
		if code := codeOf(c.request(stun.MethodAllocate, raw{stun.AttrRequestedTransport, value})); code != stun.CodeBadRequest {
			t.Errorf("transport %v: %v, want 400", value, code)
		}
	}
	relayed := c.allocate()
	for _, value := range [][]byte{nil, {0, 1, 0, 0}, {0, 1, 0, 0, 1, 2, 3}, {0, 2, 0, 0, 1, 2, 3, 4}, {1, 1, 0, 0, 1, 2, 3, 4}, make([]byte, 24)} {
		if code := codeOf(c.request(stun.MethodCreatePermission, raw{stun.AttrXORPeerAddress, value})); code != stun.CodeBadRequest {
			t.Errorf("peer %v: %v, want 400", value, code)
		}
	}
	for _, number := range []uint16{0, 0x3fff, 0x8000, 0xffff} {
		if code := c.bind(number, relayed); code != stun.CodeBadRequest {
			t.Errorf("channel %x: %v, want 400", number, code)
		}
	}
	if code := codeOf(c.request(stun.MethodCreatePermission)); code != stun.CodeBadRequest {
		t.Errorf("no peer: %v, want 400", code)
	}
	other := netip.AddrPortFrom(relayed.Addr(), 9)
	if c.bind(0x4000, relayed) != 0 || c.bind(0x4000, other) != stun.CodeBadRequest || c.bind(0x4001, relayed) != stun.CodeBadRequest {
		t.Error("a channel for two peers, or two channels for one")
	}
}

func TestConnectionLimits(t *testing.T) {
	s := serve(t, func(c *Config) { c.TCPConnsPerSource = 2 })
	first, second := dial(t, s, "tcp", "ann"), dial(t, s, "tcp", "ann")
	first.allocate()
	second.fetchNonce()
	third := dial(t, s, "tcp", "ann")
	if frame := third.read(time.Now().Add(patience)); frame != nil {
		t.Error("a third connection is served")
	}
	if got := s.Stats(); got.Refused[RefusedConns] != 1 || got.TCPConns != 2 {
		t.Errorf("stats: %+v", got)
	}
	if err := second.conn.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "room", func() bool { return s.Stats().TCPConns == 1 })
	dial(t, s, "tcp", "ann").allocate()
}

// pipeConn gives a connection over net.Pipe, whose deadlines run on the bubble's clock.
func pipeConn() (server *tcpConn, client net.Conn) {
	a, b := net.Pipe()
	c := newTCPConn(a)
	return c, b
}

// A silent connection without an allocation ends after the idle time, one with an allocation stays, and
// within a frame nobody may pause.
func TestIdle(t *testing.T) {
	for name, test := range map[string]struct {
		allocated bool
		sent      []byte
		want      time.Duration
	}{
		"silent":                    {false, nil, 30 * time.Second},
		"silent with an allocation": {true, nil, 0},
		"within a frame":            {true, []byte{0, 1, 0}, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, peer := pipeConn()
				ended := make(chan time.Duration, 1)
				start := time.Now()
				go func() {
					err := c.read(30*time.Second, func() bool { return test.allocated }, func([]byte) bool { return true })
					if isTimeout(err) {
						ended <- time.Since(start)
					}
					close(ended)
				}()
				if _, err := peer.Write(test.sent); err != nil {
					t.Error(err)
				}
				<-time.After(time.Hour)
				c.close()
				if got := <-ended; got != test.want {
					t.Errorf("ended after %v, want %v", got, test.want)
				}
				_ = peer.Close()
			})
		})
	}
}

// A client that does not read loses data first and its connection then; the writer never holds more than
// its limit.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := pipeConn()
		data := make([]byte, 1200)
		data[0] = 0x40
		dropped := false
		for range 2 * maxPending / len(data) {
			sent, err := c.send(data)
			if err != nil {
				t.Fatal(err)
			}
			dropped = dropped || !sent
		}
		if !dropped || len(c.pending) > maxPendingData {
			t.Errorf("dropped: %t, pending: %d", dropped, len(c.pending))
		}
		data[0] = 1 // an answer
		if sent, err := c.send(data); !sent || err != nil {
			t.Errorf("an answer finds no room: %v", err)
		}
		for range maxPending / len(data) {
			if _, err := c.send(data); err != nil {
				if !errors.Is(err, errSlow) {
					t.Error(err)
				}
				break
			}
		}
		start := time.Now()
		c.write() // until the deadline
		if got := time.Since(start); got != writeTimeout {
			t.Errorf("the writer gave up after %v, want %v", got, writeTimeout)
		}
		_ = peer.Close()
	})
}

func TestReadFrame(t *testing.T) {
	binding := build(t, stun.MethodBinding, stun.Fingerprint).Raw
	stream := append(bytes.Clone(binding), 0x40, 0, 0, 1, 'x', 0, 0, 0, 0x40, 1, 0, 0)
	r := bufio.NewReaderSize(oneByOne{bytes.NewReader(stream)}, readBuffer)
	for _, want := range [][]byte{binding, {0x40, 0, 0, 1, 'x', 0, 0, 0}, {0x40, 1, 0, 0}} {
		got, err := readFrame(r)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%x, %v, want %x", got, err, want)
		}
	}
	if _, err := readFrame(r); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	r.Reset(bytes.NewReader(binding[:25]))
	if _, err := readFrame(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("within a frame: %v", err)
	}
}

// oneByOne returns one byte per read.
type oneByOne struct{ r io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

func FuzzTCPFraming(f *testing.F) {
	f.Add(build(f, stun.MethodBinding).Raw)
	f.Add([]byte{0x40, 0, 0, 1, 'x', 0, 0, 0, 0x4f, 0xff, 0, 0})
	for _, data := range malformed(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(data), readBuffer)
		total := 0
		for {
			frame, err := readFrame(r)
			if err != nil {
				break
			}
			if len(frame) < channelHeader || len(frame) >= maxFrame || len(frame)%4 != 0 {
				t.Fatalf("a frame of %d bytes", len(frame))
			}
			if !bytes.Equal(frame, data[total:total+len(frame)]) {
				t.Fatal("a frame with other bytes than the stream")
			}
			total += len(frame)
		}
		if total > len(data) {
			t.Fatal("more than there was")
		}
	})
}

// sink is a net.PacketConn that takes everything.
type sink struct{ net.PacketConn }

func (sink) WriteTo(p []byte, _ net.Addr) (int, error) { return len(p), nil }

// FuzzScreen gives the guard any datagram: it must not fault, and what it lets through is well formed.
func FuzzScreen(f *testing.F) {
	cfg := Config{ListenUDP: []string{"127.0.0.1:0"}, Secrets: Secrets{Current: testSecret()}}
	s, err := New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	username, password, _ := s.Credentials("ann", time.Now())
	signed := func(method stun.Method, setters ...stun.Setter) []byte {
		return build(f, method, append(setters, stun.NewUsername(username), stun.NewRealm(DefaultRealm),
			stun.NewNonce("n"), stun.NewLongTermIntegrity(username, DefaultRealm, password))...).Raw
	}
	peer := xorPeer(netip.MustParseAddrPort("8.8.8.8:53"))
	f.Add(signed(stun.MethodAllocate, transportUDP(), family(familyIPv4)))
	f.Add(signed(stun.MethodCreatePermission, peer))
	f.Add(signed(stun.MethodChannelBind, channelNumber(0x4000), peer))
	f.Add(build(f, stun.MethodBinding, stun.Fingerprint).Raw)
	for _, data := range malformed(f) {
		f.Add(data)
	}
	g := &guard{
		PacketConn: sink{}, localIP: netip.MustParseAddr("127.0.0.1"), policy: s.policy, ledger: s.ledger,
		creds: s.creds, limiter: s.limiter, stats: s.stats, clock: time.Now, buf: make([]byte, maxFrame), stream: true,
	}
	src := &net.UDPAddr{IP: net.IPv4(20, 0, 0, 1).To4(), Port: 1000}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= maxFrame {
			return
		}
		n := copy(g.buf, data)
		pass := g.screen(g.buf[:n], src)
		g.finish()
		if s.Stats().Refused[RefusedFault] != 0 {
			t.Fatal("a fault")
		}
		if pass == 0 || isChannelData(g.buf[:pass]) {
			return
		}
		var m stun.Message
		if stun.Decode(g.buf[:pass], &m) != nil || m.Type.Class != stun.ClassRequest && m.Type.Class != stun.ClassIndication {
			t.Fatalf("%x is let through", g.buf[:pass])
		}
	})
}

// A fault in the guard costs one frame.
func TestFaultIsContained(t *testing.T) {
	g := &guard{stats: newStats(), buf: make([]byte, maxFrame)} // no ledger, no limiter
	n := copy(g.buf, build(t, stun.MethodBinding).Raw)
	if g.screen(g.buf[:n], &net.UDPAddr{}) != 0 || g.stats.snapshot().Refused[RefusedFault] != 1 {
		t.Error("not contained, or not counted")
	}
}

// The server ends by its context as well, with clients connected.
func TestServeEndsWithContext(t *testing.T) {
	s, err := New(Config{
		ListenUDP: []string{"127.0.0.1:0"}, ListenTCP: []string{"127.0.0.1:0"}, Secrets: Secrets{Current: testSecret()},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	for _, network := range []string{"udp", "tcp"} {
		dial(t, s, network, "ann").allocate()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	s.Close()
	s.Close()
	if err := s.Serve(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("served again: %v", err)
	}
	eventually(t, "all allocations end", func() bool { return s.Stats().Allocations == 0 })
}

// broken is a packet connection that cannot be read.
type broken struct{ net.PacketConn }

var errBroken = errors.New("broken")

func (broken) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, errBroken }

// A listener that cannot be read ends the server with an error instead of leaving it deaf.
func TestBrokenListener(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{PacketConns: []net.PacketConn{broken{conn}}, Secrets: Secrets{Current: testSecret()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(t.Context()); !errors.Is(err, errBroken) {
		t.Errorf("Serve: %v", err)
	}
}
