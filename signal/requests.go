package signal

import (
	"context"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func okFrame() *pb.Frame { return &pb.Frame{Kind: &pb.Frame_Ok{Ok: &pb.Ok{}}} }

// handle answers one frame: the table of everything a device may ask for, but for posts (see connection.post).
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
		servers, err := c.iceServers()
		return &pb.Frame{Kind: &pb.Frame_IceServers{IceServers: servers}}, err
	case *pb.Frame_Commit:
		committed, err := r.Commit(ctx, c.session, k.Commit)
		return &pb.Frame{Kind: &pb.Frame_Committed{Committed: committed}}, err
	case *pb.Frame_Sync:
		page, err := r.Sync(ctx, c.session, k.Sync)
		return &pb.Frame{Kind: &pb.Frame_Page{Page: page}}, err
	case *pb.Frame_CommitsRequest:
		commits, err := r.Commits(ctx, c.session, k.CommitsRequest)
		return &pb.Frame{Kind: &pb.Frame_Commits{Commits: commits}}, err
	case *pb.Frame_GrantRequest:
		return okFrame(), r.RequestGrant(ctx, c.session, k.GrantRequest)
	case *pb.Frame_GrantPost:
		return okFrame(), r.AddGrant(ctx, c.session, k.GrantPost)
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
	case *pb.Frame_RemoveContact:
		return c.changed(ctx, c.remove(ctx, k.RemoveContact))
	case *pb.Frame_SetBlocked:
		return c.changed(ctx, c.setBlocked(ctx, k.SetBlocked))
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
	case *pb.Frame_SetPrivacy:
		return c.changed(ctx, c.setPrivacy(ctx, k.SetPrivacy.GetPrivacy()))
	case *pb.Frame_SignalTo:
		return okFrame(), c.signalTo(ctx, k.SignalTo)
	}
	return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_UNSUPPORTED, "this server does not know that request")
}
