package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/parley-chat/parley/peer/link"
	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// directMembers is up to how many members a conversation makes a device open links by itself.
const directMembers = 8

// openLinks makes the link manager.
func (c *Client) openLinks() error {
	if c.cfg.NoLinks {
		return nil
	}
	manager, err := link.New(link.Config{
		Self:  link.Self{Account: c.profile.Account, Device: c.profile.Device, Key: c.profile.signKey()},
		Lists: linkLists{c}, Signals: linkSignals{c}, ICE: c.iceServers, OnFrame: c.onLinkFrame, OnState: c.onLinkState,
		RelayOnly:     func(proto.ID) bool { return c.cfg.RelayOnly },
		AllowLoopback: onLoopback(c.rest.base), Logger: c.logger,
	})
	if err != nil {
		return err
	}
	c.links = manager
	return nil
}

// onLoopback says whether the server was addressed on this machine: only then do loopback candidates count.
func onLoopback(base string) bool {
	u, err := url.Parse(base)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

func (c *Client) serveLinks(ctx context.Context) {
	if c.links == nil {
		return
	}
	c.tasks.Go(func() {
		if err := c.links.Serve(ctx); err != nil && ctx.Err() == nil {
			c.logger.Error("links", "error", err)
		}
	})
}

// iceServers answers from memory and asks the server a minute before they expire.
func (c *Client) iceServers(ctx context.Context) (*pb.IceServers, error) {
	c.mu.Lock()
	ice := c.ice
	c.mu.Unlock()
	if ice != nil && time.Until(timeOf(ice.GetExpiresMs())) > time.Minute {
		return ice, nil
	}
	answer, err := c.session.ask(ctx, &pb.Frame{Kind: &pb.Frame_IceRequest{IceRequest: &pb.IceRequest{}}})
	if err != nil {
		return ice, nil //nolint:nilerr // what was valid a moment ago may still connect, and host candidates need none
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ice = answer.GetIceServers()
	return c.ice, nil
}

// linkLists lets links read and extend what this device knows of device lists.
type linkLists struct{ c *Client }

func (l linkLists) Own() *proto.DeviceList {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return l.c.list
}

func (l linkLists) Lookup(ctx context.Context, account, device proto.ID) (*proto.DeviceList, error) {
	list, err := l.known(ctx, account)
	if err == nil {
		if _, ok := list.Device(device); ok {
			return list, nil
		}
	}
	if err := l.c.fetchLists(ctx, account); err != nil {
		return nil, err
	}
	return l.known(ctx, account)
}

func (l linkLists) known(ctx context.Context, account proto.ID) (list *proto.DeviceList, err error) {
	err = l.c.store.Update(ctx, func(tx *local.Tx) error {
		p, err := tx.Person(account)
		if err != nil {
			return err
		}
		if p.NewIdentity != nil {
			return fmt.Errorf("%s: %w", p.DisplayName(), errIdentityChanged)
		}
		if account != l.c.profile.Account && p.State != pb.ContactState_CONTACT_STATE_ACCEPTED {
			return errors.New("not a contact")
		}
		if p.List == nil {
			return local.ErrNotFound
		}
		list, err = proto.OpenDeviceList(p.List)
		return err
	})
	return list, err
}

func (l linkLists) Offer(ctx context.Context, list *proto.DeviceList) error {
	account, err := proto.IDFrom(list.GetAccount())
	if err != nil {
		return fmt.Errorf("offered list: %w", err)
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return l.c.store.Update(ctx, func(tx *local.Tx) error {
		p, err := tx.Person(account)
		if err != nil {
			return err
		}
		if err := learnList(tx, p, list.Signed); err != nil {
			return err
		}
		if account == l.c.profile.Account {
			l.c.list = list
		}
		return tx.SavePerson(p)
	})
}

// linkSignals sends through the socket.
type linkSignals struct{ c *Client }

func (l linkSignals) Connected() bool { return l.c.session.current() != nil }

func (l linkSignals) SendSignal(_ context.Context, account, device proto.ID, signal *pb.Signal) error {
	return l.c.session.post(&pb.Frame{Kind: &pb.Frame_SignalTo{SignalTo: &pb.SignalTo{
		Account: account.Bytes(), Device: device.Bytes(), Signal: signal,
	}}}, func(err error) { l.c.links.SignalFailed(account, device, signal.GetLink(), err) })
}

func (c *Client) applySignal(from *pb.SignalFrom) {
	account, err1 := proto.IDFrom(from.GetAccount())
	device, err2 := proto.IDFrom(from.GetDevice())
	if c.links == nil || err1 != nil || err2 != nil {
		return
	}
	c.links.HandleSignal(account, device, from.GetSignal())
}

// OpenLinks opens links to the connected devices of a conversation's members, as looking at it does.
func (c *Client) OpenLinks(ctx context.Context, conversation proto.ID) error {
	for _, to := range c.recipients(ctx, conversation) {
		if err := c.openLink(ctx, to); err != nil {
			return err
		}
	}
	return nil
}

type recipient struct{ account, device proto.ID }

func (c *Client) openLink(ctx context.Context, to recipient) error {
	if c.links == nil {
		return nil
	}
	_, err := c.links.Open(ctx, to.account, to.device)
	if err != nil {
		return fmt.Errorf("open link: %w", err)
	}
	return nil
}

// recipients are the connected devices of the other members of a small conversation.
func (c *Client) recipients(ctx context.Context, id proto.ID) []recipient {
	c.mu.Lock()
	defer c.mu.Unlock()
	var to []recipient
	err := c.store.Update(ctx, func(tx *local.Tx) error {
		row, err := tx.Conversation(id)
		if err != nil {
			return err
		}
		chain, err := chainOf(row)
		if err != nil || len(chain.Members()) > directMembers {
			return err
		}
		for _, m := range chain.Members() {
			account := mustID(m.GetAccount())
			if account == c.profile.Account {
				continue
			}
			for _, d := range c.presence[account].GetDevices() {
				to = append(to, recipient{account, mustID(d.GetDevice())})
			}
		}
		return nil
	})
	if err != nil {
		c.logger.Debug("recipients", "error", err)
	}
	return to
}

// sendDirect gives envelopes to every open link of the conversation, and starts to open the missing ones.
func (c *Client) sendDirect(ctx context.Context, id proto.ID, envelopes []*pb.Envelope) {
	if c.links == nil {
		return
	}
	frame := &pb.Frame{Kind: &pb.Frame_Direct{Direct: &pb.Direct{Envelopes: envelopes}}}
	sent := make(map[recipient]bool)
	for _, to := range c.linked(ctx, id) {
		sent[recipient{to.Account(), to.Device()}] = true
		if err := to.Send(ctx, frame); err != nil {
			c.logger.Debug("send over link", "error", err)
		}
	}
	for _, to := range c.recipients(ctx, id) {
		if !sent[to] {
			c.tasks.Go(func() { // ends when the manager closes
				if err := c.openLink(c.run, to); err != nil {
					c.logger.Debug("open link", "error", err)
				}
			})
		}
	}
}

// linked are the open links to devices of members of the conversation.
func (c *Client) linked(ctx context.Context, id proto.ID) []*link.Link {
	members := make(map[proto.ID]bool)
	c.mu.Lock()
	err := c.store.Update(ctx, func(tx *local.Tx) error {
		row, err := tx.Conversation(id)
		if err != nil {
			return err
		}
		chain, err := chainOf(row)
		if err != nil {
			return err
		}
		for _, m := range chain.Members() {
			members[mustID(m.GetAccount())] = true
		}
		return nil
	})
	c.mu.Unlock()
	if err != nil {
		return nil
	}
	var open []*link.Link
	for _, l := range c.links.Links() {
		if l.Account() != c.profile.Account && members[l.Account()] && l.State().Phase == link.Open {
			open = append(open, l)
		}
	}
	return open
}

// onLinkFrame handles what comes over a link that has proved itself.
func (c *Client) onLinkFrame(l *link.Link, f *pb.Frame) {
	ctx := c.run
	switch kind := f.GetKind().(type) {
	case *pb.Frame_Direct:
		items, err := c.takeDirect(ctx, l.Account(), l.Device(), pathOf(l), kind.Direct.GetEnvelopes())
		if err != nil {
			c.logger.Warn("direct message", "error", err)
			return
		}
		ack := &pb.Frame{Kind: &pb.Frame_DirectAck{DirectAck: &pb.DirectAck{Items: items}}}
		if err := l.Send(ctx, ack); err != nil {
			c.logger.Debug("acknowledge over link", "error", err)
		}
	case *pb.Frame_DirectAck:
		for _, item := range kind.DirectAck.GetItems() {
			if err := c.takeAck(ctx, l, item); err != nil {
				c.logger.Debug("direct acknowledgement", "error", err)
			}
		}
	case *pb.Frame_Typing:
		kind.Typing.Account = l.Account().Bytes()
		c.applyTyping(kind.Typing)
	}
}

func pathOf(l *link.Link) local.Path {
	if l.Path().Kind == link.Turn {
		return local.PathTurn
	}
	return local.PathDirect
}

// takeAck notes that the other end stored a message of this device.
func (c *Client) takeAck(ctx context.Context, l *link.Link, item *pb.DirectAck_Item) error {
	if item.GetRefused() || mustID(item.GetMessage().GetDevice()) != c.profile.Device {
		return nil
	}
	id, err := proto.IDFrom(item.GetConversation())
	if err != nil {
		return fmt.Errorf("acknowledgement: %w", err)
	}
	m := &local.Message{Conversation: id, Device: c.profile.Device, ID: mustID(item.GetMessage().GetId())}
	delivered, err := c.deliveredSeq(ctx, id)
	if err != nil {
		return err
	}
	return c.updateMessage(ctx, m, func(m *local.Message) {
		if !m.Acked && (m.Seq == 0 || m.Seq > delivered) {
			m.Path = pathOf(l) // nobody had it before this copy
		}
		m.Acked = true
	})
}

func (c *Client) deliveredSeq(ctx context.Context, id proto.ID) (seq uint64, err error) {
	err = c.store.Update(ctx, func(tx *local.Tx) error {
		v, err := c.view(tx, id)
		if err == nil {
			seq = v.delivered
		}
		return err
	})
	return seq, err
}

// onLinkState tells subscribers, and gives a link that just opened what is still waiting.
func (c *Client) onLinkState(l *link.Link, s link.State) {
	c.events.emit(LinkEvent{Account: l.Account(), Device: l.Device(), State: s.Phase.String(), Path: pathOf(l), Reason: s.Reason})
	if s.Phase == link.Open {
		c.tasks.Go(func() { c.resendOver(l) })
	}
}

// resendOver sends what the relay does not have yet to a device that is reached now.
func (c *Client) resendOver(l *link.Link) {
	ctx := c.run
	id := proto.PairID(c.profile.Account, l.Account())
	var waiting []*local.Message
	err := c.store.Update(ctx, func(tx *local.Tx) (err error) {
		waiting, err = tx.WithStatus(id, local.Waiting)
		return err
	})
	if err != nil {
		c.logger.Warn("read outbox", "error", err)
		return
	}
	for _, m := range waiting {
		frame := &pb.Frame{Kind: &pb.Frame_Direct{Direct: &pb.Direct{Envelopes: []*pb.Envelope{m.Envelope}}}}
		if err := l.Send(ctx, frame); err != nil {
			c.logger.Debug("send over link", "error", err)
			return
		}
	}
}

func (c *Client) applyPresences(presences []*pb.Presence) {
	var events []Event
	c.mu.Lock()
	for _, p := range presences {
		account, err := proto.IDFrom(p.GetAccount())
		if err != nil {
			continue
		}
		c.presence[account] = p
		event := PresenceEvent{Account: account, State: p.GetState(), LastSeen: timeOf(p.GetLastSeenMs())}
		for _, d := range p.GetDevices() {
			event.Devices = append(event.Devices, mustID(d.GetDevice()))
		}
		events = append(events, event)
	}
	c.mu.Unlock()
	c.events.emit(events...)
}
