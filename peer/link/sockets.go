package link

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/pion/transport/v5"
)

// dialTimeout is for a TCP connection to a TURN server; the system's own takes minutes.
const dialTimeout = 10 * time.Second

// sockets are those over which TURN servers are asked. pion waits for answers for up to eight seconds, and for a connection
// as long as the system does, whatever else happens: abort ends that.
type sockets struct {
	ctx    context.Context //nolint:containedctx // ends with abort
	cancel context.CancelFunc

	mu   sync.Mutex
	open map[io.Closer]struct{}
}

func newSockets() *sockets {
	s := &sockets{open: make(map[io.Closer]struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// abort closes them all, and every one opened later.
func (s *sockets) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel()
	for c := range s.open {
		_ = c.Close() // whoever uses it hears of it
	}
	clear(s.open)
}

// keep remembers a socket until forget.
func (s *sockets) keep(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		_ = c.Close() // likewise
		return
	}
	s.open[c] = struct{}{}
}

func (s *sockets) forget(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// silence notices a TURN server that leaves requests unanswered. pion repeats each for eight seconds, and while it asks for
// the permission of one pair of candidates its whole ICE agent stands still, direct pairs and orders to close included. So a
// server that has said nothing for some time is asked only now and then; requests in between fail at once.
type silence struct {
	mu    sync.Mutex
	asked time.Time // the first request since the server was heard, zero without one
	tried time.Time // the last one that was let through
}

const (
	silentAfter = 2500 * time.Millisecond // a request and three repetitions went unanswered
	silentRetry = 3 * time.Second
)

var errSilentServer = errors.New("link: the TURN server does not answer")

// allow says whether a packet may be sent to the server now.
func (s *silence) allow(packet []byte, now time.Time) error {
	if !isRequest(packet) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.asked.IsZero():
		s.asked = now
	case now.Sub(s.asked) > silentAfter && now.Sub(s.tried) < silentRetry:
		return errSilentServer
	}
	s.tried = now
	return nil
}

// heard notes that the server said something.
func (s *silence) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = time.Time{}
}

// isRequest says whether a packet is a STUN request (RFC 8489 §5): one that wants an answer.
func isRequest(packet []byte) bool {
	const magicCookie = 0x2112A442
	return len(packet) >= 20 && binary.BigEndian.Uint16(packet)&0xC110 == 0 && binary.BigEndian.Uint32(packet[4:]) == magicCookie
}

// keptPacketConn is a UDP socket to a TURN server. It is forgotten when it is closed.
type keptPacketConn struct {
	net.PacketConn
	kept    *sockets
	silence silence
}

// WriteTo sends a packet, unless it is a request and the server is silent.
func (c *keptPacketConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if err := c.silence.allow(b, time.Now()); err != nil {
		return 0, err
	}
	return c.PacketConn.WriteTo(b, to)
}

// ReadFrom receives a packet.
func (c *keptPacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.PacketConn.ReadFrom(b)
	if err == nil {
		c.silence.heard()
	}
	return n, from, err
}

// Close closes the socket.
func (c *keptPacketConn) Close() error {
	c.kept.forget(c.PacketConn)
	return c.PacketConn.Close()
}

// keptTCPConn is a TCP connection to a TURN server. It is forgotten when it is closed.
type keptTCPConn struct {
	transport.TCPConn
	kept    *sockets
	silence silence
}

// Write sends bytes, unless they are a request and the server is silent. pion writes each message at once.
func (c *keptTCPConn) Write(b []byte) (int, error) {
	if err := c.silence.allow(b, time.Now()); err != nil {
		return 0, err
	}
	return c.TCPConn.Write(b)
}

// Read receives bytes.
func (c *keptTCPConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if n > 0 {
		c.silence.heard()
	}
	return n, err
}

// Close closes the connection.
func (c *keptTCPConn) Close() error {
	c.kept.forget(c.TCPConn)
	return c.TCPConn.Close()
}

// ListenPacket opens a UDP socket; pion does for TURN over UDP.
func (n *systemNet) ListenPacket(network, address string) (net.PacketConn, error) {
	conn, err := n.Net.ListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	n.sockets.keep(conn)
	return &keptPacketConn{PacketConn: conn, kept: n.sockets}, nil
}

// DialTCP connects to a TURN server over TCP.
func (n *systemNet) DialTCP(network string, laddr, raddr *net.TCPAddr) (transport.TCPConn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	if laddr != nil {
		dialer.LocalAddr = laddr
	}
	conn, err := dialer.DialContext(n.sockets.ctx, network, raddr.String())
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(transport.TCPConn)
	if !ok {
		_ = conn.Close() // nothing was sent
		return nil, net.UnknownNetworkError(network)
	}
	n.sockets.keep(tcp)
	return &keptTCPConn{TCPConn: tcp, kept: n.sockets}, nil
}
