package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// NewCommit is a commit that was checked against Chain, ready to be stored if the head is still Previous.
type NewCommit struct {
	Commit *proto.Commit
	Chain  []byte // the state after it
	Grants []*pb.Grant
	Stored func() // is called once it is stored, as that of Posts; nil for nobody

	Seq     uint64 // the answer, with RelayMS
	RelayMS int64
}

// Conversation is one row of conversations.
type Conversation struct {
	ID         int64
	Public     proto.ID
	Kind       pb.ConversationKind
	Epoch      uint64
	HeadCommit []byte
	Chain      []byte
	NeedsEpoch bool
}

// Conversation finds a conversation.
func (s *Store) Conversation(ctx context.Context, id proto.ID) (*Conversation, error) {
	c := Conversation{Public: id}
	err := s.read.QueryRowContext(ctx, "SELECT id, kind, epoch, head_commit, chain, needs_epoch FROM conversations WHERE public_id = ? AND deleted_ms IS NULL", id[:]).
		Scan(&c.ID, &c.Kind, &c.Epoch, &c.HeadCommit, &c.Chain, &c.NeedsEpoch)
	return &c, wrap("read conversation", err)
}

// Commit stores a commit with its grants. It fails with stale_head when another one came first.
func (s *Store) Commit(ctx context.Context, c *NewCommit) error {
	return s.write(ctx, func(w *writeTx) error { return w.insertCommit(c) })
}

func staleHead() error {
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_STALE_HEAD, "somebody else committed first: fetch it and try again")
}

func (w *writeTx) insertCommit(n *NewCommit) error {
	c := n.Commit
	var id int64
	if c.GetNumber() == 1 {
		var err error
		id, err = w.insert(`INSERT INTO conversations (public_id, kind, suite, epoch, head_commit, chain, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			c.GetConversation(), c.GetKind(), c.GetSuite(), c.GetEpoch(), c.Hash[:], n.Chain, w.s.nowMS())
		if err != nil {
			if w.s.dialect.taken(err, "") {
				return staleHead()
			}
			return fmt.Errorf("insert conversation: %w", err)
		}
	} else {
		if err := w.row("SELECT id FROM conversations WHERE public_id = ?", c.GetConversation()).Scan(&id); err != nil {
			return wrap("read conversation", err)
		}
		changed, err := w.exec("UPDATE conversations SET epoch = ?, head_commit = ?, chain = ?, needs_epoch = 0 WHERE id = ? AND head_commit = ?",
			c.GetEpoch(), c.Hash[:], n.Chain, id, c.GetPrevious())
		if err != nil {
			return fmt.Errorf("update conversation: %w", err)
		}
		if changed == 0 {
			return staleHead()
		}
	}
	return w.insertCommitRows(id, n)
}

func (w *writeTx) insertCommitRows(id int64, n *NewCommit) error {
	c := n.Commit
	w.s.heads.forget(id)
	h, err := w.head(id)
	if err != nil {
		return err
	}
	n.Seq, n.RelayMS = h.seq+1, w.s.nowMS()
	w.s.heads.forget(id)
	ids := func(public []byte) (id int64, err error) {
		err = w.row("SELECT id FROM accounts WHERE public_id = ?", public).Scan(&id)
		return id, wrap("find member", err)
	}
	signer, err := ids(c.GetAccount())
	if err != nil {
		return err
	}
	var counted uint64
	err = w.row("SELECT COALESCE(MAX(sender_counted), 0) FROM messages WHERE conversation_id = ? AND account_id = ?", id, signer).Scan(&counted)
	if err != nil {
		return wrap("read sender", err)
	}
	_, err = w.exec("INSERT INTO messages ("+messageColumns+") VALUES "+messageValues, place(id, n.Seq), id, signer, 0, c.Hash[:16], typeCommit,
		c.GetNumber(), 0, 0, h.counted, counted, nil, nil, nil, c.Hash[:], nil, nil, nil, n.RelayMS, 0)
	if err != nil {
		return fmt.Errorf("insert event: %w", err)
	}
	_, err = w.exec("INSERT INTO commits (conversation_id, number, seq, hash, body, signature) VALUES (?, ?, ?, ?, ?, ?)",
		id, c.GetNumber(), n.Seq, c.Hash[:], c.Signed.GetBody(), c.Signed.GetSignature())
	if err != nil {
		return fmt.Errorf("insert commit: %w", err)
	}
	for _, m := range c.GetMembers() {
		account, err := ids(m.GetAccount())
		if err != nil {
			return err
		}
		changed, err := w.exec("UPDATE members SET role = ?, left_seq = 0 WHERE conversation_id = ? AND account_id = ?", m.GetRole(), id, account)
		if err == nil && changed == 0 {
			_, err = w.exec("INSERT INTO members (conversation_id, account_id, role, joined_seq) VALUES (?, ?, ?, ?)", id, account, m.GetRole(), n.Seq)
		}
		if err != nil {
			return fmt.Errorf("set member: %w", err)
		}
		if _, err := w.bump(account, LogConversation, c.GetConversation()); err != nil {
			return err
		}
	}
	for _, g := range n.Grants {
		account, err := ids(g.GetAccount())
		if err != nil {
			return err
		}
		_, err = w.exec("INSERT INTO grants (conversation_id, epoch, account_id, generation, enc, ciphertext) VALUES (?, ?, ?, ?, ?, ?)",
			id, c.GetEpoch(), account, g.GetGeneration(), g.GetEnc(), g.GetCiphertext())
		if err != nil {
			return fmt.Errorf("insert grant: %w", err)
		}
	}
	w.after(n.Stored)
	return nil
}

// Grant returns the grant of an epoch for an account, nil when there is none.
func (s *Store) Grant(ctx context.Context, conversation int64, epoch uint64, account int64, public proto.ID) (*pb.Grant, error) {
	g := &pb.Grant{Account: public.Bytes()}
	err := s.read.QueryRowContext(ctx, "SELECT generation, enc, ciphertext FROM grants WHERE conversation_id = ? AND epoch = ? AND account_id = ?",
		conversation, epoch, account).Scan(&g.Generation, &g.Enc, &g.Ciphertext)
	if err = wrap("read grant", err); err == ErrNotFound { //nolint:errorlint // made by wrap
		return nil, nil
	}
	return g, err
}

// Member is one row of members.
type Member struct {
	Account      proto.ID
	AccountID    int64
	DeliveredSeq uint64
	ReadSeq      uint64
	JoinedSeq    uint64
}

// Members returns who is in a conversation now.
func (s *Store) Members(ctx context.Context, conversation int64) ([]Member, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT a.public_id, m.account_id, m.delivered_seq, m.read_seq, m.joined_seq FROM members m
		JOIN accounts a ON a.id = m.account_id WHERE m.conversation_id = ? AND m.left_seq = 0`, conversation)
	if err != nil {
		return nil, fmt.Errorf("read members: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []Member
	for rows.Next() {
		var (
			m      Member
			public []byte
		)
		if err := rows.Scan(&public, &m.AccountID, &m.DeliveredSeq, &m.ReadSeq, &m.JoinedSeq); err != nil {
			return nil, fmt.Errorf("read members: %w", err)
		}
		m.Account = proto.ID(public)
		all = append(all, m)
	}
	return all, wrap("read members", rows.Err())
}

// ConversationsOf returns the conversations an account is in.
func (s *Store) ConversationsOf(ctx context.Context, account int64) ([]proto.ID, error) {
	return publicIDs(ctx, s.read, `SELECT c.public_id FROM members m JOIN conversations c ON c.id = m.conversation_id
		WHERE m.account_id = ? AND m.left_seq = 0 AND c.deleted_ms IS NULL`, account)
}

// ShareConversation says whether two accounts are members of one conversation.
func (s *Store) ShareConversation(ctx context.Context, a, b int64) (bool, error) {
	var one int
	err := s.read.QueryRowContext(ctx, `SELECT 1 FROM members x JOIN members y ON y.conversation_id = x.conversation_id
		WHERE x.account_id = ? AND y.account_id = ? AND x.left_seq = 0 AND y.left_seq = 0 LIMIT 1`, a, b).Scan(&one)
	if err == sql.ErrNoRows { //nolint:errorlint // database/sql returns it bare
		return false, nil
	}
	return err == nil, wrap("read members", err)
}

// DeliveredTo is a device's own cursor.
func (s *Store) DeliveredTo(ctx context.Context, device, conversation int64) (uint64, error) {
	return s.countAt(ctx, "SELECT delivered_seq FROM device_cursors WHERE device_id = ? AND conversation_id = ?", device, conversation)
}

// MoveCursor raises a device's delivered and its account's read number, never beyond the head. It
// returns the member as it is then.
func (s *Store) MoveCursor(ctx context.Context, conversation, account, device int64, delivered, read uint64) (m Member, err error) {
	err = s.write(ctx, func(w *writeTx) error {
		h, err := w.head(conversation)
		if err != nil {
			return err
		}
		delivered, read = min(max(delivered, read), h.seq), min(read, h.seq)
		changed, err := w.exec("UPDATE device_cursors SET delivered_seq = "+raised("delivered_seq")+" WHERE device_id = ? AND conversation_id = ?",
			delivered, delivered, device, conversation)
		if err == nil && changed == 0 {
			_, err = w.exec("INSERT INTO device_cursors (device_id, conversation_id, delivered_seq) VALUES (?, ?, ?)", device, conversation, delivered)
		}
		if err != nil {
			return fmt.Errorf("move cursor: %w", err)
		}
		_, err = w.exec("UPDATE members SET delivered_seq = "+raised("delivered_seq")+", read_seq = "+raised("read_seq")+
			" WHERE conversation_id = ? AND account_id = ?", delivered, delivered, read, read, conversation, account)
		if err != nil {
			return fmt.Errorf("move cursor: %w", err)
		}
		m.AccountID = account
		return wrap("read member", w.row("SELECT delivered_seq, read_seq FROM members WHERE conversation_id = ? AND account_id = ?", conversation, account).
			Scan(&m.DeliveredSeq, &m.ReadSeq))
	})
	return m, err
}

// raised is the greater of a column and an argument that is given twice.
func raised(column string) string {
	return "CASE WHEN " + column + " < ? THEN ? ELSE " + column + " END"
}
