package turnsrv

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/pion/stun/v3"
)

// What a client may ask for. Each method here looks at the decoded message in g.msg and returns how many
// bytes of the frame pion shall handle: all, the header only, or none because it has been answered.

// protoUDP is the number of UDP in REQUESTED-TRANSPORT (RFC 8656 §18.8).
const protoUDP = 17

// Address families in STUN attributes (RFC 8489 §14.1).
const (
	familyIPv4 = 1
	familyIPv6 = 2
)

// drop is the verdict on a frame that pion shall not see.
const drop = 0

// message screens a well-formed STUN message.
func (g *guard) message(src net.Addr) int {
	m := &g.msg
	g.cur = request{src: src, tuple: tuple{g.index, addrPort(src)}}
	switch {
	case m.Type.Class == stun.ClassIndication && m.Type.Method == stun.MethodSend:
		return g.send()
	case m.Type.Class == stun.ClassIndication && m.Type.Method == stun.MethodBinding:
		return drop // keeps a NAT binding open, and wants no answer
	case m.Type.Class != stun.ClassRequest:
		g.stats.refuse(RefusedMalformed)
		return drop
	}
	switch m.Type.Method {
	case stun.MethodBinding:
		return g.binding()
	case stun.MethodAllocate, stun.MethodRefresh, stun.MethodCreatePermission, stun.MethodChannelBind:
		return g.request()
	default:
		g.stats.refuse(RefusedMalformed)
		return drop
	}
}

// request screens what needs a credential.
func (g *guard) request() int {
	m := &g.msg
	g.cur.alloc = g.ledger.take(g.cur.tuple)
	alloc, method := g.cur.alloc, m.Type.Method
	if !m.Contains(stun.AttrMessageIntegrity) {
		// The shortest Allocate is what bounds the amplification of a 401, so it must be a real one.
		if method == stun.MethodAllocate && !m.Contains(stun.AttrRequestedTransport) {
			g.stats.refuse(RefusedMalformed)
			return drop
		}
		if !g.mayReply() {
			return drop
		}
		if method != stun.MethodAllocate && alloc == nil {
			return g.fail(stun.CodeAllocMismatch)
		}
		return len(m.Raw)
	}
	running := ""
	if alloc != nil {
		running = alloc.id.username
	}
	id, reason := g.creds.verify(m, running, g.clock())
	if reason != "" {
		g.stats.refuse(reason)
		return g.unauthorized()
	}
	g.cur.id = id
	switch {
	case method == stun.MethodAllocate && (alloc != nil || g.ledger.known(g.cur.tuple)):
		return g.again()
	case method == stun.MethodAllocate:
		return g.allocate()
	case alloc == nil:
		return g.fail(stun.CodeAllocMismatch)
	case alloc.id.user != id.user:
		g.stats.refuse(RefusedOwner)
		return g.fail(stun.CodeWrongCredentials)
	}
	switch method {
	case stun.MethodCreatePermission:
		return g.createPermission()
	case stun.MethodChannelBind:
		return g.channelBind()
	default:
		return g.refresh()
	}
}

// unauthorized lets pion see the header of a request only, which it answers with 401, realm and nonce as
// RFC 8489 §9.2.4 asks. With the whole request it would answer 400.
func (g *guard) unauthorized() int {
	if !g.mayReply() {
		return drop
	}
	if g.msg.Type.Method != stun.MethodAllocate && g.cur.alloc == nil {
		return g.fail(stun.CodeAllocMismatch)
	}
	binary.BigEndian.PutUint16(g.buf[2:], 0)
	return headerSize
}

// again answers an Allocate on a 5-tuple that has an allocation: pion repeats its answer to a request that
// was sent again, which must be the owner's.
func (g *guard) again() int {
	if g.cur.alloc == nil || g.cur.alloc.id.user != g.cur.id.user {
		g.stats.refuse(RefusedOwner)
		return g.fail(stun.CodeAllocMismatch)
	}
	return len(g.msg.Raw)
}

// allocate screens a first Allocate (RFC 8656 §7.2).
func (g *guard) allocate() int {
	m := &g.msg
	transport, err := m.Get(stun.AttrRequestedTransport)
	if err != nil || len(transport) != 4 {
		return g.fail(stun.CodeBadRequest)
	}
	if transport[0] != protoUDP {
		return g.fail(stun.CodeUnsupportedTransProto)
	}
	v6, ok := g.family()
	if !ok {
		return g.fail(stun.CodeAddrFamilyNotSupported)
	}
	if _, err := g.places.relay(v6, g.localIP, g.cur.tuple.source.Addr()); err != nil {
		return g.fail(stun.CodeAddrFamilyNotSupported)
	}
	if reason := g.ledger.room(g.cur.id.user, g.cur.tuple.source.Addr()); reason != "" {
		g.stats.refuse(reason)
		if reason == RefusedTotal {
			return g.fail(stun.CodeInsufficientCapacity)
		}
		return g.fail(stun.CodeAllocQuotaReached)
	}
	g.cur.v6 = v6
	g.cur.even = m.Contains(stun.AttrEvenPort)
	if g.cur.even && !g.mayReserve(time.Now()) {
		g.stats.refuse(RefusedTotal)
		return g.fail(stun.CodeInsufficientCapacity)
	}
	return len(m.Raw)
}

// mayReserve counts an Allocate with EVEN-PORT. pion remembers each for 30 seconds, without a bound.
func (g *guard) mayReserve(now time.Time) bool {
	if now.Sub(g.evenSince) > evenWindow {
		g.evenSince, g.evenCount = now, 0
	}
	g.evenCount++
	return g.evenCount <= maxEven
}

// family reads REQUESTED-ADDRESS-FAMILY (RFC 8656 §18.6); without it IPv4 is meant.
func (g *guard) family() (v6, ok bool) {
	v, err := g.msg.Get(stun.AttrRequestedAddressFamily)
	if err != nil {
		return false, true
	}
	if len(v) != 4 || (v[0] != familyIPv4 && v[0] != familyIPv6) {
		return false, false
	}
	return v[0] == familyIPv6, true
}

func (g *guard) refresh() int {
	if g.msg.Contains(stun.AttrRequestedAddressFamily) {
		if v6, ok := g.family(); !ok || v6 != g.cur.alloc.advertised.Addr().Is6() {
			return g.fail(stun.CodePeerAddrFamilyMismatch)
		}
	}
	return len(g.msg.Raw)
}

func (g *guard) createPermission() int {
	peers, ok := peerAddresses(&g.msg)
	if !ok || len(peers) == 0 {
		return g.fail(stun.CodeBadRequest)
	}
	if code := g.judge(peers, false); code != 0 {
		return g.fail(code)
	}
	return len(g.msg.Raw)
}

// channelBind takes the numbers of RFC 5766 §11, 0x4000 to 0x7FFF, of which RFC 8656 keeps only the first
// quarter: clients of the older kind are about, and the rest is not used for anything else here.
func (g *guard) channelBind() int {
	peers, ok := peerAddresses(&g.msg)
	number, err := g.msg.Get(stun.AttrChannelNumber)
	if !ok || len(peers) != 1 || err != nil || len(number) != 4 || number[0]&0xc0 != 0x40 {
		return g.fail(stun.CodeBadRequest)
	}
	if code := g.judge(peers, true); code != 0 {
		return g.fail(code)
	}
	return len(g.msg.Raw)
}

// send screens a Send indication, which is never answered (RFC 8656 §11.2).
func (g *guard) send() int {
	peers, ok := peerAddresses(&g.msg)
	if !ok || len(peers) != 1 || !g.msg.Contains(stun.AttrData) {
		g.stats.refuse(RefusedMalformed)
		return drop
	}
	if _, allowed := g.policy.peer(peers[0]); !allowed || peers[0].Addr().Is4In6() {
		g.stats.refuse(RefusedPeer)
		return drop
	}
	if !g.ledger.has(g.cur.tuple) {
		return drop
	}
	return len(g.msg.Raw)
}

// judge returns the error for peers that the allocation may not have, or 0.
func (g *guard) judge(peers []netip.AddrPort, withPort bool) stun.ErrorCode {
	alloc := g.cur.alloc
	for _, p := range peers {
		allowed := g.policy.peerIP(p.Addr())
		if withPort {
			_, allowed = g.policy.peer(p)
		}
		if !allowed || p.Addr().Is4In6() {
			g.stats.refuse(RefusedPeer)
			return stun.CodeForbidden
		}
		if p.Addr().Is6() != alloc.advertised.Addr().Is6() {
			return stun.CodePeerAddrFamilyMismatch
		}
	}
	if !alloc.fits(peers) {
		g.stats.refuse(RefusedPermissions)
		return stun.CodeInsufficientCapacity
	}
	return 0
}

// peerAddresses decodes every XOR-PEER-ADDRESS (RFC 8656 §18.3). An IPv4-mapped address stays one: whoever
// writes IPv4 that way wants to get around something, and is refused.
func peerAddresses(m *stun.Message) ([]netip.AddrPort, bool) {
	var peers []netip.AddrPort
	for _, a := range m.Attributes {
		if a.Type != stun.AttrXORPeerAddress {
			continue
		}
		peer, ok := xorAddress(a.Value, m.TransactionID)
		if !ok {
			return nil, false
		}
		peers = append(peers, peer)
	}
	return peers, true
}

// xorAddress decodes the value of an attribute of the form of XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
func xorAddress(v []byte, id [stun.TransactionIDSize]byte) (netip.AddrPort, bool) {
	if len(v) < 4 {
		return netip.AddrPort{}, false
	}
	var mask [16]byte
	binary.BigEndian.PutUint32(mask[:], stunCookie)
	copy(mask[4:], id[:])
	port := binary.BigEndian.Uint16(v[2:]) ^ binary.BigEndian.Uint16(mask[:])
	ip := make([]byte, len(v)-4)
	for i := range min(len(ip), len(mask)) {
		ip[i] = v[4+i] ^ mask[i]
	}
	addr, ok := netip.AddrFromSlice(ip)
	if !ok || v[0] != 0 || (v[1] == familyIPv4) != addr.Is4() || (v[1] == familyIPv6) != addr.Is6() {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr, port), true
}

// binding answers a STUN binding request. FINGERPRINT is added only if the request has it (RFC 8489 §7.3.1):
// for IPv6 the answer would else be 2.6 times a bare request.
func (g *guard) binding() int {
	if !g.mayReply() {
		return drop
	}
	g.stats.bindings.Add(1)
	mapped := &stun.XORMappedAddress{
		IP: g.cur.tuple.source.Addr().AsSlice(), Port: int(g.cur.tuple.source.Port()),
	}
	setters := []stun.Setter{mapped}
	if g.msg.Contains(stun.AttrFingerprint) {
		setters = append(setters, stun.Fingerprint)
	}
	return g.reply(stun.ClassSuccessResponse, setters...)
}

// fail answers with an error: signed, if the request was.
func (g *guard) fail(code stun.ErrorCode) int {
	setters := []stun.Setter{stun.ErrorCodeAttribute{Code: code}}
	if g.cur.id.user != "" {
		setters = append(setters, g.cur.id.key)
	}
	return g.reply(stun.ClassErrorResponse, setters...)
}

func (g *guard) reply(class stun.MessageClass, setters ...stun.Setter) int {
	setters = append([]stun.Setter{
		stun.NewTransactionIDSetter(g.msg.TransactionID), stun.NewType(g.msg.Type.Method, class),
	}, setters...)
	m, err := stun.Build(setters...)
	if err != nil {
		g.stats.refuse(RefusedFault)
		return drop
	}
	// A client that cannot be reached is none of the server's concern.
	_, _ = g.PacketConn.WriteTo(m.Raw, g.cur.src)
	return drop
}

// mayReply takes an answer from a stranger's allowance.
func (g *guard) mayReply() bool {
	if g.stream || g.limiter.allow(g.cur.tuple.source.Addr(), time.Now()) {
		return true
	}
	g.stats.refuse(RefusedReplies)
	return false
}

// stunCookie is the magic cookie (RFC 8489 §5).
const stunCookie = 0x2112A442
