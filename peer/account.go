package peer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Credentials say which account of which server is meant.
type Credentials struct {
	Server   string // base URL
	User     string // empty to register by name only, which takes an invitation and a nickname
	Password string
	// Invitation is CODE.SECRET, an invitation link, or setup.SECRET of a new server; only to register.
	Invitation string
	// Reset is the code of an administrator with which somebody starts again; only for Reset.
	Reset string
	// Nickname is shown to contacts; only to register. Empty: the user name.
	Nickname string
}

// Options are what a profile's folder and the client on it are opened with.
type Options struct {
	Dir        string       // of the profile, made when it does not exist
	HTTPClient *http.Client // nil: the default one
	DeviceName string       // shown in the account's list of devices; empty: the host name
}

func (o Options) httpClient() *http.Client {
	if o.HTTPClient != nil {
		return o.HTTPClient
	}
	return http.DefaultClient
}

func (o Options) deviceName() string {
	if o.DeviceName != "" {
		return o.DeviceName
	}
	if name, err := os.Hostname(); err == nil {
		return "Parley on " + name
	}
	return "Parley"
}

// ErrProfileInUse says that the folder already belongs to an account.
var ErrProfileInUse = errors.New("this profile already has an account: use another --profile folder, or `parley logout` first")

func emptyProfile(dir string) error {
	_, err := os.Stat(filepath.Join(dir, profileFile))
	if err == nil {
		return ErrProfileInUse
	}
	return nil
}

// newMaster makes an account master key.
func newMaster() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	return key
}

// Register makes a new account on the server and a profile for its first device. The profile is
// written before the account is asked for, so that no account is left without its keys.
func Register(ctx context.Context, opts Options, c Credentials) (*Profile, error) {
	if err := emptyProfile(opts.Dir); err != nil {
		return nil, err
	}
	r, err := newRest(c.Server, opts.httpClient(), "")
	if err != nil {
		return nil, err
	}
	if err := r.call(ctx, http.MethodGet, "/api/v1/server", nil, &pb.ServerInfo{}); err != nil {
		return nil, err // nobody is there: no profile is needed either
	}
	p, err := newProfile(opts.Dir, r.base)
	if err != nil {
		return nil, err
	}
	p.keys.Account, p.keys.UserName = proto.NewID(), c.User
	_, identity, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("make identity key: %w", err)
	}
	hpke, err := newX25519()
	if err != nil {
		return nil, err
	}
	p.keys.AccountKeys = []accountKey{{Generation: 1, Private: hpke.Bytes()}}
	now := nowMS()
	device, err := p.deviceKeys(now)
	if err != nil {
		return nil, err
	}
	list, err := proto.SignDeviceList(identity, &pb.DeviceList{
		Suite: 1, Account: p.Account().Bytes(), Version: 1, IdentityKey: publicKey(identity), Generation: 1,
		AccountKey: hpke.PublicKey().Bytes(), Devices: []*pb.DeviceKeys{device}, TimeMs: now,
	})
	if err != nil {
		return nil, err
	}
	req := &pb.RegisterRequest{User: c.User, Nickname: c.Nickname, DeviceList: list, DeviceName: opts.deviceName()}
	if req.GetNickname() == "" {
		req.Nickname = c.User
	}
	if c.User == "" {
		p.keys.Identity = identity.Seed() // no password yet: the device is the account
	} else if err := setPassword(req, p, identity, c); err != nil {
		return nil, err
	}
	if c.Invitation != "" {
		if err := useInvitation(ctx, r, req, p, identity, c.Invitation); err != nil {
			return nil, err
		}
	}
	if err := p.save(); err != nil {
		return nil, err
	}
	var opened pb.SessionOpened
	if err := r.call(ctx, http.MethodPost, "/api/v1/register", req, &opened); err != nil {
		if _, refused := proto.AsError(err); refused {
			return nil, errors.Join(err, p.remove())
		}
		return nil, err // it may have been made: the profile stays, `parley listen` tells
	}
	p.keys.Token = opened.GetToken()
	return p, p.save()
}

// setPassword puts the password's derivations and the sealed key ring into req.
func setPassword(req *pb.RegisterRequest, p *Profile, identity ed25519.PrivateKey, c Credentials) error {
	master := newMaster()
	setup, err := newPassword(p.Account(), c.Server, c.User, c.Password, c.Nickname, master)
	if err != nil {
		return err
	}
	req.Password = setup
	req.KeyRing, err = proto.SealKeyRing(master, p.Account(), p.ring(identity.Seed()))
	return err
}

// Logout ends this device at the server and deletes everything it kept. When the server cannot be
// reached nothing is deleted, unless force is set. A process that has the profile open hears from the server that it is
// signed out; if it does not let go of the profile within some seconds, nothing is deleted either (ErrProfileBusy).
func Logout(ctx context.Context, opts Options, p *Profile, force bool) error {
	r, err := newRest(p.Server(), opts.httpClient(), p.keys.Token)
	if err != nil {
		return err
	}
	if err := r.call(ctx, http.MethodDelete, "/api/v1/session", nil, nil); err != nil {
		var refused *proto.Error
		gone := errors.As(err, &refused) && refused.Code == pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED
		if !gone && !force {
			return err
		}
	}
	lock, err := waitForProfile(ctx, p.dir, logoutPatience)
	if err != nil {
		return err
	}
	return errors.Join(p.remove(), lock.release())
}

const logoutPatience = 10 * time.Second

// renewSession opens a new session by the device's signature.
func renewSession(ctx context.Context, r *rest, p *Profile) (string, error) {
	host, err := proto.ServerHost(r.base)
	if err != nil {
		return "", err
	}
	var challenge pb.Challenge
	err = r.call(ctx, http.MethodPost, "/api/v1/session/challenge",
		&pb.ChallengeRequest{Account: p.Account().Bytes(), Device: p.Device().Bytes()}, &challenge)
	if err != nil {
		return "", err
	}
	login, err := proto.SignMessage(p.signKey(), proto.LabelLogin, &pb.DeviceLogin{
		Host: host, Account: p.Account().Bytes(), Device: p.Device().Bytes(), Nonce: challenge.GetNonce(),
	})
	if err != nil {
		return "", err
	}
	var opened pb.SessionOpened
	if err := r.call(ctx, http.MethodPost, "/api/v1/session", &pb.SessionRequest{Login: login}, &opened); err != nil {
		return "", err
	}
	return opened.GetToken(), nil
}

func nowMS() uint64 { return uint64(max(time.Now().UnixMilli(), 0)) }

func publicKey(private ed25519.PrivateKey) []byte { return private[ed25519.PublicKeySize:] }
