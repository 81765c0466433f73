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
	"github.com/pion/transport/v5/stdnet"
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
// how long that took from CreateOffer, and from nothing, until it was open on both sides. As with a link, the answering
// side makes its PeerConnection when the offer arrives.
func plainPair(b *testing.B, nets [2]transport.Net, config webrtc.Configuration) (offered, whole time.Duration, done func()) {
	b.Helper()
	begin := time.Now()
	opened := make(chan struct{}, 2)
	offerer := newPlain(b, nets[0], config)
	dc, err := offerer.pc.CreateDataChannel("control", nil)
	check(b, err)
	dc.OnOpen(func() { opened <- struct{}{} })

	start := time.Now()
	offer, err := offerer.pc.CreateOffer(nil)
	check(b, err)
	check(b, offerer.pc.SetLocalDescription(offer))
	answerer := newPlain(b, nets[1], config)
	answerer.pc.OnDataChannel(func(d *webrtc.DataChannel) { d.OnOpen(func() { opened <- struct{}{} }) })
	check(b, answerer.pc.SetRemoteDescription(offer))
	offerer.trickleTo(answerer.pc)
	answer, err := answerer.pc.CreateAnswer(nil)
	check(b, err)
	check(b, answerer.pc.SetLocalDescription(answer))
	check(b, offerer.pc.SetRemoteDescription(answer))
	answerer.trickleTo(offerer.pc)
	<-opened
	<-opened
	return time.Since(start), time.Since(begin), func() {
		_ = offerer.pc.GracefulClose()
		_ = answerer.pc.GracefulClose()
	}
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// plain is a PeerConnection of pion as it comes, and its candidates until the other side can take them.
type plain struct {
	pc      *webrtc.PeerConnection
	mu      sync.Mutex
	waiting []webrtc.ICECandidateInit
	other   *webrtc.PeerConnection // nil: not ready yet
}

func newPlain(b *testing.B, net transport.Net, config webrtc.Configuration) *plain {
	b.Helper()
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	s.LoggerFactory = silent{}
	if net != nil {
		s.SetNet(net)
	}
	p := &plain{}
	var err error
	p.pc, err = webrtc.NewAPI(webrtc.WithSettingEngine(s)).NewPeerConnection(config)
	check(b, err)
	p.pc.OnICECandidate(func(c *webrtc.ICECandidate) {
		if c == nil {
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.other == nil {
			p.waiting = append(p.waiting, c.ToJSON())
			return
		}
		_ = p.other.AddICECandidate(c.ToJSON())
	})
	return p
}

func (p *plain) trickleTo(other *webrtc.PeerConnection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.other = other
	for _, c := range p.waiting {
		_ = other.AddICECandidate(c)
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
		b.Helper()
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
		ready(b, x, y)
		idle := runtime.NumGoroutine()
		for b.Loop() {
			o, w, done := plainPair(b, nets, config)
			done()
			offered, whole = append(offered, o), append(whole, w)
			ready(b, x, y)
			settle(b, idle)
			proven = append(proven, linkPair(b, x, y))
			settle(b, idle)
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
	b.Run("loopback", func(b *testing.B) {
		run(b, [2]transport.Net{}, webrtc.Configuration{}, nil, nil)
	})
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

// oneAddress is the operating system's network with 127.0.0.1 as its only address, so that memory does not depend on how
// many addresses the machine has: each is one more candidate, with a socket, two goroutines and 8 KiB of buffer.
type oneAddress struct{ transport.Net }

// Interfaces implements transport.Net.
func (oneAddress) Interfaces() ([]*transport.Interface, error) {
	lo := transport.NewInterface(net.Interface{Index: 1, Name: "lo", MTU: 1 << 16, Flags: net.FlagUp | net.FlagLoopback | net.FlagMulticast})
	lo.AddAddress(&net.IPNet{IP: net.IPv4(127, 0, 0, 1), Mask: net.CIDRMask(8, 32)})
	return []*transport.Interface{lo}, nil
}

func newOneAddress(b *testing.B) transport.Net {
	b.Helper()
	system, err := stdnet.NewNet()
	check(b, err)
	return oneAddress{system}
}

func loopback(b *testing.B) [2]transport.Net {
	b.Helper()
	return [2]transport.Net{newOneAddress(b), newOneAddress(b)}
}

func onLoopback(b *testing.B) func(*Config) {
	b.Helper()
	return func(c *Config) { c.Net = newOneAddress(b) }
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

// settle waits until what the one before started has ended, which would slow the next one down.
func settle(b *testing.B, goroutines int) {
	b.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > goroutines; <-tick.C {
		if time.Now().After(deadline) {
			b.Fatalf("%d goroutines, want %d", runtime.NumGoroutine(), goroutines)
		}
	}
}

// ready makes certificates, as a Manager does between links that do not open one right after the other.
func ready(b *testing.B, sides ...*side) {
	b.Helper()
	for _, s := range sides {
		if err := s.certs.fill(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
