package relay

import (
	"context"
	"errors"
	"fmt"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// Sync reads a page.
func (r *Relay) Sync(ctx context.Context, caller *store.Session, q *pb.Sync) (*pb.Page, error) {
	a, err := r.authorise(ctx, caller, q.GetConversation())
	if err != nil {
		return nil, err
	}
	page := &pb.Page{Conversation: q.GetConversation()}
	if page.HeadSeq, err = r.store.Head(ctx, a.ID); err != nil {
		return nil, fmt.Errorf("sync: %w", err)
	}
	if q.GetKnownSeq() > 0 {
		hash, err := r.store.HashAt(ctx, a.ID, q.GetKnownSeq())
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("sync: %w", err)
		}
		if string(hash) != string(q.GetKnownHash()) {
			page.Diverged = true
			return page, nil
		}
	}
	limit := min(max(int(q.GetLimit()), 1), proto.MaxPage)
	rows, err := r.store.Page(ctx, a.ID, q.GetAfter(), q.GetBefore(), q.GetBackward(), limit)
	if err != nil {
		return nil, fmt.Errorf("sync: %w", err)
	}
	if err := r.fill(ctx, caller, a, page, rows, q.GetBackward()); err != nil {
		return nil, err
	}
	if len(page.GetEvents()) == 0 && !q.GetBackward() {
		page.ThroughSeq = max(page.GetHeadSeq(), q.GetAfter())
	}
	page.State, err = r.state(ctx, caller, a.Conversation)
	return page, err
}

// fill puts rows into a page up to its size limit, from the side that was asked for.
func (r *Relay) fill(ctx context.Context, caller *store.Session, a *access, page *pb.Page, rows []store.Row, backward bool) error {
	size := 0
	events := make([]*pb.Event, 0, len(rows))
	for i := range rows {
		row := rows[i]
		if backward {
			row = rows[len(rows)-1-i]
		}
		e := &pb.Event{Conversation: page.GetConversation(), Seq: row.Seq, RelayMs: uint64(row.RelayMS), Hash: row.Hash} //nolint:gosec // positive
		if row.Commit {
			grant, err := r.store.Grant(ctx, a.ID, row.Number, caller.AccountID, caller.Account)
			if err != nil {
				return fmt.Errorf("sync: %w", err)
			}
			e.Kind = &pb.Event_Commit{Commit: &pb.CommitEvent{Commit: row.BodySigned, Grant: grant}}
		} else {
			e.Kind = &pb.Event_Envelope{Envelope: row.Envelope}
		}
		size += gproto.Size(e)
		if size > proto.MaxPageBytes && len(events) > 0 {
			break
		}
		events = append(events, e)
		if !backward {
			page.ThroughSeq = row.Seq
		}
	}
	if backward {
		for i, j := 0, len(events)-1; i < j; i, j = i+1, j-1 {
			events[i], events[j] = events[j], events[i]
		}
	}
	page.Events = events
	return nil
}

// state is what the caller's device is told of a conversation.
func (r *Relay) state(ctx context.Context, caller *store.Session, c *store.Conversation) (*pb.ConversationState, error) {
	s := &pb.ConversationState{Conversation: c.Public.Bytes(), Kind: c.Kind, Epoch: c.Epoch, HeadCommit: c.HeadCommit, NeedsEpoch: c.NeedsEpoch}
	var err error
	if s.HeadSeq, err = r.store.Head(ctx, c.ID); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	members, err := r.store.Members(ctx, c.ID)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	for _, m := range members {
		s.Members = append(s.Members, &pb.MemberState{Account: m.Account.Bytes(), DeliveredSeq: m.DeliveredSeq, ReadSeq: m.ReadSeq})
		if m.Account == caller.Account {
			s.ReadSeq, s.JoinedSeq = m.ReadSeq, m.JoinedSeq
		}
	}
	if s.DeliveredSeq, err = r.store.DeliveredTo(ctx, caller.DeviceID, c.ID); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	s.Unread, err = r.store.Unread(ctx, c.ID, caller.AccountID, s.GetReadSeq())
	return s, err
}

// State is what the caller's device is told of one of its conversations.
func (r *Relay) State(ctx context.Context, caller *store.Session, conversation proto.ID) (*pb.ConversationState, error) {
	a, err := r.authorise(ctx, caller, conversation[:])
	if err != nil {
		return nil, err
	}
	return r.state(ctx, caller, a.Conversation)
}

// Behind returns the conversations with something that the caller's device has not acknowledged.
func (r *Relay) Behind(ctx context.Context, caller *store.Session) ([]*pb.ConversationState, error) {
	ids, err := r.store.ConversationsOf(ctx, caller.AccountID)
	if err != nil {
		return nil, fmt.Errorf("states: %w", err)
	}
	var all []*pb.ConversationState
	for _, id := range ids {
		c, err := r.store.Conversation(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("states: %w", err)
		}
		s, err := r.state(ctx, caller, c)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}
