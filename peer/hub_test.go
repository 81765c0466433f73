package peer

import (
	"strings"
	"testing"
)

// take reads what is in a subscription now.
func take(s *Subscription) (events []Event) {
	for {
		select {
		case e, open := <-s.C:
			if !open {
				return events
			}
			events = append(events, e)
		default:
			return events
		}
	}
}

// TestHubBacklog is that nothing is missed between opening and subscribing, and that later subscribers learn the present
// connection.
func TestHubBacklog(t *testing.T) {
	var h hub
	h.emit(ConnectionEvent{Online: true}, TypingEvent{Stopped: true})
	own := h.watch()
	if got := take(own); len(got) != 0 {
		t.Errorf("a watcher was given %v", got)
	}
	first, second := h.subscribe(), h.subscribe()
	if got := take(first); len(got) != 2 || got[0] != (ConnectionEvent{Online: true}) || got[1] != (TypingEvent{Stopped: true}) {
		t.Errorf("the first subscriber got %v", got)
	}
	if got := take(second); len(got) != 1 || got[0] != (ConnectionEvent{Online: true}) {
		t.Errorf("the second subscriber got %v", got)
	}
	h.emit(MissedEvent{})
	for name, s := range map[string]*Subscription{"own": own, "first": first, "second": second} {
		if got := take(s); len(got) != 1 {
			t.Errorf("%s got %v", name, got)
		}
	}
	second.Cancel()
	second.Cancel() // twice does no harm
	h.close()
	h.emit(MissedEvent{})
	for _, s := range []*Subscription{first, second, h.subscribe(), h.watch()} {
		take(s)
		if _, open := <-s.C; open {
			t.Error("a subscription outlived the hub")
		}
	}
}

// TestHubSlowSubscriber is a subscriber who does not read: nobody waits for it, and it is told how much it missed.
func TestHubSlowSubscriber(t *testing.T) {
	var h hub
	slow, quick := h.subscribe(), h.subscribe()
	total := 0
	for range 3*eventQueue + 7 {
		h.emit(TypingEvent{})
		if got := take(quick); len(got) != 1 || got[0] != (TypingEvent{}) {
			t.Fatalf("the quick subscriber got %v", got)
		}
		total++
	}
	accounted := 0
	got := take(slow)
	for i, e := range got {
		if missed, ok := e.(MissedEvent); ok {
			if i != 0 {
				t.Errorf("the notice stands at %d, behind what came after it", i)
			}
			accounted += missed.Count
			continue
		}
		accounted++
	}
	if accounted != total {
		t.Errorf("%d of %d events are accounted for", accounted, total)
	}
	h.close()
}

// TestHubLargeBacklog keeps few of many large messages for a subscriber who may never come.
func TestHubLargeBacklog(t *testing.T) {
	var h hub
	large := MessageEvent{Message{Text: strings.Repeat("x", 64<<10)}}
	const total = 500
	for range total {
		h.emit(large)
	}
	accounted, bytes := 0, 0
	for _, e := range take(h.subscribe()) {
		switch e := e.(type) {
		case MissedEvent:
			accounted += e.Count
		case MessageEvent:
			accounted++
			bytes += len(e.Text)
		}
	}
	if accounted != total || bytes > backlogBytes {
		t.Errorf("%d of %d events are accounted for, with %d bytes", accounted, total, bytes)
	}
}
