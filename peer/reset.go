package peer

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Reset starts again under an account whose devices, password and recovery code are lost, with the code that an administrator
// made (Credentials.Reset) and a new password: a new identity, a new device and nothing of before but name and contacts.
// Whoever knew the account is warned, and decides.
func Reset(ctx context.Context, opts Options, c Credentials) (*Profile, error) {
	if err := emptyProfile(opts.Dir); err != nil {
		return nil, err
	}
	r, err := newRest(c.Server, opts.httpClient(), "")
	if err != nil {
		return nil, err
	}
	var params pb.ResetParams
	if err := r.call(ctx, http.MethodPost, "/api/v1/reset/params", &pb.ResetParamsRequest{User: c.User, Code: c.Reset}, &params); err != nil {
		return nil, err
	}
	previous, err := proto.OpenDeviceList(params.GetDeviceList())
	if err != nil {
		return nil, fmt.Errorf("reset: %w", err)
	}
	p, err := newProfile(opts.Dir, r.base)
	if err != nil {
		return nil, err
	}
	if p.keys.Account, err = proto.IDFrom(params.GetAccount()); err != nil {
		return nil, fmt.Errorf("reset: %w", err)
	}
	p.keys.UserName = c.User
	req, err := p.newIdentity(previous, c)
	if err != nil {
		return nil, err
	}
	req.DeviceName = opts.deviceName()
	if err := p.save(); err != nil {
		return nil, err
	}
	var opened pb.SessionOpened
	if err := r.call(ctx, http.MethodPost, "/api/v1/reset", req, &opened); err != nil {
		if _, refused := proto.AsError(err); refused {
			return nil, errors.Join(err, p.remove())
		}
		return nil, err // it may have been done: the profile stays
	}
	p.keys.Token = opened.GetToken()
	return p, p.save()
}

// newIdentity makes the keys of a new identity whose device list follows on one of the former identity.
func (p *Profile) newIdentity(previous *proto.DeviceList, c Credentials) (*pb.ResetRequest, error) {
	_, identity, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("make identity key: %w", err)
	}
	hpke, err := newX25519()
	if err != nil {
		return nil, err
	}
	now := nowMS()
	device, err := p.deviceKeys(now)
	if err != nil {
		return nil, err
	}
	next := proto.NextDeviceList(previous, now)
	next.IdentityKey, next.Devices = publicKey(identity), []*pb.DeviceKeys{device}
	next.Generation++
	next.AccountKey = hpke.PublicKey().Bytes()
	p.keys.AccountKeys = []accountKey{{Generation: next.GetGeneration(), Private: hpke.Bytes()}}
	p.keys.Pinned = []pinnedIdentity{{Account: p.Account(), IdentityKey: publicKey(identity)}}
	req := &pb.ResetRequest{User: c.User, Code: c.Reset}
	if req.DeviceList, err = proto.SignDeviceList(identity, next); err != nil {
		return nil, err
	}
	master := newMaster()
	if req.Password, err = newPassword(p.Account(), c.Server, c.User, c.Password, c.Nickname, master); err != nil {
		return nil, err
	}
	ring := &pb.KeyRing{IdentitySeed: identity.Seed(), Keys: []*pb.AccountKey{{Generation: next.GetGeneration(), PrivateKey: hpke.Bytes()}}}
	req.KeyRing, err = proto.SealKeyRing(master, p.Account(), ring)
	return req, err
}

// RecoverFormer opens the history from before this account was reset, on all its devices, with the recovery code of then.
func (c *Client) RecoverFormer(ctx context.Context, code string) error {
	keys, err := c.formerKeys(ctx, code)
	if err != nil {
		return err
	}
	setting := &pb.Setting{Key: proto.SettingFormer}
	err = c.update(ctx, func(*work) (err error) {
		newest := c.profile.keys.AccountKeys[len(c.profile.keys.AccountKeys)-1]
		setting.Value, err = proto.SealSetting(&pb.AccountKey{Generation: newest.Generation, PrivateKey: newest.Private},
			c.Account(), setting.GetKey(), &pb.FormerSetting{Keys: keys})
		return err
	})
	if err != nil {
		return err
	}
	if _, err := c.session.ask(ctx, &pb.Frame{Kind: &pb.Frame_SetSetting{SetSetting: &pb.SetSetting{Setting: setting}}}); err != nil {
		return err
	}
	return c.addFormer(ctx, keys)
}

// formerKeys are the account keys in the key ring from before a reset, and those that are here already.
func (c *Client) formerKeys(ctx context.Context, code string) ([]*pb.AccountKey, error) {
	recovery, err := proto.ParseRecoveryCode(code)
	if err != nil {
		return nil, err
	}
	host, err := proto.ServerHost(c.rest.base)
	if err != nil {
		return nil, err
	}
	r, err := c.authorised(ctx)
	if err != nil {
		return nil, err
	}
	auth, wrap := recovery.Secrets(host)
	var former pb.FormerKeys
	if err := r.call(ctx, http.MethodPost, "/api/v1/recovery/former", &pb.FormerRequest{AuthSecret: auth}, &former); err != nil {
		return nil, err
	}
	master, err := proto.UnwrapMaster(wrap, c.Account(), former.GetWrappedMaster())
	if err != nil {
		return nil, fmt.Errorf("open the former account: %w", err)
	}
	ring, err := proto.OpenKeyRing(master, c.Account(), former.GetKeyRing())
	if err != nil {
		return nil, fmt.Errorf("open the former key ring: %w", err)
	}
	keys := ring.GetKeys()
	err = c.update(ctx, func(*work) error {
		for _, k := range c.profile.keys.AccountKeys { // of a reset before that one, opened before
			if !slices.ContainsFunc(keys, func(other *pb.AccountKey) bool { return other.GetGeneration() == k.Generation }) {
				keys = append(keys, &pb.AccountKey{Generation: k.Generation, PrivateKey: k.Private})
			}
		}
		return nil
	})
	return keys, err
}

// authorised speaks the REST API with this device's session.
func (c *Client) authorised(ctx context.Context) (*rest, error) {
	token, err := c.token(ctx, false)
	return &rest{base: c.rest.base, client: c.rest.client, token: token}, err
}

// ResetCode is what an administrator gives to somebody who starts again.
type ResetCode struct {
	Code    string
	Expires time.Time
}

// ResetCode lets the account with a user name or an id be reset to a new identity by whoever gets the code. For
// administrators only; it fails with ErrNoSuchName.
func (c *Client) ResetCode(ctx context.Context, name string) (ResetCode, error) {
	r, err := c.authorised(ctx)
	if err != nil {
		return ResetCode{}, err
	}
	account, err := proto.ParseID(name)
	if err != nil {
		if account, err = accountOf(ctx, r, name); err != nil {
			return ResetCode{}, err
		}
	}
	var made pb.AdminReset
	err = r.call(ctx, http.MethodPost, "/api/v1/admin/users/"+account.String()+"/reset", nil, &made)
	return ResetCode{Code: made.GetCode(), Expires: timeOf(made.GetExpiresMs())}, err
}

// accountOf finds the account with a user name, as an administrator.
func accountOf(ctx context.Context, r *rest, name string) (proto.ID, error) {
	want, err := proto.FoldUserName(name)
	if err != nil {
		return proto.ID{}, err
	}
	for after := ""; ; {
		var page pb.AdminUsers
		if err := r.call(ctx, http.MethodGet, "/api/v1/admin/users?q="+url.QueryEscape(want)+"&after="+url.QueryEscape(after), nil, &page); err != nil {
			return proto.ID{}, err
		}
		for _, u := range page.GetUsers() {
			if folded, err := proto.FoldUserName(u.GetUserName()); err == nil && folded == want {
				return proto.IDFrom(u.GetAccount())
			}
		}
		if after = page.GetAfter(); after == "" {
			return proto.ID{}, fmt.Errorf("%w on this server: %q", ErrNoSuchName, name)
		}
	}
}

// takeFormer takes account keys that another device of this account recovered.
func (c *Client) takeFormer(ctx context.Context, settings []*pb.Setting) error {
	for _, s := range settings {
		if s.GetKey() != proto.SettingFormer || len(s.GetValue()) == 0 {
			continue
		}
		former := &pb.FormerSetting{}
		err := proto.OpenSetting(func(generation uint32) []byte {
			c.mu.Lock()
			defer c.mu.Unlock()
			key, _ := c.profile.accountKey(generation)
			return key
		}, c.Account(), s.GetKey(), s.GetValue(), former)
		if err != nil {
			c.logger.Debug("former keys", "error", err)
			continue
		}
		if err := c.addFormer(ctx, former.GetKeys()); err != nil {
			return err
		}
	}
	return nil
}

// addFormer adds account keys from before a reset and reads the conversations again, whose grants they open.
func (c *Client) addFormer(ctx context.Context, keys []*pb.AccountKey) error {
	var again []proto.ID
	err := c.update(ctx, func(w *work) error {
		again = nil
		added := false
		for _, k := range keys {
			if _, known := c.profile.accountKey(k.GetGeneration()); !known && len(k.GetPrivateKey()) == proto.KeySize {
				c.profile.keys.AccountKeys = append(c.profile.keys.AccountKeys, accountKey{Generation: k.GetGeneration(), Private: k.GetPrivateKey()})
				added = true
			}
		}
		if !added {
			return nil
		}
		slices.SortFunc(c.profile.keys.AccountKeys, func(a, b accountKey) int { return cmp.Compare(a.Generation, b.Generation) })
		rows, err := w.Conversations()
		if err != nil {
			return err
		}
		for _, row := range rows {
			r, err := w.enter(row)
			if err == nil {
				err = r.beginReread()
			}
			if err != nil {
				return err
			}
			again = append(again, row.ID)
		}
		return c.profile.save()
	})
	if cu := c.attending(); err == nil && cu != nil {
		for _, id := range again {
			cu.behind(id, 0)
		}
	}
	return err
}
