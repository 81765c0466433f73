package turnsrv

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestConfigRefused(t *testing.T) {
	for field, change := range map[string]func(*Config){
		"ListenUDP":             func(c *Config) { c.ListenUDP = nil },
		"Realm":                 func(c *Config) { c.Realm = strings.Repeat("r", MaxRealm+1) },
		"CredentialTTL":         func(c *Config) { c.CredentialTTL = MaxCredentialTTL + 1 },
		"MinPort":               func(c *Config) { c.MinPort, c.MaxPort = 2, 1 },
		"ExternalIPv4":          func(c *Config) { c.ExternalIPv4 = netip.IPv6Loopback() },
		"ExternalIPv6":          func(c *Config) { c.ExternalIPv6 = netip.MustParseAddr("1.2.3.4") },
		"PerUser":               func(c *Config) { c.PerUser = -1 },
		"Total":                 func(c *Config) { c.Total = -1 },
		"BytesPerSecond":        func(c *Config) { c.BytesPerSecond = 100 },
		"TCPIdle":               func(c *Config) { c.TCPIdle = time.Millisecond },
		"AllowPeers":            func(c *Config) { c.AllowPeers = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} },
		"AllowLoopback":         func(c *Config) { c.AllowLoopback, c.ListenUDP = true, []string{"0.0.0.0:0"} },
		"Secrets.Current":       func(c *Config) { c.Secrets.Current = nil },
		"Secrets.Previous":      func(c *Config) { c.Secrets.Previous = []byte("x") },
		"Secrets.PreviousUntil": func(c *Config) { c.Secrets.Previous = testSecret() },
	} {
		cfg := Config{ListenUDP: []string{"127.0.0.1:0"}, Secrets: Secrets{Current: testSecret()}}
		change(&cfg)
		s, err := New(cfg)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
		if err == nil {
			s.Close()
		}
	}
	for _, allowed := range []string{"::/0", "127.0.0.0/24", "224.0.0.0/4"} {
		if err := validateAllowed([]netip.Prefix{netip.MustParsePrefix(allowed)}); !errors.Is(err, ErrConfig) {
			t.Errorf("AllowPeers %s: %v", allowed, err)
		}
	}
}

// A used port is told, and nothing stays open.
func TestUsedPort(t *testing.T) {
	s := serve(t, nil)
	_, err := New(Config{
		ListenUDP: []string{"127.0.0.1:0", s.UDPAddr().String()}, Secrets: Secrets{Current: testSecret()},
	})
	if err == nil || !strings.Contains(err.Error(), s.UDPAddr().String()) {
		t.Errorf("a used port: %v", err)
	}
}

func TestURLs(t *testing.T) {
	s := serve(t, nil)
	udp, tcp := s.UDPAddr().AddrPort().Port(), s.TCPAddr().AddrPort().Port()
	for host, at := range map[string]string{"turn.example": "turn.example", "2a00::1": "[2a00::1]"} {
		want := []string{
			"stun:" + at + port(udp), "turn:" + at + port(udp) + "?transport=udp", "turn:" + at + port(tcp) + "?transport=tcp",
		}
		if got := s.URLs(host); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

func port(n uint16) string {
	return strings.TrimPrefix(netip.AddrPortFrom(netip.IPv4Unspecified(), n).String(), "0.0.0.0")
}

// Sockets that were handed over serve like the server's own.
func TestGivenSockets(t *testing.T) {
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	tcp, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(c *Config) {
		c.ListenUDP, c.ListenTCP = nil, nil
		c.PacketConns, c.Listeners = []net.PacketConn{udp}, []net.Listener{tcp}
	})
	if s.UDPAddr().String() != udp.LocalAddr().String() || s.TCPAddr().String() != tcp.Addr().String() {
		t.Error("other addresses than those of the sockets")
	}
	relayBothWays(t, dial(t, s, "udp", "ann"), dial(t, s, "tcp", "bob"))
}

// On a listener for all addresses the relay is at the address that the client reached.
func TestRelayAddress(t *testing.T) {
	all4, all6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	local4, local6 := netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
	a := addresses{listeners: []netip.Addr{all4, all6}}
	for _, test := range []struct {
		v6                     bool
		listener, client, want netip.Addr
	}{
		{false, all4, netip.MustParseAddr("127.0.0.9"), local4},
		{true, all6, local6, local6},
		{false, local4, netip.MustParseAddr("8.8.8.8"), local4},
	} {
		got, err := a.relay(test.v6, test.listener, test.client)
		if err != nil || got.local != test.want || got.advertised != test.want {
			t.Errorf("%+v: %+v, %v", test, got, err)
		}
	}
	a = addresses{listeners: []netip.Addr{local4, local6}}
	if got, err := a.relay(true, local4, local4); err != nil || got.local != local6 {
		t.Errorf("IPv6 for an IPv4 client: %+v, %v", got, err)
	}
	a.listeners = a.listeners[:1]
	if got, err := a.relay(true, local4, local4); err == nil {
		t.Errorf("IPv6 without an IPv6 listener: %+v", got)
	}
}
