package turnsrv

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// framesWaiting bounds the frames of all connections of a listener that wait for pion. Readers of
// connections wait when it is full, which slows their clients down by TCP's own means.
const framesWaiting = 256

// connCounter bounds the connections of all listeners.
type connCounter struct {
	total, perSource int

	mu      sync.Mutex
	open    int
	sources map[netip.Addr]int
}

func (c *connCounter) add(source netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open >= c.total || c.sources[sourceKey(source)] >= c.perSource {
		return false
	}
	c.open++
	c.sources[sourceKey(source)]++
	return true
}

func (c *connCounter) remove(source netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	decrement(c.sources, sourceKey(source))
}

func (c *connCounter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// frame is one frame of a connection. buf goes back to the pool when it has been copied out.
type frame struct {
	buf  *[]byte
	size int
	addr net.Addr
}

// tcpMux makes a net.PacketConn of a listener's connections, whose addresses name them. pion's own way to
// read streams spins on a length that overflows and holds short ChannelData back until more comes.
type tcpMux struct {
	listener net.Listener
	index    int
	idle     time.Duration
	ledger   *ledger
	stats    *stats
	counter  *connCounter
	frames   chan frame
	done     chan struct{}
	once     sync.Once
	pool     sync.Pool
	wg       sync.WaitGroup // the accept loop, and two goroutines per connection

	mu    sync.Mutex
	conns map[netip.AddrPort]*tcpConn // guarded by mu; nil when closed
}

func newTCPMux(l net.Listener, index int, idle time.Duration, led *ledger, s *stats, c *connCounter) *tcpMux {
	return &tcpMux{
		listener: l, index: index, idle: idle, ledger: led, stats: s, counter: c,
		frames: make(chan frame, framesWaiting), done: make(chan struct{}),
		conns: make(map[netip.AddrPort]*tcpConn),
		pool:  sync.Pool{New: func() any { b := make([]byte, maxFrame); return &b }},
	}
}

// serve accepts connections until the listener is closed. Errors such as "too many open files" pass.
func (m *tcpMux) serve() {
	for wait := 5 * time.Millisecond; ; {
		conn, err := m.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select {
			case <-m.done:
				return
			case <-time.After(wait):
			}
			wait = min(2*wait, time.Second)
			continue
		}
		wait = 5 * time.Millisecond
		m.take(conn)
	}
}

// take starts a connection's goroutines, if there is room for it.
func (m *tcpMux) take(conn net.Conn) {
	c := newTCPConn(conn)
	if !c.source.IsValid() || !m.counter.add(c.source.Addr()) {
		m.stats.refuse(RefusedConns)
		_ = conn.Close()
		return
	}
	if !m.enter(c) {
		m.counter.remove(c.source.Addr())
		_ = conn.Close()
		return
	}
	m.wg.Go(c.write)
	m.wg.Go(func() { m.read(c) })
}

func (m *tcpMux) enter(c *tcpConn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conns == nil || m.conns[c.source] != nil {
		return false
	}
	m.conns[c.source] = c
	return true
}

// read is a connection's reading goroutine; it ends the allocation with the connection. A fault in here
// costs one connection.
func (m *tcpMux) read(c *tcpConn) {
	t := tuple{m.index, c.source}
	defer func() {
		if recover() != nil {
			m.stats.refuse(RefusedFault)
		}
		// In this order: the address is free for another connection only when nothing is sent to it.
		m.ledger.closeTuple(t)
		m.mu.Lock()
		delete(m.conns, c.source)
		m.mu.Unlock()
		c.close()
		m.counter.remove(c.source.Addr())
	}()
	err := c.read(m.idle, func() bool { return m.ledger.has(t) }, func(b []byte) bool {
		buf, ok := m.pool.Get().(*[]byte)
		if !ok {
			return false
		}
		select {
		case m.frames <- frame{buf: buf, size: copy(*buf, b), addr: c.addr}:
			return true
		case <-c.closed:
		case <-m.done:
		}
		return false
	})
	if errors.Is(err, errFraming) {
		m.stats.refuse(RefusedMalformed)
	}
}

// ReadFrom returns the next frame of any connection.
func (m *tcpMux) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case f := <-m.frames:
		n := copy(p, (*f.buf)[:f.size])
		m.pool.Put(f.buf)
		return n, f.addr, nil
	case <-m.done:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo queues a frame for a connection and never waits.
func (m *tcpMux) WriteTo(p []byte, addr net.Addr) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	m.mu.Lock()
	c := m.conns[addrPort(addr)]
	m.mu.Unlock()
	if c == nil {
		return 0, net.ErrClosed
	}
	sent, err := c.send(p)
	if err != nil {
		m.stats.refuse(RefusedSlow)
		c.close()
		return 0, err
	}
	if !sent {
		m.stats.refuse(RefusedSlow)
	}
	return len(p), nil
}

// Close closes the listener and every connection. It does not wait.
func (m *tcpMux) Close() error {
	var err error
	m.once.Do(func() {
		err = m.listener.Close()
		close(m.done)
		m.mu.Lock()
		conns := m.conns
		m.conns = nil
		m.mu.Unlock()
		for _, c := range conns {
			c.close()
		}
	})
	return err
}

// LocalAddr is the listener's address.
func (m *tcpMux) LocalAddr() net.Addr { return m.listener.Addr() }

// SetDeadline and its siblings are part of net.PacketConn. pion does not use them, and every connection has
// deadlines of its own.
func (m *tcpMux) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (m *tcpMux) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (m *tcpMux) SetWriteDeadline(time.Time) error { return nil }
