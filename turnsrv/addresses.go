package turnsrv

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// Which address an allocation gets.

// relayAddress is where an allocation's socket is bound and what its client is told.
type relayAddress struct{ local, advertised netip.Addr }

// addresses finds relay addresses for the clients of all listeners.
type addresses struct {
	external4, external6 netip.Addr
	listeners            []netip.Addr
}

// relay returns the relay address of a family for a client of a listener: the server's address that the
// client reached, if it is of that family, else that of another listener.
func (a addresses) relay(v6 bool, listener netip.Addr, client netip.Addr) (relayAddress, error) {
	local, err := a.local(v6, listener, client)
	if err != nil {
		return relayAddress{}, err
	}
	advertised := a.external4
	if v6 {
		advertised = a.external6
	}
	if !advertised.IsValid() {
		advertised = local
	}
	return relayAddress{local: local, advertised: advertised}, nil
}

func (a addresses) local(v6 bool, listener, client netip.Addr) (netip.Addr, error) {
	if listener.Is6() == v6 && !listener.IsUnspecified() {
		return listener, nil
	}
	if client = canonical(client); client.Is6() == v6 {
		return routedSource(client)
	}
	for _, other := range a.listeners {
		if other.Is6() == v6 && !other.IsUnspecified() && other.IsLoopback() == client.IsLoopback() {
			return other, nil
		}
	}
	// A listener on all addresses of the other family, reached from this one: any address that the
	// machine uses towards the outside serves.
	for _, other := range a.listeners {
		if other.Is6() == v6 && other.IsUnspecified() {
			return outsideAddress(v6)
		}
	}
	return netip.Addr{}, fmt.Errorf("turnsrv: no listener of the address family (IPv6: %t)", v6)
}

// routedSource returns the address from which the machine answers a client. Connecting a UDP socket asks
// the routing table and sends nothing.
func routedSource(client netip.Addr) (netip.Addr, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(context.Background(), "udp", netip.AddrPortFrom(client, 9).String())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("turnsrv: finding the way to a client: %w", err)
	}
	defer func() { _ = conn.Close() }()
	return addrPort(conn.LocalAddr()).Addr(), nil
}

// outsideAddress returns the first global unicast address of the machine's interfaces.
func outsideAddress(v6 bool) (netip.Addr, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("turnsrv: reading the interfaces: %w", err)
	}
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if ip := canonical(prefix.Addr()); ip.Is6() == v6 && ip.IsGlobalUnicast() {
			return ip, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("turnsrv: the machine has no address of the family (IPv6: %t)", v6)
}

// addrPort returns the address of a UDP or TCP address, without zone and IPv4 as IPv4; invalid for others.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		ap = a.AddrPort()
	case *net.TCPAddr:
		ap = a.AddrPort()
	default:
		return ap
	}
	return netip.AddrPortFrom(canonical(ap.Addr()), ap.Port())
}
