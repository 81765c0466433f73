package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

type accountFlags struct {
	profileFlags
	Server string  `help:"Address of the server, e.g. https://talk.example." placeholder:"URL"`
	User   *string `help:"User name: 2 to 32 letters, digits, '.', '_' and '-'." placeholder:"NAME"`
}

// user is the user name, empty if none was given. One that no server takes is refused before a password is asked for.
func (a accountFlags) user() (string, error) {
	if a.User == nil {
		return "", nil
	}
	if _, err := proto.FoldUserName(*a.User); err != nil {
		return "", badFlag("--user: %v", err)
	}
	return *a.User, nil
}

// missing is what to say of flags that are not there.
func missing(command, flags string) error {
	return badFlag("missing flags: %s (see parley %s --help)", flags, command)
}

type registerCmd struct {
	accountFlags
	Invite   string `help:"Invitation: CODE.SECRET or the whole link. Its maker becomes a contact." placeholder:"CODE.SECRET"`
	Nickname string `help:"Name that contacts see; the user name otherwise." placeholder:"NAME"`
}

// Help is the longer part of `parley register --help`.
func (*registerCmd) Help() string {
	return `The password comes from the file that PARLEY_PASSWORD_FILE names, else from the terminal. It never leaves this device, and nobody can
reset it: who forgets it keeps only the devices that are logged in, and the recovery code (parley account recovery).

With an invitation a nickname is enough: without --user there is no password, and this device alone is the account until you keep it
(parley account keep).

A new server prints the invitation of its first account, setup.SECRET, which makes the administrator.

  parley register --server https://talk.example --user mia --invite 76mokuv4kkxmbart.abf7mw4v65fj4evza3ne6zpwxe
  parley register --nickname Mia --invite https://talk.example/i/76mokuv4kkxmbart#abf7mw4v65fj4evza3ne6zpwxe`
}

func (r *registerCmd) Run(ctx context.Context, io stdio) error {
	opts, err := r.options()
	if err != nil {
		return err
	}
	c := peer.Credentials{Server: cmp.Or(r.Server, peer.ServerOfLink(r.Invite)), Invitation: r.Invite, Nickname: r.Nickname}
	if c.User, err = r.user(); err != nil {
		return err
	}
	switch {
	case c.Server == "":
		return missing("register", "--server=URL")
	case r.User == nil && (r.Invite == "" || r.Nickname == ""):
		return missing("register", "--user=NAME, or --nickname=NAME and --invite=CODE.SECRET for an account by name only")
	case r.User != nil:
		if c.Password, err = newPassword(io); err != nil {
			return err
		}
	}
	p, err := peer.Register(ctx, opts, c)
	if err != nil {
		return err
	}
	if r.User == nil {
		_, _ = fmt.Fprintln(io.err, "parley: this device alone is the account now; keep it with parley account keep NAME")
	}
	_, err = fmt.Fprintln(io.out, "registered", cmp.Or(c.User, line(r.Nickname)), p.Account())
	return err
}

type loginCmd struct {
	accountFlags
	Link     string `help:"Device link that another device of the account shows (parley devices link): CODE.SECRET.ACCOUNT or the whole link. No password is typed here." placeholder:"LINK" xor:"how"`
	Recovery bool   `help:"Log in by the recovery code, when password and devices are lost: from PARLEY_RECOVERY_FILE, else the terminal." xor:"how"`
	Device   string `help:"What this device is called in the account's list; the host's name otherwise." placeholder:"NAME"`
	Reset    string `help:"Code of an administrator: start again with a new identity and a new password, when everything else is lost." placeholder:"CODE" xor:"how"`
}

// Help is the longer part of `parley login --help`.
func (*loginCmd) Help() string {
	return `The device gets keys of its own and the account's whole history. The password comes from the file that PARLEY_PASSWORD_FILE names,
else from the terminal; it never leaves this device.

  parley login --server https://talk.example --user mia
  parley login --link 'https://talk.example/d/CODE#SECRET.ACCOUNT'     # waits until the other device agrees
  parley login --server https://talk.example --user mia --recovery     # then set a password: parley account password --recovery`
}

func (l *loginCmd) Run(ctx context.Context, io stdio) error {
	opts, err := l.options()
	if err != nil {
		return err
	}
	opts.DeviceName = l.Device
	c := peer.Credentials{Server: l.Server}
	if c.User, err = l.user(); err != nil {
		return err
	}
	if l.Link != "" {
		return l.byLink(ctx, io, opts, c)
	}
	switch {
	case l.Server == "" && l.User == nil:
		return missing("login", "--server=URL, --user=NAME")
	case l.Server == "":
		return missing("login", "--server=URL")
	case l.User == nil:
		return missing("login", "--user=NAME")
	}
	if l.Reset != "" {
		return l.reset(ctx, opts, io, c)
	}
	p, err := l.bySecret(ctx, io, opts, c)
	if err != nil {
		return err
	}
	if l.Recovery {
		_, _ = fmt.Fprintln(io.err, "parley: set a new password with parley account password --recovery, then make a new code with parley account recovery")
	}
	_, err = fmt.Fprintln(io.out, "logged in as", c.User, p.Account())
	return err
}

func (l *loginCmd) bySecret(ctx context.Context, io stdio, opts peer.Options, c peer.Credentials) (*peer.Profile, error) {
	if l.Recovery {
		code, err := typedRecoveryCode(io)
		if err != nil {
			return nil, err
		}
		return peer.LoginRecovery(ctx, opts, c, code)
	}
	secret, err := password(io)
	if err != nil {
		return nil, err
	}
	c.Password = secret
	return peer.Login(ctx, opts, c)
}

func (l *loginCmd) byLink(ctx context.Context, io stdio, opts peer.Options, c peer.Credentials) error {
	if c.Server == "" && peer.ServerOfLink(l.Link) == "" {
		return missing("login", "--server=URL, which CODE.SECRET.ACCOUNT does not name")
	}
	if _, person := terminal(io); person {
		_, _ = fmt.Fprintln(io.err, "Waiting until the other device agrees")
	}
	p, err := peer.LoginByLink(ctx, opts, c, l.Link)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.out, "logged in", p.Account())
	return err
}

// reset starts again with an administrator's code.
func (l *loginCmd) reset(ctx context.Context, opts peer.Options, io stdio, c peer.Credentials) error {
	secret, err := newPassword(io)
	if err != nil {
		return err
	}
	c.Password, c.Reset = secret, l.Reset
	p, err := peer.Reset(ctx, opts, c)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.out, "started again as", c.User, p.Account())
	return err
}

type logoutCmd struct {
	profileFlags
	Force bool `help:"Delete the profile even if the server cannot be reached; the device then stays in the account's list."`
	Yes   bool `help:"Leave an account by name only, which nobody can open afterwards, without being asked."`
}

// Help is the longer part of `parley logout --help`.
func (*logoutCmd) Help() string {
	return `The server ends the session, then the keys and messages in the profile are deleted. Messages still in the outbox are lost. The
account stays: log in again with its password. An account by name only goes with its last device: keep it first (parley account keep).`
}

func (l *logoutCmd) Run(ctx context.Context, io stdio) error {
	opts, err := l.options()
	if err != nil {
		return err
	}
	p, err := peer.LoadProfile(opts.Dir)
	if err != nil {
		return err
	}
	if p.NameOnly() {
		err := confirm(io, l.Yes, "this account has no password: nobody can open it again without this device (parley account keep keeps it). Leave it")
		if err != nil {
			return err
		}
	}
	return peer.Logout(ctx, opts, p, l.Force)
}
