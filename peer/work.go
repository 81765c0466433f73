package peer

import (
	"context"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
)

// work is one transaction of the local store, with what there is to tell when it is durable.
type work struct {
	*local.Tx
	c      *Client
	events []Event
	after  []func()
	names  map[proto.ID]string
}

// update runs fn in a transaction, one at a time, so that "read, decide, write" is one step. What fn tells is emitted if the
// transaction was committed, in the order of commits. fn must not wait for the network, nor lock c.mu: it is held.
func (c *Client) update(ctx context.Context, fn func(*work) error) error {
	w, err := c.transact(ctx, fn)
	if err != nil {
		return err
	}
	for _, f := range w.after {
		f()
	}
	return nil
}

func (c *Client) transact(ctx context.Context, fn func(*work) error) (w *work, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err = c.store.Update(ctx, func(tx *local.Tx) error {
		w = &work{Tx: tx, c: c, names: make(map[proto.ID]string)}
		return fn(w)
	})
	if errors.Is(err, local.ErrClosed) {
		return nil, ErrClosed
	}
	if err == nil {
		c.events.emit(w.events...)
	}
	return w, err
}

// then has f run once the transaction was committed, without c.mu.
func (w *work) then(f func()) { w.after = append(w.after, f) }

// tell notes events.
func (w *work) tell(events ...Event) { w.events = append(w.events, events...) }

// broken says that an error is the local store's own (or the end of the transaction): what was being done is neither done
// nor refused.
func broken(err error) bool {
	var failure *local.Error
	return errors.As(err, &failure)
}

// room is a conversation inside a transaction.
type room struct {
	*work
	row       *local.Conversation
	chain     *proto.Chain // in force
	reading   *proto.Chain // that the relay's log gives so far: chain, except while the log is read again
	cursors   bool         // the two below are read
	delivered uint64       // highest number that some other member has
	read      uint64
}

// room reads a conversation, or returns local.ErrNotFound.
func (w *work) room(id proto.ID) (*room, error) {
	row, err := w.Conversation(id)
	if err != nil {
		return nil, err
	}
	return w.enter(row)
}

// roomOrNew reads a conversation, or makes one without commits that is not stored yet.
func (w *work) roomOrNew(id proto.ID) (*room, error) {
	r, err := w.room(id)
	if errors.Is(err, local.ErrNotFound) {
		return w.enter(&local.Conversation{ID: id})
	}
	return r, err
}

func (w *work) enter(row *local.Conversation) (r *room, err error) {
	r = &room{work: w, row: row}
	if r.chain, err = restored(row.ID, row.Chain); err != nil {
		return nil, err
	}
	r.reading = r.chain
	if row.Rereading {
		r.reading, err = restored(row.ID, row.NewChain)
	}
	return r, err
}

// restored is the membership that verified commits gave a conversation.
func restored(id proto.ID, state []byte) (*proto.Chain, error) {
	if state == nil {
		return proto.NewChain(id), nil
	}
	chain, err := proto.RestoreChain(state)
	if err != nil {
		return nil, fmt.Errorf("conversation %s as stored: %w", id, err)
	}
	return chain, nil
}

// save writes the conversation with the chain that is being read.
func (r *room) save() error {
	state, err := r.reading.MarshalBinary()
	if err != nil {
		return fmt.Errorf("conversation %s: %w", r.row.ID, err)
	}
	if r.reading.Epoch() == 0 {
		state = nil
	}
	if r.row.Rereading {
		r.row.NewChain = state
	} else {
		r.row.Chain = state
	}
	return r.SaveConversation(r.row)
}

// isMember says whether an account is one now.
func (r *room) isMember(account proto.ID) bool {
	_, ok := r.chain.Member(account)
	return ok
}

// members are the accounts in the conversation.
func (r *room) members() []proto.ID {
	ids := make([]proto.ID, 0, len(r.chain.Members()))
	for _, m := range r.chain.Members() {
		ids = append(ids, mustID(m.GetAccount()))
	}
	return ids
}

// mustID reads an id whose length was checked before; of anything else it makes the zero id.
func mustID(b []byte) proto.ID {
	id, _ := proto.IDFrom(b)
	return id
}
