package relay

import (
	"context"
	"fmt"
	"slices"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// hearing are the members who are told of what is new: not those for whom the conversation stands still, because they
// block the other one.
func hearing(members, held []proto.ID) []proto.ID {
	if len(held) == 0 {
		return members
	}
	return slices.DeleteFunc(slices.Clone(members), func(m proto.ID) bool { return slices.Contains(held, m) })
}

// holders are the members for whom a conversation stands still.
func (r *Relay) holders(ctx context.Context, a *access) ([]proto.ID, error) {
	if !a.Held {
		return nil, nil
	}
	held, err := r.store.Holders(ctx, a.ID)
	if err != nil {
		return nil, fmt.Errorf("who blocks: %w", err)
	}
	return held, nil
}

// mayChange fails if the caller blocks another member: then the conversation that it sees is not the present one.
func (r *Relay) mayChange(ctx context.Context, a *access, caller proto.ID) error {
	held, err := r.holders(ctx, a)
	if err == nil && slices.Contains(held, caller) {
		err = proto.Errorf(pb.ErrorCode_ERROR_CODE_FORBIDDEN, "you blocked them: let them in again first")
	}
	return err
}
