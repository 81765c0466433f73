package turnsrv

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v3"
	"github.com/pion/turn/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Data goes both ways between two clients, each behind its own allocation, over every pair of transports
// and of every size that a frame may have.
func TestRelayBetweenAllocations(t *testing.T) {
	for _, pair := range [][2]string{{"udp", "udp"}, {"udp", "tcp"}, {"tcp", "tcp"}} {
		t.Run(pair[0]+"-"+pair[1], func(t *testing.T) {
			s := serve(t, func(c *Config) { c.AllowLoopback = false })
			relayBothWays(t, dial(t, s, pair[0], "ann"), dial(t, s, pair[1], "bob"))
			if got := s.Stats(); got.Allocations != 2 || got.Users != 2 || got.PacketsUp == 0 || got.BytesDown == 0 {
				t.Errorf("stats: %+v", got)
			}
		})
	}
}

func relayBothWays(t *testing.T, a, b *client) {
	t.Helper()
	ra, rb := a.allocate(), b.allocate()
	if code := a.permit(rb); code != 0 {
		t.Fatalf("permission: %v", code)
	}
	if code := b.permit(ra); code != 0 {
		t.Fatalf("permission: %v", code)
	}
	a.sendTo(rb, []byte("by indication"))
	b.expect([]byte("by indication"))
	b.sendTo(ra, []byte("and back"))
	a.expect([]byte("and back"))
	if code := a.bind(0x4000, rb); code != 0 {
		t.Fatalf("channel: %v", code)
	}
	if code := b.bind(0x4FFF, ra); code != 0 {
		t.Fatalf("channel: %v", code)
	}
	for _, size := range []int{1, 2, 3, 4, 5, 9, 160, 1200, 1500} {
		data := bytes.Repeat([]byte{byte(size)}, size)
		a.sendChannel(0x4000, data)
		b.expect(data)
		b.sendChannel(0x4FFF, data)
		a.expect(data)
	}
}

// The same with pion's client, against a peer that is an ordinary socket.
func TestPionClient(t *testing.T) {
	s := serve(t, nil)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	username, password, _ := s.Credentials("ann", time.Now())
	c, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: s.UDPAddr().String(), TURNServerAddr: s.UDPAddr().String(), Conn: conn,
		Username: username, Password: password, LoggerFactory: &logging.DefaultLoggerFactory{},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	defer c.Close()
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	mapped, err := c.SendBindingRequest()
	if err != nil || mapped.String() != conn.LocalAddr().String() {
		t.Fatalf("binding: %v, %v, want %v", mapped, err, conn.LocalAddr())
	}
	relay, err := c.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()
	echo(t, relay, peer)
	if err := relay.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "release", func() bool { return s.Stats().Allocations == 0 })
}

// echo sends a packet from the relay to the peer and back.
func echo(t *testing.T, relay net.PacketConn, peer *net.UDPConn) {
	t.Helper()
	deadline := time.Now().Add(patience)
	_, _ = peer.SetReadDeadline(deadline), relay.SetReadDeadline(deadline)
	for i := range 3 {
		text := fmt.Sprintf("packet %d", i)
		if _, err := relay.WriteTo([]byte(text), peer.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1500)
		n, from, err := peer.ReadFrom(buf)
		if err != nil || string(buf[:n]) != text {
			t.Fatalf("peer read %q, %v", buf[:n], err)
		}
		if _, err := peer.WriteTo(buf[:n], from); err != nil {
			t.Fatal(err)
		}
		n, _, err = relay.ReadFrom(buf)
		if err != nil || string(buf[:n]) != text {
			t.Fatalf("client read %q, %v", buf[:n], err)
		}
	}
}

// IPv6: a relay of either family for a client that came over IPv6, and no mixture of families.
func TestIPv6(t *testing.T) {
	s := serve(t, func(c *Config) {
		c.ListenUDP = []string{"[::1]:0", "127.0.0.1:0"}
		c.ListenTCP = nil
	})
	a, b := dial(t, s, "udp", "ann"), dial(t, s, "udp", "bob")
	ra, rb := a.allocate(family(familyIPv6)), b.allocate(family(familyIPv6))
	if !ra.Addr().Is6() || !rb.Addr().Is6() {
		t.Fatalf("asked for IPv6, got %v and %v", ra, rb)
	}
	if a.permit(rb) != 0 || b.permit(ra) != 0 {
		t.Fatal("no permission")
	}
	a.sendTo(rb, []byte("six"))
	b.expect([]byte("six"))
	if code := a.permit(netip.MustParseAddrPort("127.0.0.1:9")); code != stun.CodePeerAddrFamilyMismatch {
		t.Errorf("an IPv4 peer for an IPv6 relay: %v, want 443", code)
	}
	four := dial(t, s, "udp", "ann")
	if r := four.allocate(); !r.Addr().Is4() {
		t.Errorf("without a family: %v, want IPv4", r)
	}
	if code := codeOf(dial(t, s, "udp", "ann").request(stun.MethodAllocate, transportUDP(), family(7))); code != stun.CodeAddrFamilyNotSupported {
		t.Errorf("family 7: %v, want 440", code)
	}
	only4 := serve(t, nil)
	c := dial(t, only4, "udp", "ann")
	if code := codeOf(c.request(stun.MethodAllocate, transportUDP(), family(familyIPv6))); code != stun.CodeAddrFamilyNotSupported {
		t.Errorf("IPv6 from a server without: %v, want 440", code)
	}
}

// Behind one-to-one NAT clients are told the outside address, and two relays of the server still reach each
// other although no packet can go out and come back in.
func TestExternalAddress(t *testing.T) {
	outside := netip.MustParseAddr("20.0.0.10")
	s := serve(t, func(c *Config) { c.ExternalIPv4 = outside })
	a, b := dial(t, s, "udp", "ann"), dial(t, s, "udp", "bob")
	ra, rb := a.allocate(), b.allocate()
	if ra.Addr() != outside || rb.Addr() != outside {
		t.Fatalf("relayed addresses %v and %v, want %v", ra, rb, outside)
	}
	if a.permit(rb) != 0 || b.bind(0x4001, ra) != 0 {
		t.Fatal("no permission")
	}
	a.sendTo(rb, []byte("out and in"))
	b.expect([]byte("out and in"))
	b.sendChannel(0x4001, []byte("back"))
	a.expect([]byte("back"))
	if code := a.bind(0x4002, netip.AddrPortFrom(outside, 22)); code != stun.CodeForbidden {
		t.Errorf("another port of the outside address: %v, want 403", code)
	}
}

// A packet from an address without a permission does not get through, and costs the user nothing.
func TestNoPermissionNoPacket(t *testing.T) {
	s := serve(t, nil)
	a, b := dial(t, s, "udp", "ann"), dial(t, s, "udp", "bob")
	ra, rb := a.allocate(), b.allocate()
	stranger, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}, net.UDPAddrFromAddrPort(ra))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close() }()
	if a.permit(rb) != 0 || b.permit(ra) != 0 {
		t.Fatal("no permission")
	}
	if _, err := stranger.Write([]byte("hello?")); err != nil {
		t.Fatal(err)
	}
	b.sendTo(ra, []byte("marker"))
	a.expect([]byte("marker")) // sent after the stranger's, on the same socket
	if got := s.Stats().PacketsDown; got != 1 {
		t.Errorf("%d packets came down, want 1", got)
	}
}
