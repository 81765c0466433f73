package link

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// noFrames fails if a side got a frame.
func noFrames(t *testing.T, sides ...*side) {
	t.Helper()
	for _, s := range sides {
		select {
		case <-s.frames:
			t.Errorf("%s got a frame", s.name)
		default:
		}
	}
}

// flipFingerprint changes the certificate fingerprint in an SDP.
func flipFingerprint(sdp string) string {
	const mark = "a=fingerprint:sha-256 "
	i := strings.Index(sdp, mark) + len(mark)
	return sdp[:i] + strings.Map(func(r rune) rune {
		switch r {
		case 'A':
			return 'B'
		case 'B':
			return 'A'
		}
		return r
	}, sdp[i:])
}

// TestSwappedFingerprint lets the signaling server put its own fingerprint into the descriptions: both ends refuse.
func TestSwappedFingerprint(t *testing.T) {
	for _, who := range []string{"polite", "impolite"} {
		t.Run(who+" offers", func(t *testing.T) {
			w, a, b := pair(t, nil, nil)
			if who == "impolite" {
				a, b = b, a
			}
			w.setFilter(func(_, _ *side, sig *pb.Signal) []*pb.Signal {
				if d := sig.GetDescription(); d != nil {
					d.Sdp = flipFingerprint(d.GetSdp())
				}
				return []*pb.Signal{sig}
			})
			if _, err := a.Open(testContext(t), b.self.Account, b.self.Device); err == nil {
				t.Fatal("the link opened")
			}
			for _, s := range []*side{a, b} {
				if e := until(t, s, "closed", isPhase(Closed)); e.state.Reason != ReasonRefused {
					t.Errorf("%s: closed with %q", s.name, e.state.Reason)
				}
			}
			noFrames(t, a, b)
		})
	}
}

// TestAlteredAnswer swaps only the answer's fingerprint.
func TestAlteredAnswer(t *testing.T) {
	w, a, b := pair(t, nil, nil)
	w.setFilter(func(_, _ *side, sig *pb.Signal) []*pb.Signal {
		if d := sig.GetDescription(); d != nil {
			if body, err := proto.PeekDescription(d); err == nil && len(body.GetOfferHash()) > 0 {
				d.Sdp = flipFingerprint(d.GetSdp())
			}
		}
		return []*pb.Signal{sig}
	})
	if _, err := a.Open(testContext(t), b.self.Account, b.self.Device); err == nil {
		t.Fatal("the link opened")
	}
	if e := until(t, a, "closed", isPhase(Closed)); e.state.Reason != ReasonRefused {
		t.Errorf("closed with %q", e.state.Reason)
	}
	noFrames(t, a, b)
}

// TestTerminatedDTLS gives the server in the middle even the power to sign descriptions: it terminates DTLS on both sides
// and passes every message on. The proofs do not fit its certificates, and both ends refuse before any frame.
func TestTerminatedDTLS(t *testing.T) {
	w, a, b := pair(t, nil, nil)
	link := proto.NewID()
	toA := newRogue(t, b.self, b.id.devices[b.self.Device], a, link)
	toB := newRogue(t, a.self, a.id.devices[a.self.Device], b, link)
	toA.connect(w)
	toB.connect(w)
	ctx, cancel := context.WithCancel(context.Background())
	var pipes sync.WaitGroup
	for _, way := range [][2]*rogue{{toA, toB}, {toB, toA}} {
		pipes.Go(func() {
			for {
				select {
				case m := <-way[0].messages:
					_ = way[1].dc.Send(m)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	defer pipes.Wait()
	defer cancel()
	for _, s := range []*side{a, b} {
		e := until(t, s, "closed", isPhase(Closed))
		if e.state.Reason != ReasonRefused {
			t.Errorf("%s: closed with %q, %v", s.name, e.state.Reason, e.state.Err)
		}
		if text := fmt.Sprint(e.state.Err); !strings.Contains(text, "proof") && !strings.Contains(text, "other end") {
			t.Errorf("%s: not for the proof, but %q", s.name, text)
		}
	}
	noFrames(t, a, b)
}

// TestProof has a device that owns its key say the proof wrongly in every way.
func TestProof(t *testing.T) {
	older := func(t *testing.T, id *identity, d proto.ID) *proto.DeviceList { // version 1, after version 2 was known
		t.Helper()
		old := id.list
		id.sign(t, 2, d)
		return old
	}
	for _, c := range []struct {
		name   string
		change func(open *pb.LinkOpen, own, other *proto.LinkEnd)
		ok     bool
	}{
		{"right", func(*pb.LinkOpen, *proto.LinkEnd, *proto.LinkEnd) {}, true},
		{"other's fingerprint", func(_ *pb.LinkOpen, _, other *proto.LinkEnd) { other.Fingerprint = make([]byte, 32) }, false},
		{"own fingerprint", func(_ *pb.LinkOpen, own, _ *proto.LinkEnd) { own.Fingerprint = make([]byte, 32) }, false},
		{"other's nonce", func(_ *pb.LinkOpen, _, other *proto.LinkEnd) { other.Nonce = make([]byte, 32) }, false},
		{"own nonce", func(_ *pb.LinkOpen, own, _ *proto.LinkEnd) { own.Nonce = make([]byte, 32) }, false},
		{"short nonce", func(open *pb.LinkOpen, own, _ *proto.LinkEnd) {
			open.Nonce = open.GetNonce()[:16]
			own.Nonce = open.GetNonce()
		}, false},
		{"nonce sent back", func(open *pb.LinkOpen, own, other *proto.LinkEnd) {
			open.Nonce, own.Nonce = other.Nonce, other.Nonce
		}, false},
		{"ends swapped", func(_ *pb.LinkOpen, own, other *proto.LinkEnd) { *own, *other = *other, *own }, false},
		{"version", func(open *pb.LinkOpen, own, _ *proto.LinkEnd) { open.ListVersion, own.ListVersion = 9, 9 }, false},
		{"no list", func(open *pb.LinkOpen, _, _ *proto.LinkEnd) { open.DeviceList = nil }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, victim, other := pair(t, nil, nil)
			w.unplug(other)
			r := newRogue(t, other.self, other.id.devices[other.self.Device], victim, proto.NewID())
			r.connect(w)
			r.prove(other.id, c.change)
			want := Closed
			if c.ok {
				want = Open
			}
			e := until(t, victim, want.String(), func(s State) bool { return s.Phase == Open || s.Phase == Closed })
			if e.state.Phase != want || !c.ok && e.state.Reason != ReasonRefused {
				t.Errorf("%v (%s, %v)", e.state.Phase, e.state.Reason, e.state.Err)
			}
			noFrames(t, victim)
		})
	}
	t.Run("list lower than known", func(t *testing.T) {
		w, victim, other := pair(t, nil, nil)
		w.unplug(other)
		old := older(t, other.id, other.self.Device)
		know(victim, other) // version 2
		r := newRogue(t, other.self, other.id.devices[other.self.Device], victim, proto.NewID())
		r.connect(w)
		other.id.list = old
		r.prove(other.id, nil)
		if e := until(t, victim, "closed", isPhase(Closed)); e.state.Reason != ReasonRefused {
			t.Errorf("closed with %q", e.state.Reason)
		}
	})
	t.Run("list of another identity", func(t *testing.T) {
		w, victim, other := pair(t, nil, nil)
		w.unplug(other)
		r := newRogue(t, other.self, other.id.devices[other.self.Device], victim, proto.NewID())
		r.connect(w)
		fake := newIdentity(t, other.self.Device)
		fake.account, fake.devices = other.id.account, other.id.devices
		fake.sign(t, 1, other.self.Device)
		r.prove(fake, nil)
		if e := until(t, victim, "closed", isPhase(Closed)); e.state.Reason != ReasonRefused {
			t.Errorf("closed with %q", e.state.Reason)
		}
	})
	t.Run("frame before the proof", func(t *testing.T) {
		w, victim, other := pair(t, nil, nil)
		w.unplug(other)
		r := newRogue(t, other.self, other.id.devices[other.self.Device], victim, proto.NewID())
		r.connect(w)
		r.frame(typing(1))
		if e := until(t, victim, "closed", isPhase(Closed)); e.state.Reason != ReasonRefused {
			t.Errorf("closed with %q", e.state.Reason)
		}
		noFrames(t, victim)
	})
	t.Run("frame beyond the limit", func(t *testing.T) {
		w, victim, other := pair(t, nil, nil)
		w.unplug(other)
		r := newRogue(t, other.self, other.id.devices[other.self.Device], victim, proto.NewID())
		r.connect(w)
		r.prove(other.id, nil)
		until(t, victim, "open", isPhase(Open))
		piece := make([]byte, proto.MaxFragment)
		piece[0] = 1
		for range proto.MaxFrame/proto.MaxFragment + 2 {
			_ = r.dc.Send(piece) // the last ones may find it closed
		}
		if e := until(t, victim, "closed", isPhase(Closed)); e.state.Reason != ReasonRefused {
			t.Errorf("closed with %q", e.state.Reason)
		}
		noFrames(t, victim)
	})
}

func TestDeviceNotInList(t *testing.T) {
	w, a, b := pair(t, nil, nil)
	stranger := proto.NewID()
	b.id.devices[stranger] = newIdentity(t, stranger).devices[stranger]
	r := newRogue(t, peerID{b.self.Account, stranger}, b.id.devices[stranger], a, proto.NewID())
	refused := make(chan struct{})
	w.mu.Lock()
	w.rogues[stranger] = func(sig *pb.Signal) {
		if sig.GetClose().GetReason() == ReasonRefused {
			close(refused)
		}
	}
	w.mu.Unlock()
	r.send(r.offer())
	select {
	case <-refused:
	case <-time.After(patience):
		t.Fatal("not refused")
	}
	until(t, a, "closed", isPhase(Closed))
}

// TestReplay plays an old offer again: to a Manager that remembers the link, and to one that was started anew.
func TestReplay(t *testing.T) {
	w, a, b := pair(t, nil, nil)
	var mu sync.Mutex
	var old []*pb.Signal
	w.setFilter(func(from, _ *side, sig *pb.Signal) []*pb.Signal {
		mu.Lock()
		defer mu.Unlock()
		if from == a {
			old = append(old, sig)
		}
		return []*pb.Signal{sig}
	})
	l := mustOpen(t, a, b)
	exchange(t, a, b)
	id := activeID(t, b, a)
	play := func(to *side) {
		mu.Lock()
		defer mu.Unlock()
		for _, sig := range old {
			to.HandleSignal(a.self.Account, a.self.Device, sig)
		}
	}

	play(b) // while the link is open
	exchange(t, a, b)
	if activeID(t, b, a) != id {
		t.Error("a replayed offer replaced an open link")
	}

	l.Close(ReasonIdle)
	until(t, b, "closed", isPhase(Closed))
	drain(b)
	play(b)
	if e := until(t, b, "closed", isPhase(Closed)); e.state.Reason != ReasonRefused {
		t.Errorf("closed with %q", e.state.Reason)
	}

	w.unplug(a)
	w.unplug(b)
	again := w.add(t, "again", b.id, b.self.Device, func(c *Config) { c.OpenTimeout = 2 * time.Second })
	know(a, again)
	play(again)
	until(t, again, "closed", func(s State) bool {
		if s.Phase == Open {
			t.Error("a replayed offer opened a link")
		}
		return s.Phase == Closed
	})
	noFrames(t, again)
}

// TestForgedClose lets the server say in the other end's name that the link is over.
func TestForgedClose(t *testing.T) {
	_, a, b := pair(t, nil, nil)
	l := mustOpen(t, a, b)
	id := activeID(t, a, b)
	a.HandleSignal(b.self.Account, b.self.Device, &pb.Signal{
		Link: id.Bytes(), Kind: &pb.Signal_Close{Close: &pb.LinkClose{Reason: ReasonIdle}},
	})
	exchange(t, a, b)
	if now := mustOpen(t, a, b); now != l {
		t.Error("the link was closed")
	}
}

// TestDeniedCandidates throws 500 candidates at a Manager and counts what arrives where it must not send.
func TestDeniedCandidates(t *testing.T) {
	for _, loopback := range []bool{false, true} {
		t.Run(fmt.Sprintf("loopback %v", loopback), func(t *testing.T) {
			canary, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			hits := make(chan struct{}, 1024)
			var reader sync.WaitGroup
			reader.Go(func() {
				buffer := make([]byte, 2048)
				for {
					if _, _, err := canary.ReadFrom(buffer); err != nil {
						return
					}
					select {
					case hits <- struct{}{}:
					default:
					}
				}
			})
			defer reader.Wait()
			defer func() { _ = canary.Close() }()
			w, victim, other := pair(t, func(c *Config) { c.AllowLoopback, c.OpenTimeout = loopback, 2*time.Second }, nil)
			w.unplug(other)
			r := newRogue(t, other.self, other.id.devices[other.self.Device], victim, proto.NewID())
			w.mu.Lock()
			w.rogues[other.self.Device] = func(*pb.Signal) {}
			w.mu.Unlock()
			offer := r.offer()
			u := ufragOf(offer.GetDescription().GetSdp())
			port := canary.LocalAddr().(*net.UDPAddr).Port
			sdp, _ := splitCandidates(offer.GetDescription().GetSdp())
			for _, ip := range []string{"127.0.0.1", "127.0.0.2", "::ffff:127.0.0.1"} {
				sdp += fmt.Sprintf("a=candidate:1 1 udp 2130706431 %s %d typ host\r\n", ip, port)
			}
			body, err := proto.PeekDescription(offer.GetDescription())
			if err != nil {
				t.Fatal(err)
			}
			signed, err := proto.SignDescription(r.key, body, sdp)
			if err != nil {
				t.Fatal(err)
			}
			r.send(&pb.Signal{Link: r.link.Bytes(), Kind: &pb.Signal_Description{Description: signed}})
			for n := range 500 {
				ip := []string{"127.0.0.1", "169.254.169.254", "localhost", "0.0.0.0", "::1", "canary.example.org"}[n%6]
				kind := []string{"udp", "tcp"}[n/6%2]
				r.send(&pb.Signal{Link: r.link.Bytes(), Kind: &pb.Signal_Candidate{Candidate: &pb.Candidate{
					Candidate: fmt.Sprintf("candidate:%d 1 %s 2130706431 %s %d typ host", n, kind, ip, port), Mid: "0", Ufrag: u,
				}}})
			}
			until(t, victim, "closed", isPhase(Closed))
			if got := len(hits) > 0; got != loopback {
				t.Errorf("packets at the canary: %v", got)
			}
			if victim.Dropped() < 300 {
				t.Errorf("%d signals dropped of 500", victim.Dropped())
			}
		})
	}
}
