package peer

import "sync"

const (
	// eventQueue is how many events a subscriber may leave unread. What is beyond that is dropped with all that waits, and a
	// MissedEvent says how many there were.
	eventQueue = 1024
	// backlogBytes bounds the texts in the backlog likewise: perhaps nobody ever subscribes.
	backlogBytes = 4 << 20
)

// Subscription delivers events in the order in which they became true. Cancel it when done.
type Subscription struct {
	C      <-chan Event // closed when the client is closed, when its session ended for good, and by Cancel
	cancel func()
}

// Cancel ends the subscription and closes C.
func (s *Subscription) Cancel() { s.cancel() }

// hub fans events out to subscribers. It never blocks whoever has something to tell.
type hub struct {
	mu         sync.Mutex
	subs       map[chan Event]struct{}
	closed     bool
	connection *ConnectionEvent // the last one: new subscribers begin with it
	backlog    chan Event       // what nobody subscribed to yet, for the first who does …
	bytes      int              // … and the size of its texts
	taken      bool             // somebody did
}

// subscribe begins with everything since the start for the first subscriber, and with the present connection for others.
func (h *hub) subscribe() *Subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := make(chan Event, eventQueue)
	switch {
	case h.backlog != nil:
		ch = h.backlog
	case h.connection != nil:
		ch <- *h.connection
	}
	h.taken, h.backlog = true, nil
	return h.add(ch)
}

// join begins with the present connection and leaves the backlog to the first subscriber.
func (h *hub) join() *Subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := make(chan Event, eventQueue)
	if h.connection != nil {
		ch <- *h.connection
	}
	return h.add(ch)
}

// watch is subscribe for the package's own purposes: it leaves the backlog to the first subscriber.
func (h *hub) watch() *Subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.add(make(chan Event, eventQueue))
}

func (h *hub) add(ch chan Event) *Subscription {
	if h.closed {
		close(ch)
		return &Subscription{C: ch, cancel: func() {}}
	}
	if h.subs == nil {
		h.subs = make(map[chan Event]struct{})
	}
	h.subs[ch] = struct{}{}
	return &Subscription{C: ch, cancel: func() { h.drop(ch) }}
}

func (h *hub) drop(ch chan Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.subs[ch]; ok {
		delete(h.subs, ch)
		close(ch)
	}
}

func (h *hub) emit(events ...Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	for _, e := range events {
		if c, ok := e.(ConnectionEvent); ok {
			h.connection = &c
		}
		for ch := range h.subs {
			deliver(ch, e)
		}
		if !h.taken {
			h.keep(e)
		}
	}
}

// keep adds to the backlog.
func (h *hub) keep(e Event) {
	if h.backlog == nil {
		h.backlog = make(chan Event, eventQueue)
	}
	switch e := e.(type) {
	case MessageEvent:
		h.bytes += len(e.Text)
	case StateEvent:
		h.bytes += len(e.Text)
	}
	if h.bytes > backlogBytes {
		h.bytes = 0
		collapse(h.backlog)
		return
	}
	deliver(h.backlog, e)
}

// deliver puts an event into a channel that only the hub writes to.
func deliver(ch chan Event, e Event) {
	select {
	case ch <- e:
	default:
		collapse(ch)
	}
}

// collapse drops all that waits in a channel, and an event that was to follow it.
func collapse(ch chan Event) {
	missed := 1
	for {
		select {
		case old := <-ch:
			if m, ok := old.(MissedEvent); ok {
				missed += m.Count
			} else {
				missed++
			}
			continue
		default:
		}
		ch <- MissedEvent{Count: missed}
		return
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for ch := range h.subs {
		delete(h.subs, ch)
		close(ch)
	}
}
