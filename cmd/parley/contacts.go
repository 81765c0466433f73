package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

type contactsCmd struct {
	Add     contactAddCmd     `cmd:"" help:"Ask somebody, by exact user name, or accept an invitation."`
	Accept  contactAcceptCmd  `cmd:"" help:"Accept somebody who asked."`
	Decline contactDeclineCmd `cmd:"" help:"Decline somebody who asked, or take back a request."`
	List    contactListCmd    `cmd:"" help:"List contacts and requests."`
	Invite  contactInviteCmd  `cmd:"" help:"Make an invitation: who opens it becomes a contact."`
}

// Help is the longer part of `parley contacts --help`.
func (*contactsCmd) Help() string {
	return `States: asked (by this account), asking (they do), accepted. Only who is accepted can write, link or see presence.`
}

// contactOut shows one contact.
type contactOut struct {
	JSON bool `help:"One JSON object per line: id, user, name, state, note, conversation, online, unread."`
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
}

func contactJSON(c peer.Contact) contactLine {
	l := contactLine{
		ID: c.Account.String(), User: c.UserName, Name: c.Name(), State: c.State, Note: c.Note, Online: c.Online, Unread: c.Unread,
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
				_, err = fmt.Fprintf(io.out, "%-9s %-20s %s\n", contact.State, line(contact.UserName), line(contact.Name()))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

type contactInviteCmd struct {
	profileFlags
	Days int  `help:"How long it works, 1 to 365." default:"7"`
	Uses int  `help:"How many people it takes, 1 to 1000." default:"1"`
	JSON bool `help:"One JSON object: code, url, expires, uses."`
}

// Help is the longer part of `parley contacts invite --help`.
func (*contactInviteCmd) Help() string {
	return `Prints CODE.SECRET for the command line, then the same as a link for a browser. Whoever has it can use it: send it in private. The
server knows only the code and cannot use it.`
}

func (i *contactInviteCmd) Run(ctx context.Context, io stdio) error {
	if i.Days < 1 || i.Days > 365 || i.Uses < 1 || i.Uses > proto.MaxInvitationUses {
		return badFlag("--days is 1 to 365, --uses is 1 to %d", proto.MaxInvitationUses)
	}
	return i.with(ctx, func(c peer.Peer) error {
		inv, err := c.Invite(ctx, time.Duration(i.Days)*24*time.Hour, uint32(i.Uses)) //nolint:gosec // checked
		if err != nil {
			return err
		}
		if i.JSON {
			return json.NewEncoder(io.out).Encode(struct {
				Code    string    `json:"code"`
				URL     string    `json:"url"`
				Expires time.Time `json:"expires"`
				Uses    uint32    `json:"uses"`
			}{inv.Code, inv.URL, inv.Expires.UTC(), inv.Uses})
		}
		_, err = fmt.Fprintf(io.out, "%s\n%s\n", inv.Code, inv.URL)
		return err
	})
}
