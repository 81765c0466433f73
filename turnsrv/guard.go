package turnsrv

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/pion/stun/v3"
	"github.com/pion/turn/v4"
)

// maxFrame is the greatest datagram or frame that is taken, in bytes. pion's buffers have the same size.
const maxFrame = 1600

// headerSize is that of a STUN message, channelHeader that of a ChannelData message.
const (
	headerSize    = 20
	channelHeader = 4
)

// maxEven bounds the requests for even ports that a listener takes within evenWindow.
const (
	maxEven    = 1024
	evenWindow = 30 * time.Second
)

// guard stands between a listener and pion. It decodes every frame before pion sees it, answers what pion
// would answer wrongly or not at all, and drops the rest. pion reads it from one goroutine, and handles each
// frame in that goroutine before it reads the next; the fields in the last group belong to that goroutine.
type guard struct {
	net.PacketConn
	index    int
	stream   bool // TCP: sources are not forged, so answers need no limit
	localIP  netip.Addr
	policy   *policy
	ledger   *ledger
	creds    *credentials
	limiter  *replyLimiter
	stats    *stats
	places   addresses
	minPort  uint16
	maxPort  uint16
	perAlloc int
	clock    func() time.Time
	spawn    func(*relayConn)
	ended    func(error) // told why nothing is read any more

	msg        stun.Message
	buf        []byte
	cur        request
	faults     int
	evenSince  time.Time // the window that evenCount counts in
	evenCount  int
	lastSource netip.AddrPort
	lastAddr   *net.UDPAddr
}

// request is the request that pion is handling.
type request struct {
	src   net.Addr
	tuple tuple
	id    identity    // the zero value: not authenticated
	alloc *allocation // busy until the request has been handled
	v6    bool        // the family of relay address that an Allocate asks for
	even  bool        // an Allocate asks for an even port
}

// ReadFrom returns the next frame that pion may handle. Errors of the socket end it only when it is closed
// or goes on failing: pion takes any error for the end of the listener.
func (g *guard) ReadFrom(p []byte) (int, net.Addr, error) {
	g.finish()
	for {
		n, src, err := g.read(g.buf)
		if err != nil {
			g.faults++
			if errors.Is(err, net.ErrClosed) || g.faults >= readFaults {
				g.ended(err)
				return 0, nil, err
			}
			continue
		}
		g.faults = 0
		if n >= maxFrame {
			g.stats.refuse(RefusedMalformed)
			continue
		}
		if pass := g.screen(g.buf[:n], src); pass > 0 {
			return copy(p, g.buf[:pass]), src, nil
		}
		g.finish()
	}
}

// read reads a datagram; consecutive datagrams of one client share an address value.
func (g *guard) read(b []byte) (int, net.Addr, error) {
	udp, ok := g.PacketConn.(*net.UDPConn)
	if !ok {
		return g.PacketConn.ReadFrom(b)
	}
	n, src, err := udp.ReadFromUDPAddrPort(b)
	if err != nil {
		return 0, nil, err
	}
	if g.lastAddr == nil || src != g.lastSource {
		g.lastSource, g.lastAddr = src, net.UDPAddrFromAddrPort(src)
	}
	return n, g.lastAddr, nil
}

// finish ends the request in hand.
func (g *guard) finish() {
	if g.cur.alloc != nil {
		g.ledger.done(g.cur.alloc)
	}
	g.cur = request{}
}

// screen returns how many bytes of a frame pion shall handle, 0 for none. A fault in here costs one frame.
func (g *guard) screen(frame []byte, src net.Addr) (pass int) {
	defer func() {
		if recover() != nil {
			g.stats.refuse(RefusedFault)
			pass = 0
		}
	}()
	if isChannelData(frame) {
		return len(frame)
	}
	if len(frame) < headerSize || len(frame) != headerSize+int(binary.BigEndian.Uint16(frame[2:])) {
		g.stats.refuse(RefusedMalformed)
		return 0
	}
	if _, err := g.msg.Write(frame); err != nil || trailing(&g.msg) {
		g.stats.refuse(RefusedMalformed)
		return 0
	}
	return g.message(src)
}

// isChannelData reports whether a frame is ChannelData (RFC 8656 §12.4).
func isChannelData(frame []byte) bool {
	return len(frame) >= channelHeader && frame[0]&0xc0 == 0x40 &&
		int(binary.BigEndian.Uint16(frame[2:])) <= len(frame)-channelHeader
}

// trailing reports attributes behind MESSAGE-INTEGRITY, which nothing vouches for (RFC 8489 §14.5).
func trailing(m *stun.Message) bool {
	sealed := false
	for _, a := range m.Attributes {
		if sealed && a.Type != stun.AttrFingerprint && a.Type != stun.AttrMessageIntegritySHA256 {
			return true
		}
		sealed = sealed || a.Type == stun.AttrMessageIntegrity
	}
	return false
}

// WriteTo sends what pion answers and relays, and notes the lifetimes that answers tell. ChannelData and Data
// indications come from other goroutines and pass untouched.
func (g *guard) WriteTo(p []byte, to net.Addr) (int, error) {
	if len(p) >= headerSize && p[0]&0xc0 == 0 {
		var t stun.MessageType
		t.ReadValue(binary.BigEndian.Uint16(p))
		lifetime := t.Method == stun.MethodAllocate || t.Method == stun.MethodRefresh
		if lifetime && t.Class == stun.ClassSuccessResponse {
			g.noteLifetime(p, t.Method == stun.MethodRefresh)
		}
	}
	return g.PacketConn.WriteTo(p, to)
}

// noteLifetime notes the lifetime that an answer tells. That of an Allocate counts once: when the request
// was sent again pion repeats the first answer.
func (g *guard) noteLifetime(p []byte, again bool) {
	if g.cur.alloc == nil {
		return
	}
	var m stun.Message
	if _, err := m.Write(p); err != nil {
		return
	}
	if v, err := m.Get(stun.AttrLifetime); err == nil && len(v) == 4 {
		g.ledger.extend(g.cur.alloc, time.Duration(binary.BigEndian.Uint32(v))*time.Second, again)
	}
}

// key is pion's AuthHandler: the guard has checked the request, and pion checks nonce and integrity again.
func (g *guard) key(username, realm string, _ net.Addr) ([]byte, bool) {
	if g.cur.id.user == "" || username != g.cur.id.username || realm != g.creds.realm {
		return nil, false
	}
	return g.cur.id.key, true
}

// permission is pion's PermissionHandler, a second line behind the guard's own check.
func (g *guard) permission(_ net.Addr, peer net.IP) bool {
	a, ok := netip.AddrFromSlice(peer)
	return ok && g.policy.peerIP(a)
}

// events keeps the set of live permissions.
func (g *guard) events() turn.EventHandler {
	return turn.EventHandler{
		OnPermissionCreated: func(src, _ net.Addr, _, _, _ string, _ net.Addr, peer net.IP) {
			g.onPermission(src, peer, (*allocation).permit)
		},
		OnPermissionDeleted: func(src, _ net.Addr, _, _, _ string, _ net.Addr, peer net.IP) {
			g.onPermission(src, peer, (*allocation).forbid)
		},
	}
}

func (g *guard) onPermission(src net.Addr, peer net.IP, do func(*allocation, netip.Addr)) {
	ip, ok := netip.AddrFromSlice(peer)
	if alloc := g.ledger.find(tuple{g.index, addrPort(src)}); ok && alloc != nil {
		do(alloc, canonical(ip))
	}
}

// Validate is part of turn.RelayAddressGenerator.
func (g *guard) Validate() error { return nil }

// AllocateConn is part of turn.RelayAddressGenerator.
func (g *guard) AllocateConn(string, int) (net.Conn, net.Addr, error) { return nil, nil, errNoTCPRelay }

// AllocatePacketConn opens the relay socket for the Allocate request in hand and enters the allocation. For
// an even port pion asks twice: first for a socket of which it only wants the port, then for that port.
func (g *guard) AllocatePacketConn(_ string, port int) (net.PacketConn, net.Addr, error) {
	cur := &g.cur
	if cur.id.user == "" || cur.alloc != nil {
		return nil, nil, errRefused
	}
	place, err := g.places.relay(cur.v6, g.localIP, cur.tuple.source.Addr())
	if err != nil {
		return nil, nil, err
	}
	minPort, maxPort, step := int(g.minPort), int(g.maxPort), 1
	switch {
	case port != 0:
		minPort, maxPort = port, port
	case cur.even:
		minPort, step = minPort+minPort%2, 2
	}
	socket, err := openRelay(place.local, minPort, maxPort, step)
	if err != nil {
		g.stats.refuse(RefusedTotal)
		return nil, nil, err
	}
	if cur.even && port == 0 {
		return socket, socket.LocalAddr(), nil
	}
	local := addrPort(socket.LocalAddr())
	a := &allocation{
		tuple: cur.tuple, id: cur.id, permissions: g.perAlloc,
		local: local, advertised: netip.AddrPortFrom(place.advertised, local.Port()),
		peers: make(map[netip.Addr]struct{}),
	}
	a.relay = &relayConn{socket: socket, alloc: a, policy: g.policy, stats: g.stats}
	if reason := g.ledger.add(a); reason != "" {
		g.stats.refuse(reason)
		_ = socket.Close()
		return nil, nil, errRefused
	}
	g.spawn(a.relay)
	g.stats.allocations.Add(1)
	cur.alloc = a
	return a.relay, net.UDPAddrFromAddrPort(a.advertised), nil
}
