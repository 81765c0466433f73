package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

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
	return conversation<<seqBits | int64(min(seq, maxSeq)) //nolint:gosec // not above maxSeq
}

func seqOf(place int64) uint64 { return uint64(place) & maxSeq } //nolint:gosec // places are positive

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
