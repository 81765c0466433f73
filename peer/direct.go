package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/peer/link"
	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const (
	feedMost  = 256       // messages that wait for a link; beyond that it is fed from the outbox
	feedBytes = 128 << 10 // of envelopes in one frame, well below the frame limit
)

// feeder carries messages and acknowledgements to one device over its link, in a goroutine of its own: a link that takes
// nothing for a while holds up neither who sends nor who reads.
type feeder struct {
	c    *Client
	link *link.Link
	wake chan struct{}

	mu     sync.Mutex
	acks   []*pb.DirectAck_Item
	fresh  []*pb.Envelope
	resend bool // the outbox has more than fresh
}

// feed gives a link something to carry.
func (f *feeder) feed(change func()) {
	f.mu.Lock()
	change()
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// resendAll lets everything be sent that the relay does not have yet.
func (f *feeder) resendAll() { f.feed(func() { f.resend, f.fresh = true, nil }) }

func (f *feeder) send(e *pb.Envelope) {
	f.feed(func() {
		if len(f.fresh) >= feedMost {
			f.resend, f.fresh = true, nil
		}
		if !f.resend {
			f.fresh = append(f.fresh, e)
		}
	})
}

// acknowledge drops what is too much: the relay's cursor says the same later.
func (f *feeder) acknowledge(items []*pb.DirectAck_Item) {
	f.feed(func() {
		if len(f.acks) < feedMost {
			f.acks = append(f.acks, items...)
		}
	})
}

func (f *feeder) take() (acks []*pb.DirectAck_Item, fresh []*pb.Envelope, resend bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	acks, fresh, resend = f.acks, f.fresh, f.resend
	f.acks, f.fresh, f.resend = nil, nil, false
	return acks, fresh, resend
}

// run feeds the link until it has closed.
func (f *feeder) run(ctx context.Context) {
	for {
		acks, fresh, resend := f.take()
		var err error
		if len(acks) > 0 {
			err = f.link.Send(ctx, &pb.Frame{Kind: &pb.Frame_DirectAck{DirectAck: &pb.DirectAck{Items: acks}}})
		}
		if err == nil && resend {
			err = f.sendOutbox(ctx)
		}
		if err == nil {
			err = f.sendAll(ctx, fresh)
		}
		if err != nil {
			f.c.logger.Debug("send over link", "error", err)
		}
		select {
		case <-f.wake:
		case <-f.link.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// sendAll sends envelopes in order, as many in a frame as fit.
func (f *feeder) sendAll(ctx context.Context, envelopes []*pb.Envelope) error {
	for len(envelopes) > 0 {
		n, size := 0, 0
		for n < len(envelopes) && (n == 0 || size+gproto.Size(envelopes[n]) <= feedBytes) {
			size += gproto.Size(envelopes[n])
			n++
		}
		if err := f.link.Send(ctx, &pb.Frame{Kind: &pb.Frame_Direct{Direct: &pb.Direct{Envelopes: envelopes[:n]}}}); err != nil {
			return err
		}
		envelopes = envelopes[n:]
	}
	return nil
}

// sendOutbox sends what waits for the relay in conversations with the account at the other end.
func (f *feeder) sendOutbox(ctx context.Context) error {
	var ids []proto.ID
	err := f.c.update(ctx, func(w *work) (err error) {
		ids, err = w.WaitingIn()
		return err
	})
	for _, id := range ids {
		for after := int64(0); err == nil; {
			var batch []*pb.Envelope
			batch, after, err = f.c.waiting(ctx, id, f.link.Account(), after)
			if err != nil || after == 0 {
				break
			}
			err = f.sendAll(ctx, batch)
		}
	}
	return err
}

// waiting is a part of a conversation's outbox behind an arrival, and where it ends; 0 when there is no more for account.
func (c *Client) waiting(ctx context.Context, id, account proto.ID, after int64) (batch []*pb.Envelope, end int64, err error) {
	err = c.update(ctx, func(w *work) error {
		r, err := w.room(id)
		if err != nil || r.row.Rereading || !r.isMember(account) {
			return err
		}
		if err := r.settled(); err != nil {
			return unlessNotReady(err)
		}
		page, err := w.Outbox(id, after, feedMost)
		for _, m := range page {
			if m.Envelope != nil && m.Epoch == r.chain.Epoch() && !r.mustRekey() {
				batch = append(batch, m.Envelope)
			}
			end = m.Arrival
		}
		return err
	})
	return batch, end, err
}

// sendDirect gives a message to the links that are open to devices of the other members, and opens those that are missing.
func (c *Client) sendDirect(members []proto.ID, m *local.Message) {
	if c.links == nil || m.Envelope == nil || m.Status != local.Waiting || len(members) > directMembers {
		return
	}
	to := make(map[proto.ID]bool)
	for _, account := range members {
		to[account] = account != c.Account()
	}
	c.linkMu.Lock()
	var fed []*feeder
	for _, f := range c.feeders {
		if to[f.link.Account()] {
			fed = append(fed, f)
		}
	}
	c.linkMu.Unlock()
	c.mu.Lock()
	missing := c.connected(members)
	c.mu.Unlock()
	for _, f := range fed {
		f.send(m.Envelope)
	}
	for _, r := range missing {
		c.reach(r)
	}
}

// onLinkState tells subscribers, and feeds a link that opened with what still waits.
func (c *Client) onLinkState(l *link.Link, s link.State) {
	e := LinkEvent{Account: l.Account(), Device: l.Device(), State: s.Phase.String(), Reason: s.Reason}
	if s.Phase == link.Open {
		e.Path = pathOf(s.Path).String()
	}
	c.events.emit(e)
	c.linkMu.Lock()
	f, fed := c.feeders[l.Device()]
	if fed && f.link != l {
		fed = false
	}
	if s.Phase == link.Open && !fed {
		f = &feeder{c: c, link: l, wake: make(chan struct{}, 1)}
		c.feeders[l.Device()] = f
		c.tasks.start(func() { f.run(c.run) })
	}
	if s.Phase == link.Closed && fed {
		delete(c.feeders, l.Device())
	}
	c.linkMu.Unlock()
	if s.Phase == link.Open {
		f.resendAll()
	}
}

// onLinkFrame handles what comes over a link that has proved itself. While it works the other end is held back.
func (c *Client) onLinkFrame(l *link.Link, f *pb.Frame) {
	var err error
	switch kind := f.GetKind().(type) {
	case *pb.Frame_Direct:
		err = c.onDirect(c.run, l, kind.Direct.GetEnvelopes())
	case *pb.Frame_DirectAck:
		err = c.takeAcks(c.run, l, kind.DirectAck.GetItems())
	case *pb.Frame_Typing:
		err = c.onLinkTyping(c.run, l.Account(), kind.Typing)
	}
	if err != nil && c.run.Err() == nil {
		c.logger.Warn("frame over link", "error", err)
	}
}

// onLinkTyping tells of typing by the account at the other end of a link; as at the relay, not to who hides theirs.
func (c *Client) onLinkTyping(ctx context.Context, account proto.ID, t *pb.Typing) error {
	if c.hidesTyping(ctx) {
		return nil
	}
	return c.applyTyping(ctx, &pb.Typing{Conversation: t.GetConversation(), Account: account.Bytes(), Stopped: t.GetStopped()})
}

// onDirect stores messages and acknowledges them when they are durable.
func (c *Client) onDirect(ctx context.Context, l *link.Link, envelopes []*pb.Envelope) error {
	items, err := c.takeDirect(ctx, l.Account(), l.Device(), pathOf(l.Path()), envelopes)
	if err != nil {
		return err
	}
	c.linkMu.Lock()
	f := c.feeders[l.Device()]
	c.linkMu.Unlock()
	if f != nil {
		f.acknowledge(items)
	}
	return nil
}

// takeDirect stores envelopes that came over a link and says for each whether it is stored now.
func (c *Client) takeDirect(ctx context.Context, account, device proto.ID, path local.Path, envelopes []*pb.Envelope) (items []*pb.DirectAck_Item, err error) {
	err = c.update(ctx, func(w *work) error {
		items = nil
		for _, env := range envelopes {
			h, err := proto.ParseEnvelope(env)
			if err != nil {
				return fmt.Errorf("direct message: %w", err)
			}
			item := &pb.DirectAck_Item{Conversation: h.GetConversation(), Message: &pb.MessageRef{Device: h.GetDevice(), Id: h.GetId()}}
			if mustID(h.GetAccount()) != account || mustID(h.GetDevice()) != device {
				err = errors.New("it was not written by the device at the other end")
			} else {
				err = w.storeDirect(path, h, env)
			}
			if broken(err) {
				return err
			}
			if err != nil {
				c.logger.Debug("direct message refused", "error", err)
				item.Refused = true
			}
			items = append(items, item)
		}
		return nil
	})
	return items, err
}

// storeDirect makes the same checks as storeEnvelope, and the one that only a link needs: that it is sealed in the newest
// epoch that the relay has confirmed to this device.
func (w *work) storeDirect(path local.Path, h *pb.Header, env *pb.Envelope) error {
	r, err := w.room(mustID(h.GetConversation()))
	if err != nil {
		return err
	}
	if _, err := r.verify(r.chain, env); err != nil {
		return err
	}
	if h.GetEpoch() != r.chain.Epoch() || r.mustRekey() {
		return errors.New("it is not in the newest epoch known")
	}
	if err := r.settled(); err != nil {
		return err
	}
	if _, err := r.epochKey(); err != nil {
		return err
	}
	m, err := r.Message(r.row.ID, mustID(h.GetDevice()), mustID(h.GetId()))
	if errors.Is(err, local.ErrNotFound) {
		m, err = r.newMessage(h), nil
	}
	if err != nil {
		return err
	}
	known, before := m.Arrival != 0, m.Content
	if hash := proto.EnvelopeHash(env); known && bytes.Equal(m.Hash, hash[:]) {
		return nil
	}
	kind := m.Kind
	if err := r.open(m, h, env); err != nil {
		return err
	}
	if known && (m.Seq != 0 || before == nil || kind != m.Kind || !gproto.Equal(before, m.Content)) {
		return errors.New("another message has its id") // the sender may only seal the same again, for a new epoch
	}
	m.Status = local.Unrelayed
	if known {
		return r.SaveMessage(m)
	}
	m.Path = path
	if now := nowMS(); max(m.TimeMS, now)-min(m.TimeMS, now) > clockSkew {
		m.TimeMS = now
	}
	if err := r.SaveMessage(m); err != nil {
		return err
	}
	return r.tellMessage(m)
}

// takeAcks notes that the other end stored messages of this device.
func (c *Client) takeAcks(ctx context.Context, l *link.Link, items []*pb.DirectAck_Item) error {
	if l.Account() == c.Account() {
		return nil // another own device: nobody else has it yet
	}
	return c.update(ctx, func(w *work) error {
		for _, item := range items {
			if item.GetRefused() || mustID(item.GetMessage().GetDevice()) != c.Device() {
				continue
			}
			if err := w.takeAck(l, mustID(item.GetConversation()), mustID(item.GetMessage().GetId())); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *work) takeAck(l *link.Link, conversation, id proto.ID) error {
	r, err := w.room(conversation)
	if err != nil || !r.isMember(l.Account()) {
		return unlessNotFound(err)
	}
	m, err := w.Message(conversation, w.c.Device(), id)
	if err != nil || m.Acked {
		return unlessNotFound(err)
	}
	if err := r.readCursors(); err != nil {
		return err
	}
	if m.Seq == 0 || m.Seq > r.delivered {
		m.Path = pathOf(l.Path()) // nobody had it before this copy
	}
	m.Acked = true
	if err := w.SaveMessage(m); err != nil {
		return err
	}
	return r.tellState(m)
}

func pathOf(p link.Path) local.Path {
	if p.Kind == link.Turn {
		return local.PathTurn
	}
	return local.PathDirect
}

// applyTyping and the other live hints change nothing that is stored.
func (c *Client) applyTyping(ctx context.Context, t *pb.Typing) error {
	conversation, account := mustID(t.GetConversation()), mustID(t.GetAccount())
	return c.update(ctx, func(w *work) error {
		r, err := w.room(conversation)
		if err != nil || !r.isMember(account) || account == c.Account() {
			return unlessNotFound(err)
		}
		w.tell(TypingEvent{Conversation: conversation, Account: account, Stopped: t.GetStopped()})
		return nil
	})
}
