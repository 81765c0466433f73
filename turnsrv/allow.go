package turnsrv

import "net/netip"

// Which peers may be reached. Everything here is pure; what depends on live allocations and on the
// machine's interfaces is in policy.go.

// deniedRanges are the ranges that are refused unless AllowPeers opens them: everything that the IANA
// special-purpose registries (RFC 6890) do not call globally reachable, and the translation prefixes,
// through which an IPv6 address reaches an IPv4 host.
func deniedRanges() []netip.Prefix {
	return mustPrefixes(
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/128", "::1/128", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23",
		"2001:db8::/32", "2002::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	)
}

// neverAllowed are the ranges that AllowPeers may not touch: "this host", loopback (AllowLoopback opens two
// of its addresses), multicast and broadcast.
func neverAllowed() []netip.Prefix {
	return mustPrefixes("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32",
		"::/127", "::ffff:0:0/96", "ff00::/8")
}

func mustPrefixes(texts ...string) []netip.Prefix {
	prefixes := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		prefixes[i] = netip.MustParsePrefix(text)
	}
	return prefixes
}

// ranges judges addresses by the ranges that contain them.
type ranges struct {
	denied   []netip.Prefix
	allowed  []netip.Prefix
	loopback bool
}

func newRanges(allow []netip.Prefix, loopback bool) ranges {
	return ranges{denied: deniedRanges(), allowed: allow, loopback: loopback}
}

// canonical returns an address without zone, and an IPv4-mapped one as IPv4. A zone would hide the address
// from netip.Prefix.Contains.
func canonical(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// permits reports whether a peer address may be relayed to, as far as its range decides.
func (r ranges) permits(a netip.Addr) bool {
	a = canonical(a)
	if !a.IsValid() {
		return false
	}
	if r.loopback && (a == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || a == netip.IPv6Loopback()) {
		return true
	}
	// The address inside counts even where the range around it is allowed: a network that opens its NAT64
	// prefix does not open the loopback addresses that can be written in it.
	if inner, ok := embeddedIPv4(a); ok && !r.permits(inner) {
		return false
	}
	return contains(r.allowed, a) || !contains(r.denied, a)
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// embeddedIPv4 returns the IPv4 address that an IPv6 address carries: IPv4-compatible (RFC 4291 §2.5.5.1),
// translated (RFC 2765 §2.1), NAT64 (RFC 6052 §2.2, RFC 8215) or 6to4 (RFC 3056 §2).
func embeddedIPv4(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return netip.Addr{}, false
	}
	b := a.As16()
	last := netip.AddrFrom4([4]byte(b[12:16]))
	switch {
	case hasPrefix(b, 0x20, 0x02):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case hasPrefix(b, 0x00, 0x64, 0xff, 0x9b):
		return last, true
	case hasPrefix(b, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0):
		return last, true
	case hasPrefix(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0):
		return last, true
	}
	return netip.Addr{}, false
}

func hasPrefix(b [16]byte, prefix ...byte) bool { return string(b[:len(prefix)]) == string(prefix) }
