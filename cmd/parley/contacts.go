package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

type contactsCmd struct {
	Add         contactAddCmd         `cmd:"" help:"Ask somebody, by exact user name, or accept an invitation."`
	Accept      contactAcceptCmd      `cmd:"" help:"Accept somebody who asked."`
	Decline     contactDeclineCmd     `cmd:"" help:"Decline somebody who asked, or take back a request."`
	List        contactListCmd        `cmd:"" help:"List contacts, requests and who is blocked."`
	Invite      invitationCreateCmd   `cmd:"" help:"Make an invitation, as parley invitations create does."`
	Remove      contactRemoveCmd      `cmd:"" help:"End a contact, on both sides."`
	Block       contactBlockCmd       `cmd:"" help:"Block somebody: to them you look offline."`
	Unblock     contactUnblockCmd     `cmd:"" help:"Let somebody in again."`
	Nickname    contactNicknameCmd    `cmd:"" help:"Give somebody a name that only you see."`
	HideAddress contactHideAddressCmd `cmd:"" help:"Hide your addresses from somebody, or show them."`
}

// Help is the longer part of `parley contacts --help`.
func (*contactsCmd) Help() string {
	return `States: asked (by this account), asking (they do), accepted, none. Only who is accepted can write, link or see presence. A guest has no user
name and password: whoever has their device is them.`
}

// contactOut shows one contact.
type contactOut struct {
	JSON bool `help:"One JSON object per line: id, user, name, nickname, local_nickname, state, note, conversation, online, away, last_seen, unread, blocked, hide_address, safety, compared, invitation, guest."`
}

func (o contactOut) show(io stdio, c peer.Contact) error {
	if !o.JSON {
		_, err := fmt.Fprintln(io.out, c.State, line(c.Name()))
		return err
	}
	return json.NewEncoder(io.out).Encode(contactJSON(c))
}

type contactLine struct {
	ID           string `json:"id"`
	User         string `json:"user"`
	Name         string `json:"name"`
	State        string `json:"state"`
	Note         string `json:"note"`
	Conversation string `json:"conversation,omitempty"` // once accepted
	Online       bool   `json:"online"`
	Unread       uint64 `json:"unread"`

	Nickname    string     `json:"nickname"`                 // that they gave themselves
	LocalName   string     `json:"local_nickname,omitempty"` // that this account gave them
	Away        bool       `json:"away,omitempty"`
	LastSeen    *time.Time `json:"last_seen,omitempty"`
	Blocked     bool       `json:"blocked"`
	HideAddress bool       `json:"hide_address"`
	Safety      string     `json:"safety"`               // not-compared, compared, changed
	Compared    *time.Time `json:"compared,omitempty"`   // when
	Invitation  string     `json:"invitation,omitempty"` // code of the own one that they came by
	Guest       bool       `json:"guest"`                // an account by name only
	Deleted     bool       `json:"deleted,omitempty"`
}

func contactJSON(c peer.Contact) contactLine {
	l := contactLine{
		ID: c.Account.String(), User: c.UserName, Name: c.Name(), State: c.State, Note: c.Note, Online: c.Online, Unread: c.Unread,
		Nickname: c.Nickname, LocalName: c.LocalName, Away: c.Away, LastSeen: timeOrNil(c.LastSeen), Blocked: c.Blocked, HideAddress: c.HideAddress,
		Safety: c.Safety.State, Compared: timeOrNil(c.Safety.Compared), Invitation: c.Invitation, Guest: c.UserName == "" && !c.Deleted, Deleted: c.Deleted,
	}
	if !c.Conversation.IsZero() {
		l.Conversation = c.Conversation.String()
	}
	return l
}

type contactAddCmd struct {
	profileFlags
	contactOut
	Name string `arg:"" help:"Exact user name, CODE.SECRET or an invitation link."`
	Note string `help:"A line that they see with the request, up to 200 characters." placeholder:"TEXT"`
}

func (a *contactAddCmd) Run(ctx context.Context, io stdio) error {
	return a.with(ctx, func(c peer.Peer) error {
		var (
			contact peer.Contact
			err     error
		)
		if _, parseErr := proto.ParseInvitation(a.Name); parseErr == nil {
			contact, err = c.AcceptInvitation(ctx, a.Name)
		} else {
			contact, err = c.Ask(ctx, a.Name, a.Note)
		}
		if err != nil {
			return err
		}
		return a.show(io, contact)
	})
}

type contactAcceptCmd struct {
	profileFlags
	contactOut
	Name string `arg:"" help:"User name, or nickname if only one has it."`
}

func (a *contactAcceptCmd) Run(ctx context.Context, io stdio) error {
	return a.with(ctx, func(c peer.Peer) error {
		who, err := c.Resolve(ctx, a.Name)
		if err != nil {
			return err
		}
		contact, err := c.Accept(ctx, who.Account)
		if err != nil {
			return err
		}
		return a.show(io, contact)
	})
}

type contactDeclineCmd struct {
	profileFlags
	Name string `arg:"" help:"User name, or nickname if only one has it."`
}

func (d *contactDeclineCmd) Run(ctx context.Context) error {
	return d.with(ctx, func(c peer.Peer) error {
		who, err := c.Resolve(ctx, d.Name)
		if err != nil {
			return err
		}
		return c.Decline(ctx, who.Account)
	})
}

type contactListCmd struct {
	profileFlags
	contactOut
}

func (l *contactListCmd) Run(ctx context.Context, io stdio) error {
	return l.withOrWithout(ctx, func(c peer.Peer, offline error) error {
		all, err := c.Contacts(ctx)
		if err != nil {
			return err
		}
		if offline != nil {
			note(io, offline, "this is what the device knows")
		}
		for _, contact := range all {
			if l.JSON {
				err = l.show(io, contact)
			} else {
				row := fmt.Sprintf("%-9s %-20s %s", contact.State, line(contact.UserName), line(contact.Name()))
				if all := marks(contact); len(all) > 0 {
					row += "  (" + strings.Join(all, ", ") + ")"
				}
				_, err = fmt.Fprintln(io.out, row)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
