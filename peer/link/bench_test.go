package link

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/vnet"
	"github.com/pion/turn/v5"
	"github.com/pion/webrtc/v4"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// stopwatch is a log handler that takes the times of a session's steps.
type stopwatch struct {
	mu    sync.Mutex
	begun time.Time
	open  time.Time // of the later end
}

func (s *stopwatch) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelDebug }
func (s *stopwatch) WithAttrs([]slog.Attr) slog.Handler           { return s }
func (s *stopwatch) WithGroup(string) slog.Handler                { return s }

func (s *stopwatch) Handle(_ context.Context, r slog.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case strings.HasSuffix(r.Message, noteBegins) && s.begun.IsZero():
		s.begun = r.Time
	case strings.HasSuffix(r.Message, noteChannel):
		s.open = r.Time
	}
	return nil
}

func (s *stopwatch) take() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := s.open.Sub(s.begun)
	s.begun = time.Time{}
	return took
}

// plainPair opens a data channel between two PeerConnections of pion as it comes, with trickled candidates, and returns
// how long that took from CreateOffer, and from nothing, until it was open on both sides.
func plainPair(b *testing.B, nets [2]transport.Net, config webrtc.Configuration) (offered, whole time.Duration, done func()) {
	b.Helper()
	begin := time.Now()
	var pcs [2]*webrtc.PeerConnection
	opened := make(chan struct{}, 2)
	for i := range pcs {
		var s webrtc.SettingEngine
		s.SetIncludeLoopbackCandidate(nets[i] == nil)
		s.LoggerFactory = silent{}
		if nets[i] != nil {
			s.SetNet(nets[i])
		}
		pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(s)).NewPeerConnection(config)
		if err != nil {
			b.Fatal(err)
		}
		pcs[i] = pc
	}
	var mu sync.Mutex
	var waiting [2][]webrtc.ICECandidateInit
	var ready [2]bool
	for i := range pcs {
		other := 1 - i
		pcs[i].OnICECandidate(func(c *webrtc.ICECandidate) {
			if c == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if !ready[other] {
				waiting[other] = append(waiting[other], c.ToJSON())
				return
			}
			_ = pcs[other].AddICECandidate(c.ToJSON())
		})
	}
	flush := func(i int) {
		mu.Lock()
		defer mu.Unlock()
		ready[i] = true
		for _, c := range waiting[i] {
			_ = pcs[i].AddICECandidate(c)
		}
	}
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	dc, err := pcs[0].CreateDataChannel("control", nil)
	check(err)
	dc.OnOpen(func() { opened <- struct{}{} })
	pcs[1].OnDataChannel(func(d *webrtc.DataChannel) { d.OnOpen(func() { opened <- struct{}{} }) })
	start := time.Now()
	offer, err := pcs[0].CreateOffer(nil)
	check(err)
	check(pcs[0].SetLocalDescription(offer))
	check(pcs[1].SetRemoteDescription(offer))
	flush(1)
	answer, err := pcs[1].CreateAnswer(nil)
	check(err)
	check(pcs[1].SetLocalDescription(answer))
	check(pcs[0].SetRemoteDescription(answer))
	flush(0)
	<-opened
	<-opened
	return time.Since(start), time.Since(begin), func() {
		for _, pc := range pcs {
			_ = pc.GracefulClose()
		}
	}
}

// linkPair opens a link, proof included, and returns how long it took until it was open on both sides.
func linkPair(t testing.TB, a, b *side) time.Duration {
	t.Helper()
	drain(a)
	drain(b)
	start := time.Now()
	l := mustOpen(t, a, b)
	until(t, b, "open", isPhase(Open))
	took := time.Since(start)
	l.Close(ReasonIdle)
	<-l.Done()
	until(t, b, "closed", isPhase(Closed))
	return took
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// BenchmarkOpen opens links and pion's default in turns, and reports medians and their ratios: of the channel, from
// CreateOffer until it is open on both sides, and of the whole, from nothing until both sides may send frames, which for a
// link takes the proof, one round trip more.
func BenchmarkOpen(b *testing.B) {
	run := func(b *testing.B, nets [2]transport.Net, config webrtc.Configuration, one, other func(*Config)) {
		watch := &stopwatch{}
		watched := func(change func(*Config)) func(*Config) {
			return func(c *Config) {
				c.Logger = slog.New(watch)
				if change != nil {
					change(c)
				}
			}
		}
		_, x, y := pair(b, watched(one), watched(other))
		var offered, whole, channel, proven []time.Duration
		for b.Loop() {
			o, w, done := plainPair(b, nets, config)
			done()
			offered, whole = append(offered, o), append(whole, w)
			proven = append(proven, linkPair(b, x, y))
			channel = append(channel, watch.take())
		}
		ms := func(d []time.Duration) float64 { return float64(median(d).Microseconds()) / 1000 }
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(ms(offered), "ms-default")
		b.ReportMetric(ms(whole), "ms-default-whole")
		b.ReportMetric(ms(channel), "ms-channel")
		b.ReportMetric(ms(proven), "ms-link-whole")
		b.ReportMetric(ms(channel)/ms(offered), "channel-ratio")
		b.ReportMetric(ms(proven)/ms(whole), "whole-ratio")
	}
	b.Run("loopback", func(b *testing.B) { run(b, [2]transport.Net{}, webrtc.Configuration{}, nil, nil) })
	b.Run("rtt50", func(b *testing.B) {
		n := newFlat(b, 25*time.Millisecond)
		net := func(i int) func(*Config) {
			return func(c *Config) { c.Net, c.AllowLoopback = n[i], false }
		}
		run(b, [2]transport.Net{n[0], n[1]}, webrtc.Configuration{}, net(0), net(1))
	})
	b.Run("relay", func(b *testing.B) {
		url := loopbackTurn(b)
		relay := func(c *Config) {
			c.RelayOnly = func(proto.ID) bool { return true }
			c.ICE = func(context.Context) (*pb.IceServers, error) {
				return &pb.IceServers{Servers: []*pb.IceServer{{Urls: []string{url}, Username: "u", Credential: "secret"}}}, nil
			}
		}
		run(b, [2]transport.Net{}, webrtc.Configuration{
			ICETransportPolicy: webrtc.ICETransportPolicyRelay,
			ICEServers:         []webrtc.ICEServer{{URLs: []string{url}, Username: "u", Credential: "secret"}},
		}, relay, relay)
	})
}

// newFlat is a virtual network with two hosts in the open.
func newFlat(b *testing.B, delay time.Duration) [2]*vnet.Net {
	b.Helper()
	wan, err := vnet.NewRouter(&vnet.RouterConfig{CIDR: "20.0.0.0/16", MinDelay: delay, LoggerFactory: silent{}})
	if err != nil {
		b.Fatal(err)
	}
	var hosts [2]*vnet.Net
	for i := range hosts {
		if hosts[i], err = vnet.NewNet(&vnet.NetConfig{}); err != nil {
			b.Fatal(err)
		}
		if err := wan.AddNet(hosts[i]); err != nil {
			b.Fatal(err)
		}
	}
	if err := wan.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = wan.Stop() })
	return hosts
}

func loopbackTurn(b *testing.B) string {
	b.Helper()
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0") //nolint:noctx // of a benchmark
	if err != nil {
		b.Fatal(err)
	}
	server, err := turn.NewServer(turn.ServerConfig{
		Realm: "test", LoggerFactory: silent{},
		AuthHandler: func(a *turn.RequestAttributes) (string, []byte, bool) {
			return a.Username, turn.GenerateAuthKey(a.Username, a.Realm, "secret"), true
		},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            socket,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"},
			PermissionHandler:     func(net.Addr, net.IP) bool { return true },
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Close() })
	return fmt.Sprintf("turn:%s?transport=udp", socket.LocalAddr())
}

// memory is the heap and the stacks in use after a collection, in KiB.
func memory() float64 {
	runtime.GC()
	runtime.GC() // twice: the first only ages the pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc+m.StackInuse) / 1024
}

// BenchmarkIdleMemory holds idle links, and as many PeerConnections of pion as it comes, both ends in this process, and
// reports heap and stack of one end. (Resident memory of two measurements in one process says little: the second one
// fills the holes that the first left.)
func BenchmarkIdleMemory(b *testing.B) {
	const pairs = 150
	for range b.N {
		w := newWires(b)
		hub := proto.NewID()
		center := w.add(b, "hub", newIdentity(b, hub), hub, func(c *Config) { c.MaxLinks = pairs })
		linkPair(b, center, leaf(b, w, center)) // what is set up once
		leaves := make([]*side, pairs)
		for i := range leaves {
			leaves[i] = leaf(b, w, center)
			for len(leaves[i].certs.ready) < certificatePool { // part of a Manager, not of a link
				if err := leaves[i].certs.fill(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		}
		before, goroutines := memory(), runtime.NumGoroutine()
		for _, l := range leaves {
			mustOpen(b, center, l)
			until(b, l, "open", isPhase(Open))
		}
		ours := (memory() - before) / (2 * pairs)
		routines := float64(runtime.NumGoroutine()-goroutines) / (2 * pairs)
		before, goroutines = memory(), runtime.NumGoroutine()
		var closers []func()
		for range pairs {
			_, _, done := plainPair(b, [2]transport.Net{}, webrtc.Configuration{})
			closers = append(closers, done)
		}
		plain := (memory() - before) / (2 * pairs)
		plainRoutines := float64(runtime.NumGoroutine()-goroutines) / (2 * pairs)
		for _, done := range closers {
			done()
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(ours, "KiB-link")
		b.ReportMetric(plain, "KiB-default")
		b.ReportMetric(ours/plain, "ratio")
		b.ReportMetric(routines, "goroutines-link")
		b.ReportMetric(plainRoutines, "goroutines-default")
	}
}

func leaf(b *testing.B, w *wires, center *side) *side {
	b.Helper()
	d := proto.NewID()
	l := w.add(b, "leaf", newIdentity(b, d), d, nil)
	know(center, l)
	return l
}
