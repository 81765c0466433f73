package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Post is an envelope to be stored. The fields up to Counts are the caller's; the rest is the answer.
type Post struct {
	Conversation    int64
	Account, Device int64
	ID              proto.ID
	Epoch, Counter  uint64
	Kind            uint32
	Counts          bool
	Header          []byte
	Ciphertext      []byte
	CiphertextHash  []byte
	Signature       []byte
	Hash            []byte
	ReplacesDevice  []byte
	ReplacesID      []byte
	Node            int64

	Seq     uint64
	RelayMS int64
	Known   bool // the same envelope was stored before
	Err     error
}

const (
	typeEnvelope = 0
	typeCommit   = 1
	seqBits      = 32
)

// place packs (conversation, seq) into the primary key of messages.
func place(conversation int64, seq uint64) int64 {
	return conversation<<seqBits | int64(seq&(1<<seqBits-1))
} //nolint:gosec // masked

func seqOf(place int64) uint64 { return uint64(place) & (1<<seqBits - 1) } //nolint:gosec // places are positive

// Posts stores envelopes durably, each on its own merits: afterwards every Post has Seq and RelayMS, or
// Err (a *proto.Error for what the sender has to act on). The returned error means that none is stored.
func (s *Store) Posts(ctx context.Context, posts []*Post) error {
	return s.enqueue(&operation{ctx: ctx, posts: posts, result: make(chan error, 1)})
}

// head is what posting needs of a conversation: its place in memory belongs to the writer.
type head struct {
	seq        uint64
	counted    uint64
	epoch      uint64
	needsEpoch bool
	deleted    bool
	senders    map[int64]*sender
}

type sender struct {
	member  bool
	counted uint64
}

// heads caches the heads of conversations that are written to. A group that fails clears it.
type heads struct {
	byID map[int64]*head
}

const maxHeads = 50_000

func newHeads() *heads { return &heads{byID: make(map[int64]*head)} }

func (h *heads) clear()                    { clear(h.byID) }
func (h *heads) forget(conversation int64) { delete(h.byID, conversation) }

func (w *writeTx) head(conversation int64) (*head, error) {
	if h, ok := w.s.heads.byID[conversation]; ok {
		return h, nil
	}
	h := &head{senders: make(map[int64]*sender)}
	var deleted sql.NullInt64
	err := w.row("SELECT epoch, needs_epoch, deleted_ms FROM conversations WHERE id = ?", conversation).Scan(&h.epoch, &h.needsEpoch, &deleted)
	if err != nil {
		return nil, wrap("read conversation", err)
	}
	h.deleted = deleted.Valid
	var last int64
	err = w.row("SELECT place, counted FROM messages WHERE place > ? AND place < ? ORDER BY place DESC LIMIT 1",
		place(conversation, 0), place(conversation+1, 0)).Scan(&last, &h.counted)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read head: %w", err)
	}
	h.seq = seqOf(last)
	if len(w.s.heads.byID) >= maxHeads {
		w.s.heads.clear()
	}
	w.s.heads.byID[conversation] = h
	return h, nil
}

func (w *writeTx) sender(h *head, conversation, account int64) (*sender, error) {
	if known, ok := h.senders[account]; ok {
		return known, nil
	}
	var left int64
	err := w.row("SELECT left_seq FROM members WHERE conversation_id = ? AND account_id = ?", conversation, account).Scan(&left)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read member: %w", err)
	}
	who := &sender{member: err == nil && left == 0}
	err = w.row("SELECT sender_counted FROM messages WHERE conversation_id = ? AND account_id = ? ORDER BY place DESC LIMIT 1",
		conversation, account).Scan(&who.counted)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read sender: %w", err)
	}
	h.senders[account] = who
	return who, nil
}

// postAll stores the posts of a group: optimistically all at once, one by one if an id is not new.
func (w *writeTx) postAll(posts []*Post) error {
	if _, err := w.exec("SAVEPOINT posts"); err != nil {
		return fmt.Errorf("savepoint: %w", err)
	}
	err := w.postBatch(posts)
	if err == nil {
		_, err = w.exec("RELEASE SAVEPOINT posts")
		return wrap("release", err)
	}
	if !w.s.dialect.taken(err, "") {
		return err
	}
	w.s.heads.clear()
	if _, err := w.exec("ROLLBACK TO SAVEPOINT posts"); err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	if _, err := w.exec("RELEASE SAVEPOINT posts"); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	for _, p := range posts {
		p.Seq, p.RelayMS, p.Known, p.Err = 0, 0, false, nil
		known, err := w.known(p)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		if err := w.postBatch([]*Post{p}); err != nil {
			return err
		}
	}
	return nil
}

// known answers a post whose id is there already: the same envelope gets its first answer again.
func (w *writeTx) known(p *Post) (bool, error) {
	var (
		at, relayMS int64
		hash        []byte
	)
	err := w.row("SELECT place, relay_ms, hash FROM messages WHERE conversation_id = ? AND device_id = ? AND id = ?",
		p.Conversation, p.Device, p.ID[:]).Scan(&at, &relayMS, &hash)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read message: %w", err)
	}
	if !bytes.Equal(hash, p.Hash) {
		p.Err = proto.Errorf(pb.ErrorCode_ERROR_CODE_ID_CONFLICT, "another message of this device has this id")
		return true, nil
	}
	p.Seq, p.RelayMS, p.Known = seqOf(at), relayMS, true
	return true, nil
}

const (
	messageColumns = `place, conversation_id, account_id, device_id, id, type, epoch, counter, kind, counted, sender_counted,
		header, ciphertext, signature, hash, ciphertext_hash, replaces_device, replaces_id, relay_ms, node`
	messageValues = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	insertRows    = 100 // rows per INSERT: 2,000 parameters, far below every limit
)

func (w *writeTx) postBatch(posts []*Post) error {
	now := w.s.nowMS()
	args := make([]any, 0, min(len(posts), insertRows)*20)
	rows := 0
	flush := func() error {
		if rows == 0 {
			return nil
		}
		query := "INSERT INTO messages (" + messageColumns + ") VALUES " + strings.TrimSuffix(strings.Repeat(messageValues+",", rows), ",")
		_, err := w.exec(query, args...)
		args, rows = args[:0], 0
		return err
	}
	for _, p := range posts {
		h, who, err := w.admit(p)
		if err != nil {
			return err
		}
		if p.Err != nil {
			continue
		}
		h.seq++
		if p.Counts {
			h.counted++
			who.counted++
		}
		p.Seq, p.RelayMS = h.seq, now
		args = append(args, place(p.Conversation, p.Seq), p.Conversation, p.Account, p.Device, p.ID[:], typeEnvelope, p.Epoch, p.Counter,
			p.Kind, h.counted, who.counted, p.Header, p.Ciphertext, p.Signature, p.Hash, p.CiphertextHash, p.ReplacesDevice, p.ReplacesID,
			now, p.Node)
		if rows++; rows == insertRows {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// admit checks, inside the posting transaction, what may have changed since the relay looked.
func (w *writeTx) admit(p *Post) (*head, *sender, error) {
	h, err := w.head(p.Conversation)
	if errors.Is(err, ErrNotFound) {
		p.Err = notFound()
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	who, err := w.sender(h, p.Conversation, p.Account)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case h.deleted, !who.member:
		p.Err = notFound()
	case h.needsEpoch:
		p.Err = proto.Errorf(pb.ErrorCode_ERROR_CODE_NEEDS_EPOCH, "a device was revoked: commit a new epoch first")
	case p.Epoch != h.epoch:
		p.Err = proto.Errorf(pb.ErrorCode_ERROR_CODE_STALE_EPOCH, "epoch %d is not in force, %d is: seal again", p.Epoch, h.epoch)
	case h.seq >= 1<<seqBits-1:
		p.Err = proto.Errorf(pb.ErrorCode_ERROR_CODE_STORE_FULL, "this conversation is full")
	}
	return h, who, nil
}

func notFound() error {
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "there is no such conversation")
}

// Row is one stored number of a conversation.
type Row struct {
	Seq        uint64
	RelayMS    int64
	Hash       []byte
	Commit     bool
	Number     uint64 // of a commit
	Envelope   *pb.Envelope
	BodySigned *pb.Signed // of a commit
}

// Page reads up to limit numbers after (or, backward, before) a sequence number, ascending.
func (s *Store) Page(ctx context.Context, conversation int64, after, before uint64, backward bool, limit int) ([]Row, error) {
	low, high, order := place(conversation, after), place(conversation+1, 0), "ASC"
	if backward {
		low, order = place(conversation, 0), "DESC"
		if before > 0 {
			high = place(conversation, before)
		}
	}
	rows, err := s.read.QueryContext(ctx, `SELECT m.place, m.relay_ms, m.hash, m.type, m.epoch, m.header, m.ciphertext, m.signature,
		m.ciphertext_hash, c.body, c.signature FROM messages m
		LEFT JOIN commits c ON m.type = 1 AND c.conversation_id = m.conversation_id AND c.number = m.epoch
		WHERE m.place > ? AND m.place < ? ORDER BY m.place `+order+" LIMIT ?", low, high, limit)
	if err != nil {
		return nil, fmt.Errorf("read page: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var page []Row
	for rows.Next() {
		r, err := scanRow(rows)
		if err != nil {
			return nil, fmt.Errorf("read page: %w", err)
		}
		page = append(page, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read page: %w", err)
	}
	if backward {
		for i, j := 0, len(page)-1; i < j; i, j = i+1, j-1 {
			page[i], page[j] = page[j], page[i]
		}
	}
	return page, nil
}

func scanRow(rows *sql.Rows) (Row, error) {
	var (
		r                                                   Row
		at                                                  int64
		kind                                                int
		header, ciphertext, signature, sum, body, commitSig []byte
	)
	if err := rows.Scan(&at, &r.RelayMS, &r.Hash, &kind, &r.Number, &header, &ciphertext, &signature, &sum, &body, &commitSig); err != nil {
		return r, err //nolint:wrapcheck // the caller names the operation
	}
	r.Seq, r.Commit = seqOf(at), kind == typeCommit
	if r.Commit {
		r.BodySigned = &pb.Signed{Body: body, Signature: commitSig}
		return r, nil
	}
	r.Envelope = &pb.Envelope{Header: header, Ciphertext: ciphertext, Signature: signature}
	if ciphertext == nil {
		r.Envelope.CiphertextHash = sum
	}
	return r, nil
}

// HashAt returns the hash of a number, or ErrNotFound.
func (s *Store) HashAt(ctx context.Context, conversation int64, seq uint64) ([]byte, error) {
	var hash []byte
	err := s.read.QueryRowContext(ctx, "SELECT hash FROM messages WHERE place = ?", place(conversation, seq)).Scan(&hash)
	return hash, wrap("read hash", err)
}

// Head returns the newest number of a conversation, 0 when it has none.
func (s *Store) Head(ctx context.Context, conversation int64) (uint64, error) {
	var at int64
	err := s.read.QueryRowContext(ctx, "SELECT place FROM messages WHERE place > ? AND place < ? ORDER BY place DESC LIMIT 1",
		place(conversation, 0), place(conversation+1, 0)).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return seqOf(at), wrap("read head", err)
}

// Unread counts what counts after a read number and was written by others: a few index seeks, however
// many messages there are.
func (s *Store) Unread(ctx context.Context, conversation, account int64, read uint64) (uint64, error) {
	end := place(conversation+1, 0)
	all, err := s.countAt(ctx, "SELECT counted FROM messages WHERE place > ? AND place < ? ORDER BY place DESC LIMIT 1", place(conversation, 0), end)
	if err != nil {
		return 0, err
	}
	allRead, err := s.countAt(ctx, "SELECT counted FROM messages WHERE place > ? AND place <= ? ORDER BY place DESC LIMIT 1",
		place(conversation, 0), place(conversation, read))
	if err != nil {
		return 0, err
	}
	const own = "SELECT sender_counted FROM messages WHERE conversation_id = ? AND account_id = ? AND place <= ? ORDER BY place DESC LIMIT 1"
	mine, err := s.countAt(ctx, own, conversation, account, end)
	if err != nil {
		return 0, err
	}
	mineRead, err := s.countAt(ctx, own, conversation, account, place(conversation, read))
	if err != nil {
		return 0, err
	}
	return (all - allRead) - (mine - mineRead), nil
}

func (s *Store) countAt(ctx context.Context, query string, args ...any) (uint64, error) {
	var n uint64
	err := s.read.QueryRowContext(ctx, query, args...).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return n, wrap("count", err)
}
