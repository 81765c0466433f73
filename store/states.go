package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/parley-chat/parley/proto"
)

// State is what an account's device is told of a conversation.
type State struct {
	Conversation        // without its chain
	HeadSeq      uint64 // newest number
	JoinedSeq    uint64 // of the account
	ReadSeq      uint64 // of the account
	DeliveredSeq uint64 // of the device
	Unread       uint64 // what counts, was written by others and is behind ReadSeq
	Members      []Member

	held bool // the account blocks the other one, and sees the conversation as it was then
}

// Member is how far a member is.
type Member struct {
	Account      proto.ID
	DeliveredSeq uint64 // highest of its devices
	ReadSeq      uint64
}

// Parts of queries over a row m of members. Each is an index seek or two, however many messages there are.
var (
	//nolint:gochecknoglobals // a constant that last makes
	headPlace = last("place", inConversation)
	//nolint:gochecknoglobals // likewise
	unread = "(" + last("counted", inConversation) + " - " + last("counted", inConversation+upToRead) +
		") - (" + last("sender_counted", own) + " - " + last("sender_counted", own+upToRead) + ")"
)

const (
	// see place; a member that blocks another does not see the newest
	inConversation = "x.place > m.conversation_id * 4294967296 AND x.place <= m.conversation_id * 4294967296 + m.visible_seq"
	own            = "x.conversation_id = m.conversation_id AND x.account_id = m.account_id AND x.place <= m.conversation_id * 4294967296 + m.visible_seq"
	upToRead       = " AND x.place <= m.conversation_id * 4294967296 + m.read_seq"
)

// last is a column of the last of some messages, 0 without any.
func last(column, where string) string {
	return "COALESCE((SELECT x." + column + " FROM messages x WHERE " + where + " ORDER BY x.place DESC LIMIT 1), 0)"
}

//nolint:gochecknoglobals // likewise
var stateQuery = "SELECT c.id, c.public_id, c.kind, c.epoch, c.head_commit, c.needs_epoch, " + headPlace +
	", m.joined_seq, m.read_seq, COALESCE(d.delivered_seq, 0), m.visible_seq, " + unread + `
	FROM members m JOIN conversations c ON c.id = m.conversation_id
	LEFT JOIN device_cursors d ON d.device_id = ? AND d.conversation_id = m.conversation_id
	WHERE m.account_id = ? AND m.left_seq = 0 AND c.deleted_ms IS NULL`

// State reads what a member's device is told of a conversation; ErrNotFound for who is no member.
func (s *Store) State(ctx context.Context, account, device, conversation int64) (*State, error) {
	all, err := s.states(ctx, account, stateQuery+" AND m.conversation_id = ?", device, account, conversation)
	if err == nil && len(all) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return &all[0], nil
}

// States reads up to limit conversations of an account in order of ID, beginning above after.
func (s *Store) States(ctx context.Context, account, device, after int64, limit int) ([]State, error) {
	return s.states(ctx, account, stateQuery+" AND m.conversation_id > ? ORDER BY m.conversation_id LIMIT ?", device, account, after, limit)
}

func (s *Store) states(ctx context.Context, account int64, query string, args ...any) ([]State, error) {
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read states: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []State
	for rows.Next() {
		var (
			c      State
			public []byte
			head   int64
			sees   uint64
		)
		if err := rows.Scan(&c.ID, &public, &c.Kind, &c.Epoch, &c.HeadCommit, &c.NeedsEpoch, &head, &c.JoinedSeq, &c.ReadSeq, &c.DeliveredSeq, &sees, &c.Unread); err != nil {
			return nil, fmt.Errorf("read states: %w", err)
		}
		c.Public, c.HeadSeq, c.held = proto.ID(public), seqOf(head), sees < maxSeq
		all = append(all, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read states: %w", err)
	}
	_ = rows.Close() // its connection is wanted again
	for i := range all {
		if err := s.standStill(ctx, &all[i]); err != nil {
			return nil, err
		}
	}
	return all, s.addMembers(ctx, account, all)
}

// standStill shows somebody who blocks the other one of a pair its epoch as of the head that they see.
func (s *Store) standStill(ctx context.Context, c *State) error {
	if !c.held {
		return nil
	}
	c.NeedsEpoch = false // it is not theirs to make
	err := s.read.QueryRowContext(ctx, "SELECT number, hash FROM commits WHERE conversation_id = ? AND seq <= ? ORDER BY number DESC LIMIT 1", c.ID, c.HeadSeq).
		Scan(&c.Epoch, &c.HeadCommit)
	return wrap("read head", err)
}

// addMembers fills in who is in some conversations, as an account sees them.
func (s *Store) addMembers(ctx context.Context, account int64, all []State) error {
	if len(all) == 0 {
		return nil
	}
	byID := make(map[int64]*State, len(all))
	ids := make([]any, 0, len(all))
	for i := range all {
		byID[all[i].ID], ids = &all[i], append(ids, all[i].ID)
	}
	rows, err := s.read.QueryContext(ctx, `SELECT m.conversation_id, a.public_id, CASE WHEN a.id = me.id THEN m.delivered_seq ELSE COALESCE(m.shown_delivered, m.delivered_seq) END,
		CASE WHEN a.id = me.id THEN m.read_seq WHEN a.hide_read = 1 OR me.hide_read = 1 THEN 0 ELSE COALESCE(m.shown_read, m.read_seq) END
		FROM members m JOIN accounts a ON a.id = m.account_id JOIN accounts me ON me.id = ? WHERE m.left_seq = 0 AND m.conversation_id IN (?`+strings.Repeat(", ?", len(ids)-1)+")", append([]any{account}, ids...)...)
	if err != nil {
		return fmt.Errorf("read members: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var (
			conversation int64
			m            Member
			public       []byte
		)
		if err := rows.Scan(&conversation, &public, &m.DeliveredSeq, &m.ReadSeq); err != nil {
			return fmt.Errorf("read members: %w", err)
		}
		m.Account = proto.ID(public)
		byID[conversation].Members = append(byID[conversation].Members, m)
	}
	return wrap("read members", rows.Err())
}
