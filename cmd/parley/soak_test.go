package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

// soakPlan says how much is sent and how much goes wrong meanwhile. PARLEY_SOAK makes it the long one.
type soakPlan struct {
	seed      uint64
	messages  int
	perSecond rate.Limit
	largest   int           // one in so many has 64 KiB
	calm      time.Duration // between two troubles, on average
}

func planOf(t *testing.T) soakPlan {
	t.Helper()
	p := soakPlan{seed: uint64(time.Now().UnixNano()), messages: 240, perSecond: 60, largest: 60, calm: 1200 * time.Millisecond}
	number := func(name string) (n uint64) {
		if text := os.Getenv(name); text != "" {
			var err error
			if n, err = strconv.ParseUint(text, 10, 64); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		return n
	}
	if n := number("PARLEY_SOAK"); n > 0 {
		p.messages, p.perSecond, p.largest, p.calm = int(n), 80, 200, 3*time.Second
	}
	if n := number("PARLEY_SOAK_SEED"); n > 0 {
		p.seed = n
	}
	return p
}

// soak is two people, one of them with two devices, who write to each other while their server, their programs and their
// links break.
type soak struct {
	soakPlan
	server       *serverProcess
	devices      []*device
	conversation proto.ID
	began        time.Time

	mu     sync.Mutex
	texts  map[string]string // sum by id, of everything that was accepted
	counts map[string]int    // of troubles, by kind
}

// TestNeverLost is issue 2's "never lost, never twice": whatever Send accepted stands once, at the same place, on all three
// devices in the end.
func TestNeverLost(t *testing.T) {
	p := planOf(t)
	t.Logf("seed %d (PARLEY_SOAK_SEED), %d messages", p.seed, p.messages)
	s := newSoak(t, p)
	s.meet(t)
	ctx, calm := context.WithCancel(t.Context())
	var troubles, senders sync.WaitGroup
	troubles.Go(func() { s.breakThings(ctx, t) })
	limit := rate.NewLimiter(p.perSecond, 5)
	for i := range s.devices {
		senders.Go(func() { s.write(t, i, limit) })
	}
	senders.Wait()
	calm()
	troubles.Wait()
	if t.Failed() {
		return
	}
	s.compare(t, s.settle(t))
	s.summary(t)
}

func newSoak(t *testing.T, p soakPlan) *soak {
	t.Helper()
	logs, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(logs.Name())
			t.Logf("end of the processes' log:\n%s", b[max(0, len(b)-20_000):])
		}
		_ = logs.Close()
	})
	s := &soak{soakPlan: p, server: startProcess(t, logs), began: time.Now(), texts: make(map[string]string), counts: make(map[string]int)}
	mia, ben, miaDir, benDir := pair(t, s.server.url)
	s.conversation = proto.PairID(mia.Account(), ben.Account())
	laptop := t.TempDir()
	if _, err := peer.Login(t.Context(), peer.Options{Dir: laptop}, peer.Credentials{Server: s.server.url, User: "ben", Password: testPassword}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*peer.Client{mia, ben, openClient(t, laptop)} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, who := range [][2]string{{"mia", miaDir}, {"ben", benDir}, {"ben's laptop", laptop}} {
		d := newDevice(who[0], who[1], logs)
		d.start(t)
		t.Cleanup(d.kill)
		s.devices = append(s.devices, d)
	}
	return s
}

// meet waits until mia has links to both other devices, so that both paths are used from the start.
func (s *soak) meet(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for _, d := range s.devices {
		for d.linked() == 0 {
			if time.Now().After(deadline) {
				t.Fatalf("%s has no link", d.name)
			}
			s.devices[0].tell(order{Links: &s.conversation})
			<-tick.C
		}
	}
}

// write sends a device's share of the messages. One that was not accepted, because the process was killed, is sent again
// with the same id when that is back.
func (s *soak) write(t *testing.T, device int, limit *rate.Limiter) {
	t.Helper()
	random := rand.New(rand.NewPCG(s.seed, uint64(device)+1))
	d := s.devices[device]
	for n := device; n < s.messages && !t.Failed(); n += len(s.devices) {
		if err := limit.Wait(t.Context()); err != nil {
			return
		}
		draft := peer.Draft{Conversation: s.conversation, ID: proto.NewID(), Text: s.text(random, n)}
		for !t.Failed() {
			r, alive, again := d.ask(order{Send: &draft})
			if alive && r.Accepted == draft.ID.String() {
				break
			}
			if alive {
				t.Errorf("%s: message %d: %+v", d.name, n, r)
				return
			}
			select {
			case <-again:
			case <-d.died:
				return
			}
		}
		s.mu.Lock()
		s.texts[draft.ID.String()] = sum(draft.Text)
		s.mu.Unlock()
	}
}

// text makes message number n: Chinese, emoji and Latin letters, mostly short, some of exactly 64 KiB.
func (s *soak) text(random *rand.Rand, n int) string {
	words := []string{"你好", "明天见", "好的，没问题。", "👋", "👩‍👩‍👧", "🇨🇳", "ok", "see you", "Grüße", "…", "\n", "a longer piece of text without much to say. "}
	var b strings.Builder
	fmt.Fprintf(&b, "%d ", n)
	length := 1 + random.IntN(12)
	if random.IntN(20) == 0 {
		length *= 20
	}
	for range length {
		b.WriteString(words[random.IntN(len(words))])
	}
	if n%s.largest == s.largest/2 {
		for b.Len() < proto.MaxText-4 {
			b.WriteString("字")
		}
		b.WriteString(strings.Repeat("x", proto.MaxText-b.Len()))
	}
	return b.String()
}

// breakThings kills, stops and cuts at random until ctx ends; then everything runs.
func (s *soak) breakThings(ctx context.Context, t *testing.T) {
	t.Helper()
	random := rand.New(rand.NewPCG(s.seed, 0))
	for {
		pause := time.NewTimer(s.calm/2 + time.Duration(random.Int64N(int64(s.calm))))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		if t.Failed() {
			return
		}
		d := s.devices[random.IntN(len(s.devices))]
		away := time.Duration(random.Int64N(int64(s.calm)))
		switch n := random.IntN(10); {
		case n < 3:
			s.count("server killed")
			s.server.kill()
			s.pause(ctx, away)
			s.server.start(t)
		case n < 5:
			s.count("peer killed")
			d.kill()
			s.pause(ctx, away)
			d.start(t)
		case n < 6:
			s.count("server and peer killed")
			s.server.kill()
			d.kill()
			s.pause(ctx, away)
			d.start(t)
			s.pause(ctx, away)
			s.server.start(t)
		case n < 7: // what it holds open breaks at the other ends, and it finds everything changed when it wakes
			s.count("peer frozen")
			d.signal(syscall.SIGSTOP)
			s.pause(ctx, 3*away)
			d.signal(syscall.SIGCONT)
		case n < 9:
			s.count("links cut")
			d.tell(order{Cut: true})
		default:
			s.count("network changed")
			d.tell(order{Network: true})
		}
	}
}

func (s *soak) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (s *soak) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}
