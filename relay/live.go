package relay

import (
	"context"
	"fmt"
	"slices"

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
	readers, err := r.store.ReadPeers(ctx, a.ID, caller.AccountID)
	if err != nil {
		return fmt.Errorf("cursor: %w", err)
	}
	err = r.store.MoveCursor(ctx, a.ID, caller.AccountID, caller.DeviceID, q.GetDeliveredSeq(), q.GetReadSeq(), func(p store.Progress) {
		r.publishCursor(a, caller.Account, p, readers)
	})
	if err != nil {
		return fmt.Errorf("cursor: %w", err)
	}
	return nil
}

// publishCursor tells the members how far one of them is: how far it has read those who see that, how much is unread
// the account alone.
func (r *Relay) publishCursor(a *access, account proto.ID, p store.Progress, readers []proto.ID) {
	moved := func(read, unread uint64) *pb.Frame {
		return &pb.Frame{Kind: &pb.Frame_CursorMoved{CursorMoved: &pb.CursorMoved{
			Conversation: a.Public.Bytes(), Account: account.Bytes(), DeliveredSeq: p.DeliveredSeq, ReadSeq: read, Unread: unread,
		}}}
	}
	r.publish(moved(p.ReadSeq, p.Unread), account)
	if p.Hidden {
		return
	}
	var see, only []proto.ID // its read mark; only what it has
	for _, to := range a.others(account) {
		switch {
		case slices.Contains(readers, to):
			see = append(see, to)
		case p.Delivered:
			only = append(only, to)
		}
	}
	r.publish(moved(p.ReadSeq, 0), see...)
	r.publish(moved(0, 0), only...)
}

// Typing tells the other members who see that.
func (r *Relay) Typing(ctx context.Context, caller *store.Session, t *pb.Typing) error {
	a, err := r.authorise(ctx, caller, t.GetConversation())
	if err != nil {
		return err
	}
	peers, err := r.store.TypingPeers(ctx, a.ID, caller.AccountID)
	if err != nil {
		return fmt.Errorf("typing: %w", err)
	}
	r.publish(&pb.Frame{Kind: &pb.Frame_Typing{Typing: &pb.Typing{
		Conversation: t.GetConversation(), Account: caller.Account.Bytes(), Stopped: t.GetStopped(),
	}}}, peers...)
	return nil
}
