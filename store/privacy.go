package store

import (
	"context"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// SetPrivacy changes what an account does not show, and tells its devices.
func (s *Store) SetPrivacy(ctx context.Context, account int64, p *pb.Privacy) error {
	return s.write(ctx, func(w *writeTx) error {
		if err := w.exists(account); err != nil {
			return err
		}
		_, err := w.exec("UPDATE accounts SET hide_presence = ?, hide_read = ?, hide_typing = ? WHERE id = ?",
			p.GetHidePresence(), p.GetHideRead(), p.GetHideTyping(), account)
		if err != nil {
			return fmt.Errorf("set privacy: %w", err)
		}
		err = w.bump(account, LogProfile, nil)
		return err
	})
}

// otherMembers are the members p of a conversation beside an account a.
const otherMembers = `SELECT p.public_id FROM accounts a JOIN members m ON m.conversation_id = ? AND m.left_seq = 0
	JOIN accounts p ON p.id = m.account_id AND p.id <> a.id
	LEFT JOIN contacts c ON c.account_id = a.id AND c.peer_id = p.id
	LEFT JOIN contacts r ON r.account_id = p.id AND r.peer_id = a.id
	WHERE a.id = ? AND COALESCE(c.blocked_ms, 0) = 0 AND COALESCE(r.blocked_ms, 0) = 0`

// TypingPeers returns the other members of a conversation who see that an account types: neither hides it, neither
// blocks the other.
func (s *Store) TypingPeers(ctx context.Context, conversation, account int64) ([]proto.ID, error) {
	return publicIDs(ctx, s.read, otherMembers+" AND a.hide_typing = 0 AND p.hide_typing = 0", conversation, account)
}

// ReadPeers returns the other members of a conversation who see how far an account has read, likewise.
func (s *Store) ReadPeers(ctx context.Context, conversation, account int64) ([]proto.ID, error) {
	return publicIDs(ctx, s.read, otherMembers+" AND a.hide_read = 0 AND p.hide_read = 0", conversation, account)
}
