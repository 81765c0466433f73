// Package storetest makes accounts, conversations and envelopes in a store for tests: with real keys and
// signatures, as clients make them.
package storetest

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// Life of the sessions that are made here. Stores with a clock of their own are not further away than that.
const sessionLife = 100 * 365 * 24 * time.Hour

// Person is an account with its keys.
type Person struct {
	ID       proto.ID
	Identity ed25519.PrivateKey
	Key      *ecdh.PrivateKey // of the account, newest generation
	List     *proto.DeviceList
	*Device  // the first one

	lists []*proto.DeviceList // every version
	t     testing.TB
	s     *store.Store
}

// Device is a device with its keys and its session.
type Device struct {
	ID      proto.ID
	Sign    ed25519.PrivateKey
	Seal    *ecdh.PrivateKey
	Token   []byte // hash of its session's token
	Session *store.Session

	counters map[proto.ID]uint64 // of the last envelope in a conversation
}

// Must returns v, and fails the test by a panic if there is an error.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func signKey() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(nil)
	return Must(key, err)
}

func sealKey() *ecdh.PrivateKey { return Must(ecdh.X25519().GenerateKey(rand.Reader)) }

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) } //nolint:forcetypeassert // always is one

// NewDevice makes the keys of a device.
func NewDevice() *Device {
	token := sha256.Sum256(proto.RandomKey())
	return &Device{ID: proto.NewID(), Sign: signKey(), Seal: sealKey(), Token: token[:], counters: make(map[proto.ID]uint64)}
}

func (d *Device) keys() *pb.DeviceKeys {
	return &pb.DeviceKeys{Device: d.ID.Bytes(), SignKey: public(d.Sign), SealKey: d.Seal.PublicKey().Bytes(), AddedMs: 1}
}

// NewPerson makes the keys of an account that is not stored yet.
func NewPerson(t testing.TB, s *store.Store) *Person {
	t.Helper()
	p := &Person{ID: proto.NewID(), Identity: signKey(), Key: sealKey(), Device: NewDevice(), t: t, s: s}
	p.take(&pb.DeviceList{
		Suite: proto.Suite, Account: p.ID.Bytes(), Version: 1, IdentityKey: public(p.Identity), Generation: 1,
		AccountKey: p.Key.PublicKey().Bytes(), Devices: []*pb.DeviceKeys{p.keys()}, TimeMs: 1,
	})
	return p
}

// take signs a list and takes it for the newest.
func (p *Person) take(l *pb.DeviceList) {
	p.List = Must(proto.OpenDeviceList(Must(proto.SignDeviceList(p.Identity, l))))
	p.lists = append(p.lists, p.List)
}

// Lists are all lists that the person has signed, oldest first.
func (p *Person) Lists() []*proto.DeviceList { return p.lists }

// Account is what is stored of a person with a user name, or of one without if it is empty.
func (p *Person) Account(user string) store.NewAccount {
	n := store.NewAccount{
		List: p.List, UserName: user, UserKey: user, Nickname: "Nick " + user, DeviceName: "first", TokenHash: p.Token, Expires: time.Now().Add(sessionLife),
	}
	if user != "" {
		n.Password, n.KeyRing = Password("secret of "+user), Sealed()
	}
	return n
}

// Password is a password as it is stored.
func Password(secret string) *store.Password {
	salt, hash := proto.RandomKey()[:16], sha256.Sum256([]byte(secret))
	return &store.Password{Params: proto.NewPasswordParams("localhost"), AuthSalt: salt, AuthHash: hash[:], Master: Sealed()}
}

// Sealed is something sealed.
func Sealed() *pb.Sealed {
	return Must(proto.SealBytes(proto.RandomKey(), []byte("sealed"), proto.LabelKeyRing))
}

// Register stores an account with one device and a session; without a name if user is empty.
func Register(t testing.TB, s *store.Store, user string) *Person {
	t.Helper()
	p := NewPerson(t, s)
	if err := s.CreateAccount(t.Context(), p.Account(user)); err != nil {
		t.Fatal(err)
	}
	p.open(p.Device)
	return p
}

// open reads the session of a device.
func (p *Person) open(d *Device) {
	p.t.Helper()
	var err error
	if d.Session, err = p.s.SessionByToken(p.t.Context(), d.Token); err != nil {
		p.t.Fatal(err)
	}
}

// Addition is the list update that adds a device.
func (p *Person) Addition(d *Device) store.ListUpdate {
	next := proto.NextDeviceList(p.List, 2)
	next.Devices = append(next.Devices, d.keys())
	u := store.ListUpdate{Account: p.Session.AccountID, Previous: p.List.GetVersion(), Added: d.keys(), DeviceName: "another", TokenHash: d.Token, Expires: time.Now().Add(sessionLife)}
	p.take(next)
	u.List = p.List
	return u
}

// AddDevice adds a device and opens its session.
func (p *Person) AddDevice() *Device {
	p.t.Helper()
	d := NewDevice()
	if _, err := p.s.UpdateDevices(p.t.Context(), p.Addition(d)); err != nil {
		p.t.Fatal(err)
	}
	p.open(d)
	return d
}

// Revocation is the list update that drops a device and makes a new account key.
func (p *Person) Revocation(drop proto.ID) store.ListUpdate {
	next := proto.NextDeviceList(p.List, 3)
	next.Generation++
	p.Key = sealKey()
	next.AccountKey = p.Key.PublicKey().Bytes()
	u := store.ListUpdate{Account: p.Session.AccountID, Previous: p.List.GetVersion(), NewKey: true, KeyRing: Sealed()}
	next.Devices = nil
	for _, d := range p.List.GetDevices() {
		if proto.ID(d.GetDevice()) == drop {
			continue
		}
		next.Devices = append(next.Devices, d)
		u.Grants = append(u.Grants, Must(proto.GrantGeneration(p.ID, d, &pb.AccountKey{Generation: next.GetGeneration(), PrivateKey: p.Key.Bytes()})))
	}
	p.take(next)
	u.List = p.List
	return u
}

// Revoke drops a device.
func (p *Person) Revoke(d *Device) {
	p.t.Helper()
	if _, err := p.s.UpdateDevices(p.t.Context(), p.Revocation(d.ID)); err != nil {
		p.t.Fatal(err)
	}
}

// MemberKey is the person as a member of a commit.
func (p *Person) MemberKey() proto.MemberKey {
	return proto.MemberKey{Account: p.ID, IdentityKey: public(p.Identity), Generation: p.List.GetGeneration(), AccountKey: p.List.GetAccountKey()}
}

// Signer is the person's first device as the signer of a commit.
func (p *Person) Signer() proto.Signer {
	return proto.Signer{Account: p.ID, Device: p.Device.ID, Key: p.Sign, TimeMS: 1}
}

// Lookup finds the keys of stored devices.
func Lookup(t testing.TB, s *store.Store) proto.Lookup {
	t.Helper()
	return func(_, device proto.ID) (ed25519.PublicKey, error) {
		d, err := s.Device(t.Context(), device)
		return d.SignKey, err
	}
}
