package link

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/pion/turn/v5"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// gatedLists lets a device wait before it begins its proof.
type gatedLists struct {
	Lists
	entered chan struct{}
	gate    chan struct{}
}

func (g *gatedLists) Own() *proto.DeviceList {
	g.entered <- struct{}{}
	<-g.gate
	return g.Lists.Own()
}

// TestOfferDuringProof takes another offer while the proof of the first negotiation is under way: the proof is about what was
// negotiated when the channel opened, and nothing that it reads may change under it (the race detector watches).
func TestOfferDuringProof(t *testing.T) {
	lists := &gatedLists{entered: make(chan struct{}, 8), gate: make(chan struct{})}
	w, a, b := pair(t, func(c *Config) {
		lists.Lists = c.Lists
		c.Lists = lists
	}, nil)
	offered := make(chan struct{}, 1)
	first := true
	w.setFilter(func(from, _ *side, sig *pb.Signal) []*pb.Signal {
		if from == b && sig.GetDescription() != nil { // an answer
			if !first {
				select {
				case offered <- struct{}{}:
				default:
				}
			}
			first = false
		}
		return []*pb.Signal{sig}
	})
	opened := make(chan error, 1)
	go func() {
		_, err := a.Open(testContext(t), b.self.Account, b.self.Device)
		opened <- err
	}()
	<-lists.entered
	a.NetworkChanged()
	<-offered
	close(lists.gate)
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	exchange(t, a, b)
}

// noList is a device that does not know its own list yet.
type noList struct{ Lists }

func (noList) Own() *proto.DeviceList { return nil }

// TestOwnListUnknown is an offer that comes before this device knows its own list: the link fails, and nothing else does.
func TestOwnListUnknown(t *testing.T) {
	_, a, b := pair(t, nil, func(c *Config) { c.Lists = noList{c.Lists} })
	if _, err := a.Open(testContext(t), b.self.Account, b.self.Device); err == nil {
		t.Error("opened to a device that could not show its list")
	}
}

// deafConn is a TURN server's socket that loses every request for a permission.
type deafConn struct {
	net.PacketConn
	lost chan struct{}
}

func (c *deafConn) ReadFrom(b []byte) (int, net.Addr, error) {
	const createPermission = 0x0008 // RFC 8656 §17
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		if err != nil || n < 2 || binary.BigEndian.Uint16(b) != createPermission {
			return n, from, err
		}
		select {
		case c.lost <- struct{}{}:
		default:
		}
	}
}

// deafTURN is a TURN server that answers everything but requests for a permission, as one does for a device's allocation after
// it was restarted behind a NAT.
func deafTURN(t *testing.T) (servers *pb.IceServers, deaf *deafConn) {
	t.Helper()
	socket, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	deaf = &deafConn{socket, make(chan struct{}, 1)}
	server, err := turn.NewServer(turn.ServerConfig{
		Realm: "test", LoggerFactory: silent{},
		AuthHandler: func(a *turn.RequestAttributes) (string, []byte, bool) {
			return a.Username, turn.GenerateAuthKey(a.Username, a.Realm, "secret"), true
		},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            deaf,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: net.ParseIP("127.0.0.1"), Address: "127.0.0.1"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return &pb.IceServers{Servers: []*pb.IceServer{{
		Urls: []string{"turn:" + socket.LocalAddr().String() + "?transport=udp"}, Username: "mia", Credential: "secret",
	}}}, deaf
}

// TestCloseWhileServerIsSilent closes a Manager while its TURN server leaves it without an answer. pion repeats the request
// for eight seconds, for every pair of candidates, and would let Close wait for them.
func TestCloseWhileServerIsSilent(t *testing.T) {
	servers, deaf := deafTURN(t)
	_, a, b := pair(t, func(c *Config) {
		c.RelayOnly = func(proto.ID) bool { return true }
		c.ICE = func(context.Context) (*pb.IceServers, error) { return servers, nil }
	}, nil)
	go func() { _, _ = a.Open(testContext(t), b.self.Account, b.self.Device) }() // it cannot succeed
	<-deaf.lost
	a.NetworkChanged() // pion lets this wait too
	began := time.Now()
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("closing took %v", took)
	}
}

// TestRestartWhileServerIsSilent repairs a link although the TURN server does not answer any more.
func TestRestartWhileServerIsSilent(t *testing.T) {
	servers, deaf := deafTURN(t)
	change := func(c *Config) {
		c.ICE = func(context.Context) (*pb.IceServers, error) { return servers, nil }
	}
	_, a, b := pair(t, change, change)
	mustOpen(t, a, b)
	<-deaf.lost
	for range 3 {
		drain(a)
		a.NetworkChanged()
		until(t, a, "restarting", isPhase(Restarting))
		until(t, a, "open again", isPhase(Open))
	}
	exchange(t, a, b)
}

// TestDialAborted gives up connecting to a TURN server that does not answer when the Manager closes.
func TestDialAborted(t *testing.T) {
	n, err := newSystemNet()
	if err != nil {
		t.Fatal(err)
	}
	n.sockets.abort()
	if _, err := n.DialTCP("tcp4", nil, &net.TCPAddr{IP: net.ParseIP("127.0.0.1"), Port: 9}); !errors.Is(err, context.Canceled) {
		t.Errorf("dialled after the end: %v", err)
	}
	if conn, err := n.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
		t.Error(err)
	} else if _, err := conn.WriteTo([]byte("x"), conn.LocalAddr()); err == nil {
		t.Error("a socket was opened after the end")
	}
}
