package proto

import (
	"net/netip"
	"net/url"
	"strings"
)

// ServerHost is the host name that passwords and log-ins are bound to: that of the server's URL in
// lower case without port or final dot, an address in its shortest form (RFC 5952); every name of the
// own machine is "localhost". Names that are not ASCII must be given as "xn--…" (RFC 5891), as browsers
// have them.
func ServerHost(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Hostname() == "" {
		return "", Errorf(malformed, "%q is not a server address", truncate(rawURL, MaxHost))
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap().WithZone("")
		if addr.IsLoopback() {
			return "localhost", nil
		}
		return addr.String(), nil
	}
	if !isHostName(host) {
		return "", Errorf(malformed, "%q is not a host name of letters, digits, '-' and '.'", truncate(host, MaxHost))
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return "localhost", nil
	}
	return host, nil
}

// isHostName refuses what a browser would read as something else: escapes, other alphabets, and names
// that end in a number, which are IPv4 addresses in odd notations (WHATWG URL, "ends in a number").
func isHostName(host string) bool {
	if host == "" || len(host) > MaxHost {
		return false
	}
	for _, r := range host {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_' {
			return false
		}
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	return last != "" && (last[0] < '0' || last[0] > '9')
}
