package peer

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// newPassword makes what the server keeps of a password, and what opens the account's master key with it. It is no
// password that others would guess from user name and nickname.
func newPassword(account proto.ID, server, user, password, nickname string, master []byte) (*pb.PasswordSetup, error) {
	host, err := proto.ServerHost(server)
	if err != nil {
		return nil, err
	}
	if err := proto.CheckPassword(password, user, nickname, host); err != nil {
		return nil, err
	}
	params := proto.NewPasswordParams(host)
	auth, wrap, err := proto.PasswordSecrets(password, host, user, params)
	if err != nil {
		return nil, err
	}
	wrapped, err := proto.WrapMaster(wrap, account, master)
	if err != nil {
		return nil, err
	}
	return &pb.PasswordSetup{Params: params, AuthSecret: auth, WrappedMaster: wrapped}, nil
}

// account is what a password or a recovery code opens.
type account struct {
	grant  *pb.LoginGrant
	master []byte // nil without a password
	ring   *pb.KeyRing
	list   *proto.DeviceList
}

// openAccount proves the password to the server and opens what it returns.
func openAccount(ctx context.Context, r *rest, user, password string) (*account, error) {
	var params pb.PasswordParams
	if err := r.call(ctx, http.MethodPost, "/api/v1/login/params", &pb.LoginParamsRequest{User: user}, &params); err != nil {
		return nil, err
	}
	host, err := proto.ServerHost(r.base)
	if err != nil {
		return nil, err
	}
	auth, wrap, err := proto.PasswordSecrets(password, host, user, &params)
	if err != nil {
		return nil, err
	}
	a, err := proveAccount(ctx, r, "/api/v1/login", user, auth, wrap)
	if refused, ok := proto.AsError(err); ok && refused.Code == pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED && params.GetHost() != "" && params.GetHost() != host {
		return nil, fmt.Errorf("%w (a password only works at the host name it was set at: this one may belong to %s)", err, params.GetHost())
	}
	return a, err
}

// recoverAccount is openAccount by a recovery code.
func recoverAccount(ctx context.Context, r *rest, user, code string) (*account, error) {
	parsed, err := proto.ParseRecoveryCode(code)
	if err != nil {
		return nil, err
	}
	host, err := proto.ServerHost(r.base)
	if err != nil {
		return nil, err
	}
	auth, wrap := parsed.Secrets(host)
	return proveAccount(ctx, r, "/api/v1/login/recovery", user, auth, wrap)
}

// proveAccount shows a secret to the server and opens with the other one what it returns.
func proveAccount(ctx context.Context, r *rest, path, user string, auth, wrap []byte) (*account, error) {
	a := &account{grant: &pb.LoginGrant{}}
	if err := r.call(ctx, http.MethodPost, path, &pb.LoginRequest{User: user, AuthSecret: auth}, a.grant); err != nil {
		return nil, err
	}
	id, err := proto.IDFrom(a.grant.GetAccount())
	if err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	if a.master, err = proto.UnwrapMaster(wrap, id, a.grant.GetWrappedMaster()); err != nil {
		return nil, fmt.Errorf("log in: open the account: %w", err)
	}
	if a.ring, err = proto.OpenKeyRing(a.master, id, a.grant.GetKeyRing()); err != nil {
		return nil, fmt.Errorf("log in: open the key ring: %w", err)
	}
	if a.list, err = proto.OpenDeviceList(a.grant.GetDeviceList()); err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	if mustID(a.list.GetAccount()) != id {
		return nil, errors.New("log in: the server returned the devices of another account")
	}
	if err := proto.CheckKeyRing(a.ring, a.list.DeviceList); err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	return a, nil
}

// Login adds this device to an account: the password opens the key ring, the identity key in it signs
// the longer device list, and only what a device may keep is kept.
func Login(ctx context.Context, opts Options, c Credentials) (*Profile, error) {
	return login(ctx, opts, c, func(r *rest) (*account, error) { return openAccount(ctx, r, c.User, c.Password) })
}

// LoginRecovery is Login by the recovery code. That stays valid; whoever had to use it sets a new password next (see
// Client.ChangePassword), makes a new code and revokes the devices that are lost.
func LoginRecovery(ctx context.Context, opts Options, c Credentials, code string) (*Profile, error) {
	return login(ctx, opts, c, func(r *rest) (*account, error) { return recoverAccount(ctx, r, c.User, code) })
}

func login(ctx context.Context, opts Options, c Credentials, open func(*rest) (*account, error)) (*Profile, error) {
	if err := emptyProfile(opts.Dir); err != nil {
		return nil, err
	}
	r, err := newRest(c.Server, opts.httpClient(), "")
	if err != nil {
		return nil, err
	}
	a, err := open(r)
	if err != nil {
		return nil, err
	}
	p, err := newProfile(opts.Dir, r.base)
	if err != nil {
		return nil, err
	}
	p.keys.UserName, p.keys.Account = c.User, mustID(a.list.GetAccount())
	for _, k := range a.ring.GetKeys() {
		p.addAccountKey(accountKey{Generation: k.GetGeneration(), Private: k.GetPrivateKey()})
	}
	p.keys.Pinned = []pinnedIdentity{{Account: p.Account(), IdentityKey: a.list.GetIdentityKey()}}
	now := nowMS()
	device, err := p.deviceKeys(now)
	if err != nil {
		return nil, err
	}
	next := proto.NextDeviceList(a.list, now)
	next.Devices = append(next.Devices, device)
	list, err := proto.SignDeviceList(ed25519.NewKeyFromSeed(a.ring.GetIdentitySeed()), next)
	if err != nil {
		return nil, err
	}
	if err := p.save(); err != nil {
		return nil, err
	}
	var opened pb.SessionOpened
	err = r.call(ctx, http.MethodPut, "/api/v1/devices", &pb.UpdateDevices{
		Ticket: a.grant.GetTicket(), DeviceList: list, NewDevice: p.Device().Bytes(), DeviceName: opts.deviceName(),
	}, &opened)
	if err != nil {
		return nil, errors.Join(err, p.remove())
	}
	p.keys.Token = opened.GetToken()
	return p, p.save()
}
