package signal

import (
	"context"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// maxPresenceBytes bounds the presences of one frame, but for the last of them.
const maxPresenceBytes = 32 << 10

// greeting is what a device is told when it connects and did not fit into Welcome: the writer sends it frame
// by frame, as fast as the client takes it.
type greeting struct {
	states bool  // there are more states of conversations …
	after  int64 // … behind this one
	peers  []store.SeenPeer
	asks   []*pb.Frame // of new devices
}

func (c *connection) hello(ctx context.Context, h *pb.Hello) (*pb.Frame, error) {
	if h.GetVersion() < proto.Version {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_UNSUPPORTED, "this server speaks version %d: update the client", proto.Version)
	}
	if c.welcomed {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "hello was said before")
	}
	c.mu.Lock()
	c.version, c.ready = h.GetAccountVersion(), true
	c.mu.Unlock()
	welcome, err := c.welcome(ctx)
	if err != nil {
		return nil, err
	}
	c.welcomed = true
	c.s.presenceChanged(ctx, c.session)
	return &pb.Frame{Kind: &pb.Frame_Welcome{Welcome: welcome}}, nil
}

func (c *connection) welcome(ctx context.Context) (*pb.Welcome, error) {
	changes, err := c.changes(ctx)
	if err != nil {
		return nil, err
	}
	g := greeting{states: true}
	if g.peers, err = c.s.Store.SeenPeers(ctx, c.session.AccountID); err != nil {
		return nil, err
	}
	if g.asks, err = c.deviceAsks(ctx); err != nil {
		return nil, err
	}
	behind, err := c.nextStates(ctx, &g)
	if err != nil {
		return nil, err
	}
	servers, err := c.iceServers()
	if err != nil {
		return nil, err
	}
	w := &pb.Welcome{
		Version: proto.Version, Account: c.session.Account.Bytes(), Device: c.session.Device.Bytes(), ServerTimeMs: c.s.nowMS(),
		Changes: changes, Behind: behind, Ice: servers, Presences: c.nextPresences(&g),
	}
	c.left = &g
	return w, nil
}

// nextStates takes as many states of conversations from a greeting as fit into a frame.
func (c *connection) nextStates(ctx context.Context, g *greeting) ([]*pb.ConversationState, error) {
	states, next, err := c.s.Conversations.States(ctx, c.session, g.after)
	g.states, g.after = next != 0, next
	return states, err
}

// nextPresences takes as many contacts from a greeting as fit into a frame: who is there, and since when others are not.
func (c *connection) nextPresences(g *greeting) []*pb.Presence {
	var all []*pb.Presence
	for size := 0; len(g.peers) > 0 && size <= c.s.presences; g.peers = g.peers[1:] {
		if p := c.s.seen(g.peers[0]); len(p.GetDevices()) > 0 || p.GetLastSeenMs() > 0 {
			all = append(all, p)
			size += gproto.Size(p)
		}
	}
	return all
}

// seen is what a contact sees of an account when it connects. Who blocks it has not been there since.
func (s *Server) seen(peer store.SeenPeer) *pb.Presence {
	if !peer.Blocks {
		if p := s.presence(peer.Account); len(p.GetDevices()) > 0 {
			return p
		}
	}
	return &pb.Presence{
		Account: peer.Account.Bytes(), State: pb.PresenceState_PRESENCE_STATE_OFFLINE, LastSeenMs: uint64(max(peer.SeenMS, 0)),
	}
}

// greetOn sends the next frame of a greeting; false says that the connection is over.
func (c *connection) greetOn(g *greeting) bool {
	var f *pb.Frame
	switch {
	case g.states:
		states, err := c.nextStates(c.life, g)
		if err != nil {
			c.s.Logger.Debug("greeting", "error", err)
			c.close(closeSlow, "come back and sync")
			return false
		}
		f = &pb.Frame{Kind: &pb.Frame_AccountChanges{AccountChanges: &pb.AccountChanges{Conversations: states}}}
	case len(g.peers) > 0:
		f = &pb.Frame{Kind: &pb.Frame_Presences{Presences: &pb.Presences{Presences: c.nextPresences(g)}}}
	case len(g.asks) > 0:
		f, g.asks = g.asks[0], g.asks[1:]
	default:
		return true
	}
	c.greetLater(g)
	b, err := gproto.Marshal(f)
	return err == nil && c.writeFrames([]outgoing{{frame: b}})
}

// iceServers makes credentials for the connection's device. They are made before it is asked whether the
// session goes on: whatever ends it revokes those that were made until then.
func (c *connection) iceServers() (*pb.IceServers, error) {
	if c.s.ICE == nil {
		return &pb.IceServers{ExpiresMs: c.s.nowMS() + uint64(time.Hour.Milliseconds())}, nil //nolint:gosec // positive
	}
	servers := c.s.ICE.Servers(c.session.Account, c.session.Device)
	if !c.valid() {
		return nil, unauthenticated()
	}
	return servers, nil
}
