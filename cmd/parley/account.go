package main

import (
	"context"
	"fmt"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

type accountFlags struct {
	profileFlags
	Server string `help:"Address of the server, e.g. https://talk.example." placeholder:"URL" required:""`
	User   string `help:"User name: 2 to 32 letters, digits, '.', '_' and '-'." placeholder:"NAME" required:""`
}

// check refuses a name that no server takes before a password is asked for.
func (a accountFlags) check() error {
	if _, err := proto.FoldUserName(a.User); err != nil {
		return badFlag("--user: %v", err)
	}
	return nil
}

type registerCmd struct {
	accountFlags
	Invite   string `help:"Invitation: CODE.SECRET or the whole link. Its maker becomes a contact." placeholder:"CODE.SECRET"`
	Nickname string `help:"Name that contacts see; the user name otherwise." placeholder:"NAME"`
}

// Help is the longer part of `parley register --help`.
func (*registerCmd) Help() string {
	return `The password comes from the file that PARLEY_PASSWORD_FILE names, else from the terminal. It never leaves this device, and nobody can
reset it: who forgets it keeps only the devices that are logged in.

A new server prints the invitation of its first account, setup.SECRET, which makes the administrator.

  parley register --server https://talk.example --user mia --invite 76mokuv4kkxmbart.abf7mw4v65fj4evza3ne6zpwxe`
}

func (r *registerCmd) Run(ctx context.Context, io stdio) error {
	opts, err := r.options()
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return err
	}
	secret, err := newPassword(io)
	if err != nil {
		return err
	}
	p, err := peer.Register(ctx, opts, peer.Credentials{Server: r.Server, User: r.User, Password: secret, Invitation: r.Invite, Nickname: r.Nickname})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.out, "registered", r.User, p.Account())
	return err
}

type loginCmd struct {
	accountFlags
	Reset string `help:"Code of an administrator: start again with a new identity and a new password, when everything else is lost." placeholder:"CODE"`
}

// Help is the longer part of `parley login --help`.
func (*loginCmd) Help() string {
	return `The device gets keys of its own and the account's whole history. The password comes from the file that PARLEY_PASSWORD_FILE names,
else from the terminal; it never leaves this device.`
}

func (l *loginCmd) Run(ctx context.Context, io stdio) error {
	opts, err := l.options()
	if err == nil {
		err = l.check()
	}
	if err != nil {
		return err
	}
	if l.Reset != "" {
		return l.reset(ctx, opts, io)
	}
	secret, err := password(io)
	if err != nil {
		return err
	}
	p, err := peer.Login(ctx, opts, peer.Credentials{Server: l.Server, User: l.User, Password: secret})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.out, "logged in as", l.User, p.Account())
	return err
}

// reset starts again with an administrator's code.
func (l *loginCmd) reset(ctx context.Context, opts peer.Options, io stdio) error {
	secret, err := newPassword(io)
	if err != nil {
		return err
	}
	p, err := peer.Reset(ctx, opts, peer.Credentials{Server: l.Server, User: l.User, Password: secret, Reset: l.Reset})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.out, "started again as", l.User, p.Account())
	return err
}

type logoutCmd struct {
	profileFlags
	Force bool `help:"Delete the profile even if the server cannot be reached; the device then stays in the account's list."`
}

// Help is the longer part of `parley logout --help`.
func (*logoutCmd) Help() string {
	return `The server ends the session, then the keys and messages in the profile are deleted. Messages still in the outbox are lost. The
account stays: log in again with its password.`
}

func (l *logoutCmd) Run(ctx context.Context) error {
	opts, err := l.options()
	if err != nil {
		return err
	}
	p, err := peer.LoadProfile(opts.Dir)
	if err != nil {
		return err
	}
	return peer.Logout(ctx, opts, p, l.Force)
}
