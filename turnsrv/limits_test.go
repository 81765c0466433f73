package turnsrv

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

// Every way in which an allocation ends gives its place back.
func TestQuotaReleased(t *testing.T) {
	s := serve(t, func(c *Config) { c.PerUser = 1 })
	live := func(n int) func() bool { return func() bool { return s.Stats().Allocations == n } }
	c := dial(t, s, "udp", "ann")
	c.allocate()
	for _, network := range []string{"udp", "tcp"} {
		if code := dial(t, s, network, "ann").allocateCode(); code != stun.CodeAllocQuotaReached {
			t.Errorf("second allocation over %s: %v, want 486", network, code)
		}
	}
	dial(t, s, "udp", "bob").allocate() // nobody else feels it
	if code := c.refresh(0); code != 0 {
		t.Fatalf("release: %v", code)
	}
	eventually(t, "release by refresh", live(1))

	tcp := dial(t, s, "tcp", "ann")
	tcp.allocate()
	if err := tcp.conn.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "release by closing the connection", live(1))

	short := dial(t, s, "udp", "ann")
	short.allocate(lifetime(1))
	eventually(t, "release by expiry", live(1))

	dial(t, s, "udp", "ann").allocate()
	s.Revoke("ann")
	eventually(t, "release by revocation", live(1))

	again := dial(t, s, "udp", "ann")
	again.allocate()
	for range 20 { // the same 5-tuple at once
		if code := again.refresh(0); code != 0 {
			t.Fatalf("release: %v", code)
		}
		again.allocate()
	}
	if got := s.Stats(); got.Allocations != 2 || got.Refused[RefusedUserQuota] != 2 {
		t.Errorf("at the end: %+v", got)
	}
	if code := again.refresh(600); code != 0 {
		t.Errorf("the last allocation is gone: %v", code)
	}
	s.Revoke("ann")
	s.Revoke("bob")
	eventually(t, "the end of all", live(0))
	l := s.ledger
	if n := len(l.byAdvertised) + len(l.byLocal) + len(l.relayIPs) + len(l.sources); n != 0 {
		t.Errorf("%d entries are left of ended allocations", n)
	}
}

// Devices of a user share its limits, and are revoked one by one.
func TestDevicesShareLimits(t *testing.T) {
	s := serve(t, func(c *Config) { c.PerUser = 2 })
	phone, laptop := dial(t, s, "udp", "ann/phone"), dial(t, s, "udp", "ann/laptop")
	phone.allocate()
	laptop.allocate()
	if code := dial(t, s, "udp", "ann/tablet").allocateCode(); code != stun.CodeAllocQuotaReached {
		t.Errorf("a third device: %v, want 486", code)
	}
	dial(t, s, "udp", "anna/phone").allocate() // somebody else
	s.Revoke("ann/phone")
	eventually(t, "the phone's allocation ends", func() bool { return s.Stats().Allocations == 2 })
	if code := laptop.refresh(600); code != 0 {
		t.Errorf("the laptop's allocation: %v", code)
	}
	if code := as(t, s, phone.username, phone.password).allocateCode(); code != stun.CodeUnauthorized {
		t.Errorf("the phone's credential: %v, want 401", code)
	}
	dial(t, s, "udp", "ann/tablet").allocate() // has its place
}

// Once pion has closed an allocation, its reader ends without returning to pion, which would remove the next
// allocation of the same 5-tuple.
func TestClosedRelayEndsItsReader(t *testing.T) {
	s := serve(t, nil)
	for _, byPion := range []bool{true, false} {
		socket, err := openRelay(netip.MustParseAddr("127.0.0.1"), DefaultMinPort, DefaultMaxPort, 1)
		if err != nil {
			t.Fatal(err)
		}
		var running sync.WaitGroup
		running.Add(1)
		a := &allocation{gone: true}
		r := &relayConn{socket: socket, alloc: a, policy: s.policy, stats: s.stats, wg: &running}
		returned := make(chan bool, 1)
		go func() {
			came := false
			defer func() { returned <- came }()
			_, _, _ = r.ReadFrom(make([]byte, 10))
			came = true
		}()
		if byPion {
			_ = r.Close()
		} else {
			r.interrupt()
		}
		if came := <-returned; came == byPion {
			t.Errorf("closed by pion: %t; the reader came back: %t", byPion, came)
		}
		running.Wait()
	}
}

// A user is forgotten when the byte allowance is whole again, not before.
func TestSweep(t *testing.T) {
	l := newLedger(Config{BytesPerSecond: 1000}, nil)
	now := time.Now()
	idle, live := l.accountLocked("idle"), l.accountLocked("live")
	live.allocations = 1
	idle.rate.AllowN(now, 500)
	l.sweep(now)
	if len(l.accounts) != 2 {
		t.Error("forgotten with half of the allowance used")
	}
	l.sweep(now.Add(time.Second))
	if len(l.accounts) != 1 || l.accounts["live"] == nil {
		t.Errorf("%d accounts left, want the live one", len(l.accounts))
	}
}

func TestOtherQuotas(t *testing.T) {
	t.Run("source", func(t *testing.T) {
		s := serve(t, func(c *Config) { c.PerSource = 2 })
		dial(t, s, "udp", "ann").allocate()
		dial(t, s, "tcp", "bob").allocate()
		if code := dial(t, s, "udp", "cem").allocateCode(); code != stun.CodeAllocQuotaReached {
			t.Errorf("third from one address: %v, want 486", code)
		}
	})
	t.Run("total", func(t *testing.T) {
		s := serve(t, func(c *Config) { c.Total = 1 })
		dial(t, s, "udp", "ann").allocate()
		if code := dial(t, s, "udp", "bob").allocateCode(); code != stun.CodeInsufficientCapacity {
			t.Errorf("second: %v, want 508", code)
		}
	})
	t.Run("ports", func(t *testing.T) {
		s := serve(t, func(c *Config) { c.MinPort, c.MaxPort = 45017, 45017 })
		dial(t, s, "udp", "ann").allocate()
		if code := dial(t, s, "udp", "bob").allocateCode(); code != stun.CodeInsufficientCapacity {
			t.Errorf("no port left: %v, want 508", code)
		}
	})
	t.Run("permissions", func(t *testing.T) {
		s := serve(t, func(c *Config) { c.Permissions = 2 })
		c := dial(t, s, "udp", "ann")
		c.allocate()
		first := netip.MustParseAddrPort("20.0.0.1:9")
		if code := c.permit(first); code != 0 {
			t.Fatal(code)
		}
		if code := c.bind(0x4000, netip.MustParseAddrPort("20.0.0.2:9")); code != 0 {
			t.Fatal(code)
		}
		if code := c.permit(first); code != 0 {
			t.Errorf("the same again: %v", code)
		}
		for _, peer := range []string{"20.0.0.3:9", "20.0.0.4:9"} {
			if code := c.permit(netip.MustParseAddrPort(peer)); code != stun.CodeInsufficientCapacity {
				t.Errorf("one too many: %v, want 508", code)
			}
		}
	})
	t.Run("even ports", func(t *testing.T) {
		s := serve(t, nil)
		c := dial(t, s, "udp", "ann")
		for range 8 {
			if r := c.allocate(raw{stun.AttrEvenPort, []byte{0x80}}); r.Port()%2 != 0 {
				t.Errorf("an even port was asked for, %v was given", r)
			}
			c.refresh(0)
		}
		g := new(guard)
		now := time.Now()
		for range maxEven {
			g.mayReserve(now)
		}
		if g.mayReserve(now) || !g.mayReserve(now.Add(evenWindow+1)) {
			t.Error("requests for even ports are not bounded, or for ever")
		}
	})
	t.Run("TCP relays", func(t *testing.T) {
		s := serve(t, nil)
		c := dial(t, s, "udp", "ann")
		tcp := raw{stun.AttrRequestedTransport, []byte{6, 0, 0, 0}}
		if code := codeOf(c.request(stun.MethodAllocate, tcp)); code != stun.CodeUnsupportedTransProto {
			t.Errorf("a TCP relay: %v, want 442", code)
		}
	})
}

// What goes beyond a user's bytes per second is dropped, whatever allocation it uses, and nobody else's.
func TestByteRate(t *testing.T) {
	s := serve(t, func(c *Config) { c.BytesPerSecond = maxFrame })
	a, b, o, p := dial(t, s, "udp", "ann"), dial(t, s, "udp", "bob"), dial(t, s, "udp", "oli"), dial(t, s, "udp", "pia")
	ra, rb, ro, rp := a.allocate(), b.allocate(), o.allocate(), p.allocate()
	if a.permit(rb) != 0 || b.permit(ra) != 0 || o.permit(rp) != 0 || p.permit(ro) != 0 {
		t.Fatal("no permission")
	}
	data := make([]byte, 1000)
	for range 50 {
		a.sendTo(rb, data)
	}
	a.refresh(600) // handled after the packets
	got := s.Stats()
	if got.Refused[RefusedRate] == 0 || got.BytesUp > 25_000 {
		t.Errorf("50,000 bytes at once: %d went out, %d packets were dropped", got.BytesUp, got.Refused[RefusedRate])
	}
	o.sendTo(rp, data)
	p.expect(data)
	// A new allocation does not start with a new allowance.
	account := s.ledger.accounts["ann"]
	a.refresh(0)
	dial(t, s, "udp", "ann").allocate()
	if s.ledger.accounts["ann"] != account {
		t.Error("the allowance was forgotten with the allocation")
	}
}

// One source gets a bounded number of answers to unauthenticated requests, and few bytes for each.
func TestReflection(t *testing.T) {
	const burst = 20
	for name, request := range map[string]*stun.Message{
		"binding":  build(t, stun.MethodBinding),
		"IPv6":     build(t, stun.MethodBinding),
		"allocate": build(t, stun.MethodAllocate, transportUDP()),
		"refresh":  build(t, stun.MethodRefresh),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(c *Config) {
				c.RepliesPerSecond, c.ReplyBurst = 1, burst
				if name == "IPv6" { // whose addresses are longer
					c.ListenUDP = []string{"[::1]:0"}
				}
			})
			c := dial(t, s, "udp", "")
			start := time.Now()
			refused := func() int { return int(s.Stats().Refused[RefusedReplies]) }
			for sent := 1; sent <= 1000; sent++ {
				c.write(request.Raw)
				if sent%100 == 0 { // more would not fit into the socket's buffer
					eventually(t, "refusals", func() bool { return refused() >= sent-2*burst })
				}
			}
			replies, bytes := 0, 0
			for {
				frame := c.read(time.Now().Add(100 * time.Millisecond))
				if frame == nil {
					break
				}
				replies, bytes = replies+1, bytes+len(frame)
				if ratio := float64(len(frame)) / float64(len(request.Raw)); ratio > 2.5 {
					t.Fatalf("an answer of %d bytes to %d: %.2f", len(frame), len(request.Raw), ratio)
				}
				var m stun.Message
				if stun.Decode(frame, &m) != nil || m.Contains(stun.AttrSoftware) || m.Contains(stun.AttrOtherAddress) {
					t.Fatal("an answer that tells too much")
				}
			}
			if limit := burst + int(time.Since(start).Seconds()) + 1; replies == 0 || replies > limit {
				t.Errorf("%d replies, want at most %d", replies, limit)
			}
		})
	}
}

// An Allocate that asks for nothing would get the most for the least, and gets nothing.
func TestBareAllocate(t *testing.T) {
	s := serve(t, nil)
	c := dial(t, s, "udp", "")
	c.write(build(t, stun.MethodAllocate).Raw)
	c.exchange(build(t, stun.MethodBinding))
	if len(c.waiting) != 0 || s.Stats().Refused[RefusedMalformed] != 1 {
		t.Error("it was answered")
	}
}

// Who has a credential is not held back by strangers' requests from the same address.
func TestReplyLimitSparesUsers(t *testing.T) {
	s := serve(t, func(c *Config) { c.RepliesPerSecond, c.ReplyBurst = 1, 5 })
	c := dial(t, s, "udp", "ann")
	c.allocate()
	stranger := dial(t, s, "udp", "")
	for range 50 {
		stranger.write(build(t, stun.MethodBinding).Raw)
	}
	eventually(t, "refusals", func() bool { return s.Stats().Refused[RefusedReplies] >= 40 })
	for range 20 {
		if code := c.refresh(600); code != 0 {
			t.Fatalf("refresh: %v", code)
		}
	}
}

func TestReplyLimiter(t *testing.T) {
	l := newReplyLimiter(10, 3)
	source, now := netip.MustParseAddr("2a00::1"), time.Now()
	for i, want := range []bool{true, true, true, false} {
		if l.allow(source, now) != want {
			t.Errorf("request %d: want %t", i, want)
		}
	}
	if l.allow(netip.MustParseAddr("2a00::2"), now) {
		t.Error("another address of the same /64 has its own allowance")
	}
	if !l.allow(source, now.Add(100*time.Millisecond)) || l.allow(source, now.Add(100*time.Millisecond)) {
		t.Error("a tenth of a second is worth one reply")
	}
}
