package turnsrv

import (
	"net/netip"
	"testing"

	"github.com/pion/stun/v3"
)

// deniedPeers has the ends of every refused range, and addresses that hide one in another form.
func deniedPeers() []string {
	return []string{
		"0.0.0.0", "0.255.255.255", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255",
		"127.0.0.1", "127.0.0.2", "127.255.255.255", "169.254.169.254", "172.16.0.1", "172.31.255.255",
		"192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.0.1", "192.168.255.255", "198.18.0.1",
		"198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
		"255.255.255.255",
		"::", "::1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:1ff:ffff::1",
		"2001:db8::1", "2002:808:808::1", "fc00::1", "fdff::1", "fe80::1", "febf::1", "fec0::1", "ff02::1",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a00:1::",
		"::127.0.0.1", "::ffff:0:127.0.0.1",
	}
}

func TestDeniedRanges(t *testing.T) {
	r := newRanges(nil, false)
	for _, text := range deniedPeers() {
		if r.permits(netip.MustParseAddr(text)) {
			t.Errorf("%s is let through", text)
		}
	}
	for _, text := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
		"128.0.0.0", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255",
		"198.17.255.255", "198.20.0.0", "223.255.255.255", "2001:200::1", "2606:4700::1111", "2a00::1",
		"::ffff:8.8.8.8", "::ffff:0:8.8.8.8",
	} {
		if !r.permits(netip.MustParseAddr(text)) {
			t.Errorf("%s is refused", text)
		}
	}
	if r.permits(netip.Addr{}) || r.permits(netip.MustParseAddr("fe80::1%eth0")) {
		t.Error("no address, or one with a zone, is let through")
	}
}

func TestOptIn(t *testing.T) {
	r := newRanges([]netip.Prefix{netip.MustParsePrefix("192.168.7.0/24"), netip.MustParsePrefix("64:ff9b::/96")}, true)
	for text, want := range map[string]bool{
		"192.168.7.9": true, "::ffff:192.168.7.9": true, "192.168.8.1": false, "127.0.0.1": true, "::1": true,
		"127.0.0.2": false, "64:ff9b::8.8.8.8": true, "64:ff9b::192.168.7.9": true, "64:ff9b::10.0.0.1": false,
		"64:ff9b::169.254.169.254": false, "2002:c0a8:709::": false,
	} {
		if got := r.permits(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %t, want %t", text, got, want)
		}
	}
}

// Every refused address, over every way to name a peer and both transports.
func TestRefusedPeers(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			s := serve(t, func(c *Config) {
				c.ListenUDP = append(c.ListenUDP, "[::1]:0") // so that IPv6 relays exist
				c.AllowLoopback = false
			})
			four, six, other := dial(t, s, network, "ann"), dial(t, s, network, "ann"), dial(t, s, network, "bob")
			four.allocate()
			six.allocate(family(familyIPv6))
			ok := other.allocate()
			for _, text := range deniedPeers() {
				peer := netip.AddrPortFrom(netip.MustParseAddr(text), 3480)
				c := four
				if peer.Addr().Is6() {
					c = six
				}
				refuseEverywhere(t, s, c, peer)
			}
			refuseOwn(t, s, four, ok)
		})
	}
}

// refuseEverywhere tries a peer by CreatePermission, ChannelBind and Send. The address of a live relay may
// have a permission, which has no port; nothing but the relay's port is reached with it.
func refuseEverywhere(t *testing.T, s *Server, c *client, peer netip.AddrPort) {
	t.Helper()
	relays := peer.Addr().IsLoopback() && s.ledger.isRelay(peer.Addr())
	if code := c.permit(peer); code != stun.CodeForbidden && !relays {
		t.Errorf("CreatePermission %v: %v, want 403", peer, code)
	}
	if code := c.bind(0x4000, peer); code != stun.CodeForbidden {
		t.Errorf("ChannelBind %v: %v, want 403", peer, code)
	}
	before := s.Stats()
	c.sendTo(peer, []byte("x"))
	c.refresh(600) // handled after the indication
	after := s.Stats()
	if after.Refused[RefusedPeer] != before.Refused[RefusedPeer]+1 || after.PacketsUp != before.PacketsUp {
		t.Errorf("Send to %v is not refused", peer)
	}
}

// refuseOwn tries the server's own addresses: its ports, and one good peer hidden among bad ones.
func refuseOwn(t *testing.T, s *Server, c *client, relay netip.AddrPort) {
	t.Helper()
	if code := c.bind(0x4000, s.UDPAddr().AddrPort()); code != stun.CodeForbidden {
		t.Errorf("the server's own port: %v, want 403", code)
	}
	mixed := codeOf(c.request(stun.MethodCreatePermission, xorPeer(relay),
		xorPeer(netip.MustParseAddrPort("10.0.0.1:1"))))
	if mixed != stun.CodeForbidden {
		t.Errorf("a good and a bad peer in one request: %v, want 403", mixed)
	}
	for own := range *s.policy.own.Load() {
		if own.Is4() && !own.IsLoopback() {
			if code := c.permit(netip.AddrPortFrom(own, 22)); code != stun.CodeForbidden {
				t.Errorf("an address of the machine: %v, want 403", code)
			}
		}
	}
	if code := c.bind(0x4000, relay); code != 0 {
		t.Errorf("a live relay: %v", code)
	}
}

// An opened range that holds the machine's own addresses does not open those.
func TestOwnAddressesStayRefused(t *testing.T) {
	s := serve(t, nil)
	own := netip.MustParseAddr("20.0.0.10")
	p, err := newPolicy(newRanges([]netip.Prefix{netip.MustParsePrefix("20.0.0.0/24")}, false), s.ledger, []netip.Addr{own})
	if err != nil {
		t.Fatal(err)
	}
	if p.peerIP(own) || !p.peerIP(own.Next()) {
		t.Error("own address let through, or its neighbour refused")
	}
	if _, ok := p.peer(netip.AddrPortFrom(own, 80)); ok {
		t.Error("own address and port let through")
	}
}

// The second line of defence: the handler that pion asks.
func TestPermissionHandler(t *testing.T) {
	s := serve(t, func(c *Config) { c.AllowLoopback = false })
	g := &guard{policy: s.policy}
	for _, text := range deniedPeers() {
		if g.permission(nil, netip.MustParseAddr(text).AsSlice()) {
			t.Errorf("%s is let through", text)
		}
	}
	if !g.permission(nil, []byte{8, 8, 8, 8}) || g.permission(nil, nil) {
		t.Error("8.8.8.8 is refused, or nothing is let through")
	}
}

// The last line: whatever pion asks the relay socket to do.
func TestRelayWriteRefuses(t *testing.T) {
	s := serve(t, func(c *Config) { c.AllowLoopback = false })
	c := dial(t, s, "udp", "ann")
	relayed := c.allocate()
	alloc := s.ledger.find(tuple{0, addrPort(c.conn.LocalAddr())})
	for _, text := range deniedPeers() {
		to := addrPortUDP(netip.AddrPortFrom(netip.MustParseAddr(text), 53))
		for range 2 { // the verdict may be remembered
			if _, err := alloc.relay.WriteTo([]byte("x"), to); err == nil {
				t.Errorf("a packet to %s goes out", text)
			}
		}
	}
	if _, err := alloc.relay.WriteTo([]byte("x"), addrPortUDP(relayed)); err != nil {
		t.Error(err)
	}
}

func FuzzPredicate(f *testing.F) {
	for _, text := range append(deniedPeers(), "8.8.8.8", "2a00::1") {
		f.Add(netip.MustParseAddr(text).AsSlice())
	}
	r := newRanges(nil, false)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		if r.permits(a) != r.permits(a.Unmap()) {
			t.Errorf("%v: the mapped form is judged differently", a)
		}
		if a.Is4() && r.permits(a) != r.permits(netip.AddrFrom16(a.As16())) {
			t.Errorf("%v: the mapped form is judged differently", a)
		}
		u := a.Unmap()
		bad := u.IsLoopback() || u.IsPrivate() || u.IsUnspecified() || u.IsMulticast() || u.IsLinkLocalUnicast()
		if bad && r.permits(a) {
			t.Errorf("%v is let through", a)
		}
		if inner, ok := embeddedIPv4(u); ok && !r.permits(inner) && r.permits(a) {
			t.Errorf("%v is let through with %v inside", a, inner)
		}
	})
}
