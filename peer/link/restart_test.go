package link

import (
	"bytes"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/transport/v5/vnet"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// ufrag returns the ICE user fragment of a's active session.
func ufrag(t *testing.T, a, b *side) (u string) {
	t.Helper()
	onQueue(t, a, b, func(l *Link) {
		if l.active != nil {
			u = l.active.localUfrag
		}
	})
	return u
}

func drain(s *side) {
	for {
		select {
		case <-s.states:
		default:
			return
		}
	}
}

func TestRestartOverSocket(t *testing.T) {
	_, a, b := pair(t, nil, nil)
	mustOpen(t, a, b)
	exchange(t, a, b)
	id, before := activeID(t, a, b), ufrag(t, a, b)
	drain(a)
	drain(b)
	a.NetworkChanged()
	for _, s := range []*side{a, b} {
		until(t, s, "restarting", isPhase(Restarting))
		until(t, s, "open again", isPhase(Open))
	}
	exchange(t, a, b)
	if activeID(t, a, b) != id || ufrag(t, a, b) == before {
		t.Error("not an ICE restart of the same session")
	}
}

// TestRestartGlare restarts from both ends at once. pion has no rollback; the polite side has to get along without.
func TestRestartGlare(t *testing.T) {
	_, a, b := pair(t, nil, nil)
	mustOpen(t, a, b)
	exchange(t, a, b)
	id := activeID(t, a, b)
	for range 3 {
		drain(a)
		drain(b)
		var both sync.WaitGroup
		both.Go(a.NetworkChanged)
		both.Go(b.NetworkChanged)
		both.Wait()
		for _, s := range []*side{a, b} {
			until(t, s, "restarting", isPhase(Restarting))
			until(t, s, "open again", isPhase(Open))
		}
		exchange(t, a, b)
	}
	if activeID(t, a, b) != id {
		t.Error("another session")
	}
}

// TestRestartWithoutServer rebuilds the path while no socket is there, through the control channel alone.
func TestRestartWithoutServer(t *testing.T) {
	w, a, b := pair(t, nil, nil)
	mustOpen(t, a, b)
	exchange(t, a, b)
	old := activeID(t, a, b)
	a.port.setDown(true)
	b.port.setDown(true)
	w.setFilter(func(_, _ *side, sig *pb.Signal) []*pb.Signal {
		t.Errorf("a signal through the dead server: %v", sig)
		return nil
	})
	a.NetworkChanged()
	l, _ := a.Link(b.self.Account, b.self.Device)
	ctx := testContext(t)
	for activeID(t, a, b) == old || activeID(t, b, a) == old {
		if _, err := l.Ping(ctx); err != nil {
			t.Fatal(err)
		}
	}
	exchange(t, a, b)
}

// TestLostAnswer loses the answer to an offer of the impolite side, and then the network that it went over: the restart
// that the polite side offers meanwhile must not keep the repeated answer from being taken.
func TestLostAnswer(t *testing.T) {
	n := newInternet(t, commonNAT(), time.Millisecond)
	move := &roaming{Net: n.homes[0], now: n.homes[0]}
	_, a, b := pair(t, func(c *Config) {
		n.config(0, false)(c)
		c.Net = move
	}, n.config(1, false))
	mustOpen(t, a, b)
	exchange(t, a, b)
	id := activeID(t, a, b)
	untilSession(t, b, a, func(s *session) bool { return s.settled() }) // what follows the proof is over
	n.setFilter(func(c vnet.Chunk) bool { return !strings.HasPrefix(c.SourceAddr().String(), "20.0.1.2:") })
	var offered []byte
	onQueue(t, b, a, func(l *Link) {
		if err := l.active.negotiate(false); err != nil {
			t.Error(err)
		}
		offered = l.active.offerHash
	})
	untilSession(t, a, b, func(s *session) bool { return bytes.Equal(s.answerTo, offered) })
	drain(a)
	move.move(n.homes[2])
	a.NetworkChanged()
	until(t, a, "restarting", isPhase(Restarting))
	until(t, a, "open again", isPhase(Open))
	exchange(t, a, b)
	if activeID(t, a, b) != id {
		t.Error("another session")
	}
}

// untilSession waits until is holds for a's active session with b.
func untilSession(t *testing.T, a, b *side, is func(*session) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		done := false
		onQueue(t, a, b, func(l *Link) { done = l.active != nil && is(l.active) })
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: never as expected", a.name)
		}
		runtime.Gosched()
	}
}
