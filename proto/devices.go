package proto

import (
	"bytes"
	"crypto/ed25519"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// DeviceList is a list whose signature by the identity key it names was verified. Whether that is the
// identity pinned for the account is for the caller to check.
type DeviceList struct {
	*pb.DeviceList
	Hash   [HashSize]byte
	Signed *pb.Signed
}

// OpenDeviceList verifies and parses a list (docs/PROTOCOL.md §3).
func OpenDeviceList(s *pb.Signed) (*DeviceList, error) {
	list := &pb.DeviceList{}
	if err := Unmarshal(s.GetBody(), list); err != nil { // the key to verify with stands inside
		return nil, err
	}
	if err := Verify(list.GetIdentityKey(), LabelDeviceList, s.GetSignature(), s.GetBody()); err != nil {
		return nil, err
	}
	if err := checkDeviceList(list); err != nil {
		return nil, err
	}
	return &DeviceList{DeviceList: list, Hash: Hash(LabelDeviceListHash, s.GetBody()), Signed: s}, nil
}

func checkDeviceList(l *pb.DeviceList) error {
	if l.GetSuite() != Suite {
		return Errorf(unsupported, "a device list of suite %d needs a newer Parley", l.GetSuite())
	}
	if _, err := IDFrom(l.GetAccount()); err != nil {
		return err
	}
	switch {
	case l.GetVersion() == 0, l.GetGeneration() == 0:
		return Errorf(malformed, "a device list has no version")
	case l.GetVersion() == 1 && len(l.GetPrevious()) != 0, l.GetVersion() > 1 && len(l.GetPrevious()) != HashSize:
		return Errorf(malformed, "device list %d does not name the one before it", l.GetVersion())
	case len(l.GetAccountKey()) != KeySize:
		return Errorf(malformed, "a device list has no account key")
	case len(l.GetDevices()) == 0, len(l.GetDevices()) > MaxDevices:
		return Errorf(malformed, "a device list holds 1 to %d devices", MaxDevices)
	}
	seen := make(map[ID]bool, len(l.GetDevices()))
	for _, d := range l.GetDevices() {
		id, err := IDFrom(d.GetDevice())
		if err != nil {
			return err
		}
		if seen[id] || len(d.GetSignKey()) != KeySize || len(d.GetSealKey()) != KeySize {
			return Errorf(malformed, "a device list names a device twice or without keys")
		}
		seen[id] = true
	}
	return nil
}

// Device returns the keys of a device that stands in the list.
func (l *DeviceList) Device(id ID) (*pb.DeviceKeys, bool) {
	for _, d := range l.GetDevices() {
		if bytes.Equal(d.GetDevice(), id[:]) {
			return d, true
		}
	}
	return nil, false
}

// CheckSuccessor fails unless l follows directly on previous (stale_list), keeps the identity
// (forbidden) and the keys of devices, and drops devices only together with the account key they have.
func (l *DeviceList) CheckSuccessor(previous *DeviceList) error {
	switch {
	case !bytes.Equal(l.GetAccount(), previous.GetAccount()), !bytes.Equal(l.GetIdentityKey(), previous.GetIdentityKey()):
		return Errorf(forbidden, "the device list is of another identity")
	case l.GetVersion() != previous.GetVersion()+1, !bytes.Equal(l.GetPrevious(), previous.Hash[:]):
		return Errorf(staleList, "the device list does not follow on version %d: fetch the newest and try again", previous.GetVersion())
	case l.GetGeneration() < previous.GetGeneration(), l.GetGeneration() > previous.GetGeneration()+1:
		return Errorf(malformed, "the account key generation jumps from %d to %d", previous.GetGeneration(), l.GetGeneration())
	case l.GetGeneration() == previous.GetGeneration() && !bytes.Equal(l.GetAccountKey(), previous.GetAccountKey()):
		return Errorf(malformed, "the account key changed without a new generation")
	case l.GetGeneration() > previous.GetGeneration() && bytes.Equal(l.GetAccountKey(), previous.GetAccountKey()):
		return Errorf(malformed, "the new generation has the old account key")
	}
	for _, d := range previous.GetDevices() {
		now, stays := l.Device(ID(d.GetDevice()))
		switch {
		case !stays && l.GetGeneration() == previous.GetGeneration():
			return Errorf(malformed, "the device list drops a device that still has the account key: it needs a new generation")
		case stays && (!bytes.Equal(now.GetSignKey(), d.GetSignKey()) || !bytes.Equal(now.GetSealKey(), d.GetSealKey())):
			return Errorf(malformed, "the device list changes the keys of a device")
		}
	}
	return nil
}

// CheckReset fails unless l follows directly on previous as the list of the same account with another identity, after an
// administrator let its person start again (docs/PROTOCOL.md §3): one generation further, with another account key and no
// device of before. It proves nothing: whoever runs the server can make one. A client that pinned the identity before
// asks its person.
func (l *DeviceList) CheckReset(previous *DeviceList) error {
	switch {
	case !bytes.Equal(l.GetAccount(), previous.GetAccount()):
		return Errorf(forbidden, "the device list is of another account")
	case bytes.Equal(l.GetIdentityKey(), previous.GetIdentityKey()):
		return Errorf(forbidden, "the device list has the identity of before: this is no reset")
	case l.GetVersion() != previous.GetVersion()+1, !bytes.Equal(l.GetPrevious(), previous.Hash[:]):
		return Errorf(staleList, "the device list does not follow on version %d: fetch the newest and try again", previous.GetVersion())
	case l.GetGeneration() != previous.GetGeneration()+1, bytes.Equal(l.GetAccountKey(), previous.GetAccountKey()):
		return Errorf(malformed, "a new identity takes the next generation, with another account key")
	}
	for _, d := range previous.GetDevices() {
		if _, stays := l.Device(ID(d.GetDevice())); stays {
			return Errorf(malformed, "the device list of a new identity keeps a device of before")
		}
	}
	return nil
}

// CheckSeen says whether a client that has seen newest of this account may take l: the same identity, no
// lower version (stale_list), of the same version no other body, and of the next one a true successor.
func (l *DeviceList) CheckSeen(newest *DeviceList) error {
	switch {
	case !bytes.Equal(l.GetAccount(), newest.GetAccount()), !bytes.Equal(l.GetIdentityKey(), newest.GetIdentityKey()):
		return Errorf(forbidden, "the device list is of another identity")
	case l.GetVersion() < newest.GetVersion(), l.GetVersion() == newest.GetVersion() && l.Hash != newest.Hash:
		return Errorf(staleList, "a newer or another device list than version %d was seen before", l.GetVersion())
	case l.GetVersion() == newest.GetVersion()+1:
		return l.CheckSuccessor(newest)
	}
	return nil
}

// NextDeviceList copies l as its unsigned successor, to be changed and signed.
func NextDeviceList(l *DeviceList, timeMS uint64) *pb.DeviceList {
	next := proto.CloneOf(l.DeviceList)
	next.Version++
	next.Previous = l.Hash[:]
	next.TimeMs = timeMS
	return next
}

// SignDeviceList checks and signs a list.
func SignDeviceList(identity ed25519.PrivateKey, l *pb.DeviceList) (*pb.Signed, error) {
	if err := checkDeviceList(l); err != nil {
		return nil, err
	}
	return SignMessage(identity, LabelDeviceList, l)
}
