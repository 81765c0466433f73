package local

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Conversation is what this device keeps of one.
type Conversation struct {
	ID         proto.ID
	Kind       pb.ConversationKind
	Chain      []byte // state of the verified commits, see proto.Chain
	ThroughSeq uint64 // everything up to here is stored or known to be purged
	HeadSeq    uint64 // the relay's newest number known
	ReadSeq    uint64
	Unread     uint64
	NeedsEpoch bool
	Counter    uint64 // of the last envelope that this device made here
}

const conversationColumns = "id, kind, chain, through_seq, head_seq, read_seq, unread, needs_epoch, counter"

func scanConversation(row interface{ Scan(dest ...any) error }) (*Conversation, error) {
	var (
		c   Conversation
		cid []byte
	)
	if err := row.Scan(&cid, &c.Kind, &c.Chain, &c.ThroughSeq, &c.HeadSeq, &c.ReadSeq, &c.Unread, &c.NeedsEpoch, &c.Counter); err != nil {
		return nil, err
	}
	c.ID = id(cid)
	return &c, nil
}

// Conversation returns one, or ErrNotFound.
func (t *Tx) Conversation(conversation proto.ID) (*Conversation, error) {
	c, err := scanConversation(t.tx.QueryRowContext(t.ctx,
		"SELECT "+conversationColumns+" FROM conversations WHERE id = ?", conversation[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read conversation: %w", err)
	}
	return c, nil
}

// Conversations returns all of them.
func (t *Tx) Conversations() ([]*Conversation, error) {
	return queryAll(t, scanConversation, "SELECT "+conversationColumns+" FROM conversations ORDER BY id")
}

// SaveConversation writes all of c.
func (t *Tx) SaveConversation(c *Conversation) error {
	return t.exec("INSERT OR REPLACE INTO conversations ("+conversationColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		c.ID[:], c.Kind, c.Chain, c.ThroughSeq, c.HeadSeq, c.ReadSeq, c.Unread, c.NeedsEpoch, c.Counter)
}

// EpochKey returns the key of an epoch, or ErrNotFound.
func (t *Tx) EpochKey(conversation proto.ID, epoch uint64) ([]byte, error) {
	var key []byte
	err := t.tx.QueryRowContext(t.ctx, "SELECT key FROM epochs WHERE conversation = ? AND epoch = ?", conversation[:], epoch).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read epoch key: %w", err)
	}
	return key, nil
}

// SaveEpochKey keeps the key of an epoch. The caller has checked it against the commit.
func (t *Tx) SaveEpochKey(conversation proto.ID, epoch uint64, key []byte) error {
	return t.exec("INSERT OR IGNORE INTO epochs (conversation, epoch, key) VALUES (?, ?, ?)", conversation[:], epoch, key)
}

// Cursor is how far a member is.
type Cursor struct {
	Account                proto.ID
	DeliveredSeq, ReadSeq uint64
}

// MoveCursor raises a member's cursor and says whether it moved.
func (t *Tx) MoveCursor(conversation proto.ID, c Cursor) (bool, error) {
	return t.changed(`INSERT INTO cursors (conversation, account, delivered_seq, read_seq) VALUES (?, ?, ?, ?)
		ON CONFLICT (conversation, account) DO UPDATE SET delivered_seq = max(delivered_seq, excluded.delivered_seq),
		read_seq = max(read_seq, excluded.read_seq)
		WHERE excluded.delivered_seq > delivered_seq OR excluded.read_seq > read_seq`,
		conversation[:], c.Account[:], c.DeliveredSeq, c.ReadSeq)
}

// Cursors returns every member's cursor in a conversation.
func (t *Tx) Cursors(conversation proto.ID) ([]Cursor, error) {
	return queryAll(t, func(row interface{ Scan(dest ...any) error }) (Cursor, error) {
		var (
			c       Cursor
			account []byte
		)
		err := row.Scan(&account, &c.DeliveredSeq, &c.ReadSeq)
		c.Account = id(account)
		return c, err
	}, "SELECT account, delivered_seq, read_seq FROM cursors WHERE conversation = ?", conversation[:])
}
