package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

var (
	errCandidateSyntax = errors.New("candidate: malformed")
	errCandidateDenied = errors.New("candidate: address in a denied range")
)

// candidate is a candidate line taken apart (RFC 8839 §5.1) as far as this package looks into it.
type candidate struct {
	fields    []string // of the line without "candidate:"
	transport string   // lower case
	address   string
	port      uint16
	kind      string // host, srflx, prflx, relay
}

const maxCandidateLine = 512 // bytes; the longest that pion and browsers make is under 200

// parseCandidate reads a candidate line, with or without "a=" and "candidate:" before it.
func parseCandidate(line string) (candidate, error) {
	if len(line) > maxCandidateLine {
		return candidate{}, errCandidateSyntax
	}
	line = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(line), "a="), "candidate:")
	f := strings.Fields(line)
	if len(f) < 8 || f[6] != "typ" {
		return candidate{}, errCandidateSyntax
	}
	port, err := strconv.ParseUint(f[5], 10, 16)
	if err != nil {
		return candidate{}, errCandidateSyntax
	}
	return candidate{
		fields: f, transport: strings.ToLower(f[2]), address: f[4], port: uint16(port), kind: strings.ToLower(f[7]),
	}, nil
}

// mdns says whether the address is a name that only multicast DNS resolves, as browsers use to hide host addresses
// (draft-ietf-mmusic-mdns-ice-candidates). No other name is ever resolved.
func (c candidate) mdns() bool {
	return c.kind == "host" && strings.HasSuffix(c.address, ".local") && strings.Count(c.address, ".") == 1
}

// check says whether the candidate may be handed to the ICE agent: UDP (a TCP one makes this device connect to whatever
// the other end names), a literal address, no denied range.
func (c candidate) check(allowLoopback bool) error {
	if c.transport != "udp" {
		return fmt.Errorf("candidate: transport %q is not used", c.transport)
	}
	if c.port == 0 {
		return errCandidateSyntax
	}
	a, err := netip.ParseAddr(c.address)
	if err != nil || a.Zone() != "" {
		return errCandidateSyntax
	}
	if denied(a, allowLoopback) {
		return errCandidateDenied
	}
	return nil
}

// with returns the candidate with another address.
func (c candidate) with(a netip.Addr) candidate {
	c.fields = append([]string(nil), c.fields...)
	c.fields[4] = a.String()
	c.address = a.String()
	return c
}

// String is the line with "candidate:" before it. The related address is left out: the agent has no use for it.
func (c candidate) String() string {
	var b strings.Builder
	b.WriteString("candidate:")
	for i := 0; i < len(c.fields); i++ {
		if c.fields[i] == "raddr" || c.fields[i] == "rport" {
			i++
			continue
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(c.fields[i])
	}
	return b.String()
}

// deniedRanges are never sent to, whoever names them. Private ranges are not among them: two devices on one LAN meet
// there. Link-local is: cloud machines answer metadata on it, and an IPv6 one is useless without its zone.
func deniedRanges() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),
		netip.MustParsePrefix("100.100.100.200/32"), // metadata of a cloud that uses 100.64.0.0/10
		netip.MustParsePrefix("169.254.0.0/16"),     // link-local, metadata
		netip.MustParsePrefix("192.0.0.0/24"),
		netip.MustParsePrefix("192.88.99.0/24"),
		netip.MustParsePrefix("224.0.0.0/4"), // multicast
		netip.MustParsePrefix("240.0.0.0/4"), // reserved, broadcast
		netip.MustParsePrefix("::/96"),       // unspecified, IPv4-compatible
		netip.MustParsePrefix("100::/64"),
		netip.MustParsePrefix("2001::/32"),       // Teredo, embeds IPv4
		netip.MustParsePrefix("2002::/16"),       // 6to4, embeds IPv4
		netip.MustParsePrefix("fd00:ec2::/32"),   // metadata
		netip.MustParsePrefix("fe80::/10"),       // link-local
		netip.MustParsePrefix("fec0::/10"),       // site-local
		netip.MustParsePrefix("ff00::/8"),        // multicast
		netip.MustParsePrefix("64:ff9b:1::/48"),  // local NAT64, embeds IPv4 in several places
		netip.MustParsePrefix("::ffff:0:0:0/96"), // IPv4-translated
	}
}

// denied says whether a packet to the address must not be sent. The address is unmapped first, and of NAT64's prefix
// the IPv4 address inside counts.
func denied(a netip.Addr, allowLoopback bool) bool {
	a = a.Unmap()
	if !a.IsValid() {
		return true
	}
	if netip.MustParsePrefix("64:ff9b::/96").Contains(a) {
		b := a.As16()
		inner := netip.AddrFrom4([4]byte(b[12:]))
		return inner.IsPrivate() || denied(inner, false)
	}
	if a.IsLoopback() {
		return !allowLoopback
	}
	for _, p := range deniedRanges() {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// remoteIPFilter is the same rule for pion, which also asks it about addresses that it learns from packets.
func remoteIPFilter(allowLoopback bool) func(net.IP) bool {
	return func(ip net.IP) bool {
		a, ok := netip.AddrFromSlice(ip)
		return ok && !denied(a, allowLoopback)
	}
}

// splitCandidates takes the candidate lines out of an SDP, so that they go through the same checks as trickled ones.
func splitCandidates(sdp string) (rest string, lines []string) {
	var b strings.Builder
	b.Grow(len(sdp))
	for line := range strings.Lines(sdp) {
		text := strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(text, "a=candidate:"):
			lines = append(lines, strings.TrimPrefix(text, "a="))
		case text == "a=end-of-candidates":
		default:
			b.WriteString(line)
		}
	}
	return b.String(), lines
}

// ufragOf returns the first ICE user fragment of an SDP; all sections of a bundle share it.
func ufragOf(sdp string) string {
	for line := range strings.Lines(sdp) {
		if u, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "a=ice-ufrag:"); ok {
			return u
		}
	}
	return ""
}
