package peer

import (
	"context"
	"sync"

	"github.com/parley-chat/parley/peer/link"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// addresses says to whom this device does not show its addresses. Links ask it, so it has a lock of its own.
type addresses struct {
	mu     sync.Mutex
	all    bool
	hidden map[proto.ID]bool
}

// hide says whether links to an account go through TURN alone.
func (a *addresses) hide(account proto.ID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all || a.hidden[account]
}

func (a *addresses) set(all bool, hidden map[proto.ID]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all, a.hidden = all, hidden
}

// loadAddresses reads it from the settings. One that does not open here may say that addresses are to be hidden: then they are.
func (w *work) loadAddresses() error {
	all, err := w.Settings()
	if err != nil {
		return err
	}
	links, hidden := w.c.cfg.RelayOnly, make(map[proto.ID]bool)
	for _, s := range all {
		switch {
		case s.Key == proto.SettingLinks:
			value := &pb.LinkSetting{}
			links = links || !s.Opened || proto.Unmarshal(s.Value, value) != nil || value.GetHideAddress()
		case !s.Person.IsZero():
			value := &pb.PersonSetting{}
			if !s.Opened || proto.Unmarshal(s.Value, value) != nil || value.GetHideAddress() {
				hidden[s.Person] = true
			}
		}
	}
	w.c.addresses.set(links, hidden)
	w.then(w.c.closeShowing)
	return nil
}

// closeShowing closes links that show this device's addresses to somebody who is not to see them any more. They open again
// through TURN.
func (c *Client) closeShowing() {
	c.closeLinks(func(l *link.Link) bool { return !l.RelayOnly() && c.addresses.hide(l.Account()) })
}

// closeLinks closes the links that are chosen.
func (c *Client) closeLinks(chosen func(*link.Link) bool) {
	if c.links == nil {
		return
	}
	for _, l := range c.links.Links() {
		if chosen(l) {
			l.Close(link.ReasonIdle)
		}
	}
}

// HideAddress says whether this account's links all go through the server, so that nobody learns a device's addresses.
func (c *Client) HideAddress(ctx context.Context) (hide bool, err error) {
	err = c.update(ctx, func(w *work) error {
		s, err := w.Setting(proto.SettingLinks)
		if err == nil {
			value := &pb.LinkSetting{}
			hide = !s.Opened || proto.Unmarshal(s.Value, value) != nil || value.GetHideAddress()
		}
		return unlessNotFound(err)
	})
	return hide, err
}

// SetHideAddress lets all links of this account, on all its devices, go through the server alone, or not.
func (c *Client) SetHideAddress(ctx context.Context, hide bool) error {
	return changeSetting(ctx, c, proto.SettingLinks, &pb.LinkSetting{}, func(s *pb.LinkSetting) error {
		s.HideAddress = hide
		return nil
	})
}

// SetHideAddressFrom is SetHideAddress for links to one person.
func (c *Client) SetHideAddressFrom(ctx context.Context, person proto.ID, hide bool) (Contact, error) {
	return c.notePerson(ctx, person, func(s *pb.PersonSetting) error {
		s.HideAddress = hide
		return nil
	})
}
