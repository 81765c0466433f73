package turnsrv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// relayTries is how many ports are tried, from a random one on, before the range counts as full.
const relayTries = 64

// readFaults is how many errors in a row end a socket. One alone may be an ICMP message that the system
// reports on the next read.
const readFaults = 64

var (
	errNoPort     = errors.New("turnsrv: no free relay port")
	errRefused    = errors.New("turnsrv: refused")
	errNoTCPRelay = errors.New("turnsrv: TCP allocations (RFC 6062) are not offered")
	errNotUDP     = errors.New("turnsrv: not a UDP address")
)

// relayConn is an allocation's socket as pion sees it. Reads belong to pion's goroutine of the allocation,
// writes to that of the listener.
type relayConn struct {
	socket *net.UDPConn
	alloc  *allocation
	policy *policy
	stats  *stats
	wg     *sync.WaitGroup // counts pion's goroutines of allocations

	closed   atomic.Bool // pion has closed it
	stopOnce sync.Once   // the socket
	goOnce   sync.Once   // wg

	// Owned by the reader.
	lastFrom netip.AddrPort
	lastAddr *net.UDPAddr
	faults   int
	// Owned by the writer: the last peer that is not one of the server's own addresses, already judged.
	judged   netip.AddrPort
	judgedOK bool
}

// ReadFrom returns the next packet of a peer that has a permission.
func (r *relayConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := r.socket.ReadFromUDPAddrPort(b)
		if err != nil {
			r.faults++
			if errors.Is(err, net.ErrClosed) || r.faults >= readFaults {
				return r.end(err)
			}
			continue
		}
		r.faults = 0
		from = netip.AddrPortFrom(canonical(from.Addr()), from.Port())
		if r.policy.isOwn(from.Addr()) {
			from = r.policy.ledger.advertisedOf(from)
		}
		// pion checks again; here it keeps strangers from spending the user's allowance.
		if !r.alloc.permitted(from.Addr()) {
			continue
		}
		if !r.spend(n) {
			continue
		}
		r.stats.packetsDown.Add(1)
		r.stats.bytesDown.Add(uint64(n)) //nolint:gosec // a length
		if from != r.lastFrom {
			r.lastFrom, r.lastAddr = from, net.UDPAddrFromAddrPort(from)
		}
		return n, r.lastAddr, nil
	}
}

// end is the last read. If pion closed the socket, the allocation is removed already, and pion's goroutine
// must not go on: it would remove whatever allocation has the same 5-tuple by then.
func (r *relayConn) end(err error) (int, net.Addr, error) {
	r.goOnce.Do(r.wg.Done)
	if r.closed.Load() {
		runtime.Goexit()
	}
	return 0, nil, fmt.Errorf("reading from the relay socket: %w", err)
}

// spend takes bytes from the user's allowance.
func (r *relayConn) spend(n int) bool {
	if limit := r.alloc.account.rate; limit != nil && !limit.AllowN(time.Now(), n) {
		r.stats.refuse(RefusedRate)
		return false
	}
	return true
}

// WriteTo sends to a peer. It is the last place where a refusal is enforced, for Send indications and
// channels alike. What the byte limit drops counts as sent, as a full queue on the way would.
func (r *relayConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, errNotUDP
	}
	to, ok := r.route(udp.AddrPort())
	if !ok {
		r.stats.refuse(RefusedPeer)
		return 0, errRefused
	}
	if !r.spend(len(b)) {
		return len(b), nil
	}
	n, err := r.socket.WriteToUDPAddrPort(b, to)
	if err != nil {
		return n, fmt.Errorf("sending to a peer: %w", err)
	}
	r.stats.packetsUp.Add(1)
	r.stats.bytesUp.Add(uint64(n)) //nolint:gosec // a length
	return n, nil
}

// route judges a destination. The verdict on an outside address is kept while packets go there; for the
// server's own it changes with every allocation.
func (r *relayConn) route(to netip.AddrPort) (netip.AddrPort, bool) {
	to = netip.AddrPortFrom(canonical(to.Addr()), to.Port())
	if to == r.judged && !r.policy.isOwn(to.Addr()) {
		return to, r.judgedOK
	}
	local, ok := r.policy.peer(to)
	if local == to {
		r.judged, r.judgedOK = to, ok
	}
	return local, ok
}

// interrupt ends reading, upon which pion removes the allocation and closes the connection.
func (r *relayConn) interrupt() {
	r.stopOnce.Do(func() { _ = r.socket.Close() })
}

// Close is called by pion when the allocation has ended, in whatever way.
func (r *relayConn) Close() error {
	r.closed.Store(true)
	r.policy.ledger.release(r.alloc)
	r.interrupt()
	return nil
}

// LocalAddr returns where the socket is bound.
func (r *relayConn) LocalAddr() net.Addr { return r.socket.LocalAddr() }

// SetDeadline and its siblings are part of net.PacketConn; pion does not use them.
func (r *relayConn) SetDeadline(t time.Time) error { return r.socket.SetDeadline(t) }

// SetReadDeadline sets the socket's.
func (r *relayConn) SetReadDeadline(t time.Time) error { return r.socket.SetReadDeadline(t) }

// SetWriteDeadline sets the socket's.
func (r *relayConn) SetWriteDeadline(t time.Time) error { return r.socket.SetWriteDeadline(t) }

// openRelay binds a free port of the range, counted from minPort in steps.
func openRelay(ip netip.Addr, minPort, maxPort, step int) (*net.UDPConn, error) {
	network := "udp4"
	if ip.Is6() {
		network = "udp6"
	}
	size := (maxPort-minPort)/step + 1
	if maxPort < minPort {
		return nil, errNoPort
	}
	first := rand.IntN(size) //nolint:gosec // RFC 6056: unpredictable is enough, and Go's source is ChaCha8
	var last error
	for i := range min(relayTries, size) {
		port := minPort + (first+i)%size*step
		conn, err := net.ListenUDP(network, &net.UDPAddr{IP: ip.AsSlice(), Port: port})
		if err == nil {
			return conn, nil
		}
		last = err
	}
	return nil, fmt.Errorf("%w: %w", errNoPort, last)
}
