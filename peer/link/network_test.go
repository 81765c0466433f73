package link

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/vnet"
	"github.com/pion/turn/v5"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const (
	turnAddress = "20.0.0.10"
	turnURL     = "turn:20.0.0.10:3478?transport=udp"
	stunURL     = "stun:20.0.0.10:3478"
)

// internet is a virtual network: a TURN server in the open, three homes behind NATs, a delay on every way through the open.
type internet struct {
	wan   *vnet.Router
	homes []*vnet.Net
	turn  *turn.Server

	mu     sync.Mutex
	filter func(c vnet.Chunk) bool
}

func newInternet(t testing.TB, nat vnet.NATType, delay time.Duration) *internet {
	t.Helper()
	n := &internet{}
	var err error
	check := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	n.wan, err = vnet.NewRouter(&vnet.RouterConfig{CIDR: "20.0.0.0/16", MinDelay: delay, LoggerFactory: silent{}})
	check()
	server, err := vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{turnAddress}})
	check()
	err = n.wan.AddNet(server)
	check()
	for i, outside := range []string{"20.0.1.2", "20.0.2.2", "20.0.3.2"} {
		lan, err := vnet.NewRouter(&vnet.RouterConfig{
			CIDR: []string{"10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"}[i], StaticIPs: []string{outside}, NATType: &nat, LoggerFactory: silent{},
		})
		if err != nil {
			t.Fatal(err)
		}
		home, err := vnet.NewNet(&vnet.NetConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if err := lan.AddNet(home); err != nil {
			t.Fatal(err)
		}
		if err := n.wan.AddRouter(lan); err != nil {
			t.Fatal(err)
		}
		n.homes = append(n.homes, home)
	}
	n.wan.AddChunkFilter(func(c vnet.Chunk) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.filter == nil || n.filter(c)
	})
	err = n.wan.Start()
	check()
	socket, err := server.ListenPacket("udp4", turnAddress+":3478")
	check()
	n.turn, err = turn.NewServer(turn.ServerConfig{
		Realm: "test", LoggerFactory: silent{},
		AuthHandler: func(a *turn.RequestAttributes) (string, []byte, bool) {
			return a.Username, turn.GenerateAuthKey(a.Username, a.Realm, "secret"), true
		},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn: socket,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{
				RelayAddress: net.ParseIP(turnAddress), Address: turnAddress, Net: server,
			},
			PermissionHandler: func(net.Addr, net.IP) bool { return true },
		}},
	})
	check()
	t.Cleanup(func() {
		if err := n.turn.Close(); err != nil {
			t.Error(err)
		}
		if err := n.wan.Stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func (n *internet) setFilter(f func(c vnet.Chunk) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.filter = f
}

// config puts a Manager into a home.
func (n *internet) config(home int, relayOnly bool) func(*Config) {
	return func(c *Config) {
		c.Net, c.AllowLoopback = n.homes[home], false
		c.RelayOnly = func(proto.ID) bool { return relayOnly }
		c.ICE = func(context.Context) (*pb.IceServers, error) {
			return &pb.IceServers{Servers: []*pb.IceServer{
				{Urls: []string{stunURL}}, {Urls: []string{turnURL}, Username: "somebody", Credential: "secret"},
			}}, nil
		}
	}
}

func commonNAT() vnet.NATType {
	return vnet.NATType{
		MappingBehavior: vnet.EndpointIndependent, FilteringBehavior: vnet.EndpointAddrPortDependent, MappingLifeTime: time.Minute,
	}
}

func symmetricNAT() vnet.NATType {
	return vnet.NATType{
		MappingBehavior: vnet.EndpointAddrPortDependent, FilteringBehavior: vnet.EndpointAddrPortDependent, MappingLifeTime: time.Minute,
	}
}

// TestPathLost breaks the path between two homes; ICE finds another one and frames flow again within 15 s.
func TestPathLost(t *testing.T) {
	n := newInternet(t, commonNAT(), 25*time.Millisecond)
	_, a, b := pair(t, n.config(0, false), n.config(1, false))
	l := mustOpen(t, a, b)
	exchange(t, a, b)
	if p := l.Path(); p.Kind != Direct || p.RTT < 40*time.Millisecond {
		t.Errorf("path %+v", p)
	}
	id := activeID(t, a, b)
	drain(a)
	drain(b)
	lost := make(map[string]bool)
	var mu sync.Mutex
	learning := true
	n.setFilter(func(c vnet.Chunk) bool { // what has a mapping now loses it; what is new passes
		mu.Lock()
		defer mu.Unlock()
		from, to := c.SourceAddr().String(), c.DestinationAddr().String()
		if learning && !strings.HasPrefix(from, turnAddress) && !strings.HasPrefix(to, turnAddress) {
			lost[from], lost[to] = true, true
		}
		return !lost[from] && !lost[to]
	})
	for _, s := range []*side{a, b} {
		until(t, s, "restarting", func(s State) bool {
			mu.Lock()
			defer mu.Unlock()
			learning = false
			return s.Phase == Restarting
		})
	}
	start := time.Now()
	exchange(t, a, b)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("frames flowed again %v after the loss was seen", took)
	}
	if activeID(t, a, b) != id {
		t.Error("another session")
	}
}

// roaming is a network that can become another one.
type roaming struct {
	transport.Net

	mu  sync.Mutex
	now *vnet.Net
}

func (r *roaming) at() *vnet.Net {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *roaming) move(to *vnet.Net) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = to
}

func (r *roaming) Interfaces() ([]*transport.Interface, error) { return r.at().Interfaces() }

func (r *roaming) ListenUDP(network string, a *net.UDPAddr) (transport.UDPConn, error) {
	return r.at().ListenUDP(network, a)
}

func (r *roaming) ListenPacket(network, address string) (net.PacketConn, error) {
	return r.at().ListenPacket(network, address)
}

// TestRoaming moves one end to another network, as from Wi-Fi to a telephone. Serve notices it by itself.
func TestRoaming(t *testing.T) {
	n := newInternet(t, commonNAT(), 10*time.Millisecond)
	move := &roaming{Net: n.homes[0], now: n.homes[0]}
	_, a, b := pair(t, func(c *Config) {
		n.config(0, false)(c)
		c.Net = move
	}, n.config(1, false))
	l := mustOpen(t, a, b)
	exchange(t, a, b)
	id := activeID(t, a, b)
	drain(a)
	n.setFilter(func(c vnet.Chunk) bool { // the first home is gone
		return !strings.HasPrefix(c.SourceAddr().String(), "20.0.1.2:") && !strings.HasPrefix(c.DestinationAddr().String(), "20.0.1.2:")
	})
	move.move(n.homes[2])
	until(t, a, "restarting", isPhase(Restarting))
	until(t, a, "open again", isPhase(Open))
	exchange(t, a, b)
	if p := l.Path(); p.Kind != Direct {
		t.Errorf("path %+v", p)
	}
	if activeID(t, a, b) != id {
		t.Error("another session")
	}
}

// TestPeerVanishes cuts one end off without a word.
func TestPeerVanishes(t *testing.T) {
	n := newInternet(t, commonNAT(), time.Millisecond)
	w, a, b := pair(t, n.config(0, false), n.config(1, false))
	a.lostAfter = time.Second
	l := mustOpen(t, a, b)
	exchange(t, a, b)
	w.unplug(b)
	n.setFilter(func(vnet.Chunk) bool { return false })
	until(t, a, "restarting", isPhase(Restarting))
	if e := until(t, a, "closed", isPhase(Closed)); e.state.Reason != ReasonLost {
		t.Errorf("closed with %q", e.state.Reason)
	}
	<-l.Done()
}

// TestSymmetricNAT needs the relay, without being told so.
func TestSymmetricNAT(t *testing.T) {
	n := newInternet(t, symmetricNAT(), 5*time.Millisecond)
	_, a, b := pair(t, n.config(0, false), n.config(1, false))
	l := mustOpen(t, a, b)
	exchange(t, a, b)
	if p := l.Path(); p.Kind != Turn || p.Protocol != "udp" {
		t.Errorf("path %+v", p)
	}
}

// TestRelayOnly shows that a hidden address leaves the device nowhere: not in an SDP, not in a candidate, not in a packet.
func TestRelayOnly(t *testing.T) {
	n := newInternet(t, commonNAT(), 5*time.Millisecond)
	w, a, b := pair(t, n.config(0, true), n.config(1, false))
	var mu sync.Mutex
	var said []string
	w.setFilter(func(from, _ *side, sig *pb.Signal) []*pb.Signal {
		mu.Lock()
		defer mu.Unlock()
		if from == a {
			said = append(said, sig.GetDescription().GetSdp(), sig.GetCandidate().GetCandidate())
		}
		return []*pb.Signal{sig}
	})
	stray := make(map[string]bool)
	n.setFilter(func(c vnet.Chunk) bool {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(c.SourceAddr().String(), "20.0.1.2:") && !strings.HasPrefix(c.DestinationAddr().String(), turnAddress+":3478") {
			stray[c.DestinationAddr().String()] = true
		}
		return true
	})
	l := mustOpen(t, a, b)
	exchange(t, a, b)
	drain(a)
	a.NetworkChanged()
	until(t, a, "restarting", isPhase(Restarting))
	until(t, a, "open again", isPhase(Open))
	exchange(t, a, b)
	if p := l.Path(); p.Kind != Turn || p.LocalType != "relay" {
		t.Errorf("path %+v", p)
	}
	mu.Lock()
	defer mu.Unlock()
	for dst := range stray {
		t.Errorf("packets to %s", dst)
	}
	text := strings.Join(said, "\n")
	for _, bad := range []string{"10.0.1.", "20.0.1.2", "typ host", "typ srflx", "127.0.0.1"} {
		if strings.Contains(text, bad) {
			t.Errorf("%q was said:\n%s", bad, text)
		}
	}
	if !strings.Contains(text, "typ relay") {
		t.Error("no candidate was said")
	}
}

func TestSystemNet(t *testing.T) {
	n, err := newSystemNet()
	if err != nil {
		t.Fatal(err)
	}
	system, err := n.Interfaces()
	if err != nil || len(system) == 0 {
		t.Fatalf("%v, %v", system, err)
	}
	if i, err := n.InterfaceByName(system[0].Name); err != nil || i.Index != system[0].Index {
		t.Errorf("by name: %v, %v", i, err)
	}
	if i, err := n.InterfaceByIndex(system[0].Index); err != nil || i.Name != system[0].Name {
		t.Errorf("by index: %v, %v", i, err)
	}
	reads := 0
	n.read = func() ([]*transport.Interface, error) {
		reads++
		return system[:1], nil
	}
	for range 2 {
		n.forget()
		for range 3 {
			if _, err := n.Interfaces(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if reads != 2 {
		t.Errorf("%d reads", reads)
	}
}
