package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Post is an envelope to be stored. The fields up to Behalf are the caller's; the rest is the answer.
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
	Behalf          bool // posted by another member

	Held    []proto.ID // members who are not told of it
	Seq     uint64
	RelayMS int64
	Known   bool // the same envelope was stored before
	Err     error
}

// Posts stores envelopes durably, each on its own merits: afterwards every Post has Seq and RelayMS, or
// Err (a *proto.Error for what the sender has to act on). The returned error means that none is stored.
// stored is called once they are, in the order of the numbers among all that is stored (see writeTx.after),
// perhaps after Posts has returned.
func (s *Store) Posts(ctx context.Context, posts []*Post, stored func()) error {
	return s.enqueue(&operation{ctx: ctx, posts: posts, stored: stored, result: make(chan error, 1)})
}

const (
	messageColumns = `place, conversation_id, account_id, device_id, id, type, epoch, counter, kind, counted, sender_counted,
		header, ciphertext, signature, hash, ciphertext_hash, replaces_device, replaces_id, relay_ms, node`
	messageValues = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	insertRows    = 100 // rows per INSERT: 2,000 parameters, far below every limit
)

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
		if p.Err != nil || p.Known {
			continue
		}
		h.seq++
		if p.Counts {
			h.counted++
			who.counted++
		}
		p.Seq, p.RelayMS, p.Held = h.seq, now, h.held
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

// admit checks, inside the posting transaction, what may have changed since the relay looked. It sets Err,
// or Known with the answer, for what is not to be stored.
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
	case h.seq >= maxSeq:
		p.Err = proto.Errorf(pb.ErrorCode_ERROR_CODE_STORE_FULL, "this conversation is full")
	case !p.Behalf && slices.Contains(h.holders, p.Account):
		err = w.refuse(p, blocking())
	case h.needsEpoch, p.Epoch != h.epoch:
		err = w.refuseEpoch(p, h)
	}
	return h, who, err
}

// refuseEpoch answers a post of an epoch that is not in force, unless it is stored already: its sender
// only missed the answer, and must not seal it again.
func (w *writeTx) refuseEpoch(p *Post, h *head) error {
	if h.needsEpoch {
		return w.refuse(p, proto.Errorf(pb.ErrorCode_ERROR_CODE_NEEDS_EPOCH, "a device was revoked: commit a new epoch first"))
	}
	return w.refuse(p, proto.Errorf(pb.ErrorCode_ERROR_CODE_STALE_EPOCH, "epoch %d is not in force, %d is: seal again", p.Epoch, h.epoch))
}

// refuse gives a post an error, unless it is stored already.
func (w *writeTx) refuse(p *Post, why error) error {
	known, err := w.known(p)
	if err == nil && !known {
		p.Err = why
	}
	return err
}

func notFound() error {
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "there is no such conversation")
}
