package turnsrv

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

func addrPortUDP(a netip.AddrPort) *net.UDPAddr { return net.UDPAddrFromAddrPort(a) }

// clock is a clock that a test sets.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) forward(d time.Duration) { c.offset.Add(int64(d)) }

// as returns a client with given credentials.
func as(t *testing.T, s *Server, username, password string) *client {
	t.Helper()
	c := dial(t, s, "udp", "")
	c.username, c.password = username, password
	return c
}

func TestCredentials(t *testing.T) {
	var now clock
	s := serve(t, func(c *Config) { c.Clock = now.now })
	username, password, expires := s.Credentials("ann", now.now())
	if got := time.Until(expires); got > DefaultCredentialTTL || got < DefaultCredentialTTL-time.Minute {
		t.Errorf("valid for %v, want %v", got, DefaultCredentialTTL)
	}
	later := strconv.FormatInt(expires.Add(time.Hour).Unix(), 10) + ":ann"
	never := strconv.FormatInt(expires.Add(24*time.Hour).Unix(), 10) + ":ann"
	for name, c := range map[string]*client{
		"another password": as(t, s, username, password+"x"),
		"a longer expiry":  as(t, s, later, password),
		"another user":     as(t, s, username+"a", password),
		"another secret":   as(t, s, username, restPassword([]byte("fedcba9876543210"), username)),
		"no expiry":        as(t, s, "ann", restPassword(testSecret(), "ann")),
		"a sign":           as(t, s, "+"+username, restPassword(testSecret(), "+"+username)),
		"no user":          as(t, s, later[:10]+":", restPassword(testSecret(), later[:10]+":")),
		"beyond the limit": as(t, s, never, restPassword(testSecret(), never)),
	} {
		if code := c.allocateCode(); code != stun.CodeUnauthorized {
			t.Errorf("%s: %v, want 401", name, code)
		}
	}
	c := as(t, s, username, password)
	c.fetchNonce()
	c.realm = stun.NewRealm("other")
	if code := c.allocateCode(); code != stun.CodeUnauthorized {
		t.Errorf("another realm: %v, want 401", code)
	}
	as(t, s, username, password).allocate()
	now.forward(DefaultCredentialTTL)
	if code := as(t, s, username, password).allocateCode(); code != stun.CodeUnauthorized {
		t.Errorf("expired: %v, want 401", code)
	}
	for _, user := range []string{"", "a:b", string(make([]byte, MaxUser+1))} {
		if u, p, e := s.Credentials(user, now.now()); u != "" || p != "" || !e.IsZero() {
			t.Errorf("a credential for user %q", user)
		}
	}
}

// A forged nonce is answered with a fresh one.
func TestStaleNonce(t *testing.T) {
	s := serve(t, nil)
	c := dial(t, s, "udp", "ann")
	c.fetchNonce()
	good := c.nonce
	c.nonce = stun.NewNonce("0123456789ABCDEF")
	if code := c.allocateCode(); code != stun.CodeStaleNonce {
		t.Errorf("forged nonce: %v, want 438", code)
	}
	c.nonce = good
	c.allocate()
}

// A call outlives its credential, not the limit, and nobody else gets in with it.
func TestAllocationOutlivesCredential(t *testing.T) {
	var now clock
	s := serve(t, func(c *Config) { c.Clock = now.now })
	c := dial(t, s, "udp", "ann")
	c.allocate()
	now.forward(2 * time.Hour)
	if code := c.refresh(600); code != 0 {
		t.Errorf("refresh after expiry: %v", code)
	}
	if code := as(t, s, c.username, c.password).allocateCode(); code != stun.CodeUnauthorized {
		t.Errorf("a new allocation after expiry: %v, want 401", code)
	}
	now.forward(MaxCredentialTTL)
	if code := c.refresh(600); code != stun.CodeUnauthorized {
		t.Errorf("refresh after %v: %v, want 401", MaxCredentialTTL, code)
	}
}

func TestRotation(t *testing.T) {
	var now clock
	s := serve(t, func(c *Config) { c.Clock = now.now })
	old := dial(t, s, "udp", "ann")
	oldName, oldPassword := old.username, old.password
	next := Secrets{
		Current: []byte("a new secret of length"), Previous: testSecret(), PreviousUntil: now.now().Add(10 * time.Minute),
	}
	if err := s.Rotate(next); err != nil {
		t.Fatal(err)
	}
	old.allocate()
	fresh := dial(t, s, "udp", "ann")
	fresh.allocate()
	now.forward(11 * time.Minute)
	if code := as(t, s, oldName, oldPassword).allocateCode(); code != stun.CodeUnauthorized {
		t.Errorf("the old secret after the overlap: %v, want 401", code)
	}
	if code := old.refresh(600); code != stun.CodeUnauthorized {
		t.Errorf("refresh with the old secret after the overlap: %v, want 401", code)
	}
	if code := fresh.refresh(600); code != 0 {
		t.Errorf("refresh with the new secret: %v", code)
	}
	if err := s.Rotate(Secrets{Current: []byte("short")}); !errors.Is(err, ErrConfig) {
		t.Errorf("a short secret: %v", err)
	}
}

// Revoking ends allocations on every transport at once, and only those of that user; credentials issued
// afterwards work, even in the same second.
func TestRevoke(t *testing.T) {
	s := serve(t, nil)
	udp, tcp, other := dial(t, s, "udp", "ann"), dial(t, s, "tcp", "ann"), dial(t, s, "udp", "bob")
	udp.allocate()
	tcp.allocate()
	other.allocate()
	s.Revoke("ann")
	eventually(t, "ann's allocations end", func() bool { return s.Stats().Allocations == 1 })
	if code := udp.refresh(600); code != stun.CodeAllocMismatch && code != stun.CodeUnauthorized {
		t.Errorf("refresh after revocation: %v, want 437 or 401", code)
	}
	if code := as(t, s, udp.username, udp.password).allocateCode(); code != stun.CodeUnauthorized {
		t.Errorf("a revoked credential: %v, want 401", code)
	}
	if code := other.refresh(600); code != 0 {
		t.Errorf("another user: %v", code)
	}
	dial(t, s, "udp", "ann").allocate()
	s.Revoke("ann")
	dial(t, s, "udp", "ann").allocate()
}

// The memory of revocations is bounded, and fails closed.
func TestRevocationsBounded(t *testing.T) {
	c := newCredentials("r", time.Hour, Secrets{Current: testSecret()})
	now := time.Unix(1_800_000_000, 0)
	name, _, expires := c.issue("ann", now)
	for i := range maxRevoked + 1 {
		c.revoke(strconv.Itoa(i), now)
	}
	if len(c.revoked) > maxRevoked {
		t.Errorf("%d revocations kept", len(c.revoked))
	}
	if !c.isRevoked("ann", expires.Unix()) {
		t.Errorf("%s still works after the memory was full", name)
	}
	if _, _, fresh := c.issue("ann", now); c.isRevoked("ann", fresh.Unix()) {
		t.Error("a fresh credential is refused")
	}
	c.revoke("bob", now)
	c.sweep(now.Add(14 * time.Hour))
	if len(c.revoked) != 0 {
		t.Error("an old revocation is kept")
	}
}

// Nobody touches the allocation of another user on the same 5-tuple, which is what clients behind one NAT
// that reuses a port look like.
func TestHijack(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			s := serve(t, nil)
			c := dial(t, s, network, "ann")
			relayed := c.allocate()
			name, password := c.username, c.password
			c.username, c.password, _ = s.Credentials("bob", time.Now())
			for what, code := range map[string]stun.ErrorCode{
				"refresh": c.refresh(600), "release": c.refresh(0), "permit": c.permit(relayed), "bind": c.bind(0x4000, relayed),
			} {
				if code != stun.CodeWrongCredentials {
					t.Errorf("%s: %v, want 441", what, code)
				}
			}
			if code := c.allocateCode(); code != stun.CodeAllocMismatch {
				t.Errorf("allocate: %v, want 437", code)
			}
			c.username, c.password = name, password
			if code := c.refresh(600); code != 0 {
				t.Errorf("the owner: %v", code)
			}
			// A credential renewed meanwhile is still the owner's.
			c.username, c.password, _ = s.Credentials("ann", time.Now().Add(time.Minute))
			if code := c.refresh(600); code != 0 {
				t.Errorf("the owner with a new credential: %v", code)
			}
		})
	}
}

// A request that another user sends again under the owner's transaction id does not get the owner's answer.
func TestHijackByRetransmission(t *testing.T) {
	s := serve(t, nil)
	c := dial(t, s, "udp", "ann")
	c.fetchNonce()
	id := stun.NewTransactionIDSetter([12]byte{1, 2, 3})
	first := c.exchange(build(t, stun.MethodAllocate, append([]stun.Setter{id, transportUDP()}, c.credentials()...)...))
	again := c.exchange(build(t, stun.MethodAllocate, append([]stun.Setter{id, transportUDP()}, c.credentials()...)...))
	if codeOf(first) != 0 || codeOf(again) != 0 {
		t.Fatalf("the owner: %v, then %v", codeOf(first), codeOf(again))
	}
	c.username, c.password, _ = s.Credentials("bob", time.Now())
	stolen := c.exchange(build(t, stun.MethodAllocate, append([]stun.Setter{id, transportUDP()}, c.credentials()...)...))
	if codeOf(stolen) != stun.CodeAllocMismatch {
		t.Errorf("another user: %v, want 437", codeOf(stolen))
	}
}

// Without an allocation there is an answer, so that a client learns of a restart at once.
func TestNoAllocation(t *testing.T) {
	s := serve(t, nil)
	c := dial(t, s, "udp", "ann")
	if code := c.refresh(600); code != stun.CodeAllocMismatch {
		t.Errorf("refresh: %v, want 437", code)
	}
	if code := c.permit(netip.MustParseAddrPort("8.8.8.8:1")); code != stun.CodeAllocMismatch {
		t.Errorf("permission: %v, want 437", code)
	}
}

// What is signed and what is appended behind the signature are not mixed up.
func TestTrailingAttribute(t *testing.T) {
	s := serve(t, nil)
	c := dial(t, s, "udp", "ann")
	other := dial(t, s, "udp", "bob")
	c.allocate()
	peer := other.allocate()
	m := build(t, stun.MethodCreatePermission, append([]stun.Setter{xorPeer(peer)}, c.credentials()[:4]...)...)
	if err := xorPeer(netip.MustParseAddrPort("127.0.0.1:5")).AddTo(m); err != nil {
		t.Fatal(err)
	}
	c.write(m.Raw)
	c.refresh(600)
	if s.Stats().Refused[RefusedMalformed] != 1 {
		t.Error("not refused")
	}
}
