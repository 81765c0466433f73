package storetest

import (
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// Renewal is a person who starts again under the account of p, and the reset that makes it so with a code stored as hash.
func (p *Person) Renewal(hash []byte) (store.Reset, *Person) {
	again := &Person{ID: p.ID, Identity: signKey(), Key: sealKey(), Device: NewDevice(), t: p.t, s: p.s, lists: p.lists}
	next := proto.NextDeviceList(p.List, 4)
	next.IdentityKey, next.Devices = public(again.Identity), []*pb.DeviceKeys{again.keys()}
	next.Generation++
	next.AccountKey = again.Key.PublicKey().Bytes()
	again.take(next)
	return store.Reset{
		Account: p.Session.AccountID, CodeHash: hash, Previous: p.List.GetVersion(), List: again.List, DeviceName: "anew",
		Password: Password("another"), KeyRing: Sealed(), TokenHash: again.Token, Expires: time.Now().Add(sessionLife),
	}, again
}

// Reset puts a person in the place of p, whose devices end.
func (p *Person) Reset() *Person {
	p.t.Helper()
	hash := proto.RandomKey()
	code := store.ResetCode{AuthSalt: []byte("salt"), AuthHash: hash, ExpiresMS: time.Now().Add(sessionLife).UnixMilli()}
	if err := p.s.SetResetCode(p.t.Context(), p.ID, code); err != nil {
		p.t.Fatal(err)
	}
	r, again := p.Renewal(hash)
	if _, err := p.s.ResetAccount(p.t.Context(), r); err != nil {
		p.t.Fatal(err)
	}
	again.open(again.Device)
	return again
}

// TakeIdentity makes the commit by which the other member of a pair takes the identity that a person was reset to.
func (c *Conversation) TakeIdentity(by, reset *Person) *pb.CommitPost {
	return Must(proto.TakeIdentity(by.Signer(), c.Chain, reset.ID, []proto.MemberKey{by.MemberKey(), reset.MemberKey()}))
}
