package signal

import (
	"sync"
	"time"
)

const (
	throttleMax   = 10_000 // keys remembered
	throttleBase  = time.Second
	throttleCap   = 5 * time.Minute
	throttleLapse = 15 * time.Minute

	freeLogins    = 3  // failures at one name from one address before it waits
	freeAddresses = 20 // failures of one address at all names
	freeLookups   = 60 // invitations of one address that do not exist
)

// throttle makes a key wait longer after each attempt beyond a few. It never locks for good.
type throttle struct {
	clock func() time.Time

	mu   sync.Mutex
	keys map[string]*attempts
}

type attempts struct {
	count       int
	until, last time.Time
}

func newThrottle(clock func() time.Time) *throttle {
	return &throttle{clock: clock, keys: make(map[string]*attempts)}
}

// wait says how long a key has to wait before its next attempt, without counting one.
func (t *throttle) wait(key string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a, ok := t.keys[key]; ok {
		return max(0, a.until.Sub(t.clock()))
	}
	return 0
}

// attempt counts one, or says how long the key has to wait before it may make one. Counting comes before
// the attempt's outcome is known, so that many at once are no way around it; undo takes it back.
func (t *throttle) attempt(key string, free int) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock()
	a, ok := t.keys[key]
	if !ok || now.Sub(a.last) > throttleLapse {
		if len(t.keys) >= throttleMax {
			t.forget(now)
		}
		a = &attempts{}
		t.keys[key] = a
	}
	if wait := a.until.Sub(now); wait > 0 {
		return wait
	}
	a.count++
	a.last = now
	if over := a.count - free; over > 0 {
		a.until = now.Add(min(throttleCap, throttleBase<<min(over-1, 12)))
	}
	return 0
}

// undo takes an attempt back that turned out to be good.
func (t *throttle) undo(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a, ok := t.keys[key]; ok {
		a.count, a.until = a.count-1, time.Time{}
	}
}

// clear forgets what a key did before.
func (t *throttle) clear(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.keys, key)
}

// forget drops keys that need not wait any more, and any others if that is not enough.
func (t *throttle) forget(now time.Time) {
	for key, a := range t.keys {
		if now.After(a.until) {
			delete(t.keys, key)
		}
	}
	for key := range t.keys {
		if len(t.keys) < throttleMax {
			return
		}
		delete(t.keys, key)
	}
}
