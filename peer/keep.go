package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// ErrKept says that the account has a user name and a password already.
var ErrKept = errors.New("this account has a user name and a password already")

// Keep gives a name-only account a user name and a password, on the device that made it. From then on that one does not hold the
// account's identity any more: it lies at the server, sealed, and the password opens it.
func (c *Client) Keep(ctx context.Context, user, password string) error {
	a, err := c.keeper(ctx)
	if err != nil {
		return err
	}
	self, err := c.Self(ctx)
	switch {
	case err != nil:
		return err
	case a == nil && self.NameOnly():
		return ErrNotKeeper
	case a == nil:
		return ErrKept
	case !self.NameOnly(): // the server's answer got lost, the last time
		return c.finishKeep(ctx, a, self.UserName, password)
	}
	master := newMaster()
	setup, err := newPassword(c.Account(), c.rest.base, user, password, self.Nickname, master)
	if err != nil {
		return err
	}
	ring, err := proto.SealKeyRing(master, c.Account(), a.ring)
	if err != nil {
		return err
	}
	err = c.call(ctx, http.MethodPut, "/api/v1/password", &pb.ChangePassword{Password: setup, User: user, KeyRing: ring}, nil)
	if err != nil {
		return err
	}
	return c.finishKeep(ctx, a, user, password)
}

// finishKeep takes the identity off this device once it was opened by the password: until then it may be the only copy.
func (c *Client) finishKeep(ctx context.Context, a *account, user, password string) error {
	kept, err := openAccount(ctx, c.rest, user, password)
	if err != nil {
		return fmt.Errorf("the account has the user name %s, but its password does not open it yet: %w", user, err)
	}
	if !bytes.Equal(kept.ring.GetIdentitySeed(), a.ring.GetIdentitySeed()) {
		return errors.New("the server returned another account's keys: nothing was changed here")
	}
	c.mu.Lock()
	c.profile.keys.Identity, c.profile.keys.UserName = nil, user
	err = c.profile.save()
	c.mu.Unlock()
	return errors.Join(err, c.refresh(ctx))
}

// Proof is what a change of how an account logs in takes: the password, or the recovery code for who forgot it.
type Proof struct {
	Password string
	Recovery string // used when it is not empty
}

// prove opens the account of this device.
func (c *Client) prove(ctx context.Context, p Proof) (*account, error) {
	c.mu.Lock()
	user, keeper := c.profile.keys.UserName, c.profile.keys.Identity != nil
	c.mu.Unlock()
	if user == "" || keeper {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "this account has no password yet: keep it first (parley account keep)")
	}
	var (
		a   *account
		err error
	)
	switch {
	case p.Recovery != "":
		a, err = recoverAccount(ctx, c.rest, user, p.Recovery)
	case p.Password == "":
		return nil, ErrPasswordNeeded
	default:
		a, err = openAccount(ctx, c.rest, user, p.Password)
	}
	if err != nil {
		return nil, err
	}
	return a, c.checkOwn(ctx, a)
}

// ChangePassword replaces the password. Every other device of the account has to sign in again by its key; a password that
// somebody else knew does not let them add devices any more.
func (c *Client) ChangePassword(ctx context.Context, proof Proof, password string) error {
	a, err := c.prove(ctx, proof)
	if err != nil {
		return err
	}
	self, err := c.Self(ctx)
	if err != nil {
		return err
	}
	setup, err := newPassword(c.Account(), c.rest.base, self.UserName, password, self.Nickname, a.master)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPut, "/api/v1/password", &pb.ChangePassword{Ticket: a.grant.GetTicket(), Password: setup}, nil)
}

// NewRecoveryCode makes a recovery code, which replaces the one before. It is returned once and kept nowhere: with it and the
// user name the account opens when every device and the password are lost.
func (c *Client) NewRecoveryCode(ctx context.Context, proof Proof) (string, error) {
	a, err := c.prove(ctx, proof)
	if err != nil {
		return "", err
	}
	host, err := proto.ServerHost(c.rest.base)
	if err != nil {
		return "", err
	}
	code := proto.NewRecoveryCode()
	auth, wrap := code.Secrets(host)
	wrapped, err := proto.WrapMaster(wrap, c.Account(), a.master)
	if err != nil {
		return "", err
	}
	err = c.call(ctx, http.MethodPut, "/api/v1/recovery", &pb.SetRecovery{
		Ticket: a.grant.GetTicket(), Recovery: &pb.Recovery{AuthSecret: auth, WrappedMaster: wrapped},
	}, nil)
	if err != nil {
		return "", err
	}
	return code.String(), c.refresh(ctx)
}

// DeleteAccount takes the account away from the server, for all its devices, and then everything that this device kept. Others
// keep what was written to them. password may be empty for a name-only account. It fails for the last administrator of a
// server with other accounts. Another process that has the profile open hears of it and lets go.
func DeleteAccount(ctx context.Context, opts Options, p *Profile, password string) error {
	r, err := newRest(p.Server(), opts.httpClient(), p.keys.Token)
	if err != nil {
		return err
	}
	req := &pb.DeleteAccount{}
	if p.keys.UserName != "" && p.keys.Identity == nil {
		if password == "" {
			return ErrPasswordNeeded
		}
		a, err := openAccount(ctx, r, p.keys.UserName, password)
		if err != nil {
			return err
		}
		if mustID(a.list.GetAccount()) != p.Account() {
			return errors.New("the server returned another account: nothing was deleted")
		}
		req.Ticket = a.grant.GetTicket()
	}
	if err := r.call(ctx, http.MethodPost, "/api/v1/account/delete", req, nil); err != nil {
		return err
	}
	lock, err := waitForProfile(ctx, p.dir, logoutPatience)
	if err != nil {
		return fmt.Errorf("the account is deleted; the profile of this device is not, since %w", err)
	}
	return errors.Join(p.remove(), lock.release())
}
