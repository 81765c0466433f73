package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

type accountCmd struct {
	Keep     accountKeepCmd     `cmd:"" help:"Give an account by name only a user name and a password, so that it lasts."`
	Password accountPasswordCmd `cmd:"" help:"Change the password."`
	Recovery accountRecoveryCmd `cmd:"" help:"Make a recovery code, which replaces the one before."`
	Export   accountExportCmd   `cmd:"" help:"Write everything this account has into a folder, as JSON and files."`
	Delete   accountDeleteCmd   `cmd:"" help:"Delete the account from the server, for good."`
}

type accountKeepCmd struct {
	profileFlags
	User string `arg:"" help:"User name: 2 to 32 letters, digits, '.', '_' and '-'."`
}

// Help is the longer part of `parley account keep --help`.
func (*accountKeepCmd) Help() string {
	return `Run it on the device that made the account. The password comes from the file that PARLEY_PASSWORD_FILE names, else from the terminal.
With it other devices can be added, and this one can be lost. Make a recovery code next: parley account recovery.`
}

func (k *accountKeepCmd) Run(ctx context.Context, io stdio) error {
	if _, err := proto.FoldUserName(k.User); err != nil {
		return err
	}
	return k.with(ctx, func(c peer.Peer) error {
		self, err := c.Self(ctx)
		if err != nil {
			return err
		}
		if !self.NameOnly() && !self.Keeper {
			return &refusedError{peer.ErrKept.Error()}
		}
		secret, err := newPassword(io)
		if err != nil {
			return err
		}
		if err := c.Keep(ctx, k.User, secret); err != nil {
			return err
		}
		_, err = fmt.Fprintln(io.out, "kept as", k.User)
		return err
	})
}

type accountPasswordCmd struct {
	profileFlags
	Recovery bool `help:"Prove the account by its recovery code instead of the old password: from PARLEY_RECOVERY_FILE, else the terminal."`
}

// Help is the longer part of `parley account password --help`.
func (*accountPasswordCmd) Help() string {
	return `The old password comes from PARLEY_PASSWORD_FILE, the new one from PARLEY_NEW_PASSWORD_FILE, else both from the terminal. Other devices
stay in the account; to sign out one that somebody else has: parley devices revoke.`
}

func (p *accountPasswordCmd) Run(ctx context.Context, io stdio) error {
	return p.with(ctx, func(c peer.Peer) error {
		var (
			proof peer.Proof
			err   error
		)
		if p.Recovery {
			proof.Recovery, err = typedRecoveryCode(io)
		} else {
			proof.Password, err = password(io)
		}
		if err != nil {
			return err
		}
		next, err := twice(io, newPasswordFile, "New password")
		if err != nil {
			return err
		}
		if err := c.ChangePassword(ctx, proof, next); err != nil {
			return err
		}
		_, err = fmt.Fprintln(io.out, "password changed")
		return err
	})
}

type accountRecoveryCmd struct {
	profileFlags
}

// Help is the longer part of `parley account recovery --help`.
func (*accountRecoveryCmd) Help() string {
	return `Prints a code of seven groups, once: nothing keeps it. Write it on paper. With it and the user name the account opens when every device and
the password are lost (parley login --recovery), by whoever has it. The code before stops working.`
}

func (r *accountRecoveryCmd) Run(ctx context.Context, io stdio) error {
	return r.with(ctx, func(c peer.Peer) error {
		secret, err := password(io)
		if err != nil {
			return err
		}
		code, err := c.NewRecoveryCode(ctx, peer.Proof{Password: secret})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(io.out, code)
		return err
	})
}

type accountExportCmd struct {
	profileFlags
	Dir string `help:"Folder to write into: a new or an empty one." required:"" placeholder:"DIR"`
}

// Help is the longer part of `parley account export --help`.
func (*accountExportCmd) Help() string {
	return `profile.json, settings.json, devices.json, contacts.json, conversations/ID.json with every message oldest first, and avatars/. It has no
keys: nobody can log in with it. But every message is in clear, so keep it where nobody else reads.`
}

func (e *accountExportCmd) Run(ctx context.Context, io stdio) error {
	dir, err := filepath.Abs(e.Dir)
	if err != nil {
		return badFlag("--dir: %v", err)
	}
	started := false
	return e.with(ctx, func(c peer.Peer) error {
		if started { // the process that had the profile ended, and part of the export is written
			return fmt.Errorf("another process closed the profile meanwhile: remove %s and try again", dir)
		}
		started = true
		if err := peer.Export(ctx, c, dir); err != nil {
			return err
		}
		_, err := fmt.Fprintln(io.out, "exported to", dir)
		return err
	})
}

type accountDeleteCmd struct {
	profileFlags
	Yes bool `help:"Do not ask."`
}

// Help is the longer part of `parley account delete --help`.
func (*accountDeleteCmd) Help() string {
	return `The server forgets the account and its devices at once, contacts are told, and everything that this device kept is deleted. Others keep what
was written to them. It cannot be undone; parley account export writes everything into a folder first.`
}

func (d *accountDeleteCmd) Run(ctx context.Context, io stdio) error {
	opts, err := d.options()
	if err != nil {
		return err
	}
	p, err := peer.LoadProfile(opts.Dir)
	if err != nil {
		return err
	}
	if err := confirm(io, d.Yes, "delete this account for good"); err != nil {
		return err
	}
	err = withPassword(io, func(secret string) error { return peer.DeleteAccount(ctx, opts, p, secret) })
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.out, "deleted")
	return err
}
