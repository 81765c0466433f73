package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

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

// Posts hands envelopes to the writer, each on its own merits. It waits only while the writer's queue is full;
// an error means that it did not take them. done is called when they are durable: every Post then has Seq and
// RelayMS, or Err (a *proto.Error for what the sender has to act on). With an error none is stored. It is called
// in the order of the numbers among all that is stored, and must not wait for anything (see writeTx.after).
func (s *Store) Posts(ctx context.Context, posts []*Post, done func(error)) error {
	return s.enqueue(&operation{ctx: ctx, posts: posts, done: done})
}

const (
	messageColumns = `place, conversation_id, account_id, device_id, id, type, epoch, counter, kind, counted, sender_counted,
		header, ciphertext, signature, hash, ciphertext_hash, replaces_device, replaces_id, relay_ms, node`
	insertMessage = "INSERT INTO messages (" + messageColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

// postAll stores the posts of a group, each with a prepared INSERT of one row. For SQLite that is as fast as many rows in one
// statement, which would have to be undone as a whole, and copy every page it touches for that, when one id is not new.
func (w *writeTx) postAll(posts []*Post) error {
	now := w.s.nowMS()
	for _, p := range posts {
		h, who, err := w.admit(p)
		if err != nil {
			return err
		}
		if p.Err != nil || p.Known {
			continue
		}
		counted := uint64(0)
		if p.Counts {
			counted = 1
		}
		_, err = w.run(insertMessage, place(p.Conversation, h.seq+1), p.Conversation, p.Account, p.Device, p.ID[:], typeEnvelope,
			p.Epoch, p.Counter, p.Kind, h.counted+counted, who.counted+counted, p.Header, p.Ciphertext, p.Signature, p.Hash, p.CiphertextHash,
			p.ReplacesDevice, p.ReplacesID, now, p.Node)
		if w.s.dialect.taken(err, "") {
			err = w.repeated(p, err)
		} else if err == nil {
			h.seq++
			h.counted += counted
			who.counted += counted
			p.Seq, p.RelayMS, p.Held = h.seq, now, h.held
		}
		if err != nil {
			return fmt.Errorf("insert message: %w", err)
		}
	}
	return nil
}

// repeated answers a post whose id was taken when it was inserted.
func (w *writeTx) repeated(p *Post, taken error) error {
	known, err := w.known(p)
	if err == nil && !known {
		err = taken // not the id but the place: what is cached of the conversation is wrong
	}
	return err
}

const knownQuery = "SELECT place, relay_ms, hash FROM messages WHERE id = ? AND device_id = ? AND conversation_id = ?"

// known answers a post whose id is there already: the same envelope gets its first answer again.
func (w *writeTx) known(p *Post) (bool, error) {
	var (
		at, relayMS int64
		hash        []byte
	)
	err := w.row(knownQuery, p.ID[:], p.Device, p.Conversation).Scan(&at, &relayMS, &hash)
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
