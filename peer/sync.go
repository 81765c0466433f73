package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const (
	keyAccountVersion = "account_version"
	pageLimit         = 200
)

func (c *Client) hello(ctx context.Context) (*pb.Hello, error) {
	var version uint64
	err := c.store.Update(ctx, func(tx *local.Tx) error {
		b, err := tx.Get(keyAccountVersion)
		if len(b) == 8 {
			version = binary.BigEndian.Uint64(b)
		}
		return err
	})
	return &pb.Hello{Version: 1, Client: c.cfg.Program, AccountVersion: version}, err
}

func (c *Client) setAccountVersion(ctx context.Context, version uint64) error {
	if version == 0 {
		return nil
	}
	return c.store.Update(ctx, func(tx *local.Tx) error { return tx.Set(keyAccountVersion, proto.U64(version)) })
}

// onWelcome brings this device up to date before live events are handled.
func (c *Client) onWelcome(ctx context.Context, w *pb.Welcome) error {
	c.mu.Lock()
	c.ice = w.GetIce()
	c.mu.Unlock()
	if err := c.applyChanges(ctx, w.GetChanges()); err != nil {
		return err
	}
	c.applyPresences(w.GetPresences())
	for _, state := range w.GetBehind() {
		if err := c.applyState(ctx, state); err != nil {
			return err
		}
	}
	return nil
}

// onPush handles what the server sends on its own account, one frame after the other.
func (c *Client) onPush(ctx context.Context, f *pb.Frame) {
	var err error
	switch kind := f.GetKind().(type) {
	case *pb.Frame_Events:
		err = c.applyEvents(ctx, kind.Events.GetEvents())
	case *pb.Frame_AccountChanges:
		err = c.applyChanges(ctx, kind.AccountChanges)
	case *pb.Frame_CursorMoved:
		err = c.applyCursor(ctx, kind.CursorMoved)
	case *pb.Frame_GrantNeeded:
		err = c.answerGrant(ctx, kind.GrantNeeded)
	case *pb.Frame_GrantAdded:
		err = c.applyGrant(ctx, kind.GrantAdded)
	case *pb.Frame_Presences:
		c.applyPresences(kind.Presences.GetPresences())
	case *pb.Frame_Typing:
		c.applyTyping(kind.Typing)
	case *pb.Frame_SignalFrom:
		c.applySignal(kind.SignalFrom)
	default: // a newer server's frame: nothing this program would miss
	}
	if err != nil && ctx.Err() == nil {
		c.logger.Warn("handle push", "error", err)
		c.events.emit(ErrorEvent{Err: err})
	}
}

// applyOwn takes what concerns the account itself.
func (c *Client) applyOwn(ctx context.Context, changes *pb.AccountChanges) error {
	if err := c.takeGenerations(changes.GetGenerationGrants()); err != nil {
		return err
	}
	if changes.GetDeviceList() == nil && changes.GetInvitations() == nil && changes.GetProfile() == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store.Update(ctx, func(tx *local.Tx) error {
		for _, state := range changes.GetInvitations() {
			if err := c.keepInvitation(tx, state); err != nil {
				c.events.emit(ErrorEvent{Err: err})
			}
		}
		self, err := tx.Person(c.profile.Account)
		if errors.Is(err, local.ErrNotFound) {
			self = &local.Person{Account: c.profile.Account}
		} else if err != nil {
			return err
		}
		if p := changes.GetProfile(); p != nil {
			self.UserName, self.Nickname = p.GetUserName(), p.GetNickname()
		}
		if changes.GetDeviceList() != nil {
			if err := learnList(tx, self, changes.GetDeviceList()); err != nil {
				c.events.emit(ErrorEvent{Err: err})
				return nil //nolint:nilerr // reported; the list known before stays in force
			}
			if c.list, err = proto.OpenDeviceList(self.List); err != nil {
				return fmt.Errorf("own device list: %w", err)
			}
		}
		return tx.SavePerson(self)
	})
}

// loadOwnList reads the newest own device list this device knows.
func (c *Client) loadOwnList(ctx context.Context) error {
	return c.store.Update(ctx, func(tx *local.Tx) error {
		self, err := tx.Person(c.profile.Account)
		if errors.Is(err, local.ErrNotFound) {
			return nil
		}
		if err != nil || self.List == nil {
			return err
		}
		c.list, err = proto.OpenDeviceList(self.List)
		return err
	})
}

// applyState takes the relay's summary of a conversation and fetches what is missing.
func (c *Client) applyState(ctx context.Context, state *pb.ConversationState) error {
	id, err := proto.IDFrom(state.GetConversation())
	if err != nil {
		return fmt.Errorf("conversation state: %w", err)
	}
	row, err := c.noteState(ctx, id, state)
	if err != nil {
		return err
	}
	if row.ThroughSeq < row.HeadSeq || row.ThroughSeq > state.GetHeadSeq() {
		return c.syncConversation(ctx, id)
	}
	return nil
}

// noteState writes what the relay says of a conversation's numbers, keys of members and cursors.
func (c *Client) noteState(ctx context.Context, id proto.ID, state *pb.ConversationState) (row *local.Conversation, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err = c.store.Update(ctx, func(tx *local.Tx) error {
		row, err = conversation(tx, id)
		if err != nil {
			return err
		}
		if row.Kind == 0 {
			row.Kind = state.GetKind()
		}
		row.HeadSeq, row.NeedsEpoch = state.GetHeadSeq(), state.GetNeedsEpoch()
		row.Unread, row.ReadSeq = state.GetUnread(), max(row.ReadSeq, state.GetReadSeq())
		for _, m := range state.GetMembers() {
			account, err := proto.IDFrom(m.GetAccount())
			if err != nil {
				return fmt.Errorf("conversation state: %w", err)
			}
			moved, err := tx.MoveCursor(id, local.Cursor{Account: account, DeliveredSeq: m.GetDeliveredSeq(), ReadSeq: m.GetReadSeq()})
			if err != nil {
				return err
			}
			if moved && account != c.profile.Account {
				c.events.emit(ReceiptEvent{Conversation: id, Account: account, DeliveredSeq: m.GetDeliveredSeq(), ReadSeq: m.GetReadSeq()})
			}
		}
		return tx.SaveConversation(row)
	})
	return row, err
}

// conversation reads a row or makes a new one.
func conversation(tx *local.Tx, id proto.ID) (*local.Conversation, error) {
	row, err := tx.Conversation(id)
	if errors.Is(err, local.ErrNotFound) {
		return &local.Conversation{ID: id}, nil
	}
	return row, err
}

// syncConversation fetches pages until this device has all that the relay has.
func (c *Client) syncConversation(ctx context.Context, id proto.ID) error {
	for {
		req := &pb.Sync{Conversation: id.Bytes(), Limit: pageLimit}
		err := c.store.Update(ctx, func(tx *local.Tx) error {
			row, err := conversation(tx, id)
			if err != nil {
				return err
			}
			req.After = row.ThroughSeq
			req.KnownSeq, req.KnownHash, err = tx.HashAt(id, row.ThroughSeq)
			return err
		})
		if err != nil {
			return err
		}
		answer, err := c.session.ask(ctx, &pb.Frame{Kind: &pb.Frame_Sync{Sync: req}})
		if err != nil {
			return err
		}
		page := answer.GetPage()
		if page.GetDiverged() {
			if err := c.restart(ctx, id); err != nil {
				return err
			}
			continue
		}
		if err := c.applyPage(ctx, id, page); err != nil {
			return err
		}
		if page.GetThroughSeq() >= page.GetHeadSeq() || page.GetThroughSeq() <= req.GetAfter() {
			return c.acknowledge(ctx, id, page.GetThroughSeq())
		}
	}
}

// acknowledge tells the relay that everything up to seq is durably stored here.
func (c *Client) acknowledge(ctx context.Context, id proto.ID, seq uint64) error {
	_, err := c.session.ask(ctx, &pb.Frame{Kind: &pb.Frame_Cursor{Cursor: &pb.Cursor{Conversation: id.Bytes(), DeliveredSeq: seq}}})
	return err
}

// applyPage stores a page. Keys of devices that are not known yet are fetched first, once.
func (c *Client) applyPage(ctx context.Context, id proto.ID, page *pb.Page) error {
	err := c.storeEvents(ctx, id, page.GetEvents(), page.GetThroughSeq())
	var unknown *unknownDeviceError
	if !errors.As(err, &unknown) {
		return err
	}
	for range maxListFetches { // each fetch may reveal members whose lists are missing too
		if err := c.fetchLists(ctx, unknown.account); err != nil {
			return err
		}
		err = c.storeEvents(ctx, id, page.GetEvents(), page.GetThroughSeq())
		if !errors.As(err, &unknown) {
			return err
		}
	}
	return err
}

const maxListFetches = 4

// fetchLists gets the device lists of accounts with all their versions, oldest first.
func (c *Client) fetchLists(ctx context.Context, account proto.ID) error {
	answer, err := c.session.ask(ctx, &pb.Frame{Kind: &pb.Frame_GetDeviceLists{GetDeviceLists: &pb.GetDeviceLists{
		Accounts: [][]byte{account.Bytes()},
	}}})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store.Update(ctx, func(tx *local.Tx) error {
		p, err := tx.Person(account)
		if errors.Is(err, local.ErrNotFound) {
			p = &local.Person{Account: account}
		} else if err != nil {
			return err
		}
		for _, signed := range answer.GetLists().GetLists() {
			if err := learnList(tx, p, signed); err != nil {
				c.events.emit(ErrorEvent{Err: err})
			}
		}
		return tx.SavePerson(p)
	})
}

// applyEvents takes live events. What follows directly on what is stored is stored; a gap is fetched.
func (c *Client) applyEvents(ctx context.Context, events []*pb.Event) error {
	for len(events) > 0 {
		n := 1
		for n < len(events) && string(events[n].GetConversation()) == string(events[0].GetConversation()) {
			n++
		}
		if err := c.applyRun(ctx, events[:n]); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

// applyRun takes live events of one conversation.
func (c *Client) applyRun(ctx context.Context, events []*pb.Event) error {
	id, err := proto.IDFrom(events[0].GetConversation())
	if err != nil {
		return fmt.Errorf("event: %w", err)
	}
	var through uint64
	err = c.store.Update(ctx, func(tx *local.Tx) error {
		row, err := conversation(tx, id)
		through = row.ThroughSeq
		return err
	})
	if err != nil {
		return err
	}
	next := through
	for _, e := range events {
		if e.GetSeq() > next+1 {
			return c.syncConversation(ctx, id)
		}
		next = max(next, e.GetSeq())
	}
	if next == through {
		return nil
	}
	page := &pb.Page{Events: events, ThroughSeq: next}
	if err := c.applyPage(ctx, id, page); err != nil {
		return err
	}
	return c.acknowledge(ctx, id, next)
}

// restart forgets the relay's numbers of a conversation and reads its log anew: the relay lost or
// replaced events (a restored backup). What it does not have any more is posted again.
func (c *Client) restart(ctx context.Context, id proto.ID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events.emit(ErrorEvent{Conversation: id, Err: errors.New("the server's log of this conversation changed (a restored copy?): reading it again")})
	return c.store.Update(ctx, func(tx *local.Tx) error {
		row, err := conversation(tx, id)
		if err != nil {
			return err
		}
		if err := tx.ForgetSeqs(id); err != nil {
			return err
		}
		row.ThroughSeq, row.HeadSeq = 0, 0
		return tx.SaveConversation(row)
	})
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
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store.Update(ctx, func(tx *local.Tx) error {
		if account == c.profile.Account {
			row, err := conversation(tx, id)
			if err != nil {
				return err
			}
			row.ReadSeq, row.Unread = max(row.ReadSeq, moved.GetReadSeq()), moved.GetUnread()
			return tx.SaveConversation(row)
		}
		changed, err := tx.MoveCursor(id, local.Cursor{Account: account, DeliveredSeq: moved.GetDeliveredSeq(), ReadSeq: moved.GetReadSeq()})
		if changed {
			c.events.emit(ReceiptEvent{Conversation: id, Account: account, DeliveredSeq: moved.GetDeliveredSeq(), ReadSeq: moved.GetReadSeq()})
		}
		return err
	})
}
