package turnsrv

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// expiryMargin is how long before its end an allocation counts as ended. pion removes permissions in the
// timer's goroutine and adds them in the listener's, without a common lock; the margin keeps the two apart.
const expiryMargin = time.Second

// tuple names an allocation: the client's address at one of the server's listeners. With the listener's
// transport it is the 5-tuple of RFC 8656 §2.2.
type tuple struct {
	listener int
	source   netip.AddrPort
}

// allocation is one live allocation.
type allocation struct {
	tuple
	id      identity
	account *account
	relay   *relayConn
	// advertised is what the client was told, local is where the socket is bound. They differ behind NAT.
	advertised, local netip.AddrPort
	permissions       int // at most

	// Guarded by ledger.mu.
	expires time.Time // as far as answers to the client told
	busy    bool      // pion is handling a request for it
	closing bool      // its socket is to be closed as soon as it is not busy
	gone    bool      // released

	peersMu sync.RWMutex
	peers   map[netip.Addr]struct{} // guarded by peersMu: live permissions
}

// owner is whose limits a user id counts against: users "ann/phone" and "ann/laptop" share those of "ann".
func owner(user string) string {
	name, _, _ := strings.Cut(user, "/")
	return name
}

// account is what all allocations of a user share.
type account struct {
	user        string
	allocations int           // guarded by ledger.mu
	rate        *rate.Limiter // nil: no limit
}

// ledger knows all live allocations, and who has how many. Every way in which an allocation ends closes its
// relay socket, and that is where it leaves the ledger.
type ledger struct {
	perUser, perSource, total, bytesPerSecond int
	revoked                                   func(user string, expires int64) bool

	mu           sync.Mutex
	allocations  map[tuple]*allocation
	byAdvertised map[netip.AddrPort]*allocation
	byLocal      map[netip.AddrPort]*allocation
	relayIPs     map[netip.Addr]int // advertised and bound addresses in use
	accounts     map[string]*account
	sources      map[netip.Addr]int
}

func newLedger(cfg Config, revoked func(string, int64) bool) *ledger {
	return &ledger{
		perUser: cfg.PerUser, perSource: cfg.PerSource, total: cfg.Total, bytesPerSecond: cfg.BytesPerSecond,
		revoked:      revoked,
		allocations:  make(map[tuple]*allocation),
		byAdvertised: make(map[netip.AddrPort]*allocation),
		byLocal:      make(map[netip.AddrPort]*allocation),
		relayIPs:     make(map[netip.Addr]int),
		accounts:     make(map[string]*account),
		sources:      make(map[netip.Addr]int),
	}
}

// room says why a user may not have one more allocation, or nothing.
func (l *ledger) room(user string, source netip.Addr) Reason {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.roomLocked(user, source)
}

func (l *ledger) roomLocked(user string, source netip.Addr) Reason {
	if a := l.accounts[owner(user)]; a != nil && a.allocations >= l.perUser {
		return RefusedUserQuota
	}
	if l.sources[sourceKey(source)] >= l.perSource {
		return RefusedSourceQuota
	}
	if len(l.allocations) >= l.total {
		return RefusedTotal
	}
	return ""
}

// add enters a new allocation, busy, unless a limit or a revocation is in the way.
func (l *ledger) add(a *allocation) Reason {
	l.mu.Lock()
	defer l.mu.Unlock()
	if reason := l.roomLocked(a.id.user, a.source.Addr()); reason != "" {
		return reason
	}
	// Asked under mu: a revocation either is seen here, or finds the allocation in closeUser.
	if l.revoked(a.id.user, a.id.expires) {
		return RefusedRevoked
	}
	if l.allocations[a.tuple] != nil || l.byAdvertised[a.advertised] != nil {
		return RefusedFault
	}
	a.account = l.accountLocked(owner(a.id.user))
	a.account.allocations++
	a.busy = true
	l.allocations[a.tuple] = a
	l.byAdvertised[a.advertised] = a
	l.byLocal[a.local] = a
	l.relayIPs[a.advertised.Addr()]++
	l.relayIPs[a.local.Addr()]++
	l.sources[sourceKey(a.source.Addr())]++
	return ""
}

func (l *ledger) accountLocked(user string) *account {
	a := l.accounts[user]
	if a != nil {
		return a
	}
	a = &account{user: user}
	if l.bytesPerSecond > 0 {
		a.rate = rate.NewLimiter(rate.Limit(l.bytesPerSecond), l.bytesPerSecond)
	}
	l.accounts[user] = a
	return a
}

// release takes an allocation out. It may be called more than once.
func (l *ledger) release(a *allocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.gone {
		return
	}
	a.gone = true
	a.account.allocations--
	delete(l.allocations, a.tuple)
	delete(l.byAdvertised, a.advertised)
	delete(l.byLocal, a.local)
	decrement(l.relayIPs, a.advertised.Addr())
	decrement(l.relayIPs, a.local.Addr())
	decrement(l.sources, sourceKey(a.source.Addr()))
}

func decrement(counts map[netip.Addr]int, key netip.Addr) {
	counts[key]--
	if counts[key] <= 0 {
		delete(counts, key)
	}
}

// sweep forgets users without allocations whose byte allowance is whole again: forgetting them earlier would
// give them a new one.
func (l *ledger) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for user, a := range l.accounts {
		if a.allocations == 0 && (a.rate == nil || a.rate.TokensAt(now) >= float64(a.rate.Burst())) {
			delete(l.accounts, user)
		}
	}
}

// take finds the live allocation of a 5-tuple and marks it busy until done.
func (l *ledger) take(t tuple) *allocation {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.allocations[t]
	if a == nil || !a.liveLocked() {
		return nil
	}
	a.busy = true
	return a
}

// known reports whether a 5-tuple has an allocation, be it one that is about to end.
func (l *ledger) known(t tuple) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.allocations[t] != nil
}

// has reports whether a 5-tuple has a live allocation.
func (l *ledger) has(t tuple) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.allocations[t]
	return a != nil && a.liveLocked()
}

func (a *allocation) liveLocked() bool {
	return !a.closing && (a.expires.IsZero() || time.Until(a.expires) > expiryMargin)
}

// done ends what take or add began, and closes the allocation if that was asked for meanwhile.
func (l *ledger) done(a *allocation) {
	l.mu.Lock()
	a.busy = false
	closing := a.closing
	l.mu.Unlock()
	if closing {
		a.relay.interrupt()
	}
}

// extend notes the lifetime that the client was told, for the first time or again.
func (l *ledger) extend(a *allocation, lifetime time.Duration, again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !again && !a.expires.IsZero() {
		return
	}
	a.expires = time.Now().Add(lifetime)
}

// closeWhere ends the allocations that match, at once or when the request in hand has been handled.
func (l *ledger) closeWhere(match func(*allocation) bool) {
	var now []*allocation
	l.mu.Lock()
	for _, a := range l.allocations {
		if !match(a) || a.closing {
			continue
		}
		a.closing = true
		if !a.busy {
			now = append(now, a)
		}
	}
	l.mu.Unlock()
	for _, a := range now {
		a.relay.interrupt()
	}
}

func (l *ledger) closeUser(user string) {
	l.closeWhere(func(a *allocation) bool { return a.id.user == user })
}

// closeTuple ends the allocation of a connection that has ended.
func (l *ledger) closeTuple(t tuple) {
	l.mu.Lock()
	a := l.allocations[t]
	if a == nil || a.closing {
		l.mu.Unlock()
		return
	}
	a.closing = true
	busy := a.busy
	l.mu.Unlock()
	if !busy {
		a.relay.interrupt()
	}
}

// isRelay reports whether an address is one that live allocations use.
func (l *ledger) isRelay(ip netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.relayIPs[ip] > 0
}

// localOf returns where the live allocation with a relayed address is bound.
func (l *ledger) localOf(advertised netip.AddrPort) (netip.AddrPort, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.byAdvertised[advertised]
	if a == nil || a.closing {
		return netip.AddrPort{}, false
	}
	return a.local, true
}

// advertisedOf is the reverse of localOf. Other addresses are returned as they are.
func (l *ledger) advertisedOf(local netip.AddrPort) netip.AddrPort {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.byLocal[local]; a != nil {
		return a.advertised
	}
	return local
}

func (l *ledger) counts() (allocations, users int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.accounts {
		if a.allocations > 0 {
			users++
		}
	}
	return len(l.allocations), users
}

func (l *ledger) find(t tuple) *allocation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.allocations[t]
}

func (a *allocation) permit(peer netip.Addr) {
	a.peersMu.Lock()
	defer a.peersMu.Unlock()
	a.peers[peer] = struct{}{}
}

func (a *allocation) forbid(peer netip.Addr) {
	a.peersMu.Lock()
	defer a.peersMu.Unlock()
	delete(a.peers, peer)
}

func (a *allocation) permitted(peer netip.Addr) bool {
	a.peersMu.RLock()
	defer a.peersMu.RUnlock()
	_, ok := a.peers[peer]
	return ok
}

// fits reports whether the permissions asked for stay within the limit.
func (a *allocation) fits(peers []netip.AddrPort) bool {
	a.peersMu.RLock()
	defer a.peersMu.RUnlock()
	added := make(map[netip.Addr]struct{})
	for _, p := range peers {
		if _, ok := a.peers[p.Addr()]; !ok {
			added[p.Addr()] = struct{}{}
		}
	}
	return len(a.peers)+len(added) <= a.permissions
}
