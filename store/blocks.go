package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// MaxBlocked is how many others an account may block at a time.
const MaxBlocked = 1024

// SetBlocked has an account block another, or let it in again, and says whether that is new. Nothing of it is told to
// the other one: what it sends waits (see holdPair), what it asks is noted.
func (s *Store) SetBlocked(ctx context.Context, account, peer int64, blocked bool) (changed bool, err error) {
	err = s.write(ctx, func(w *writeTx) error {
		changed = false
		if err := w.exists(peer); err != nil {
			return err
		}
		was, err := w.blocks(account, peer)
		if err != nil || was == blocked {
			return err
		}
		if err := w.writeBlock(account, peer, blocked); err != nil {
			return err
		}
		if _, err := w.holdPair(account, peer); err != nil {
			return err
		}
		changed = true
		return w.bumpContact(account, peer)
	})
	return changed, err
}

func (w *writeTx) writeBlock(account, peer int64, blocked bool) error {
	var since int64
	if blocked {
		since = w.s.nowMS()
		var n int
		if err := w.row("SELECT COUNT(*) FROM contacts WHERE account_id = ? AND blocked_ms > 0", account).Scan(&n); err != nil {
			return wrap("count blocked", err)
		}
		if n >= MaxBlocked {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "an account blocks at most %d others: let somebody in again first", MaxBlocked)
		}
	}
	changed, err := w.exec("UPDATE contacts SET blocked_ms = ? WHERE account_id = ? AND peer_id = ?", since, account, peer)
	if err == nil && changed == 0 {
		_, err = w.exec("INSERT INTO contacts (account_id, peer_id, state, since_ms, blocked_ms) VALUES (?, ?, ?, ?, ?)",
			account, peer, pb.ContactState_CONTACT_STATE_NONE, w.s.nowMS(), since)
	}
	return wrap("set blocked", err)
}

func (w *writeTx) blocks(account, peer int64) (blocked bool, err error) {
	err = w.row("SELECT blocked_ms > 0 FROM contacts WHERE account_id = ? AND peer_id = ?", account, peer).Scan(&blocked)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return blocked, wrap("read contact", err)
}

// notBlocking fails if an account blocks another: it has to let them in again before it asks or accepts them.
func (w *writeTx) notBlocking(account, peer int64) error {
	blocked, err := w.blocks(account, peer)
	if err == nil && blocked {
		err = blocking()
	}
	return err
}

func blocking() error {
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_FORBIDDEN, "you blocked them: let them in again first")
}

// holdPair lets the conversation of two stand still for whoever of them blocks the other, and go on for who does
// not. Meanwhile either is shown to the other as far as it was: who is blocked cannot tell from read marks. It returns
// those for whom it stands still.
func (w *writeTx) holdPair(a, b int64) ([]proto.ID, error) {
	id, public, err := w.pair(a, b)
	if err != nil || id == 0 {
		return nil, err
	}
	h, err := w.head(id)
	if err != nil {
		return nil, err
	}
	w.s.heads.forget(id)
	holders := 0
	for _, pair := range [][2]int64{{a, b}, {b, a}} {
		blocks, err := w.blocks(pair[0], pair[1])
		if err != nil {
			return nil, err
		}
		if blocks {
			holders++
			_, err = w.exec("UPDATE members SET visible_seq = ? WHERE conversation_id = ? AND account_id = ? AND visible_seq = ?", h.seq, id, pair[0], maxSeq)
		} else {
			err = w.goOn(id, pair[0], public)
		}
		if err != nil {
			return nil, fmt.Errorf("hold pair: %w", err)
		}
	}
	if _, err := w.exec("UPDATE conversations SET holders = ? WHERE id = ?", holders, id); err != nil {
		return nil, fmt.Errorf("hold pair: %w", err)
	}
	show := "UPDATE members SET shown_delivered = NULL, shown_read = NULL WHERE conversation_id = ?"
	if holders > 0 {
		show = "UPDATE members SET shown_delivered = delivered_seq, shown_read = read_seq WHERE conversation_id = ? AND shown_read IS NULL"
	}
	if _, err := w.exec(show, id); err != nil || holders == 0 {
		return nil, wrap("hold pair", err)
	}
	held, _, err := readHolders(w.ctx, w.tx, id)
	return held, err
}

// goOn shows a member the whole conversation again.
func (w *writeTx) goOn(conversation, account int64, public []byte) error {
	changed, err := w.exec("UPDATE members SET visible_seq = ? WHERE conversation_id = ? AND account_id = ? AND visible_seq < ?",
		maxSeq, conversation, account, maxSeq)
	if err != nil || changed == 0 {
		return err
	}
	err = w.bump(account, LogConversation, public)
	return err
}

// Holders returns the members of a conversation for whom it stands still, because they block another.
func (s *Store) Holders(ctx context.Context, conversation int64) ([]proto.ID, error) {
	public, _, err := readHolders(ctx, s.read, conversation)
	return public, err
}

func readHolders(ctx context.Context, db querier, conversation int64) (public []proto.ID, internal []int64, err error) {
	rows, err := db.QueryContext(ctx, `SELECT a.public_id, a.id FROM members m JOIN accounts a ON a.id = m.account_id
		WHERE m.conversation_id = ? AND m.visible_seq < ?`, conversation, maxSeq)
	if err != nil {
		return nil, nil, fmt.Errorf("read who blocks: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var (
			b  []byte
			id int64
		)
		if err := rows.Scan(&b, &id); err != nil {
			return nil, nil, fmt.Errorf("read who blocks: %w", err)
		}
		public, internal = append(public, proto.ID(b)), append(internal, id)
	}
	return public, internal, wrap("read who blocks", rows.Err())
}

// Hidden says whether two accounts do not see whether the other is there, even if they are contacts: either blocks
// the other, or hides it.
func (s *Store) Hidden(ctx context.Context, a, b int64) (bool, error) {
	n, err := s.countAt(ctx, `SELECT (SELECT COUNT(*) FROM accounts WHERE id IN (?, ?) AND hide_presence = 1) +
		(SELECT COUNT(*) FROM contacts WHERE blocked_ms > 0 AND (account_id = ? AND peer_id = ? OR account_id = ? AND peer_id = ?))`, a, b, a, b, b, a)
	return n > 0, err
}

// presencePeers are the contacts p of an account a who see whether it is there, and whom it sees.
const presencePeers = ` FROM accounts a JOIN contacts c ON c.account_id = a.id JOIN accounts p ON p.id = c.peer_id
	JOIN contacts r ON r.account_id = p.id AND r.peer_id = a.id
	WHERE a.id = ? AND c.state = ? AND c.blocked_ms = 0 AND r.blocked_ms = 0 AND a.hide_presence = 0 AND p.hide_presence = 0`

// PresencePeers returns the public ids of the contacts who see whether an account is there, and whom it sees: neither
// hides it, neither blocks the other.
func (s *Store) PresencePeers(ctx context.Context, account int64) ([]proto.ID, error) {
	return publicIDs(ctx, s.read, "SELECT p.public_id"+presencePeers, account, pb.ContactState_CONTACT_STATE_ACCEPTED)
}

// SeePresence says whether two accounts see whether the other is there.
func (s *Store) SeePresence(ctx context.Context, a, b int64) (bool, error) {
	n, err := s.countAt(ctx, "SELECT COUNT(*)"+presencePeers+" AND p.id = ?", a, pb.ContactState_CONTACT_STATE_ACCEPTED, b)
	return n > 0, err
}

// SeenPeer is a contact as an account sees whether it is there.
type SeenPeer struct {
	Account proto.ID
	Blocks  bool  // it blocks the account, and is not there for it
	SeenMS  int64 // when it was last seen; of one that blocks: when it began to
}

// SeenPeers returns the contacts of which an account sees whether they are there, or believes to.
func (s *Store) SeenPeers(ctx context.Context, account int64) ([]SeenPeer, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT p.public_id, r.blocked_ms > 0, CASE WHEN r.blocked_ms > 0 THEN r.blocked_ms ELSE p.last_seen_ms END
		FROM accounts a JOIN contacts c ON c.account_id = a.id JOIN accounts p ON p.id = c.peer_id
		JOIN contacts r ON r.account_id = p.id AND r.peer_id = a.id
		WHERE a.id = ? AND c.state = ? AND c.blocked_ms = 0 AND a.hide_presence = 0 AND p.hide_presence = 0`,
		account, pb.ContactState_CONTACT_STATE_ACCEPTED)
	if err != nil {
		return nil, fmt.Errorf("read contacts: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []SeenPeer
	for rows.Next() {
		var (
			p      SeenPeer
			public []byte
		)
		if err := rows.Scan(&public, &p.Blocks, &p.SeenMS); err != nil {
			return nil, fmt.Errorf("read contacts: %w", err)
		}
		p.Account = proto.ID(public)
		all = append(all, p)
	}
	return all, wrap("read contacts", rows.Err())
}
