package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

// personArg names somebody this profile knows.
type personArg struct {
	Name string `arg:"" help:"User name, or the nickname if only one has it."`
}

type contactRemoveCmd struct {
	profileFlags
	personArg
}

// Help is the longer part of `parley contacts remove --help`.
func (*contactRemoveCmd) Help() string {
	return `Ends the contact on both sides, or takes a request back. What was written stays on the devices that have it; becoming contacts again
goes on with the same conversation. To hear nothing more of somebody who would ask again, block them.`
}

func (r *contactRemoveCmd) Run(ctx context.Context) error {
	return r.with(ctx, func(c peer.Peer) error {
		who, err := c.Resolve(ctx, r.Name)
		if err != nil {
			return err
		}
		return c.Remove(ctx, who.Account)
	})
}

type contactBlockCmd struct {
	profileFlags
	contactOut
	Name string `arg:"" help:"Exact user name of anybody on the server, or the nickname if only one contact has it."`
}

// Help is the longer part of `parley contacts block --help`.
func (*contactBlockCmd) Help() string {
	return `To them this account looks offline from now on, and they never learn why: what they write waits at the server, their requests and calls
are silent. It is known to this account alone and outlives the contact. Let them in again with parley contacts unblock: then what waited
arrives.`
}

func (b *contactBlockCmd) Run(ctx context.Context, io stdio) error {
	return b.with(ctx, func(c peer.Peer) error {
		account, err := anybody(ctx, c, b.Name)
		if err != nil {
			return err
		}
		contact, err := c.SetBlocked(ctx, account, true)
		if err != nil {
			return err
		}
		return b.show(io, contact)
	})
}

// anybody is a person this profile knows, or else anybody of the server with that user name.
func anybody(ctx context.Context, c peer.Peer, name string) (proto.ID, error) {
	who, err := c.Resolve(ctx, name)
	if !errors.Is(err, peer.ErrNoSuchName) {
		return who.Account, err
	}
	return c.Find(ctx, name)
}

type contactUnblockCmd struct {
	profileFlags
	contactOut
	personArg
}

func (u *contactUnblockCmd) Run(ctx context.Context, io stdio) error {
	return u.with(ctx, func(c peer.Peer) error {
		who, err := c.Resolve(ctx, u.Name)
		if err != nil {
			return err
		}
		contact, err := c.SetBlocked(ctx, who.Account, false)
		if err != nil {
			return err
		}
		return u.show(io, contact)
	})
}

type contactNicknameCmd struct {
	profileFlags
	contactOut
	personArg
	Text string `arg:"" optional:"" help:"What to call them; left out: the nickname that they gave themselves."`
}

// Help is the longer part of `parley contacts nickname --help`.
func (*contactNicknameCmd) Help() string {
	return `A name of your own for somebody, on all your devices. They and the server do not see it.`
}

func (n *contactNicknameCmd) Run(ctx context.Context, io stdio) error {
	return n.with(ctx, func(c peer.Peer) error {
		who, err := c.Resolve(ctx, n.Name)
		if err != nil {
			return err
		}
		contact, err := c.SetNickname(ctx, who.Account, n.Text)
		if err != nil {
			return err
		}
		return n.show(io, contact)
	})
}

type contactHideAddressCmd struct {
	profileFlags
	contactOut
	personArg
	Switch string `arg:"" enum:"on,off" help:"on or off."`
}

// Help is the longer part of `parley contacts hide-address --help`.
func (*contactHideAddressCmd) Help() string {
	return `on: links to them go through the server alone, on all your devices, so that they never see from which addresses you connect. Messages are
as sealed as ever; the server sees how much goes through. For everybody at once: parley privacy --hide-address on.`
}

func (h *contactHideAddressCmd) Run(ctx context.Context, io stdio) error {
	return h.with(ctx, func(c peer.Peer) error {
		who, err := c.Resolve(ctx, h.Name)
		if err != nil {
			return err
		}
		contact, err := c.SetHideAddressFrom(ctx, who.Account, h.Switch == "on")
		if err != nil {
			return err
		}
		return h.show(io, contact)
	})
}

// marks is what else there is to say of somebody in a list.
func marks(c peer.Contact) []string {
	var all []string
	mark := func(on bool, text string) {
		if on {
			all = append(all, text)
		}
	}
	mark(c.Blocked, "blocked")
	mark(c.UserName == "" && !c.Deleted, "guest") // by name only: whoever has one of their devices is them
	mark(c.Deleted, "deleted")
	mark(c.LocalName != "" && c.Nickname != "" && c.Nickname != c.LocalName, fmt.Sprintf("calls themselves %s", line(c.Nickname)))
	mark(c.Safety.State == peer.SafetyCompared, "compared")
	mark(c.Safety.State == peer.SafetyChanged, "IDENTITY CHANGED: see parley safety")
	mark(c.HideAddress, "address hidden")
	mark(c.Note != "" && c.State == peer.ContactAsking, fmt.Sprintf("%q", line(c.Note)))
	return all
}
