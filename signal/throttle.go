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
)

// throttle makes a key wait longer after each failure beyond a few. It never locks for good.
type throttle struct {
	mu   sync.Mutex
	keys map[string]*failures
}

type failures struct {
	count       int
	until, last time.Time
}

func newThrottle() *throttle { return &throttle{keys: make(map[string]*failures)} }

func (t *throttle) wait(key string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.keys[key]
	if !ok {
		return 0
	}
	return max(0, time.Until(f.until))
}

func (t *throttle) failed(key string, free int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	f, ok := t.keys[key]
	if !ok || now.Sub(f.last) > throttleLapse {
		if len(t.keys) >= throttleMax {
			t.forget(now)
		}
		f = &failures{}
		t.keys[key] = f
	}
	f.count++
	f.last = now
	if over := f.count - free; over > 0 {
		f.until = now.Add(min(throttleCap, throttleBase<<min(over-1, 12)))
	}
}

// forget drops keys that need not wait any more, or any if all do.
func (t *throttle) forget(now time.Time) {
	for key, f := range t.keys {
		if now.After(f.until) {
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

func (t *throttle) succeeded(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.keys, key)
}
