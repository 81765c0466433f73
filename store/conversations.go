package store

import (
	"context"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Conversation is one row of conversations.
type Conversation struct {
	ID         int64
	Public     proto.ID
	Kind       pb.ConversationKind
	Epoch      uint64
	HeadCommit []byte
	Chain      []byte
	NeedsEpoch bool
	Held       bool // a member blocks another; see Store.Holders
}

// Conversation finds a conversation, whoever is in it.
func (s *Store) Conversation(ctx context.Context, id proto.ID) (*Conversation, error) {
	return s.conversation(ctx, id, "")
}

// ConversationOf finds a conversation of a member. It is ErrNotFound for everybody else.
func (s *Store) ConversationOf(ctx context.Context, account int64, id proto.ID) (*Conversation, error) {
	return s.conversation(ctx, id, " AND EXISTS (SELECT 1 FROM members m WHERE m.conversation_id = c.id AND m.account_id = ? AND m.left_seq = 0)", account)
}

func (s *Store) conversation(ctx context.Context, id proto.ID, and string, args ...any) (*Conversation, error) {
	c := Conversation{Public: id}
	err := s.read.QueryRowContext(ctx, "SELECT c.id, c.kind, c.epoch, c.head_commit, c.chain, c.needs_epoch, c.holders > 0 FROM conversations c"+
		" WHERE c.public_id = ? AND c.deleted_ms IS NULL"+and, append([]any{id[:]}, args...)...).
		Scan(&c.ID, &c.Kind, &c.Epoch, &c.HeadCommit, &c.Chain, &c.NeedsEpoch, &c.Held)
	return &c, wrap("read conversation", err)
}
