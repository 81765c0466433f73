package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func (w *writeTx) isMember(conversation, account int64) (bool, error) {
	var left int64
	err := w.row("SELECT left_seq FROM members WHERE conversation_id = ? AND account_id = ?", conversation, account).Scan(&left)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil && left == 0, wrap("read member", err)
}

// pair is the conversation of two accounts, 0 when they have none.
func (w *writeTx) pair(a, b int64) (id int64, public []byte, err error) {
	var x, y []byte
	err = w.row("SELECT a.public_id, b.public_id FROM accounts a JOIN accounts b ON b.id = ? WHERE a.id = ?", b, a).Scan(&x, &y)
	if err != nil {
		return 0, nil, wrap("read accounts", err)
	}
	public = proto.PairID(proto.ID(x), proto.ID(y)).Bytes()
	err = w.row("SELECT id FROM conversations WHERE public_id = ?", public).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, public, nil
	}
	return id, public, wrap("read pair", err)
}

// closePair ends the membership of two who are no contacts any more. The chain stays as it is: they are
// its members again when they become contacts again.
func (w *writeTx) closePair(a, b int64) error {
	id, _, err := w.pair(a, b)
	if err != nil || id == 0 {
		return err
	}
	h, err := w.head(id)
	if err != nil {
		return err
	}
	w.s.heads.forget(id)
	_, err = w.exec("UPDATE members SET left_seq = ? WHERE conversation_id = ? AND left_seq = 0", h.seq, id)
	return wrap("close pair", err)
}

// openPair starts the conversation of two new contacts with its first commit. If they had one, that one
// goes on: the commit is not used, and the next to post makes a new epoch.
func (w *writeTx) openPair(a, b int64, first *NewCommit) error {
	id, public, err := w.pair(a, b)
	if err != nil {
		return err
	}
	if id == 0 {
		return w.insertCommit(first)
	}
	w.s.heads.forget(id)
	if _, err := w.exec("UPDATE members SET left_seq = 0 WHERE conversation_id = ?", id); err != nil {
		return fmt.Errorf("open pair: %w", err)
	}
	if _, err := w.exec("UPDATE conversations SET needs_epoch = 1 WHERE id = ?", id); err != nil {
		return fmt.Errorf("open pair: %w", err)
	}
	for _, account := range []int64{a, b} {
		if err := w.bump(account, LogConversation, public); err != nil {
			return err
		}
	}
	return nil
}

// ShareGroup says whether two accounts are members of one group. A pair's conversation does not count: it
// outlives the contact.
func (s *Store) ShareGroup(ctx context.Context, a, b int64) (bool, error) {
	n, err := s.countAt(ctx, `SELECT 1 FROM members x JOIN members y ON y.conversation_id = x.conversation_id
		JOIN conversations c ON c.id = x.conversation_id
		WHERE x.account_id = ? AND y.account_id = ? AND x.left_seq = 0 AND y.left_seq = 0 AND c.kind = ? LIMIT 1`,
		a, b, pb.ConversationKind_CONVERSATION_KIND_GROUP)
	return n > 0, err
}
