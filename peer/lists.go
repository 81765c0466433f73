package peer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/peer/link"
	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// unknownDeviceError says whose device lists are needed before an event can be checked.
type unknownDeviceError struct {
	account proto.ID
	err     error // what is wrong if they do not help; nil: that no list names the device
}

func (e *unknownDeviceError) Unwrap() error { return e.err }

func (e *unknownDeviceError) Error() string {
	if e.err != nil {
		return e.err.Error()
	}
	return fmt.Sprintf("no device list of account %s that names the signing device", e.account)
}

// person reads what is known of an account, or makes an entry that is not stored yet.
func (w *work) person(account proto.ID) (*local.Person, error) {
	p, err := w.Person(account)
	if errors.Is(err, local.ErrNotFound) {
		return &local.Person{Account: account}, nil
	}
	return p, err
}

// learnList verifies a device list against what is pinned and known of p, remembers and saves it. An older list than known
// is refused: it could bring a revoked device back. One of another identity is set aside (see setAside).
func (w *work) learnList(p *local.Person, signed *pb.Signed) error {
	list, err := openListOf(p, signed)
	if err != nil {
		return err
	}
	return w.learn(p, list)
}

func (w *work) learn(p *local.Person, list *proto.DeviceList) error {
	if p.IdentityKey == nil {
		p.IdentityKey = list.GetIdentityKey()
	}
	if !bytes.Equal(p.IdentityKey, list.GetIdentityKey()) {
		return w.setAside(p, list)
	}
	if p.List != nil {
		known, err := proto.OpenDeviceList(p.List)
		if err != nil {
			return fmt.Errorf("device list of %s as stored: %w", p.DisplayName(), err)
		}
		switch {
		case list.GetVersion() < known.GetVersion():
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_STALE_LIST, "device list of %s: version %d is older than %d", p.DisplayName(), list.GetVersion(), known.GetVersion())
		case list.GetVersion() == known.GetVersion() && list.Hash != known.Hash:
			return fmt.Errorf("device list of %s: two different ones of version %d", p.DisplayName(), list.GetVersion())
		case list.GetVersion() == known.GetVersion()+1:
			if err := list.CheckSuccessor(known); err != nil {
				return fmt.Errorf("device list of %s: %w", p.DisplayName(), err)
			}
		}
	}
	if err := w.addDevices(p, list); err != nil {
		return err
	}
	p.ListVersion, p.List = list.GetVersion(), list.Signed
	if p.Account == w.c.Account() {
		w.c.list = list
	}
	w.then(func() {
		w.c.closeLinks(func(l *link.Link) bool {
			_, listed := list.Device(l.Device())
			return l.Account() == p.Account && !listed
		})
	})
	return w.SavePerson(p)
}

// learnHistory takes every version of an account's list, oldest first. Versions below the one known are not put in force;
// they tell the keys of devices that were removed, whose messages stay verifiable. So do those of an identity that the
// account had before a reset, if the list of the pinned one vouches for them: it names the hash of the last.
func (w *work) learnHistory(p *local.Person, versions []*pb.Signed) error {
	lists := make([]*proto.DeviceList, len(versions))
	for i, signed := range versions {
		var err error
		if lists[i], err = openListOf(p, signed); err != nil {
			return err
		}
	}
	if p.IdentityKey == nil && len(lists) > 0 {
		p.IdentityKey = lists[len(lists)-1].GetIdentityKey()
	}
	vouched := vouchedFor(lists, p.IdentityKey)
	for i, list := range lists {
		var err error
		switch {
		case bytes.Equal(list.GetIdentityKey(), p.IdentityKey):
			if err = w.learn(p, list); proto.HasCode(err, pb.ErrorCode_ERROR_CODE_STALE_LIST) {
				err = w.addDevices(p, list)
			} else if err == nil && i == len(lists)-1 {
				err = w.inForceAgain(p)
			}
		case vouched[i]:
			err = w.addDevices(p, list)
		case i == len(lists)-1:
			err = w.setAside(p, list)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// vouchedFor says of each list whether it is signed by an identity, or followed on by one that is vouched for.
func vouchedFor(lists []*proto.DeviceList, identity []byte) []bool {
	vouched := make([]bool, len(lists))
	for i := len(lists) - 1; i >= 0; i-- {
		vouched[i] = bytes.Equal(lists[i].GetIdentityKey(), identity) ||
			i+1 < len(lists) && vouched[i+1] && lists[i+1].GetVersion() == lists[i].GetVersion()+1 && bytes.Equal(lists[i+1].GetPrevious(), lists[i].Hash[:])
	}
	return vouched
}

func openListOf(p *local.Person, signed *pb.Signed) (*proto.DeviceList, error) {
	list, err := proto.OpenDeviceList(signed)
	if err != nil {
		return nil, fmt.Errorf("device list of %s: %w", p.DisplayName(), err)
	}
	if !bytes.Equal(list.GetAccount(), p.Account.Bytes()) {
		return nil, fmt.Errorf("device list of %s: it is somebody else's", p.DisplayName())
	}
	return list, nil
}

func (w *work) addDevices(p *local.Person, list *proto.DeviceList) error {
	for _, d := range list.GetDevices() {
		device, err := proto.IDFrom(d.GetDevice())
		if err != nil {
			return fmt.Errorf("device list of %s: %w", p.DisplayName(), err)
		}
		if err := w.AddDeviceKey(local.DeviceKey{Account: p.Account, Device: device, SignKey: d.GetSignKey(), SealKey: d.GetSealKey(), IdentityKey: list.GetIdentityKey()}); err != nil {
			return err
		}
	}
	return nil
}

// deviceKey finds a device's signing key among all lists ever verified.
func (w *work) deviceKey(account, device proto.ID) (ed25519.PublicKey, error) {
	key, err := w.DeviceKeyOf(account, device)
	if errors.Is(err, local.ErrNotFound) {
		return nil, &unknownDeviceError{account: account}
	}
	if err != nil {
		return nil, err
	}
	return key.SignKey, nil
}

// fetchLists gets all versions of an account's device list through ask. What does not verify is told and changes nothing.
func (c *Client) fetchLists(ctx context.Context, ask asker, account proto.ID) error {
	answer, err := ask(ctx, &pb.Frame{Kind: &pb.Frame_GetDeviceLists{GetDeviceLists: &pb.GetDeviceLists{
		Accounts: [][]byte{account.Bytes()},
	}}})
	if err != nil {
		return fmt.Errorf("device lists: %w", err)
	}
	return c.update(ctx, func(w *work) error {
		p, err := w.person(account)
		if err != nil {
			return err
		}
		err = w.learnHistory(p, answer.GetLists().GetLists())
		if err != nil && !broken(err) {
			w.tell(ErrorEvent{Err: err})
			return nil
		}
		return err
	})
}

// asker sends a request and returns its answer.
type asker = func(ctx context.Context, f *pb.Frame) (*pb.Frame, error)

// loadOwnList reads the newest own device list this device knows.
func (c *Client) loadOwnList(ctx context.Context) error {
	return c.update(ctx, func(w *work) error {
		self, err := w.Person(c.Account())
		if errors.Is(err, local.ErrNotFound) {
			return nil
		}
		if err != nil || self.List == nil {
			return err
		}
		c.list, err = proto.OpenDeviceList(self.List)
		return err
	})
}
