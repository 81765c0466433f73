package relay

import (
	"context"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// MoveCursor notes how far the caller's device and account are, and tells the members if that is further
// than before.
func (r *Relay) MoveCursor(ctx context.Context, caller *store.Session, q *pb.Cursor) error {
	a, err := r.authorise(ctx, caller, q.GetConversation())
	if err != nil {
		return err
	}
	err = r.store.MoveCursor(ctx, a.ID, caller.AccountID, caller.DeviceID, q.GetDeliveredSeq(), q.GetReadSeq(), func(p store.Progress) {
		r.publishCursor(a, caller.Account, p)
	})
	if err != nil {
		return fmt.Errorf("cursor: %w", err)
	}
	return nil
}

// publishCursor tells the members how far one of them is; how much is unread is for that one alone.
func (r *Relay) publishCursor(a *access, account proto.ID, p store.Progress) {
	moved := func(unread uint64) *pb.Frame {
		return &pb.Frame{Kind: &pb.Frame_CursorMoved{CursorMoved: &pb.CursorMoved{
			Conversation: a.Public.Bytes(), Account: account.Bytes(), DeliveredSeq: p.DeliveredSeq, ReadSeq: p.ReadSeq, Unread: unread,
		}}}
	}
	r.publish(moved(0), a.others(account)...)
	r.publish(moved(p.Unread), account)
}

// Typing tells the other members.
func (r *Relay) Typing(ctx context.Context, caller *store.Session, t *pb.Typing) error {
	a, err := r.authorise(ctx, caller, t.GetConversation())
	if err != nil {
		return err
	}
	r.publish(&pb.Frame{Kind: &pb.Frame_Typing{Typing: &pb.Typing{
		Conversation: t.GetConversation(), Account: caller.Account.Bytes(), Stopped: t.GetStopped(),
	}}}, a.others(caller.Account)...)
	return nil
}
