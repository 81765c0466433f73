package signal

import (
	"context"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

func okFrame() *pb.Frame { return &pb.Frame{Kind: &pb.Frame_Ok{Ok: &pb.Ok{}}} }

// handle answers one frame: the table of everything a device may ask for.
func (c *connection) handle(ctx context.Context, f *pb.Frame) (*pb.Frame, error) {
	r := c.s.Conversations
	switch k := f.GetKind().(type) {
	case *pb.Frame_Hello:
		return c.hello(ctx, k.Hello)
	case *pb.Frame_AccountSync:
		c.mu.Lock()
		c.version = k.AccountSync.GetAfter()
		c.mu.Unlock()
		return c.changed(ctx, nil)
	case *pb.Frame_IceRequest:
		return &pb.Frame{Kind: &pb.Frame_IceServers{IceServers: c.s.ice(c.session)}}, nil
	case *pb.Frame_Post:
		posted, err := r.Post(ctx, c.session, k.Post)
		return &pb.Frame{Kind: &pb.Frame_Posted{Posted: posted}}, err
	case *pb.Frame_Commit:
		committed, err := r.Commit(ctx, c.session, k.Commit)
		return &pb.Frame{Kind: &pb.Frame_Committed{Committed: committed}}, err
	case *pb.Frame_Sync:
		page, err := r.Sync(ctx, c.session, k.Sync)
		return &pb.Frame{Kind: &pb.Frame_Page{Page: page}}, err
	case *pb.Frame_Cursor:
		return okFrame(), r.MoveCursor(ctx, c.session, k.Cursor)
	case *pb.Frame_Typing:
		return nil, r.Typing(ctx, c.session, k.Typing)
	case *pb.Frame_SetPresence:
		return nil, c.setPresence(ctx, k.SetPresence.GetState())
	case *pb.Frame_FindAccount:
		return c.find(ctx, k.FindAccount.GetName())
	case *pb.Frame_AskContact:
		return c.changed(ctx, c.ask(ctx, k.AskContact))
	case *pb.Frame_AnswerContact:
		return c.changed(ctx, c.answer(ctx, k.AnswerContact))
	case *pb.Frame_CreateInvitation:
		return c.changed(ctx, c.createInvitation(ctx, k.CreateInvitation))
	case *pb.Frame_RevokeInvitation:
		return c.changed(ctx, c.s.Store.RevokeInvitation(ctx, c.session.AccountID, k.RevokeInvitation.GetCode()))
	case *pb.Frame_AcceptInvitation:
		return c.changed(ctx, c.acceptInvitation(ctx, k.AcceptInvitation))
	case *pb.Frame_GetDeviceLists:
		return c.deviceLists(ctx, k.GetDeviceLists)
	case *pb.Frame_SetSetting:
		return okFrame(), c.setSetting(ctx, k.SetSetting.GetSetting())
	case *pb.Frame_SetProfile:
		return okFrame(), c.setProfile(ctx, k.SetProfile)
	case *pb.Frame_SignalTo:
		return okFrame(), c.signalTo(ctx, k.SignalTo)
	}
	return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_UNSUPPORTED, "this server does not know that request")
}

func (c *connection) hello(ctx context.Context, h *pb.Hello) (*pb.Frame, error) {
	if h.GetVersion() < proto.Version {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_UNSUPPORTED, "this server speaks version %d: update the client", proto.Version)
	}
	c.mu.Lock()
	c.version, c.ready = h.GetAccountVersion(), true
	c.mu.Unlock()
	changes, err := c.changes(ctx)
	if err != nil {
		return nil, err
	}
	behind, err := c.s.Conversations.Behind(ctx, c.session)
	if err != nil {
		return nil, err
	}
	w := &pb.Welcome{
		Version: proto.Version, Account: c.session.Account.Bytes(), Device: c.session.Device.Bytes(),
		ServerTimeMs: c.s.nowMS(), Changes: changes, Behind: behind, Ice: c.s.ice(c.session),
	}
	peers, err := c.s.Store.Peers(ctx, c.session.AccountID)
	if err != nil {
		return nil, err
	}
	for _, peer := range peers {
		if p := c.s.presence(peer); len(p.GetDevices()) > 0 {
			w.Presences = append(w.Presences, p)
		}
	}
	c.s.presenceChanged(ctx, c.session)
	return &pb.Frame{Kind: &pb.Frame_Welcome{Welcome: w}}, nil
}

func (s *Server) ice(session *store.Session) *pb.IceServers {
	if s.ICE == nil {
		return &pb.IceServers{ExpiresMs: s.nowMS() + uint64(time.Hour.Milliseconds())}
	}
	return s.ICE(session.Account)
}
