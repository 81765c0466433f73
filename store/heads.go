package store

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/proto"
)

// head is what posting needs of a conversation: its place in memory belongs to the writer.
type head struct {
	seq        uint64
	counted    uint64
	epoch      uint64
	needsEpoch bool
	deleted    bool
	held       []proto.ID // members who block another: they do not hear of what is new
	holders    []int64    // the same
	senders    map[int64]*sender
}

type sender struct {
	member  bool
	counted uint64
}

// heads caches the heads of conversations that are written to. A group that fails clears it; an operation that
// fails only what it has read itself, or anybody could make the writer read everything again.
type heads struct {
	byID map[int64]*head
	read []int64 // by the running operation
}

const maxHeads = 50_000

func newHeads() *heads { return &heads{byID: make(map[int64]*head)} }

func (h *heads) clear()                    { clear(h.byID) }
func (h *heads) forget(conversation int64) { delete(h.byID, conversation) }

// begin marks the beginning of an operation, for undo.
func (h *heads) begin() { h.read = h.read[:0] }

func (h *heads) undo() {
	for _, conversation := range h.read {
		h.forget(conversation)
	}
}

func (w *writeTx) head(conversation int64) (*head, error) {
	if h, ok := w.s.heads.byID[conversation]; ok {
		return h, nil
	}
	h := &head{senders: make(map[int64]*sender)}
	var deleted sql.NullInt64
	var holders int
	err := w.row("SELECT epoch, needs_epoch, deleted_ms, holders FROM conversations WHERE id = ?", conversation).
		Scan(&h.epoch, &h.needsEpoch, &deleted, &holders)
	if err != nil {
		return nil, wrap("read conversation", err)
	}
	if holders > 0 {
		if h.held, h.holders, err = readHolders(w.ctx, w.tx, conversation); err != nil {
			return nil, err
		}
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
	w.s.heads.read = append(w.s.heads.read, conversation)
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
