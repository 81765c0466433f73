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

const (
	statesAtOnce  = 64       // conversations in one query
	maxStateBytes = 48 << 10 // of the states of one answer, but for the last
)

// state is what the caller's device is told of a conversation.
func (r *Relay) state(ctx context.Context, caller *store.Session, conversation int64) (*pb.ConversationState, error) {
	s, err := r.store.State(ctx, caller.AccountID, caller.DeviceID, conversation)
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound()
	}
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return stateOf(s), nil
}

func stateOf(c *store.State) *pb.ConversationState {
	s := &pb.ConversationState{
		Conversation: c.Public.Bytes(), Kind: c.Kind, HeadSeq: c.HeadSeq, Epoch: c.Epoch, HeadCommit: c.HeadCommit, NeedsEpoch: c.NeedsEpoch,
		Unread: c.Unread, ReadSeq: c.ReadSeq, DeliveredSeq: c.DeliveredSeq, JoinedSeq: c.JoinedSeq,
	}
	for _, m := range c.Members {
		s.Members = append(s.Members, &pb.MemberState{Account: m.Account.Bytes(), DeliveredSeq: m.DeliveredSeq, ReadSeq: m.ReadSeq})
	}
	return s
}

// State is what the caller's device is told of one of its conversations.
func (r *Relay) State(ctx context.Context, caller *store.Session, conversation proto.ID) (*pb.ConversationState, error) {
	a, err := r.authorise(ctx, caller, conversation[:])
	if err != nil {
		return nil, err
	}
	return r.state(ctx, caller, a.ID)
}

// States returns what the caller's device is told of its conversations, as many as fit into an answer, and
// where to go on: 0 when these are the last. It begins at 0.
func (r *Relay) States(ctx context.Context, caller *store.Session, after int64) (states []*pb.ConversationState, next int64, err error) {
	for size := 0; ; {
		page, err := r.store.States(ctx, caller.AccountID, caller.DeviceID, after, statesAtOnce)
		if err != nil {
			return nil, 0, fmt.Errorf("states: %w", err)
		}
		for i := range page {
			s := stateOf(&page[i])
			states, after = append(states, s), page[i].ID
			if size += gproto.Size(s); size > r.stateBytes {
				return states, after, nil
			}
		}
		if len(page) < statesAtOnce {
			return states, 0, nil
		}
	}
}
