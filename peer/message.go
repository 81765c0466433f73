package peer

import (
	"context"
	"errors"
	"time"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
)

// State is what a person sees of a message.
type State string

// The states of an own message, in their order: waiting, sent, delivered, read; and of others'.
const (
	StateWaiting   State = "waiting"   // on this device only
	StateSent      State = "sent"      // the relay has it
	StateDelivered State = "delivered" // a device of the recipient has it
	StateRead      State = "read"
	StateFailed    State = "failed"    // see Failure; Client.Retry tries again
	StateReceived  State = "received"  // somebody else's
	StateSealed    State = "sealed"    // waiting for the key
	StateGone      State = "gone"      // no longer on the server
	StateOnlyHere  State = "only-here" // the relay does not take it: only the devices that have it directly show it
)

// Message is a message as it is shown. (Conversation, Device, ID) names it for ever.
type Message struct {
	ID           proto.ID
	Conversation proto.ID
	From         string   // display name
	FromID       proto.ID // account
	Device       proto.ID // that wrote it
	Own          bool     // of this account, whichever device
	Text         string
	Known        bool // false: of a kind that needs a newer Parley
	Time         time.Time
	Seq          uint64 // the relay's number, 0 until it is known
	Arrival      int64  // order in which this device came to have it, of all conversations
	Path         string // direct, turn, relay, waiting: how the first copy travelled
	State        State
	Altered      bool   // the relay's copy, which is shown, says something else than the direct one did
	Failure      string // why it failed
}

// countsBelow separates kinds that are messages of their own from those about others (docs/PROTOCOL.md §5).
const countsBelow = 64

// HistoryOptions choose a part of a conversation.
type HistoryOptions struct {
	Before *Message // only what stands above it; nil: from the end
	Limit  int      // the newest of that; 0: all
}

// History returns messages of a conversation in the order in which they are shown, oldest first: by the relay's numbers, and
// behind them what has none yet in order of arrival.
func (c *Client) History(ctx context.Context, conversation proto.ID, opts HistoryOptions) (shown []Message, err error) {
	err = c.update(ctx, func(w *work) error {
		r, err := w.room(conversation)
		if errors.Is(err, local.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		var before *local.Message
		if b := opts.Before; b != nil {
			if before, err = w.Message(conversation, b.Device, b.ID); err != nil {
				return err
			}
		}
		stored, err := w.History(conversation, before, opts.Limit)
		if err != nil {
			return err
		}
		shown, err = r.showAll(stored)
		return err
	})
	return shown, err
}

// Arrived returns up to limit (0: all) messages of all conversations that came to this device after the one with this
// Arrival, in that order. A program that keeps the Arrival of the last message it dealt with misses none, whatever happens
// to it; 0 begins with the first.
func (c *Client) Arrived(ctx context.Context, after int64, limit int) (shown []Message, err error) {
	if limit <= 0 {
		limit = -1
	}
	err = c.update(ctx, func(w *work) error {
		stored, err := w.Arrived(after, limit)
		if err != nil {
			return err
		}
		rooms := make(map[proto.ID]*room)
		for _, m := range stored {
			r, ok := rooms[m.Conversation]
			if !ok {
				if r, err = w.room(m.Conversation); err != nil {
					return err
				}
				rooms[m.Conversation] = r
			}
			one, err := r.showAll([]*local.Message{m})
			if err != nil {
				return err
			}
			shown = append(shown, one...)
		}
		return nil
	})
	return shown, err
}

// LastArrival returns the Arrival of the newest message here, 0 without any.
func (c *Client) LastArrival(ctx context.Context) (last int64, err error) {
	err = c.update(ctx, func(w *work) (err error) {
		last, err = w.LastArrival()
		return err
	})
	return last, err
}

// message reads one message as it is shown now.
func (c *Client) message(ctx context.Context, conversation, device, id proto.ID) (shown Message, err error) {
	err = c.update(ctx, func(w *work) error {
		r, err := w.room(conversation)
		if err != nil {
			return err
		}
		m, err := w.Message(conversation, device, id)
		if err != nil {
			return err
		}
		shown, err = r.show(m)
		return err
	})
	return shown, err
}

func (r *room) showAll(stored []*local.Message) ([]Message, error) {
	shown := make([]Message, 0, len(stored))
	for _, m := range stored {
		if m.Kind >= countsBelow {
			continue
		}
		one, err := r.show(m)
		if err != nil {
			return nil, err
		}
		shown = append(shown, one)
	}
	return shown, nil
}

func (r *room) show(m *local.Message) (Message, error) {
	from, err := r.name(m.Account)
	if err != nil {
		return Message{}, err
	}
	if err := r.readCursors(); err != nil {
		return Message{}, err
	}
	shown := Message{
		ID: m.ID, Conversation: m.Conversation, From: from, FromID: m.Account, Device: m.Device, Own: m.Account == r.c.Account(),
		Time: timeOf(m.TimeMS), Seq: m.Seq, Arrival: m.Arrival, Path: m.Path.String(), State: r.state(m), Altered: m.Altered, Failure: m.Failure,
	}
	if text := m.Content.GetText(); text != nil {
		shown.Text, shown.Known = text.GetBody(), true
	}
	return shown, nil
}

// name is what an account is called.
func (w *work) name(account proto.ID) (string, error) {
	if name, ok := w.names[account]; ok {
		return name, nil
	}
	p, err := w.person(account)
	if err != nil {
		return "", err
	}
	w.names[account] = p.DisplayName()
	return w.names[account], nil
}

// readCursors finds out how far the other members are.
func (r *room) readCursors() error {
	if r.cursors {
		return nil
	}
	all, err := r.Cursors(r.row.ID)
	if err != nil {
		return err
	}
	for _, cursor := range all {
		if cursor.Account != r.c.Account() {
			r.delivered, r.read = max(r.delivered, cursor.DeliveredSeq), max(r.read, cursor.ReadSeq)
		}
	}
	r.cursors = true
	return nil
}

func (r *room) state(m *local.Message) State {
	switch m.Status {
	case local.Failed:
		return StateFailed
	case local.NoKey:
		return StateSealed
	case local.Blanked:
		return StateGone
	case local.OnlyHere:
		return StateOnlyHere
	case local.Stored, local.Waiting, local.Unrelayed:
	}
	switch {
	case m.Account != r.c.Account():
		return StateReceived
	case m.Seq != 0 && r.read >= m.Seq:
		return StateRead
	case m.Acked || m.Seq != 0 && r.delivered >= m.Seq:
		return StateDelivered
	case m.Status == local.Waiting:
		return StateWaiting
	}
	return StateSent
}

// tellMessage tells of a message that is new here, or became readable.
func (r *room) tellMessage(m *local.Message) error {
	if m.Kind >= countsBelow {
		return nil
	}
	shown, err := r.show(m)
	if err == nil {
		r.tell(MessageEvent{shown})
	}
	return err
}

// tellState tells of a message that changed.
func (r *room) tellState(m *local.Message) error {
	if m.Kind >= countsBelow {
		return nil
	}
	shown, err := r.show(m)
	if err == nil {
		r.tell(StateEvent{shown})
	}
	return err
}

// Wait blocks until a message that Send returned has reached level (StateSent, StateDelivered or
// StateRead), failed, or ctx ends. It returns the message as it is then.
func (c *Client) Wait(ctx context.Context, m Message, level State) (Message, error) {
	sub := c.events.watch()
	defer sub.Cancel()
	for {
		now, err := c.message(ctx, m.Conversation, m.Device, m.ID)
		if err != nil {
			return m, err
		}
		if now.State == StateFailed || now.State == StateOnlyHere || reached(now.State, level) {
			return now, nil
		}
		if err := c.waitFor(ctx, sub, m); err != nil {
			return now, err
		}
	}
}

// waitFor blocks until something happens that may concern a message's state.
func (c *Client) waitFor(ctx context.Context, sub *Subscription, m Message) error {
	for {
		select {
		case e, open := <-sub.C:
			if !open {
				<-c.ended
				return c.over()
			}
			switch e := e.(type) {
			case StateEvent:
				if e.ID == m.ID {
					return nil
				}
			case ReceiptEvent:
				if e.Conversation == m.Conversation {
					return nil
				}
			case MissedEvent:
				return nil
			}
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // the caller's own
		}
	}
}

func reached(state, level State) bool {
	order := map[State]int{StateWaiting: 0, StateSent: 1, StateDelivered: 2, StateRead: 3}
	return order[state] >= order[level]
}
