package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// NewCommit is a commit that was checked against Chain, ready to be stored if the head is still Previous.
type NewCommit struct {
	Commit *proto.Commit
	Chain  []byte // the state after it
	Grants []*pb.Grant
	Stored func() // is called once it is stored, as that of Posts; nil for nobody

	Held    []proto.ID // members who are not told of it
	Seq     uint64     // the answer, with Held and RelayMS
	RelayMS int64
}

// Commit stores a commit with its grants. It fails with stale_head when another one came first, and with
// not_found when its signer is no member any more.
func (s *Store) Commit(ctx context.Context, c *NewCommit) error {
	return s.write(ctx, func(w *writeTx) error { return w.insertCommit(c) })
}

func staleHead() error {
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_STALE_HEAD, "somebody else committed first: fetch it and try again")
}

func (w *writeTx) insertCommit(n *NewCommit) error {
	members, err := w.resulting(n.Commit)
	if err != nil {
		return err
	}
	id, err := w.moveHead(n, members)
	if err != nil {
		return err
	}
	signer, err := w.account(n.Commit.GetAccount())
	if err != nil {
		return err
	}
	if err := w.insertEvent(id, signer.id, n); err != nil {
		return err
	}
	for _, m := range members {
		if err := w.setMember(id, m, n); err != nil {
			return err
		}
	}
	for _, g := range n.Grants {
		account, err := w.account(g.GetAccount())
		if err != nil {
			return err
		}
		if err := w.insertGrant(id, n.Commit.GetEpoch(), account.id, g); err != nil {
			return err
		}
	}
	w.after(n.Stored)
	return nil
}

// resultingMember is a member as a commit names it, beside its account as it is now.
type resultingMember struct {
	*pb.Member
	accountRow
}

// accountRow is what a commit is compared with.
type accountRow struct {
	id         int64
	generation uint32
	identity   []byte
}

func (w *writeTx) account(public []byte) (a accountRow, err error) {
	err = w.row("SELECT id, generation, identity_key FROM accounts WHERE public_id = ?", public).Scan(&a.id, &a.generation, &a.identity)
	return a, wrap("find member", err)
}

// resulting finds the members of a commit. A generation that does not exist is refused: since generations
// of a chain only rise, it would end the conversation.
func (w *writeTx) resulting(c *proto.Commit) ([]resultingMember, error) {
	members := make([]resultingMember, 0, len(c.GetMembers()))
	for _, m := range c.GetMembers() {
		account, err := w.account(m.GetAccount())
		if err != nil {
			return nil, err
		}
		if m.GetGeneration() > account.generation {
			return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_FORBIDDEN, "the commit grants to a generation of a member's account key that does not exist")
		}
		if err := inForce(c, m, account); err != nil {
			return nil, err
		}
		members = append(members, resultingMember{m, account})
	}
	return members, nil
}

// inForce refuses a commit that names another identity key than the signer's in force, or in a pair than the other's. After
// a reset nobody commits in a pair before the other member has taken the new identity; the chain says how.
func inForce(c *proto.Commit, m *pb.Member, account accountRow) error {
	signer := bytes.Equal(m.GetAccount(), c.GetAccount())
	if !signer && c.GetKind() != pb.ConversationKind_CONVERSATION_KIND_PAIR || bytes.Equal(m.GetIdentityKey(), account.identity) {
		return nil
	}
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_FORBIDDEN, "the commit names another identity key of a member than the one in force")
}

// moveHead puts a commit at the head of its conversation and returns the conversation. One that grants
// to less than the newest account keys leaves the conversation in need of another.
func (w *writeTx) moveHead(n *NewCommit, members []resultingMember) (id int64, err error) {
	c, needs := n.Commit, false
	for _, m := range members {
		needs = needs || m.GetGeneration() < m.generation
	}
	if c.GetNumber() == 1 {
		id, err = w.insert(`INSERT INTO conversations (public_id, kind, suite, epoch, head_commit, chain, needs_epoch, created_ms)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, c.GetConversation(), c.GetKind(), c.GetSuite(), c.GetEpoch(), c.Hash[:], n.Chain, needs, w.s.nowMS())
		if w.s.dialect.taken(err, "") {
			return 0, staleHead()
		}
		return id, wrap("insert conversation", err)
	}
	if err := w.row("SELECT id FROM conversations WHERE public_id = ? AND deleted_ms IS NULL", c.GetConversation()).Scan(&id); err != nil {
		return 0, wrap("read conversation", err)
	}
	if err := w.mayCommit(id, c); err != nil {
		return 0, err
	}
	w.s.heads.forget(id)
	changed, err := w.exec("UPDATE conversations SET epoch = ?, head_commit = ?, chain = ?, needs_epoch = ? WHERE id = ? AND head_commit = ?",
		c.GetEpoch(), c.Hash[:], n.Chain, needs, id, c.GetPrevious())
	if err == nil && changed == 0 {
		err = staleHead()
	}
	return id, wrap("update conversation", err)
}

// mayCommit checks that the signer is still a member, unless the commit is their own joining.
func (w *writeTx) mayCommit(conversation int64, c *proto.Commit) error {
	if _, joins := c.GetChange().(*pb.Commit_JoinByLink_); joins {
		return nil
	}
	signer, err := w.account(c.GetAccount())
	if err != nil {
		return err
	}
	member, err := w.isMember(conversation, signer.id)
	if err == nil && !member {
		err = notFound()
	}
	if err != nil {
		return err
	}
	h, err := w.head(conversation)
	if err == nil && slices.Contains(h.holders, signer.id) {
		err = blocking()
	}
	return err
}

// insertEvent gives a commit its number in the conversation's sequence.
func (w *writeTx) insertEvent(id, signer int64, n *NewCommit) error {
	h, err := w.head(id)
	if err != nil {
		return err
	}
	who, err := w.sender(h, id, signer)
	if err != nil {
		return err
	}
	w.s.heads.forget(id)
	c := n.Commit
	n.Seq, n.RelayMS, n.Held = h.seq+1, w.s.nowMS(), h.held
	_, err = w.exec(insertMessage, place(id, n.Seq), id, signer, 0, c.Hash[:16], typeCommit,
		c.GetNumber(), 0, 0, h.counted, who.counted, nil, nil, nil, c.Hash[:], nil, nil, nil, n.RelayMS, 0)
	if err != nil {
		return fmt.Errorf("insert event: %w", err)
	}
	_, err = w.exec("INSERT INTO commits (conversation_id, number, seq, hash, body, signature) VALUES (?, ?, ?, ?, ?, ?)",
		id, c.GetNumber(), n.Seq, c.Hash[:], c.Signed.GetBody(), c.Signed.GetSignature())
	return wrap("insert commit", err)
}

// setMember writes a member that a commit results in. What was there before somebody joined is not unread.
func (w *writeTx) setMember(conversation int64, m resultingMember, n *NewCommit) error {
	changed, err := w.exec("UPDATE members SET role = ?, left_seq = 0 WHERE conversation_id = ? AND account_id = ?", m.GetRole(), conversation, m.id)
	if err == nil && changed == 0 {
		if !bytes.Equal(m.GetIdentityKey(), m.identity) {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_FORBIDDEN, "the commit names another identity key of a new member")
		}
		_, err = w.exec("INSERT INTO members (conversation_id, account_id, role, joined_seq, read_seq) VALUES (?, ?, ?, ?, ?)",
			conversation, m.id, m.GetRole(), n.Seq, n.Seq)
	}
	if err != nil {
		return fmt.Errorf("set member: %w", err)
	}
	err = w.bump(m.id, LogConversation, n.Commit.GetConversation())
	return err
}

// StoredCommit is a commit as it is stored, with the grant for whoever reads it.
type StoredCommit struct {
	Number uint64
	Signed *pb.Signed
	Grant  *pb.Grant // nil for none
}

// Commits reads up to limit commits of a conversation from a number on, with the grants for an account.
func (s *Store) Commits(ctx context.Context, conversation, account int64, from uint64, limit int) ([]StoredCommit, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT c.number, c.body, c.signature, "+grantColumns+` FROM commits c
		LEFT JOIN grants g ON g.conversation_id = c.conversation_id AND g.epoch = c.number AND g.account_id = ?
		LEFT JOIN accounts a ON a.id = g.account_id
		WHERE c.conversation_id = ? AND c.number >= ? AND c.seq <= `+visible+` ORDER BY c.number LIMIT ?`,
		account, conversation, int64(min(from, maxSeq)), conversation, account, limit)
	if err != nil {
		return nil, fmt.Errorf("read commits: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []StoredCommit
	for rows.Next() {
		c, g := StoredCommit{Signed: &pb.Signed{}}, scannedGrant{}
		if err := rows.Scan(&c.Number, &c.Signed.Body, &c.Signed.Signature, &g.account, &g.generation, &g.enc, &g.ciphertext); err != nil {
			return nil, fmt.Errorf("read commits: %w", err)
		}
		c.Grant = g.grant()
		all = append(all, c)
	}
	return all, wrap("read commits", rows.Err())
}
