package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parley-chat/parley/peer"
)

// identityCmd is for identities that changed: a contact's, after an administrator let them start again, or one's own.
type identityCmd struct {
	Accept identityAcceptCmd `cmd:"" help:"Accept the new identity of a contact who was reset."`
	Former identityFormerCmd `cmd:"" help:"Open the history from before this account was reset, with the recovery code of then."`
}

// Help is the longer part of `parley identity --help`.
func (*identityCmd) Help() string {
	return `Somebody who lost every device, password and recovery code can start again with a code of the administrator: under the same name, with
another identity. So could somebody who took the server over. Until you accept it nothing is sent to them; ask them first, in another way.`
}

type identityAcceptCmd struct {
	profileFlags
	Name string `arg:"" help:"Name of the contact."`
}

func (a *identityAcceptCmd) Run(ctx context.Context, io stdio) error {
	return a.with(ctx, func(c peer.Peer) error {
		contact, err := c.Resolve(ctx, a.Name)
		if err == nil {
			contact, err = c.AcceptIdentity(ctx, contact.Account)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(io.out, "accepted the new identity of", line(contact.Name()))
		return err
	})
}

type identityFormerCmd struct{ profileFlags }

// Help is the longer part of `parley identity former --help`.
func (*identityFormerCmd) Help() string { return `The code is read from standard input, one line.` }

func (f *identityFormerCmd) Run(ctx context.Context, io stdio) error {
	code, err := bufio.NewReader(io.in).ReadString('\n')
	if code == "" && err != nil {
		return errors.New("no recovery code: give it on standard input")
	}
	return f.with(ctx, func(c peer.Peer) error { return c.RecoverFormer(ctx, code) })
}

type adminResetCmd struct {
	profileFlags
	Name string `arg:"" help:"User name, or the id of the account."`
}

// Help is the longer part of `parley admin reset --help`.
func (*adminResetCmd) Help() string {
	return `Prints a code, once, for 'parley login --reset' or the log-in page. It lasts seven days, takes the place of one before, and changes
nothing until it is used. Then all devices, the password and the recovery code of before end; name and contacts stay, and the contacts are warned.
Nobody reads old messages by it: give the code only to whom you know.`
}

func (r *adminResetCmd) Run(ctx context.Context, io stdio) error {
	return r.with(ctx, func(c peer.Peer) error {
		code, err := c.ResetCode(ctx, r.Name)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(io.out, "%s\nuntil %s\n", code.Code, code.Expires.Local().Format(time.RFC1123))
		return err
	})
}
