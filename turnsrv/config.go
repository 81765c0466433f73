package turnsrv

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Limits that hold whatever the configuration says.
const (
	// MaxCredentialTTL is the longest life of a credential, and of an allocation that goes on after its
	// credential has run out.
	MaxCredentialTTL = 12 * time.Hour
	// MinSecret is the least length of a secret in bytes.
	MinSecret = 16
	// MaxUser is the greatest length of a user id in bytes.
	MaxUser = 128
	// MaxRealm is the greatest length of the realm in bytes. The realm stands in every 401, so its length
	// decides how much a forged request is amplified.
	MaxRealm = 32
)

// Defaults for fields of Config that are zero.
const (
	// DefaultRealm has four bytes: a 401 then is 2.4 times the smallest request that gets one.
	DefaultRealm = "turn"
	// DefaultCredentialTTL covers a normal session; a call that lasts longer keeps its allocation.
	DefaultCredentialTTL = time.Hour
	// DefaultPerUser is what a mesh call of eight needs: seven links, each with an allocation per TURN URL
	// (UDP and TCP) and per network interface, of which a laptop has two.
	DefaultPerUser = 32
	// DefaultPerSource lets an office behind one address work.
	DefaultPerSource = 256
	// DefaultTotal keeps the sockets well below the usual limit of open files.
	DefaultTotal = 4096
	// DefaultPermissions is the number of candidates that one session may have.
	DefaultPermissions = 64
	// DefaultBytesPerSecond is 64 Mbit/s: seven video streams of 2.5 Mbit/s in both directions and a file.
	DefaultBytesPerSecond = 8 << 20
	// DefaultRepliesPerSecond is the rate of answers to strangers, per source address.
	DefaultRepliesPerSecond = 20
	// DefaultReplyBurst is how many answers a silent source may get at once.
	DefaultReplyBurst = 100
	// DefaultTCPConns bounds the connections of all TCP listeners together.
	DefaultTCPConns = 4096
	// DefaultTCPConnsPerSource bounds the connections of one source address.
	DefaultTCPConnsPerSource = 256
	// DefaultTCPIdle is how long a connection may be silent, or take for one frame.
	DefaultTCPIdle = 30 * time.Second
	// DefaultMinPort and DefaultMaxPort are the dynamic ports of RFC 6335 §6, as RFC 8656 §7.2 advises.
	DefaultMinPort = 49152
	DefaultMaxPort = 65535
)

// Config is what a Server is made from. New copies it; later changes have no effect.
type Config struct {
	// ListenUDP and ListenTCP are addresses "host:port" that New opens. Port 0 takes a free port. The host
	// decides the family: an IPv6 listener takes IPv6 only.
	ListenUDP, ListenTCP []string
	// PacketConns and Listeners are open sockets that the server takes over and closes. Their addresses
	// must be *net.UDPAddr and *net.TCPAddr. A Listener may speak TLS.
	PacketConns []net.PacketConn
	Listeners   []net.Listener

	// ExternalIPv4 and ExternalIPv6 are the addresses that clients are told when the server stands behind
	// one-to-one NAT. Invalid (the zero value) means: the server's own address that the client reached.
	ExternalIPv4, ExternalIPv6 netip.Addr
	// MinPort and MaxPort bound the ports of allocations. 0 means DefaultMinPort and DefaultMaxPort.
	MinPort, MaxPort uint16

	// Realm is the STUN realm. Empty means DefaultRealm.
	Realm string
	// Secrets make and check credentials.
	Secrets Secrets
	// CredentialTTL is the life of a credential. 0 means DefaultCredentialTTL, the most is MaxCredentialTTL.
	CredentialTTL time.Duration

	// AllowPeers are ranges that may be relayed to although they are refused by default: the networks of a
	// LAN installation. The server's own addresses stay refused, and so do loopback and multicast.
	AllowPeers []netip.Prefix
	// AllowLoopback lets 127.0.0.1 and ::1 be peers. New refuses it unless every listener is on loopback.
	AllowLoopback bool

	// PerUser, PerSource and Total bound live allocations: of one user, of one source address (an IPv6
	// source is its /64), of the server. 0 means the default. What stands behind a slash in a user id tells
	// devices of a user apart, which are revoked one by one and share the user's limits.
	PerUser, PerSource, Total int
	// Permissions bounds the peer addresses of one allocation. 0 means DefaultPermissions.
	Permissions int
	// BytesPerSecond bounds what is relayed for one user, both directions and all allocations together;
	// more is dropped. A second's worth may come at once. 0 means DefaultBytesPerSecond, less means no limit.
	BytesPerSecond int
	// RepliesPerSecond and ReplyBurst bound answers over UDP to unauthenticated requests of one source
	// address. 0 means the default.
	RepliesPerSecond, ReplyBurst int
	// TCPConns and TCPConnsPerSource bound connections. 0 means the default.
	TCPConns, TCPConnsPerSource int
	// TCPIdle is how long a connection without an allocation may be silent, and how long any may take for
	// one frame. 0 means DefaultTCPIdle.
	TCPIdle time.Duration

	// Clock tells the time for credentials. Nil means time.Now.
	Clock func() time.Time
	// Logger gets starts, stops and faults, never an address, a user or a credential. Nil discards.
	Logger *slog.Logger
}

// orDefault returns the default for a field that is zero.
func orDefault[T comparable](value, def T) T {
	var zero T
	if value == zero {
		return def
	}
	return value
}

// withDefaults returns the configuration with every zero field filled in.
func (c Config) withDefaults() Config {
	c.Realm = orDefault(c.Realm, DefaultRealm)
	c.CredentialTTL = orDefault(c.CredentialTTL, DefaultCredentialTTL)
	c.MinPort = orDefault(c.MinPort, DefaultMinPort)
	c.MaxPort = orDefault(c.MaxPort, DefaultMaxPort)
	c.PerUser = orDefault(c.PerUser, DefaultPerUser)
	c.PerSource = orDefault(c.PerSource, DefaultPerSource)
	c.Total = orDefault(c.Total, DefaultTotal)
	c.Permissions = orDefault(c.Permissions, DefaultPermissions)
	c.BytesPerSecond = orDefault(c.BytesPerSecond, DefaultBytesPerSecond)
	c.RepliesPerSecond = orDefault(c.RepliesPerSecond, DefaultRepliesPerSecond)
	c.ReplyBurst = orDefault(c.ReplyBurst, DefaultReplyBurst)
	c.TCPConns = orDefault(c.TCPConns, DefaultTCPConns)
	c.TCPConnsPerSource = orDefault(c.TCPConnsPerSource, DefaultTCPConnsPerSource)
	c.TCPIdle = orDefault(c.TCPIdle, DefaultTCPIdle)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// ErrConfig is wrapped by every error of New and Rotate that a changed configuration cures. The text names
// the field.
var ErrConfig = errors.New("turnsrv: bad configuration")

func badField(field, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrConfig, field, fmt.Sprintf(format, args...))
}

// validate checks a configuration that has its defaults.
func (c Config) validate() error {
	if len(c.ListenUDP)+len(c.ListenTCP)+len(c.PacketConns)+len(c.Listeners) == 0 {
		return badField("ListenUDP", "no listener of any kind is given")
	}
	if len(c.Realm) > MaxRealm {
		return badField("Realm", "%d bytes, the most is %d", len(c.Realm), MaxRealm)
	}
	if c.CredentialTTL < time.Second || c.CredentialTTL > MaxCredentialTTL {
		return badField("CredentialTTL", "%v is not between 1s and %v", c.CredentialTTL, MaxCredentialTTL)
	}
	if c.MinPort > c.MaxPort {
		return badField("MinPort", "%d is above MaxPort %d", c.MinPort, c.MaxPort)
	}
	if a := c.ExternalIPv4; a.IsValid() && (!a.Is4() || a.IsUnspecified()) {
		return badField("ExternalIPv4", "%v is not an IPv4 address that clients can reach", a)
	}
	if a := c.ExternalIPv6; a.IsValid() && (!a.Is6() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified()) {
		return badField("ExternalIPv6", "%v is not an IPv6 address that clients can reach", a)
	}
	if err := c.validateLimits(); err != nil {
		return err
	}
	if err := validateAllowed(c.AllowPeers); err != nil {
		return err
	}
	return c.Secrets.validate()
}

func (c Config) validateLimits() error {
	for _, limit := range []struct {
		field string
		value int
	}{
		{"PerUser", c.PerUser},
		{"PerSource", c.PerSource},
		{"Total", c.Total},
		{"Permissions", c.Permissions},
		{"RepliesPerSecond", c.RepliesPerSecond},
		{"ReplyBurst", c.ReplyBurst},
		{"TCPConns", c.TCPConns},
		{"TCPConnsPerSource", c.TCPConnsPerSource},
	} {
		if limit.value < 1 {
			return badField(limit.field, "%d is less than 1", limit.value)
		}
	}
	if c.BytesPerSecond > 0 && c.BytesPerSecond < maxFrame {
		return badField("BytesPerSecond", "%d is less than one packet (%d)", c.BytesPerSecond, maxFrame)
	}
	if c.TCPIdle < time.Second {
		return badField("TCPIdle", "%v is less than 1s", c.TCPIdle)
	}
	return nil
}

// validateAllowed refuses ranges that no installation may open.
func validateAllowed(prefixes []netip.Prefix) error {
	for _, p := range prefixes {
		if !p.IsValid() {
			return badField("AllowPeers", "an invalid prefix")
		}
		for _, never := range neverAllowed() {
			if p.Overlaps(never) {
				return badField("AllowPeers", "%v overlaps %v, which is never relayed to", p, never)
			}
		}
	}
	return nil
}
