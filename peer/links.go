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

const (
	directMembers = 8 // up to so many members a conversation makes a device open links by itself
	openTimeout   = 30 * time.Second
)

// newLinks makes the link manager.
func (c *Client) newLinks() (err error) {
	if c.cfg.NoLinks {
		return nil
	}
	c.links, err = link.New(link.Config{
		Self:  link.Self{Account: c.Account(), Device: c.Device(), Key: c.profile.signKey()},
		Lists: linkLists{c}, Signals: linkSignals{c}, ICE: c.iceServers, OnFrame: c.onLinkFrame, OnState: c.onLinkState, OnNetworkChange: c.checkConnection,
		RelayOnly:     c.addresses.hide,
		AllowLoopback: onLoopback(c.rest.base), Logger: c.logger,
	})
	return err
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
		return ice, nil
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
	if err := l.c.fetchLists(ctx, l.c.session.ask, account); err != nil {
		return nil, err
	}
	return l.known(ctx, account)
}

func (l linkLists) known(ctx context.Context, account proto.ID) (list *proto.DeviceList, err error) {
	err = l.c.update(ctx, func(w *work) error {
		p, err := w.Person(account)
		switch {
		case err != nil:
			return err
		case p.NewIdentity != nil:
			return changed(p)
		case p.Blocked:
			return errors.New("blocked")
		case account != l.c.Account() && p.State != pb.ContactState_CONTACT_STATE_ACCEPTED:
			return errors.New("not a contact")
		case p.List == nil:
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
	return l.c.update(ctx, func(w *work) error {
		p, err := w.Person(account)
		if err != nil {
			return err
		}
		return w.learnList(p, list.Signed)
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

// recipient is a device of another account.
type recipient struct{ account, device proto.ID }

// reach is how the opening of a link to a recipient goes.
type reach struct {
	opening   bool
	failures  int
	notBefore time.Time // after a failure
}

// connected are the devices of other members that the server shows as connected. c.mu is held.
func (c *Client) connected(members []proto.ID) []recipient {
	var to []recipient
	for _, account := range members {
		if account == c.Account() {
			continue
		}
		for _, d := range c.presence[account].GetDevices() {
			to = append(to, recipient{account, mustID(d.GetDevice())})
		}
	}
	return to
}

// OpenLinks opens links to the connected devices of a conversation's members, as looking at it does, and waits until each is
// open or has failed.
func (c *Client) OpenLinks(ctx context.Context, conversation proto.ID) error {
	if c.links == nil {
		return nil
	}
	var to []recipient
	err := c.update(ctx, func(w *work) error {
		r, err := w.room(conversation)
		if err == nil {
			to = c.connected(r.members())
		}
		return unlessNotFound(err)
	})
	errs := []error{err}
	for _, r := range to {
		if _, err := c.links.Open(ctx, r.account, r.device); err != nil {
			errs = append(errs, fmt.Errorf("open link: %w", err))
		}
	}
	return errors.Join(errs...)
}

// CloseLinks closes all links. They open again when there is something to send, and when the other end opens them.
func (c *Client) CloseLinks() {
	c.closeLinks(func(*link.Link) bool { return true })
}

// reach opens a link in the background, unless there is one, one is being opened, or that failed a moment ago.
func (c *Client) reach(to recipient) {
	c.linkMu.Lock()
	defer c.linkMu.Unlock()
	if _, open := c.feeders[to.device]; open {
		return
	}
	r := c.reached[to]
	if r == nil {
		r = &reach{}
		c.reached[to] = r
	}
	if r.opening || time.Now().Before(r.notBefore) {
		return
	}
	r.opening = c.tasks.start(func() {
		ctx, cancel := context.WithTimeout(c.run, openTimeout)
		defer cancel()
		_, err := c.links.Open(ctx, to.account, to.device)
		c.linkMu.Lock()
		defer c.linkMu.Unlock()
		r.opening = false
		if err == nil {
			delete(c.reached, to)
			return
		}
		r.notBefore = time.Now().Add(backoff(r.failures))
		r.failures++
		c.logger.Debug("open link", "error", err)
	})
}

func (c *Client) applyPresences(presences []*pb.Presence) {
	var there []recipient
	defer func() { c.tryAgain(there) }()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range presences {
		account, err := proto.IDFrom(p.GetAccount())
		if err != nil {
			continue
		}
		c.presence[account] = p
		e := PresenceEvent{
			Account: account, Away: p.GetState() == pb.PresenceState_PRESENCE_STATE_AWAY, LastSeen: timeOf(p.GetLastSeenMs()),
		}
		for _, d := range p.GetDevices() {
			device := mustID(d.GetDevice())
			e.Devices = append(e.Devices, device)
			there = append(there, recipient{account, device})
		}
		c.events.emit(e)
	}
}

// tryAgain forgets failures to reach devices that are here now.
func (c *Client) tryAgain(there []recipient) {
	c.linkMu.Lock()
	defer c.linkMu.Unlock()
	for _, r := range there {
		delete(c.reached, r)
	}
}

// SendTyping tells the others that the person writes, or stopped.
func (c *Client) SendTyping(conversation proto.ID, stopped bool) {
	c.session.tell(&pb.Frame{Kind: &pb.Frame_Typing{Typing: &pb.Typing{Conversation: conversation.Bytes(), Stopped: stopped}}})
}
