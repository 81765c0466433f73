package proto

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"testing"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// epochMS is a time at which the vectors happen: 2026-01-02 03:04:05 UTC.
const epochMS = 1767323045000

// person is an account with one device and all its private keys.
type person struct {
	Name               string `json:"name"`
	Account            octets `json:"account"`
	IdentitySeed       octets `json:"identity_seed"`
	IdentityKey        octets `json:"identity_key"`
	AccountPrivate     octets `json:"account_private"`
	AccountKey         octets `json:"account_key"`
	NextAccountPrivate octets `json:"next_account_private"` // of generation 2
	NextAccountKey     octets `json:"next_account_key"`
	Device             octets `json:"device"`
	SignSeed           octets `json:"sign_seed"`
	SignKey            octets `json:"sign_key"`
	SealPrivate        octets `json:"seal_private"`
	SealKey            octets `json:"seal_key"`
}

// world is what the vectors' parts share.
type world struct {
	alice, bob, carol, mallory *person
	// phone is Alice's second device, which her second list drops.
	phone *person

	invitation *InvitationSecret
	pair       *Chain
	pairKeys   [][]byte // by epoch - 1
	group      *Chain
	groupLink  ed25519.PrivateKey
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{
		alice: newPerson(t, "alice"), bob: newPerson(t, "bob"), carol: newPerson(t, "carol"), mallory: newPerson(t, "mallory"),
		phone: newPerson(t, "alice's phone"),
	}
}

func (w *world) people() []person {
	return []person{*w.alice, *w.bob, *w.carol, *w.mallory, *w.phone}
}

func (w *world) device(account, device ID) (ed25519.PublicKey, error) {
	for _, p := range w.people() {
		if ID(p.Account) == account && ID(p.Device) == device {
			return ed25519.PublicKey(p.SignKey), nil
		}
	}
	return nil, Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "no such device")
}

// seeded makes 32 bytes that are the same in every run.
func seeded(parts ...string) []byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p + "\n"))
	}
	return h.Sum(nil)
}

// seededID makes a UUIDv7 of epochMS.
func seededID(parts ...string) ID {
	id := ID(seeded(parts...)[:IDSize])
	copy(id[:6], U64(epochMS)[2:])
	id[6] = 0x70 | id[6]&0x0f
	id[8] = 0x80 | id[8]&0x3f
	return id
}

func newPerson(t *testing.T, name string) *person {
	t.Helper()
	x25519 := func(what string) (private, public []byte) {
		key, err := ecdh.X25519().NewPrivateKey(seeded(name, what))
		if err != nil {
			t.Fatal(err)
		}
		return key.Bytes(), key.PublicKey().Bytes()
	}
	p := &person{
		Name: name, Account: seededID(name, "account").Bytes(), Device: seededID(name, "device").Bytes(),
		IdentitySeed: seeded(name, "identity"), SignSeed: seeded(name, "sign"),
	}
	p.IdentityKey, p.SignKey = publicOf(p.identity()), publicOf(p.key())
	p.AccountPrivate, p.AccountKey = x25519("account key 1")
	p.NextAccountPrivate, p.NextAccountKey = x25519("account key 2")
	p.SealPrivate, p.SealKey = x25519("seal")
	return p
}

func publicOf(key ed25519.PrivateKey) []byte {
	return key[ed25519.SeedSize:]
}

func (p *person) identity() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(p.IdentitySeed) }

func (p *person) key() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(p.SignSeed) }

func (p *person) deviceKeys() *pb.DeviceKeys {
	return &pb.DeviceKeys{Device: p.Device, SignKey: p.SignKey, SealKey: p.SealKey, AddedMs: epochMS}
}

func (p *person) signer(timeMS uint64) Signer {
	return Signer{Account: ID(p.Account), Device: ID(p.Device), Key: p.key(), TimeMS: timeMS}
}

// list is the first device list of a person, unsigned.
func (p *person) list(others ...*person) *pb.DeviceList {
	l := &pb.DeviceList{
		Suite: Suite, Account: p.Account, Version: 1, IdentityKey: p.IdentityKey, Generation: 1, AccountKey: p.AccountKey,
		Devices: []*pb.DeviceKeys{p.deviceKeys()}, TimeMs: epochMS,
	}
	for _, o := range others {
		l.Devices = append(l.Devices, o.deviceKeys())
	}
	return l
}
