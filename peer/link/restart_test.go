package link

import (
	"sync"
	"testing"

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
