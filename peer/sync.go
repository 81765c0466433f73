package peer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const (
	askAgain      = 15 * time.Second // for a key; the relay passes a request on once in 10 s
	pageLimit     = 200
	mostRereads   = 3 // of one conversation in one go: a server whose log keeps changing is left alone for a while
	mostListFetch = 8 // per page: each may reveal members whose lists are missing too
)

// sync fetches pages until this device has all that the relay has of a conversation.
func (cu *catchUp) sync(ctx context.Context, id proto.ID) error {
	rereads := 0
	for {
		expected := cu.newest(id)
		request, err := cu.position(ctx, id)
		if err != nil {
			return err
		}
		answer, err := cu.conn.ask(ctx, &pb.Frame{Kind: &pb.Frame_Sync{Sync: request}})
		if err != nil {
			return err
		}
		page := answer.GetPage()
		if page == nil {
			return errors.New("the server's answer is not understood")
		}
		if page.GetDiverged() || page.GetHeadSeq() < request.GetAfter() {
			if rereads++; rereads > mostRereads {
				return errors.New("the server's log of this conversation keeps changing")
			}
			if err := cu.c.beginReread(ctx, id); err != nil {
				return err
			}
			continue
		}
		if err := cu.storePage(ctx, id, page); err != nil {
			return err
		}
		through := page.GetThroughSeq()
		if through < page.GetHeadSeq() {
			if through <= request.GetAfter() {
				return errors.New("the server sent an empty page")
			}
			continue
		}
		if err := cu.c.endReread(ctx, id); err != nil {
			return err
		}
		switch {
		case cu.arrived(id, through):
			cu.cursorMoved(id)
			return cu.askKey(ctx, id)
		case through < expected: // more may have been announced meanwhile; this was before the question
			cu.gone(id)
			return errors.New("the server announced a number that it does not have")
		}
	}
}

// position is where this device stands in a conversation: the number after which it has nothing, and what it has as the
// newest, to be compared; or once on a connection, what it refused first before that.
func (cu *catchUp) position(ctx context.Context, id proto.ID) (*pb.Sync, error) {
	request := &pb.Sync{Conversation: id.Bytes(), Limit: pageLimit}
	err := cu.c.update(ctx, func(w *work) error {
		r, err := w.roomOrNew(id)
		if err == nil {
			request.After, request.KnownSeq, request.KnownHash = r.row.ThroughSeq, r.row.KnownSeq, r.row.KnownHash
		}
		if err == nil && r.row.SuspectSeq != 0 && cu.suspected(id) {
			request.KnownSeq, request.KnownHash = r.row.SuspectSeq, r.row.SuspectHash
		}
		return err
	})
	return request, err
}

// storePage stores a page. Keys of devices that are not known yet are fetched first, once.
func (cu *catchUp) storePage(ctx context.Context, id proto.ID, page *pb.Page) error {
	fetched := make(map[proto.ID]bool)
	for {
		err := cu.c.storeEvents(ctx, id, page.GetEvents(), page.GetThroughSeq(), fetched)
		var unknown *unknownDeviceError
		if !errors.As(err, &unknown) || len(fetched) >= mostListFetch {
			return err
		}
		if err := cu.c.fetchLists(ctx, cu.conn.ask, unknown.account); err != nil {
			if refused, ok := proto.AsError(err); !ok || refused.Retryable() {
				return err
			}
		}
		fetched[unknown.account] = true
	}
}

// askKey asks the members for the key of the epoch in force if this device lacks it, without waiting, and again after a while:
// nobody may be there, or the answer may get lost.
func (cu *catchUp) askKey(ctx context.Context, id proto.ID) error {
	var request *pb.GrantRequest
	err := cu.c.update(ctx, func(w *work) error {
		r, err := w.room(id)
		if err != nil {
			return unlessNotFound(err)
		}
		deaf, err := r.lacksKey()
		if deaf {
			request = &pb.GrantRequest{Conversation: id.Bytes(), Epoch: r.chain.Epoch()}
		}
		return err
	})
	if err != nil || request == nil {
		return err
	}
	cu.again(id, askAgain)
	failed := func(err error) { cu.c.logger.Debug("ask for a key", "error", err) }
	if err := cu.conn.post(&pb.Frame{Kind: &pb.Frame_GrantRequest{GrantRequest: request}}, failed); err != nil {
		failed(err)
	}
	return nil
}

// push handles what the server sends of its own accord.
func (cu *catchUp) push(ctx context.Context, f *pb.Frame) {
	var err error
	switch kind := f.GetKind().(type) {
	case *pb.Frame_Events:
		cu.events(ctx, kind.Events.GetEvents())
	case *pb.Frame_AccountChanges:
		err = cu.c.applyChanges(ctx, cu.conn, kind.AccountChanges)
	case *pb.Frame_CursorMoved:
		err = cu.c.applyCursor(ctx, kind.CursorMoved)
	case *pb.Frame_GrantNeeded:
		err = cu.answerGrant(ctx, kind.GrantNeeded)
	case *pb.Frame_GrantAdded:
		err = cu.c.applyGrant(ctx, kind.GrantAdded)
	case *pb.Frame_Presences:
		cu.c.applyPresences(kind.Presences.GetPresences())
	case *pb.Frame_Typing:
		err = cu.c.applyTyping(ctx, kind.Typing)
	case *pb.Frame_DeviceAsks:
		err = cu.c.applyDeviceAsk(kind.DeviceAsks)
	case *pb.Frame_SignalFrom:
		cu.c.applySignal(kind.SignalFrom)
	default: // a newer server's frame: nothing this program would miss
	}
	if err != nil && ctx.Err() == nil {
		cu.c.logger.Warn("handle push", "error", err)
		cu.c.events.emit(ErrorEvent{Err: err})
	}
}

// events takes live events, conversation by conversation.
func (cu *catchUp) events(ctx context.Context, events []*pb.Event) {
	for len(events) > 0 {
		n := 1
		for n < len(events) && string(events[n].GetConversation()) == string(events[0].GetConversation()) {
			n++
		}
		if id, err := proto.IDFrom(events[0].GetConversation()); err == nil {
			cu.live(ctx, id, events[:n])
		}
		events = events[n:]
	}
}

// live stores what follows directly on what is stored; anything else is fetched.
func (cu *catchUp) live(ctx context.Context, id proto.ID, events []*pb.Event) {
	newest, commit := uint64(0), false
	for _, e := range events {
		newest, commit = max(newest, e.GetSeq()), commit || e.GetCommit() != nil
	}
	if !cu.announced(id, newest) {
		cu.behind(id, newest)
		return
	}
	err := cu.c.update(ctx, func(w *work) error {
		r, err := w.roomOrNew(id)
		if err != nil {
			return err
		}
		through := r.row.ThroughSeq
		for _, e := range events {
			if e.GetSeq() > through+1 {
				return errGap
			}
			through = max(through, e.GetSeq())
		}
		return r.storeEvents(events, through, nil)
	})
	if err != nil {
		cu.behind(id, newest)
		return
	}
	cu.cursorMoved(id)
	if commit {
		if err := cu.askKey(ctx, id); err != nil && ctx.Err() == nil {
			cu.c.logger.Debug("ask for a grant", "error", err)
		}
		cu.c.kick()
	}
}

var errGap = errors.New("numbers are missing")

// noteState takes the relay's summary of a conversation.
func (c *Client) noteState(ctx context.Context, state *pb.ConversationState) error {
	id, err := proto.IDFrom(state.GetConversation())
	if err != nil {
		return fmt.Errorf("conversation state: %w", err)
	}
	var (
		row  *local.Conversation
		deaf bool // without the key of the epoch in force
	)
	err = c.update(ctx, func(w *work) error {
		r, err := w.roomOrNew(id)
		if err != nil {
			return err
		}
		row = r.row
		if deaf, err = r.lacksKey(); err != nil {
			return err
		}
		if r.row.Kind == 0 {
			r.row.Kind = state.GetKind()
		}
		r.row.HeadSeq, r.row.NeedsEpoch = state.GetHeadSeq(), state.GetNeedsEpoch()
		r.row.ReadSeq = max(r.row.ReadSeq, state.GetReadSeq())
		for _, m := range state.GetMembers() {
			account, err := proto.IDFrom(m.GetAccount())
			if err != nil {
				return fmt.Errorf("conversation state: %w", err)
			}
			if err := r.moveCursor(account, m.GetDeliveredSeq(), m.GetReadSeq()); err != nil {
				return err
			}
		}
		return r.save()
	})
	cu := c.attending()
	if err != nil || cu == nil {
		return err
	}
	cu.knows(id, toldMarks{delivered: state.GetDeliveredSeq(), read: state.GetReadSeq()})
	cu.compare(id, row, deaf, state)
	return nil
}

// compare decides whether a conversation has to be fetched, or its key asked for. A relay that has no more than this device, and knows that this
// device has it, still has all that it had when it was told so: it was not restored from an older copy meanwhile.
func (cu *catchUp) compare(id proto.ID, row *local.Conversation, deaf bool, state *pb.ConversationState) {
	head := state.GetHeadSeq()
	if !deaf && !row.Rereading && row.ThroughSeq == head && state.GetDeliveredSeq() >= head && cu.arrived(id, head) {
		cu.cursorMoved(id) // what was read here may have to be told
		cu.c.kick()
		return
	}
	if !deaf && cu.announced(id, head) && row.ThroughSeq >= head {
		return // it is in step, and this is old news
	}
	cu.behind(id, head)
	cu.mu.Lock()
	defer cu.mu.Unlock()
	if !cu.online && row.ThroughSeq != head {
		cu.greeting[id] = true
	}
}

// moveCursor notes how far another member is.
func (r *room) moveCursor(account proto.ID, delivered, read uint64) error {
	if account == r.c.Account() {
		return nil
	}
	moved, err := r.MoveCursor(r.row.ID, cursor(account, delivered, read))
	if moved {
		r.tell(ReceiptEvent{Conversation: r.row.ID, Account: account, DeliveredSeq: delivered, ReadSeq: read})
	}
	return err
}

func (c *Client) applyCursor(ctx context.Context, moved *pb.CursorMoved) error {
	id, err := proto.IDFrom(moved.GetConversation())
	if err != nil {
		return fmt.Errorf("cursor: %w", err)
	}
	account, err := proto.IDFrom(moved.GetAccount())
	if err != nil {
		return fmt.Errorf("cursor: %w", err)
	}
	return c.update(ctx, func(w *work) error {
		r, err := w.room(id)
		if err != nil || r.row.Rereading {
			return unlessNotFound(err)
		}
		if account != c.Account() {
			return r.moveCursor(account, moved.GetDeliveredSeq(), moved.GetReadSeq())
		}
		if moved.GetReadSeq() <= r.row.ReadSeq {
			return nil
		}
		r.row.ReadSeq = moved.GetReadSeq()
		return r.save()
	})
}

// MarkRead moves the account's read mark up to a number, on every device: at once on this one, on the others when the server
// is reached.
func (c *Client) MarkRead(ctx context.Context, conversation proto.ID, seq uint64) error {
	err := c.update(ctx, func(w *work) error {
		r, err := w.room(conversation)
		if err != nil || min(seq, r.row.ThroughSeq) <= r.row.ReadSeq {
			return unlessNotFound(err)
		}
		r.row.ReadSeq = min(seq, r.row.ThroughSeq)
		return r.save()
	})
	if cu := c.attending(); cu != nil && err == nil {
		cu.cursorMoved(conversation)
	}
	return err
}
