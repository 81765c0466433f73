package link

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func TestOpenAndExchange(t *testing.T) {
	_, a, b := pair(t, nil, nil)
	l := mustOpen(t, a, b)
	if again := mustOpen(t, a, b); again != l {
		t.Error("Open is not idempotent")
	}
	exchange(t, a, b)
	p := l.Path()
	if p.Kind != Direct || p.Protocol != "udp" || !p.RemoteAddress.IsValid() || p.Since.IsZero() {
		t.Errorf("path %+v", p)
	}
	rtt, err := l.Ping(testContext(t))
	if err != nil || rtt <= 0 {
		t.Errorf("ping %v, %v", rtt, err)
	}
}

// TestGlare opens from both ends at once: one link must come of it, whoever was first.
func TestGlare(t *testing.T) {
	for range 10 {
		t.Run("", func(t *testing.T) {
			_, a, b := pair(t, nil, nil)
			var both sync.WaitGroup
			both.Go(func() { mustOpen(t, a, b) })
			both.Go(func() { mustOpen(t, b, a) })
			both.Wait()
			exchange(t, a, b)
			if x, y := activeID(t, a, b), activeID(t, b, a); x != y {
				t.Errorf("two links: %v and %v", x, y)
			}
		})
	}
}

// onQueue runs f on the queue of a's link to b.
func onQueue(t *testing.T, a, b *side, f func(*Link)) {
	t.Helper()
	l, ok := a.Link(b.self.Account, b.self.Device)
	if !ok {
		t.Fatalf("%s has no link", a.name)
	}
	ran := make(chan struct{})
	if !l.q.push(func() { f(l); close(ran) }) {
		t.Fatalf("%s: link closed", a.name)
	}
	<-ran
}

func activeID(t *testing.T, a, b *side) (id proto.ID) {
	t.Helper()
	onQueue(t, a, b, func(l *Link) {
		if l.active != nil {
			id = l.active.id
		}
	})
	return id
}

// TestEarlyCandidates holds every description back until two candidates have overtaken it.
func TestEarlyCandidates(t *testing.T) {
	w, a, b := pair(t, nil, nil)
	type direction struct {
		held       *pb.Signal
		candidates int
	}
	var mu sync.Mutex
	ways := map[*side]*direction{a: {}, b: {}}
	w.setFilter(func(from, _ *side, sig *pb.Signal) []*pb.Signal {
		mu.Lock()
		defer mu.Unlock()
		way := ways[from]
		if sig.GetDescription() != nil && way.held == nil {
			way.held = sig
			return nil
		}
		if sig.GetCandidate() != nil {
			way.candidates++
			if way.candidates == 2 && way.held != nil {
				return []*pb.Signal{sig, way.held}
			}
		}
		return []*pb.Signal{sig}
	})
	mustOpen(t, a, b)
	exchange(t, a, b)
}

// TestNames puts a name that only multicast DNS knows into every candidate, as browsers do.
func TestNames(t *testing.T) {
	w, a, b := pair(t, nil, nil)
	for _, s := range []*side{a, b} {
		s.resolve = func(_ context.Context, name string) (netip.Addr, error) {
			if name != "0123.local" {
				return netip.Addr{}, errors.New("another name")
			}
			return netip.MustParseAddr("127.0.0.1"), nil
		}
	}
	w.setFilter(func(_, _ *side, sig *pb.Signal) []*pb.Signal {
		if c := sig.GetCandidate(); c.GetCandidate() != "" {
			f := strings.Fields(c.GetCandidate())
			if f[4] != "127.0.0.1" {
				return nil
			}
			f[4] = "0123.local"
			c.Candidate = strings.Join(f, " ")
		}
		return []*pb.Signal{sig}
	})
	mustOpen(t, a, b)
	exchange(t, a, b)
}

// TestPoorSignaling loses, repeats and swaps signals.
func TestPoorSignaling(t *testing.T) {
	for seed := range uint64(4) {
		t.Run("", func(t *testing.T) {
			w, a, b := pair(t, nil, nil)
			var mu sync.Mutex
			random := rand.New(rand.NewPCG(seed, 1))
			held := make(map[*side]*pb.Signal)
			w.setFilter(func(from, _ *side, sig *pb.Signal) []*pb.Signal {
				mu.Lock()
				defer mu.Unlock()
				switch n := random.IntN(10); {
				case n < 3:
					return nil
				case n < 5:
					return []*pb.Signal{sig, sig}
				case n < 7:
					before := held[from]
					held[from] = sig
					if before == nil {
						return nil
					}
					return []*pb.Signal{before}
				default:
					return []*pb.Signal{sig}
				}
			})
			ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
			defer cancel()
			if _, err := a.Open(ctx, b.self.Account, b.self.Device); err != nil {
				t.Fatal(err)
			}
			w.setFilter(nil)
			exchange(t, a, b)
		})
	}
}

// TestLargeFrames sends frames up to the limit and one beyond it.
func TestLargeFrames(t *testing.T) {
	_, a, b := pair(t, nil, nil)
	l := mustOpen(t, a, b)
	for _, size := range []int{0, 1, proto.MaxFragment - 20, proto.MaxFragment, 3 * proto.MaxFragment, proto.MaxFrame - 64} {
		f := typing(0)
		f.GetTyping().Conversation = bytes.Repeat([]byte{7}, size)
		if err := l.Send(testContext(t), f); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		select {
		case e := <-b.frames:
			if got := e.frame.GetTyping().GetConversation(); len(got) != size {
				t.Fatalf("%d bytes arrived as %d", size, len(got))
			}
		case <-time.After(patience):
			t.Fatalf("%d bytes did not arrive", size)
		}
	}
	f := typing(0)
	f.GetTyping().Conversation = make([]byte, proto.MaxFrame)
	if err := l.Send(testContext(t), f); !errors.Is(err, errFrameTooLarge) {
		t.Errorf("too large: %v", err)
	}
	exchange(t, a, b)
}

// TestBackPressure sends more than the window while the receiver does not read, then everything arrives in order.
func TestBackPressure(t *testing.T) {
	const frames = 60
	gate := make(chan struct{})
	var mu sync.Mutex
	var got []byte
	all := make(chan struct{})
	_, a, b := pair(t, nil, func(c *Config) {
		c.OnFrame = func(_ *Link, f *pb.Frame) {
			<-gate
			mu.Lock()
			defer mu.Unlock()
			if got = append(got, f.GetTyping().GetConversation()[0]); len(got) == frames {
				close(all)
			}
		}
	})
	l := mustOpen(t, a, b)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	sent := 0
	for ; sent < frames; sent++ {
		f := typing(0)
		f.GetTyping().Conversation = bytes.Repeat([]byte{byte(sent)}, 100<<10)
		if err := l.Send(ctx, f); err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			break
		}
	}
	if sent == frames {
		t.Fatal("nothing held the sender back")
	}
	close(gate)
	for ; sent < frames; sent++ {
		f := typing(0)
		f.GetTyping().Conversation = bytes.Repeat([]byte{byte(sent)}, 100<<10)
		if err := l.Send(testContext(t), f); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-all:
	case <-time.After(patience):
		t.Fatal("frames are missing")
	}
	for i, n := range got {
		if int(n) != i {
			t.Fatalf("frame %d came as number %d", n, i)
		}
	}
}

func TestIdleClose(t *testing.T) {
	now := time.Now()
	var mu sync.Mutex
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	idle := func(c *Config) { c.IdleTimeout, c.Clock = time.Minute, clock }
	_, a, b := pair(t, idle, nil)
	l := mustOpen(t, a, b)
	until(t, b, "open", isPhase(Open))
	release := l.Hold()
	mu.Lock()
	now = now.Add(2 * time.Minute)
	mu.Unlock()
	l.sweep()
	onQueue(t, a, b, func(l *Link) {
		if l.active == nil {
			t.Error("closed while held")
		}
	})
	release()
	release()
	mu.Lock()
	now = now.Add(2 * time.Minute)
	mu.Unlock()
	l.sweep()
	for _, s := range []*side{a, b} {
		if e := until(t, s, "closed", isPhase(Closed)); e.state.Reason != ReasonIdle {
			t.Errorf("%s: closed with %q", s.name, e.state.Reason)
		}
	}
	<-l.Done()
	var closed *ClosedError
	if err := l.Send(testContext(t), typing(1)); !errors.As(err, &closed) || closed.Reason != ReasonIdle {
		t.Errorf("Send after close: %v", err)
	}
	exchange(t, a, b) // and a new one opens
}

func TestCloseTellsTheOtherEnd(t *testing.T) {
	_, a, b := pair(t, nil, nil)
	mustOpen(t, a, b)
	until(t, b, "open", isPhase(Open))
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if e := until(t, b, "closed", isPhase(Closed)); e.state.Reason != ReasonRestart {
		t.Errorf("closed with %q", e.state.Reason)
	}
	if _, err := a.Open(testContext(t), b.self.Account, b.self.Device); !errors.Is(err, ErrManagerClosed) {
		t.Errorf("Open after Close: %v", err)
	}
}

func TestOffline(t *testing.T) {
	w, a, b := pair(t, nil, nil)
	w.unplug(b)
	var closed *ClosedError
	if _, err := a.Open(testContext(t), b.self.Account, b.self.Device); !errors.As(err, &closed) || closed.Reason != ReasonOffline {
		t.Errorf("Open: %v", err)
	}
}

func TestTimeout(t *testing.T) {
	w, a, b := pair(t, func(c *Config) { c.OpenTimeout = time.Second }, nil)
	w.setFilter(func(*side, *side, *pb.Signal) []*pb.Signal { return nil })
	var closed *ClosedError
	if _, err := a.Open(testContext(t), b.self.Account, b.self.Device); !errors.As(err, &closed) || closed.Reason != ReasonTimeout {
		t.Errorf("Open: %v", err)
	}
}

// TestCrashedPeer starts one end again without a word to the other: the new link takes the old one's place.
func TestCrashedPeer(t *testing.T) {
	w, a, b := pair(t, nil, nil)
	l := mustOpen(t, a, b)
	old := activeID(t, a, b)
	w.unplug(b)
	again := w.add(t, "again", b.id, b.self.Device, nil)
	know(a, again)
	mustOpen(t, again, a)
	exchange(t, again, a)
	if id := activeID(t, a, again); id == old {
		t.Error("the old session is still the active one")
	}
	if now := mustOpen(t, a, again); now != l {
		t.Error("the Link changed although it never closed")
	}
}

func TestTooManyLinks(t *testing.T) {
	w, a, b := pair(t, func(c *Config) { c.MaxLinks = 1 }, nil)
	mustOpen(t, a, b)
	if _, err := a.Open(testContext(t), proto.NewID(), proto.NewID()); !errors.Is(err, ErrTooManyLinks) {
		t.Errorf("Open: %v", err)
	}
	d := proto.NewID()
	c := w.add(t, "third", newIdentity(t, d), d, func(c *Config) { c.OpenTimeout = time.Second })
	know(a, c)
	if _, err := c.Open(testContext(t), a.self.Account, a.self.Device); err == nil {
		t.Error("a link beyond the limit")
	}
}
