package peer

import (
	"context"
	"errors"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// HistoryOptions choose a part of a conversation.
type HistoryOptions struct {
	Before uint64 // only numbers below it; 0: from the end
	Limit  int    // 0: all
}

// History returns messages of a conversation in the order in which they are shown, oldest first.
func (c *Client) History(ctx context.Context, conversation proto.ID, opts HistoryOptions) ([]Message, error) {
	var shown []Message
	err := c.store.Update(ctx, func(tx *local.Tx) error {
		stored, err := tx.History(conversation, opts.Before, opts.Limit)
		if err != nil {
			return err
		}
		v, err := c.view(tx, conversation)
		if err != nil {
			return err
		}
		for _, m := range stored {
			if m.Kind < countsBelow {
				shown = append(shown, v.message(m))
			}
		}
		return nil
	})
	return shown, err
}

// countsBelow separates kinds that are messages of their own from those about others (docs/PROTOCOL.md §5).
const countsBelow = 64

// view is what is needed to show messages of one conversation.
type view struct {
	self      proto.ID
	names     map[proto.ID]string
	delivered uint64 // highest number that some other member's device has
	read      uint64
}

func (c *Client) view(tx *local.Tx, conversation proto.ID) (*view, error) {
	v := &view{self: c.profile.Account, names: make(map[proto.ID]string)}
	people, err := tx.People()
	if err != nil {
		return nil, err
	}
	for _, p := range people {
		v.names[p.Account] = p.DisplayName()
	}
	cursors, err := tx.Cursors(conversation)
	if err != nil {
		return nil, err
	}
	for _, cursor := range cursors {
		if cursor.Account != v.self {
			v.delivered, v.read = max(v.delivered, cursor.DeliveredSeq), max(v.read, cursor.ReadSeq)
		}
	}
	return v, nil
}

func (v *view) message(m *local.Message) Message {
	shown := Message{
		ID: m.ID, Conversation: m.Conversation, From: v.names[m.Account], FromID: m.Account, Device: m.Device, Own: m.Account == v.self,
		Time: timeOf(m.TimeMS), Seq: m.Seq, Path: m.Path.String(), State: v.state(m), Failure: m.Failure,
	}
	if text := m.Content.GetText(); text != nil {
		shown.Text, shown.Known = text.GetBody(), true
	}
	return shown
}

func (v *view) state(m *local.Message) State {
	switch m.Status {
	case local.Failed:
		return StateFailed
	case local.NoKey:
		return StateSealed
	case local.Blanked:
		return StateGone
	case local.OnlyHere:
		return StateOnlyHere
	case local.Stored, local.Waiting, local.Unopened, local.Unrelayed:
	}
	switch {
	case m.Account != v.self:
		return StateReceived
	case m.Seq != 0 && v.read >= m.Seq:
		return StateRead
	case m.Acked || m.Seq != 0 && v.delivered >= m.Seq:
		return StateDelivered
	case m.Status == local.Waiting:
		return StateWaiting
	}
	return StateSent
}

func (c *Client) messageEvent(tx *local.Tx, m *local.Message) ([]Event, error) {
	if m.Kind >= countsBelow {
		return nil, nil
	}
	v, err := c.view(tx, m.Conversation)
	if err != nil {
		return nil, err
	}
	return []Event{MessageEvent{Message: v.message(m)}}, nil
}

func (c *Client) stateEvent(tx *local.Tx, m *local.Message) ([]Event, error) {
	if m.Kind >= countsBelow {
		return nil, nil
	}
	v, err := c.view(tx, m.Conversation)
	if err != nil {
		return nil, err
	}
	return []Event{StateEvent{Message: v.message(m)}}, nil
}

// message reads one message as it is shown now.
func (c *Client) message(ctx context.Context, conversation, device, id proto.ID) (shown Message, err error) {
	err = c.store.Update(ctx, func(tx *local.Tx) error {
		m, err := tx.Message(conversation, device, id)
		if err != nil {
			return err
		}
		v, err := c.view(tx, conversation)
		if err != nil {
			return err
		}
		shown = v.message(m)
		return nil
	})
	return shown, err
}

// MarkRead moves the account's read mark up to seq, on every device.
func (c *Client) MarkRead(ctx context.Context, conversation proto.ID, seq uint64) error {
	_, err := c.session.ask(ctx, &pb.Frame{Kind: &pb.Frame_Cursor{Cursor: &pb.Cursor{
		Conversation: conversation.Bytes(), DeliveredSeq: seq, ReadSeq: seq,
	}}})
	return err
}

// Wait blocks until a message that Send returned has reached level (StateSent, StateDelivered or
// StateRead), failed, or ctx ends. It returns the message as it is then.
func (c *Client) Wait(ctx context.Context, m Message, level State) (Message, error) {
	sub := c.Subscribe()
	defer sub.Cancel()
	for {
		now, err := c.message(ctx, m.Conversation, m.Device, m.ID)
		if err != nil {
			return m, err
		}
		if now.State == StateFailed || now.State == StateOnlyHere || reached(now.State, level) {
			return now, nil
		}
		select {
		case _, open := <-sub.C:
			if !open {
				return now, ErrClosed
			}
		case <-c.ended:
			if c.endErr != nil {
				return now, c.endErr
			}
			return now, ErrClosed
		case <-ctx.Done():
			return now, ctx.Err() //nolint:wrapcheck // the caller's own
		}
	}
}

// ErrClosed says that the client was closed meanwhile.
var ErrClosed = errors.New("the client was closed")

func reached(state, level State) bool {
	order := map[State]int{StateWaiting: 0, StateSent: 1, StateDelivered: 2, StateRead: 3}
	return order[state] >= order[level]
}
