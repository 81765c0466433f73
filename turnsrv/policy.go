package turnsrv

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
)

// policy decides which peers an allocation may reach: by range, by the machine's own addresses, and by the
// live allocations.
type policy struct {
	ranges ranges
	ledger *ledger
	fixed  []netip.Addr // external addresses and those of the listeners
	own    atomic.Pointer[map[netip.Addr]struct{}]
}

func newPolicy(r ranges, l *ledger, fixed []netip.Addr) (*policy, error) {
	p := &policy{ranges: r, ledger: l, fixed: fixed}
	if err := p.refresh(); err != nil {
		return nil, err
	}
	return p, nil
}

// refresh reads the addresses of the machine's interfaces, which may change while the server runs.
func (p *policy) refresh() error {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("turnsrv: reading the interfaces: %w", err)
	}
	own := make(map[netip.Addr]struct{}, len(addrs)+len(p.fixed))
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			own[canonical(prefix.Addr())] = struct{}{}
		}
	}
	for _, a := range p.fixed {
		own[canonical(a)] = struct{}{}
	}
	p.own.Store(&own)
	return nil
}

func (p *policy) isOwn(a netip.Addr) bool {
	_, ok := (*p.own.Load())[a]
	return ok
}

// peerIP reports whether an address may get a permission. Permissions have no port, so an address of the
// server that relays is let through here; peer then looks at the port.
func (p *policy) peerIP(a netip.Addr) bool {
	a = canonical(a)
	if p.ledger.isRelay(a) {
		return true
	}
	if p.isOwn(a) && !a.IsLoopback() {
		return false
	}
	return p.ranges.permits(a)
}

// peer reports whether packets may go to a peer, and where to. For the relayed address of another live
// allocation that is where its socket is bound: behind one-to-one NAT the way through the outside address
// often does not exist.
func (p *policy) peer(to netip.AddrPort) (netip.AddrPort, bool) {
	to = netip.AddrPortFrom(canonical(to.Addr()), to.Port())
	if to.Port() == 0 {
		return to, false
	}
	if local, ok := p.ledger.localOf(to); ok {
		return local, true
	}
	a := to.Addr()
	if p.isOwn(a) || p.ledger.isRelay(a) {
		return to, a.IsLoopback() && p.ranges.permits(a)
	}
	return to, p.ranges.permits(a)
}
