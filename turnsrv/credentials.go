package turnsrv

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the TURN REST scheme names HMAC-SHA1
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pion/stun/v3"
)

// maxRevoked bounds the revocations that are remembered one by one. See credentials.revoke.
const maxRevoked = 1 << 16

// Secrets make and check credentials. Credentials are issued with Current; Previous is accepted too, until
// PreviousUntil, so that a rotation ends no session.
type Secrets struct {
	// Current has MinSecret bytes or more.
	Current []byte
	// Previous is empty or has MinSecret bytes or more.
	Previous []byte
	// PreviousUntil is when Previous stops being accepted, for running allocations too. It must be set when
	// Previous is.
	PreviousUntil time.Time
}

func (s Secrets) validate() error {
	if len(s.Current) < MinSecret {
		return badField("Secrets.Current", "%d bytes, the least is %d", len(s.Current), MinSecret)
	}
	if len(s.Previous) > 0 && len(s.Previous) < MinSecret {
		return badField("Secrets.Previous", "%d bytes, the least is %d", len(s.Previous), MinSecret)
	}
	if len(s.Previous) > 0 && s.PreviousUntil.IsZero() {
		return badField("Secrets.PreviousUntil", "must be set when Previous is")
	}
	return nil
}

func (s Secrets) clone() Secrets {
	s.Current, s.Previous = slices.Clone(s.Current), slices.Clone(s.Previous)
	return s
}

// identity is who sent a request. Only credentials.verify makes one that has a user.
type identity struct {
	user     string
	username string // as it came: "expiry:user"
	expires  int64  // Unix seconds
	key      stun.MessageIntegrity
}

// credentials issues, checks and revokes TURN REST credentials.
type credentials struct {
	realm string
	ttl   time.Duration

	mu      sync.Mutex
	secrets Secrets          // guarded by mu
	revoked map[string]int64 // guarded by mu: user to the last expiry that is refused
	floor   int64            // guarded by mu: the last expiry that is refused for everybody
}

func newCredentials(realm string, ttl time.Duration, secrets Secrets) *credentials {
	return &credentials{realm: realm, ttl: ttl, secrets: secrets.clone(), revoked: make(map[string]int64)}
}

func (c *credentials) rotate(s Secrets) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secrets = s.clone()
}

// validUser reports whether a user id can stand in a username.
func validUser(user string) bool {
	return user != "" && len(user) <= MaxUser && !strings.Contains(user, ":")
}

// issue makes a credential. A credential issued in the very second of a revocation expires a second later
// than others would, which tells it from those that the revocation ended.
func (c *credentials) issue(user string, now time.Time) (username, password string, expires time.Time) {
	if !validUser(user) {
		return "", "", time.Time{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	expiry := max(now.Add(c.ttl).Unix(), c.revoked[user]+1, c.floor+1)
	username = strconv.FormatInt(expiry, 10) + ":" + user
	return username, restPassword(c.secrets.Current, username), time.Unix(expiry, 0)
}

// restPassword is the password of the TURN REST scheme.
func restPassword(secret []byte, username string) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// revoke refuses all credentials of a user that were issued so far. The memory is bounded: with maxRevoked
// users revoked within one TTL, everybody's credentials issued so far are refused instead, and clients fetch
// new ones.
func (c *credentials) revoke(user string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := max(now.Add(c.ttl).Unix(), c.revoked[user])
	c.revoked[user] = last
	if len(c.revoked) <= maxRevoked {
		return
	}
	for _, expiry := range c.revoked {
		c.floor = max(c.floor, expiry)
	}
	clear(c.revoked)
}

// sweep forgets revocations that no credential can outlive.
func (c *credentials) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for user, expiry := range c.revoked {
		if time.Unix(expiry, 0).Add(MaxCredentialTTL).Before(now) {
			delete(c.revoked, user)
		}
	}
}

func (c *credentials) isRevoked(user string, expiry int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return expiry <= c.floor || expiry <= c.revoked[user]
}

// accepted returns the secrets that are valid now.
func (c *credentials) accepted(now time.Time) [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	secrets := [][]byte{c.secrets.Current}
	if len(c.secrets.Previous) > 0 && now.Before(c.secrets.PreviousUntil) {
		secrets = append(secrets, c.secrets.Previous)
	}
	return secrets
}

// verify checks who sent a request. running is the username of the allocation on the request's 5-tuple, or
// empty: that allocation may go on after its credential has run out, for MaxCredentialTTL after it was
// issued, since a client cannot change the credential of an allocation and a call may outlast it.
func (c *credentials) verify(m *stun.Message, running string, now time.Time) (identity, Reason) {
	var name stun.Username
	var realm stun.Realm
	if name.GetFrom(m) != nil || realm.GetFrom(m) != nil || realm.String() != c.realm {
		return identity{}, RefusedCredential
	}
	id, ok := parseUsername(name.String())
	if !ok {
		return identity{}, RefusedCredential
	}
	expires := time.Unix(id.expires, 0)
	// issue never goes more than a second beyond the TTL, except after a revocation in the same second.
	if expires.After(now.Add(MaxCredentialTTL + time.Minute)) {
		return identity{}, RefusedCredential
	}
	if !now.Before(expires) {
		if id.username != running || !now.Before(expires.Add(MaxCredentialTTL-c.ttl)) {
			return identity{}, RefusedExpired
		}
	}
	for _, secret := range c.accepted(now) {
		key := stun.NewLongTermIntegrity(id.username, c.realm, restPassword(secret, id.username))
		if key.Check(m) != nil {
			continue
		}
		if c.isRevoked(id.user, id.expires) {
			return identity{}, RefusedRevoked
		}
		id.key = key
		return id, ""
	}
	return identity{}, RefusedCredential
}

// parseUsername splits "expiry:user". The expiry is decimal digits without sign or leading zero.
func parseUsername(username string) (identity, bool) {
	digits, user, ok := strings.Cut(username, ":")
	if !ok || !validUser(user) {
		return identity{}, false
	}
	expires, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || expires < 0 || strconv.FormatInt(expires, 10) != digits {
		return identity{}, false
	}
	return identity{user: user, username: username, expires: expires}, true
}
