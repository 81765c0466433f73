package peer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Device is one of the account's devices.
type Device struct {
	ID          proto.ID
	Name        string
	Current     bool // this one
	Added       time.Time
	LastUsed    time.Time // to the minute; zero if it never was
	LastAddress string    // IP address that it was last used from
}

// ErrPasswordNeeded says that the account has a password and that this takes it: the account's identity key lies behind it.
var ErrPasswordNeeded = errors.New("this takes the account's password")

// ErrNotKeeper says that a name-only account was made on another device, which alone holds its identity.
var ErrNotKeeper = errors.New("only the device that made the account can do this: keep the account there first (parley account keep)")

func (w *work) takeDevice(d *pb.DeviceState) error {
	id, err := proto.IDFrom(d.GetDevice())
	if err != nil {
		return w.report(fmt.Errorf("own device: %w", err))
	}
	return w.SaveDevice(&local.Device{
		ID: id, Name: d.GetName(), CreatedMS: d.GetCreatedMs(), LastUsedMS: d.GetLastUsedMs(), LastAddress: d.GetLastAddress(), Ended: d.GetEnded(),
	})
}

// Devices returns the account's devices, this one first, the others by their last use. Those that logged out are not among
// them, though their keys stay in the list until another change.
func (c *Client) Devices(ctx context.Context) (all []Device, err error) {
	err = c.update(ctx, func(w *work) error {
		stored, err := w.Devices()
		if err != nil {
			return err
		}
		for _, d := range stored {
			if d.Ended || c.list == nil {
				continue
			}
			if _, listed := c.list.Device(d.ID); !listed { // whatever the server says of it, no key of it counts
				continue
			}
			shown := Device{ID: d.ID, Name: d.Name, Current: d.ID == c.Device(), Added: timeOf(d.CreatedMS), LastAddress: d.LastAddress}
			if d.LastUsedMS != 0 {
				shown.LastUsed = timeOf(d.LastUsedMS)
			}
			all = append(all, shown)
		}
		return nil
	})
	slices.SortStableFunc(all, func(a, b Device) int {
		if a.Current != b.Current {
			return map[bool]int{true: -1, false: 1}[a.Current]
		}
		return b.LastUsed.Compare(a.LastUsed)
	})
	return all, err
}

// Revoke signs devices out for good: their sessions end at once, and they can read nothing that is sent from now on, whatever
// of the server's data they have. password may be empty for a name-only account on the device that made it.
func (c *Client) Revoke(ctx context.Context, devices []proto.ID, password string) error {
	a, err := c.unlock(ctx, password)
	if err != nil {
		return err
	}
	next := proto.NextDeviceList(a.list, nowMS())
	for _, id := range devices {
		if id == c.Device() {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "this is the device itself: log out on it")
		}
		before := len(next.GetDevices())
		next.Devices = slices.DeleteFunc(next.GetDevices(), func(d *pb.DeviceKeys) bool { return bytes.Equal(d.GetDevice(), id.Bytes()) })
		if len(next.GetDevices()) == before {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "this account has no device %s", id)
		}
	}
	req, err := a.newGeneration(c.Account(), next)
	if err != nil {
		return err
	}
	if err := c.call(ctx, http.MethodPut, "/api/v1/devices", req, nil); err != nil {
		return err
	}
	return c.refresh(ctx)
}

// RevokeOthers is Revoke of all devices but this one, those too that only the list names any more. It returns how many.
func (c *Client) RevokeOthers(ctx context.Context, password string) (int, error) {
	var others []proto.ID
	c.mu.Lock()
	for _, d := range c.list.GetDevices() {
		if id := mustID(d.GetDevice()); id != c.Device() {
			others = append(others, id)
		}
	}
	c.mu.Unlock()
	if len(others) == 0 {
		return 0, nil
	}
	return len(others), c.Revoke(ctx, others, password)
}

// newGeneration makes the update that puts a list in force from which devices were taken: a new account key, which every
// device that stays gets.
func (a *account) newGeneration(id proto.ID, next *pb.DeviceList) (*pb.UpdateDevices, error) {
	private, err := newX25519()
	if err != nil {
		return nil, err
	}
	next.Generation++
	next.AccountKey = private.PublicKey().Bytes()
	key := &pb.AccountKey{Generation: next.GetGeneration(), PrivateKey: private.Bytes()}
	req := &pb.UpdateDevices{}
	if req.DeviceList, err = proto.SignDeviceList(a.identity(), next); err != nil {
		return nil, err
	}
	for _, d := range next.GetDevices() {
		grant, err := proto.GrantGeneration(id, d, key)
		if err != nil {
			return nil, err
		}
		req.GenerationGrants = append(req.GenerationGrants, grant)
	}
	if a.master == nil {
		return req, nil
	}
	ring := &pb.KeyRing{IdentitySeed: a.ring.GetIdentitySeed(), Keys: append(slices.Clone(a.ring.GetKeys()), key)}
	req.KeyRing, err = proto.SealKeyRing(a.master, id, ring)
	return req, err
}

func (a *account) identity() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(a.ring.GetIdentitySeed())
}

// unlock opens what signs the account's device lists: by the password, or on the device that made a name-only account.
func (c *Client) unlock(ctx context.Context, password string) (*account, error) {
	if a, err := c.keeper(ctx); err != nil || a != nil {
		return a, err
	}
	user, err := c.ownUserName()
	if err != nil {
		return nil, err
	}
	if password == "" {
		return nil, ErrPasswordNeeded
	}
	a, err := openAccount(ctx, c.rest, user, password)
	if err != nil {
		return nil, err
	}
	return a, c.checkOwn(ctx, a)
}

func (c *Client) ownUserName() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.profile.keys.UserName == "" {
		return "", ErrNotKeeper
	}
	return c.profile.keys.UserName, nil
}

// keeper is the account of a device that holds its identity, nil on others.
func (c *Client) keeper(ctx context.Context) (*account, error) {
	c.mu.Lock()
	seed, held := c.profile.keys.Identity, c.profile.keys.Identity != nil
	c.mu.Unlock()
	if !held {
		return nil, nil //nolint:nilnil // as the comment says
	}
	if err := c.refresh(ctx); err != nil { // another device may have been added meanwhile
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.list == nil {
		return nil, ErrNotReady
	}
	return &account{ring: c.profile.ring(seed), list: c.list}, nil
}

// ring is the key ring that the profile's keys make with an identity.
func (p *Profile) ring(seed []byte) *pb.KeyRing {
	ring := &pb.KeyRing{IdentitySeed: seed}
	for _, k := range p.keys.AccountKeys {
		ring.Keys = append(ring.Keys, &pb.AccountKey{Generation: k.Generation, PrivateKey: k.Private})
	}
	return ring
}

// checkOwn says whether what the server returned is this account and not older than what this device has seen of it.
func (c *Client) checkOwn(ctx context.Context, a *account) error {
	return c.update(ctx, func(*work) error {
		if c.list == nil {
			return ErrNotReady
		}
		if err := a.list.CheckSeen(c.list); err != nil {
			return fmt.Errorf("the server's list of this account's devices: %w", err)
		}
		return nil
	})
}

// call is rest.call by this device.
func (c *Client) call(ctx context.Context, method, path string, in, out gproto.Message) error {
	return exchange(ctx, c, method, path, in, out)
}

// do makes a request with the session of this device's socket.
func (c *Client) do(ctx context.Context, call restCall) ([]byte, error) {
	token, err := c.token(ctx, false)
	if err != nil {
		return nil, err
	}
	r := *c.rest
	r.token = token
	return r.do(ctx, call)
}
