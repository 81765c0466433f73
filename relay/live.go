package relay

import (
	"context"
	"fmt"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// MoveCursor notes how far the caller's device and account are, and tells the members.
func (r *Relay) MoveCursor(ctx context.Context, caller *store.Session, q *pb.Cursor) error {
	a, err := r.authorise(ctx, caller, q.GetConversation())
	if err != nil {
		return err
	}
	m, err := r.store.MoveCursor(ctx, a.ID, caller.AccountID, caller.DeviceID, q.GetDeliveredSeq(), q.GetReadSeq())
	if err != nil {
		return fmt.Errorf("cursor: %w", err)
	}
	moved := &pb.CursorMoved{Conversation: q.GetConversation(), Account: caller.Account.Bytes(), DeliveredSeq: m.DeliveredSeq, ReadSeq: m.ReadSeq}
	for _, member := range a.chain.Members() {
		account := proto.ID(member.GetAccount())
		mine := moved
		if account == caller.Account {
			mine = gproto.CloneOf(moved)
			if mine.Unread, err = r.store.Unread(ctx, a.ID, caller.AccountID, m.ReadSeq); err != nil {
				return fmt.Errorf("cursor: %w", err)
			}
		}
		r.bus.Publish(account, &pb.Frame{Kind: &pb.Frame_CursorMoved{CursorMoved: mine}}, nil)
	}
	return nil
}

// Typing tells the other members.
func (r *Relay) Typing(ctx context.Context, caller *store.Session, t *pb.Typing) error {
	a, err := r.authorise(ctx, caller, t.GetConversation())
	if err != nil {
		return err
	}
	f := &pb.Frame{Kind: &pb.Frame_Typing{Typing: &pb.Typing{Conversation: t.GetConversation(), Account: caller.Account.Bytes(), Stopped: t.GetStopped()}}}
	for _, m := range a.chain.Members() {
		if account := proto.ID(m.GetAccount()); account != caller.Account {
			r.bus.Publish(account, f, nil)
		}
	}
	return nil
}
