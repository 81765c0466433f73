package signal

import (
	"context"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

func (c *connection) setPresence(ctx context.Context, state pb.PresenceState) error {
	if state != pb.PresenceState_PRESENCE_STATE_ONLINE && state != pb.PresenceState_PRESENCE_STATE_AWAY {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "presence is online or away")
	}
	c.mu.Lock()
	same := c.state == state
	c.state = state
	c.mu.Unlock()
	if !same {
		c.s.presenceChanged(ctx, c.session)
	}
	return nil
}

// presence is what contacts see of an account.
func (s *Server) presence(account proto.ID) *pb.Presence {
	p := &pb.Presence{Account: account.Bytes(), State: pb.PresenceState_PRESENCE_STATE_OFFLINE}
	for _, c := range s.hub.of(account) {
		c.mu.Lock()
		state, ready := c.state, c.ready
		c.mu.Unlock()
		if ready {
			p.Devices = append(p.Devices, &pb.Presence_Device{Device: c.session.Device.Bytes(), State: state})
			p.State = max(p.GetState(), state)
		}
	}
	if len(p.GetDevices()) == 0 {
		p.LastSeenMs = s.nowMS()
	}
	return p
}

// presenceChanged tells the contacts who see it and nobody else.
func (s *Server) presenceChanged(ctx context.Context, session *store.Session) {
	peers, err := s.Store.PresencePeers(ctx, session.AccountID)
	if err != nil {
		s.Logger.Debug("presence", "error", err)
		return
	}
	s.Hints.Publish(presenceFrame(s.presence(session.Account)), peers...)
}

// introduce tells two who from now on see each other who of them is there.
func (s *Server) introduce(ctx context.Context, a, b proto.ID) {
	if !s.seePresence(ctx, a, b) {
		return
	}
	for _, pair := range [][2]proto.ID{{a, b}, {b, a}} {
		if p := s.presence(pair[1]); len(p.GetDevices()) > 0 { // when the other was seen last is not known here
			s.Hints.Publish(presenceFrame(p), pair[0])
		}
	}
}

// seePresence says whether two see who of them is there. If that is not known they do not.
func (s *Server) seePresence(ctx context.Context, a, b proto.ID) bool {
	x, err := s.Store.AccountID(ctx, a)
	if err != nil {
		return false
	}
	y, err := s.Store.AccountID(ctx, b)
	if err != nil {
		return false
	}
	sees, err := s.Store.SeePresence(ctx, x, y)
	return err == nil && sees
}

// part shows two who are no contacts any more as offline to each other.
func (s *Server) part(a, b proto.ID) {
	s.showOffline(a, b, 0)
	s.showOffline(b, a, 0)
}

// showOffline shows an account as offline to another, seen last then; 0: without saying when.
func (s *Server) showOffline(to, account proto.ID, seenMS uint64) {
	s.Hints.Publish(presenceFrame(&pb.Presence{
		Account: account.Bytes(), State: pb.PresenceState_PRESENCE_STATE_OFFLINE, LastSeenMs: seenMS,
	}), to)
}

func presenceFrame(p *pb.Presence) *pb.Frame {
	return &pb.Frame{Kind: &pb.Frame_Presences{Presences: &pb.Presences{Presences: []*pb.Presence{p}}}}
}
