package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const (
	typeEnvelope = 0
	typeCommit   = 1
)

const (
	seqBits = 32
	maxSeq  = 1<<seqBits - 1 // messages in a conversation
)

// place packs (conversation, seq) into the primary key of messages. A number that no message can have is
// the last one.
func place(conversation int64, seq uint64) int64 {
	return conversation<<seqBits | int64(min(seq, maxSeq))
}

func seqOf(place int64) uint64 { return uint64(place) & maxSeq } //nolint:gosec // places are positive

// Row is one stored number of a conversation: an envelope or a commit.
type Row struct {
	Seq      uint64
	RelayMS  int64
	Hash     []byte
	Envelope *pb.Envelope
	Commit   *StoredCommit
}

const pageQuery = `SELECT m.place, m.relay_ms, m.hash, m.type, m.epoch, m.header, m.ciphertext, m.signature,
	m.ciphertext_hash, c.body, c.signature, ` + grantColumns + ` FROM messages m
	LEFT JOIN commits c ON m.type = 1 AND c.conversation_id = m.conversation_id AND c.number = m.epoch
	LEFT JOIN grants g ON m.type = 1 AND g.conversation_id = m.conversation_id AND g.epoch = m.epoch AND g.account_id = ?
	LEFT JOIN accounts a ON a.id = g.account_id
	WHERE m.place > ? AND m.place < ? AND m.place <= ? + ` + visible + " ORDER BY m.place "

// visible is the highest number of a conversation that an account sees: two arguments.
const visible = "COALESCE((SELECT v.visible_seq FROM members v WHERE v.conversation_id = ? AND v.account_id = ?), 4294967295)"

// Page reads up to limit numbers after (or, backward, before) a sequence number, ascending, with the grants
// for an account.
func (s *Store) Page(ctx context.Context, conversation, account int64, after, before uint64, backward bool, limit int) ([]Row, error) {
	low, high, order := place(conversation, after), place(conversation+1, 0), "ASC"
	if backward {
		low, order = place(conversation, 0), "DESC"
		if before > 0 {
			high = place(conversation, before)
		}
	}
	rows, err := s.read.QueryContext(ctx, pageQuery+order+" LIMIT ?", account, low, high, place(conversation, 0), conversation, account, limit)
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
		slices.Reverse(page)
	}
	return page, nil
}

func scanRow(rows *sql.Rows) (Row, error) {
	var (
		r          Row
		at, number int64
		kind       int
		e          = &pb.Envelope{}
		commit     = &pb.Signed{}
		sum        []byte
		g          scannedGrant
	)
	err := rows.Scan(&at, &r.RelayMS, &r.Hash, &kind, &number, &e.Header, &e.Ciphertext, &e.Signature, &sum, &commit.Body, &commit.Signature,
		&g.account, &g.generation, &g.enc, &g.ciphertext)
	if err != nil {
		return r, err //nolint:wrapcheck // the caller names the operation
	}
	r.Seq = seqOf(at)
	if kind == typeCommit {
		r.Commit = &StoredCommit{Number: uint64(number), Signed: commit, Grant: g.grant()} //nolint:gosec // positive
		return r, nil
	}
	if e.GetCiphertext() == nil {
		e.CiphertextHash = sum
	}
	r.Envelope = e
	return r, nil
}

// HashAt returns the hash of a number, or ErrNotFound.
func (s *Store) HashAt(ctx context.Context, conversation int64, seq uint64) ([]byte, error) {
	var hash []byte
	err := s.read.QueryRowContext(ctx, "SELECT hash FROM messages WHERE place = ?", place(conversation, seq)).Scan(&hash)
	return hash, wrap("read hash", err)
}

func (s *Store) countAt(ctx context.Context, query string, args ...any) (uint64, error) {
	var n uint64
	err := s.read.QueryRowContext(ctx, query, args...).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return n, wrap("count", err)
}
