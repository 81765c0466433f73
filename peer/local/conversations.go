package local

import (
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Conversation is what this device keeps of one.
type Conversation struct {
	ID          proto.ID
	Kind        pb.ConversationKind
	Chain       []byte // state of the verified commits, see proto.Chain
	ThroughSeq  uint64 // everything up to here is stored or known to be purged
	HeadSeq     uint64 // the relay's newest number known
	ReadSeq     uint64 // of this account
	NeedsEpoch  bool   // the relay wants a new epoch before it takes more
	Counter     uint64 // of the last envelope that this device made here
	KnownSeq    uint64 // newest event of the relay's log that is stored …
	KnownHash   []byte // … and its hash, nil when that is not known
	SuspectSeq  uint64 // first event of that log that was refused, 0 without one …
	SuspectHash []byte // … and its hash
	Rereading   bool   // the relay's log turned out to be another one and is read from its beginning:
	NewChain    []byte // the chain that it gives so far
	Met         bool   // that has come to the head of Chain
	WantsEpoch  bool   // the epoch in force went back: nothing is sealed before a new one begins
}

const conversationColumns = `id, kind, chain, through_seq, head_seq, read_seq, needs_epoch, counter, known_seq, known_hash, suspect_seq, suspect_hash,
	rereading, reread_chain, reread_met, wants_epoch`

func scanConversation(row scanner) (*Conversation, error) {
	var (
		c   Conversation
		cid []byte
	)
	err := row.Scan(&cid, &c.Kind, &c.Chain, &c.ThroughSeq, &c.HeadSeq, &c.ReadSeq, &c.NeedsEpoch, &c.Counter, &c.KnownSeq, &c.KnownHash, &c.SuspectSeq, &c.SuspectHash,
		&c.Rereading, &c.NewChain, &c.Met, &c.WantsEpoch)
	c.ID = id(cid)
	return &c, err
}

// Conversation returns one, or ErrNotFound.
func (t *Tx) Conversation(conversation proto.ID) (*Conversation, error) {
	c, err := scanConversation(t.row("SELECT "+conversationColumns+" FROM conversations WHERE id = ?", conversation[:]))
	if err != nil {
		return nil, found("read conversation", err)
	}
	return c, nil
}

// Conversations returns all of them.
func (t *Tx) Conversations() ([]*Conversation, error) {
	return queryAll(t, "read conversations", scanConversation, "SELECT "+conversationColumns+" FROM conversations ORDER BY id")
}

// SaveConversation writes all of c.
func (t *Tx) SaveConversation(c *Conversation) error {
	return t.exec("save conversation", "INSERT OR REPLACE INTO conversations ("+conversationColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		c.ID[:], c.Kind, c.Chain, c.ThroughSeq, c.HeadSeq, c.ReadSeq, c.NeedsEpoch, c.Counter, c.KnownSeq, c.KnownHash, c.SuspectSeq, c.SuspectHash,
		c.Rereading, c.NewChain, c.Met, c.WantsEpoch)
}

// EpochKey returns the key of an epoch, or ErrNotFound.
func (t *Tx) EpochKey(conversation proto.ID, epoch uint64) ([]byte, error) {
	var key []byte
	err := t.row("SELECT key FROM epochs WHERE conversation = ? AND epoch = ?", conversation[:], epoch).Scan(&key)
	return key, found("read epoch key", err)
}

// SaveEpochKey keeps the key of an epoch in place of any other. The caller has checked it against the commit.
func (t *Tx) SaveEpochKey(conversation proto.ID, epoch uint64, key []byte) error {
	return t.exec("save epoch key", "INSERT OR REPLACE INTO epochs (conversation, epoch, key) VALUES (?, ?, ?)", conversation[:], epoch, key)
}

// Cursor is how far a member is.
type Cursor struct {
	Account               proto.ID
	DeliveredSeq, ReadSeq uint64
}

// MoveCursor raises a member's cursor and says whether it moved.
func (t *Tx) MoveCursor(conversation proto.ID, c Cursor) (bool, error) {
	return t.changed("move cursor", `INSERT INTO cursors (conversation, account, delivered_seq, read_seq) VALUES (?, ?, ?, ?)
		ON CONFLICT (conversation, account) DO UPDATE SET delivered_seq = max(delivered_seq, excluded.delivered_seq),
		read_seq = max(read_seq, excluded.read_seq)
		WHERE excluded.delivered_seq > delivered_seq OR excluded.read_seq > read_seq`,
		conversation[:], c.Account[:], c.DeliveredSeq, c.ReadSeq)
}

// ForgetCursors takes every member's cursor in a conversation back to nothing.
func (t *Tx) ForgetCursors(conversation proto.ID) error {
	return t.exec("forget cursors", "DELETE FROM cursors WHERE conversation = ?", conversation[:])
}

// Cursors returns every member's cursor in a conversation.
func (t *Tx) Cursors(conversation proto.ID) ([]Cursor, error) {
	return queryAll(t, "read cursors", func(row scanner) (Cursor, error) {
		var (
			c       Cursor
			account []byte
		)
		err := row.Scan(&account, &c.DeliveredSeq, &c.ReadSeq)
		c.Account = id(account)
		return c, err
	}, "SELECT account, delivered_seq, read_seq FROM cursors WHERE conversation = ?", conversation[:])
}
