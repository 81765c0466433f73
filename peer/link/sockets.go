package link

import (
	"context"
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

// keptPacketConn is a UDP socket that is forgotten when it is closed.
type keptPacketConn struct {
	net.PacketConn
	kept *sockets
}

// Close closes the socket.
func (c *keptPacketConn) Close() error {
	c.kept.forget(c.PacketConn)
	return c.PacketConn.Close()
}

// keptTCPConn is a TCP connection that is forgotten when it is closed.
type keptTCPConn struct {
	transport.TCPConn
	kept *sockets
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
	return &keptPacketConn{conn, n.sockets}, nil
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
	return &keptTCPConn{tcp, n.sockets}, nil
}
