package link

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/ice/v4"
)

func TestDenied(t *testing.T) {
	for address, want := range map[string]bool{
		"192.168.1.7": false, "10.1.2.3": false, "172.16.9.9": false, "100.64.1.1": false, "203.0.113.9": false,
		"8.8.8.8": false, "2606:4700::1": false, "fd12:3456::1": false, "64:ff9b::808:808": false, "::ffff:8.8.8.8": false,
		"0.0.0.0": true, "0.1.2.3": true, "127.0.0.1": true, "127.9.9.9": true, "169.254.169.254": true, "169.254.1.1": true,
		"100.100.100.200": true, "224.0.0.251": true, "255.255.255.255": true, "240.0.0.1": true, "::": true, "::1": true,
		"::ffff:127.0.0.1": true, "::ffff:169.254.169.254": true, "::7f00:1": true, "64:ff9b::7f00:1": true,
		"64:ff9b::a9fe:a9fe": true, "64:ff9b::a00:1": true, "64:ff9b:1::1": true, "2002:7f00:1::": true, "2001::1": true,
		"fe80::1": true, "fec0::1": true, "ff02::fb": true, "fd00:ec2::254": true, "::ffff:0:7f00:1": true,
	} {
		a := netip.MustParseAddr(address)
		if got := denied(a, false); got != want {
			t.Errorf("%s: denied %v", address, got)
		}
		if remoteIPFilter(false)(net.IP(a.AsSlice())) == want {
			t.Errorf("%s: pion's filter differs", address)
		}
		if loop := denied(a, true); loop != (want && !a.Unmap().IsLoopback()) {
			t.Errorf("%s with loopback allowed: denied %v", address, loop)
		}
	}
	if !denied(netip.Addr{}, true) {
		t.Error("no address is allowed")
	}
}

func TestCheckCandidate(t *testing.T) {
	for line, ok := range map[string]bool{
		"candidate:1 1 udp 2130706431 192.168.1.7 5000 typ host":                           true,
		"a=candidate:1 1 UDP 2130706431 192.168.1.7 5000 typ host generation 0":            true,
		"candidate:1 1 udp 1694498815 8.8.8.8 5000 typ srflx raddr 192.168.1.7 rport 5000": true,
		"candidate:1 1 tcp 2130706431 192.168.1.7 5000 typ host tcptype passive":           false,
		"candidate:1 1 udp 2130706431 router.example.org 5000 typ host":                    false,
		"candidate:1 1 udp 2130706431 localhost 5000 typ host":                             false,
		"candidate:1 1 udp 2130706431 192.168.1.7 0 typ host":                              false,
		"candidate:1 1 udp 2130706431 192.168.1.7 65536 typ host":                          false,
		"candidate:1 1 udp 2130706431 fe80::1%eth0 5000 typ host":                          false,
		"candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host":                             false,
		"candidate:1 1 udp 2130706431 192.168.1.7 5000":                                    false,
		"": false,
	} {
		c, err := parseCandidate(line)
		if err == nil {
			err = c.check(false)
		}
		if (err == nil) != ok {
			t.Errorf("%q: %v", line, err)
		}
	}
	c, err := parseCandidate("candidate:1 1 udp 1694498815 8.8.8.8 5000 typ srflx raddr 192.168.1.7 rport 5000 generation 0")
	if err != nil {
		t.Fatal(err)
	}
	if want := "candidate:1 1 udp 1694498815 8.8.8.8 5000 typ srflx generation 0"; c.String() != want {
		t.Errorf("%q", c)
	}
	name, err := parseCandidate("candidate:1 1 udp 2113937151 4e2a8e8a-1b1c-4d7e-8c7b-5a0b3c7c5a11.local 5000 typ host")
	if err != nil || !name.mdns() {
		t.Errorf("%v, %v", name, err)
	}
	if r := name.with(netip.MustParseAddr("169.254.3.4")); r.check(false) == nil {
		t.Error("a name that resolves to a denied address passes")
	}
}

func FuzzCandidate(f *testing.F) {
	f.Add("candidate:1 1 udp 2130706431 192.168.1.7 5000 typ host generation 0 ufrag abcd")
	f.Add("a=candidate:842163049 1 tcp 1677729535 ::1 9 typ srflx raddr 0.0.0.0 rport 0 tcptype active")
	f.Add("candidate: raddr")
	f.Fuzz(func(t *testing.T, line string) {
		c, err := parseCandidate(line)
		if err != nil || c.check(false) != nil {
			return
		}
		again, err := parseCandidate(c.String())
		if err != nil || again.address != c.address || again.port != c.port || again.kind != c.kind {
			t.Errorf("%q became %q: %v", line, c, err)
		}
		if p, err := ice.UnmarshalCandidate(strings.TrimPrefix(c.String(), "candidate:")); err == nil {
			a, err := netip.ParseAddr(p.Address())
			if err != nil || denied(a, false) {
				t.Errorf("pion reads %q as %q", line, p.Address())
			}
		}
	})
}

func FuzzSplitCandidates(f *testing.F) {
	f.Add("v=0\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\na=end-of-candidates\r\na=ice-ufrag:x\r\n")
	f.Add("v=0\na=candidate:1\r\ra=candidate:2\n")
	f.Fuzz(func(t *testing.T, sdp string) {
		rest, _ := splitCandidates(sdp)
		for line := range strings.Lines(rest) {
			if strings.HasPrefix(line, "a=candidate:") {
				t.Errorf("a candidate is left in %q", rest)
			}
		}
		if ufragOf(rest) != ufragOf(sdp) {
			t.Error("another ufrag")
		}
	})
}
