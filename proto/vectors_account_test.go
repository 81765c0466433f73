package proto

import (
	"testing"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

type listVector struct {
	Version uint64 `json:"version"`
	Signed  octets `json:"Signed"`
	Hash    octets `json:"hash"`
}

type accountVectors struct {
	About           string       `json:"about"`
	Master          octets       `json:"master"`
	Wrap            octets       `json:"wrap"`
	KeyRing         octets       `json:"KeyRing"`
	SealedKeyRing   octets       `json:"sealed_key_ring"`   // Sealed
	WrappedMaster   octets       `json:"wrapped_master"`    // Sealed
	DeviceLists     []listVector `json:"device_lists"`      // Alice's
	GenerationGrant octets       `json:"GenerationGrant"`   // of generation 2 to Alice's device
	Login           octets       `json:"login"`             // Signed, of Bob's device
	LoginHost       string       `json:"login_host"`        //
	LoginNonce      octets       `json:"login_nonce"`       //
	BobList         octets       `json:"bob_device_list"`   // Signed
	CarolList       octets       `json:"carol_device_list"` // Signed
}

func buildAccounts(t *testing.T, w *world, v *vectors) {
	t.Helper()
	a := ID(w.alice.Account)
	first, second := w.aliceLists(t)
	ring := w.aliceRing()
	master, wrap := seeded("master"), seeded("wrap")
	sealedRing, err := SealKeyRing(master, a, ring)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := WrapMaster(wrap, a, master)
	if err != nil {
		t.Fatal(err)
	}
	grant, err := GrantGeneration(a, w.alice.deviceKeys(), ring.GetKeys()[1])
	if err != nil {
		t.Fatal(err)
	}
	login := &pb.DeviceLogin{Host: "chat.example", Account: w.bob.Account, Device: w.bob.Device, Nonce: seeded("login nonce")}
	v.Accounts = accountVectors{
		About:  "Alice has a phone in list 1, which list 2 drops with a new generation; the key ring is that of list 2.",
		Master: master, Wrap: wrap, KeyRing: encode(t, ring), SealedKeyRing: encode(t, sealedRing), WrappedMaster: encode(t, wrapped),
		DeviceLists: []listVector{
			{1, encode(t, first.Signed), first.Hash[:]},
			{2, encode(t, second.Signed), second.Hash[:]},
		},
		GenerationGrant: encode(t, grant),
		Login:           encode(t, mustSign(t, w.bob, LabelLogin, login)),
		LoginHost:       login.GetHost(), LoginNonce: login.GetNonce(),
		BobList: encode(t, openList(t, w.bob, w.bob.list()).Signed), CarolList: encode(t, openList(t, w.carol, w.carol.list()).Signed),
	}
}

// aliceLists are Alice's first list with her phone, and the second without it.
func (w *world) aliceLists(t *testing.T) (first, second *DeviceList) {
	t.Helper()
	first = openList(t, w.alice, w.alice.list(w.phone))
	next := NextDeviceList(first, epochMS+1000)
	next.Devices = next.GetDevices()[:1]
	next.Generation, next.AccountKey = 2, w.alice.NextAccountKey
	return first, openList(t, w.alice, next)
}

func (w *world) aliceRing() *pb.KeyRing {
	return &pb.KeyRing{IdentitySeed: w.alice.IdentitySeed, Keys: []*pb.AccountKey{
		{Generation: 1, PrivateKey: w.alice.AccountPrivate}, {Generation: 2, PrivateKey: w.alice.NextAccountPrivate},
	}}
}

// openList signs a list with the person's identity and opens it.
func openList(t *testing.T, p *person, l *pb.DeviceList) *DeviceList {
	t.Helper()
	signed, err := SignDeviceList(p.identity(), l)
	if err != nil {
		t.Fatal(err)
	}
	list, err := OpenDeviceList(signed)
	if err != nil {
		t.Fatal(err)
	}
	return list
}
