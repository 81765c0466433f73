package proto

import (
	"testing"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func TestGenerationGrantIsForItsDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := ID(w.alice.Account)
	g, err := GrantGeneration(a, w.alice.deviceKeys(), w.aliceRing().GetKeys()[1])
	must(t, err)
	key, err := OpenGeneration(w.alice.SealPrivate, a, g)
	must(t, err)
	same(t, "key", key, w.alice.NextAccountPrivate)
	for name, c := range map[string]struct {
		private []byte
		account ID
		change  func(*pb.GenerationGrant)
	}{
		"another device's key": {w.phone.SealPrivate, a, func(*pb.GenerationGrant) {}},
		"another account":      {w.alice.SealPrivate, ID(w.bob.Account), func(*pb.GenerationGrant) {}},
		"another generation":   {w.alice.SealPrivate, a, func(g *pb.GenerationGrant) { g.Generation = 3 }},
		"another device":       {w.alice.SealPrivate, a, func(g *pb.GenerationGrant) { g.Device = w.phone.Device }},
	} {
		g, err := GrantGeneration(a, w.alice.deviceKeys(), w.aliceRing().GetKeys()[1])
		must(t, err)
		c.change(g)
		if _, err := OpenGeneration(c.private, c.account, g); !HasCode(err, malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenGenerationWantsAKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := ID(w.alice.Account)
	g, err := GrantGeneration(a, w.alice.deviceKeys(), &pb.AccountKey{Generation: 2, PrivateKey: []byte("short")})
	must(t, err)
	if key, err := OpenGeneration(w.alice.SealPrivate, a, g); !HasCode(err, malformed) || key != nil {
		t.Errorf("opened %x, %v", key, err)
	}
}

func TestCheckKeyRing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, list := w.aliceLists(t)
	must(t, CheckKeyRing(w.aliceRing(), list.DeviceList))
	for name, c := range map[string]struct {
		change func(*pb.KeyRing)
		code   pb.ErrorCode
	}{
		"no seed":           {func(r *pb.KeyRing) { r.IdentitySeed = nil }, malformed},
		"no keys":           {func(r *pb.KeyRing) { r.Keys = nil }, malformed},
		"a short key":       {func(r *pb.KeyRing) { r.Keys[0].PrivateKey = []byte{1} }, malformed},
		"generation 0":      {func(r *pb.KeyRing) { r.Keys[0].Generation = 0 }, malformed},
		"a generation more": {func(r *pb.KeyRing) { r.Keys[1].Generation = 3 }, staleList},
		"the first key":     {func(r *pb.KeyRing) { r.Keys[1].PrivateKey = w.alice.AccountPrivate }, staleList},
	} {
		ring := w.aliceRing()
		c.change(ring)
		if err := CheckKeyRing(ring, list.DeviceList); !HasCode(err, c.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWrapMasterWantsAMaster(t *testing.T) {
	t.Parallel()
	if _, err := WrapMaster(RandomKey(), NewID(), []byte("short")); !HasCode(err, malformed) {
		t.Error(err)
	}
}
