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

type invitationsCmd struct {
	Create invitationCreateCmd `cmd:"" help:"Make an invitation: who opens it becomes a contact."`
	List   invitationListCmd   `cmd:"" help:"List your invitations, and who came by which."`
	Revoke invitationRevokeCmd `cmd:"" help:"End an invitation. Who came by it stays."`
}

type invitationCreateCmd struct {
	profileFlags
	Days int  `help:"How long it works, 1 to 365." default:"7"`
	Uses int  `help:"How many people it takes, 1 to 1000." default:"1"`
	QR   bool `name:"qr" help:"Also draw the link as a QR code."`
	JSON bool `help:"One JSON object: code, url, expires, uses."`
}

// Help is the longer part of `parley invitations create --help`.
func (*invitationCreateCmd) Help() string {
	return `Prints CODE.SECRET for the command line, then the same as a link for a browser. Whoever has it can use it: send it in private. The
server knows only the code and cannot use it; this is the only time that the secret is shown.`
}

func (i *invitationCreateCmd) Run(ctx context.Context, io stdio) error {
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
		if _, err = fmt.Fprintf(io.out, "%s\n%s\n", inv.Code, inv.URL); err != nil || !i.QR {
			return err
		}
		return drawQR(io.out, inv.URL)
	})
}

type invitationListCmd struct {
	profileFlags
	All  bool `help:"Also those that have expired, are used up or were revoked."`
	JSON bool `help:"One JSON object per line: code, state, expires, uses, uses_left, came (ids)."`
}

// Help is the longer part of `parley invitations list --help`.
func (*invitationListCmd) Help() string {
	return `States: open, expired, used-up, revoked. The secrets are not kept: make a new invitation to invite somebody else.`
}

func (l *invitationListCmd) Run(ctx context.Context, io stdio) error {
	return l.withOrWithout(ctx, func(c peer.Peer, offline error) error {
		all, err := c.Invitations(ctx)
		if err != nil {
			return err
		}
		if offline != nil {
			note(io, offline, "this is what the device knows")
		}
		for _, inv := range all {
			if inv.Open() || l.All {
				if err := l.show(io, inv); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func invitationState(i peer.OwnInvitation) string {
	switch {
	case i.Revoked:
		return "revoked"
	case i.UsesLeft == 0:
		return "used-up"
	case !i.Open():
		return "expired"
	}
	return "open"
}

func (l *invitationListCmd) show(io stdio, inv peer.OwnInvitation) error {
	names, ids := make([]string, len(inv.Came)), make([]string, len(inv.Came))
	for i, c := range inv.Came {
		names[i], ids[i] = line(c.Name()), c.Account.String()
	}
	if l.JSON {
		return json.NewEncoder(io.out).Encode(struct {
			Code     string    `json:"code"`
			State    string    `json:"state"`
			Expires  time.Time `json:"expires"`
			Uses     uint32    `json:"uses"`
			UsesLeft uint32    `json:"uses_left"`
			Came     []string  `json:"came"`
		}{inv.Code, invitationState(inv), inv.Expires, inv.Uses, inv.UsesLeft, ids})
	}
	row := fmt.Sprintf("%s  %-8s %d of %d left, until %s", inv.Code, invitationState(inv), inv.UsesLeft, inv.Uses, inv.Expires.Local().Format("2006-01-02 15:04"))
	if len(names) > 0 {
		row += ": " + strings.Join(names, ", ")
	}
	_, err := fmt.Fprintln(io.out, row)
	return err
}

type invitationRevokeCmd struct {
	profileFlags
	Code string `arg:"" help:"The code, CODE.SECRET or the whole link."`
}

func (r *invitationRevokeCmd) Run(ctx context.Context) error {
	return r.with(ctx, func(c peer.Peer) error { return c.RevokeInvitation(ctx, r.Code) })
}
