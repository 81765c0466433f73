package proto

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

type resetVector struct {
	About       string      `json:"about"`
	IdentityKey octets      `json:"identity_key"` // the new one
	List        octets      `json:"list"`         // Signed, follows on Alice's second list
	Next        octets      `json:"next"`         // Signed, follows on List
	Pair        chainVector `json:"pair"`
}

// newAlice is what Alice starts again with: a device, an identity, and generation 3 of her account key.
func newAlice(t *testing.T, w *world) (identity ed25519.PrivateKey, key *ecdh.PrivateKey, list *DeviceList) {
	t.Helper()
	_, second := w.aliceLists(t)
	identity = ed25519.NewKeyFromSeed(seeded("alice's new identity"))
	key, err := ecdh.X25519().NewPrivateKey(seeded("alice's new account key"))
	must(t, err)
	next := NextDeviceList(second, epochMS+2000)
	next.IdentityKey, next.Generation, next.AccountKey = publicOf(identity), 3, key.PublicKey().Bytes()
	next.Devices = []*pb.DeviceKeys{newPerson(t, "alice's new laptop").deviceKeys()}
	return identity, key, resign(t, identity, next)
}

// resign signs a list without the checks of SignDeviceList, and opens it.
func resign(t *testing.T, identity ed25519.PrivateKey, l *pb.DeviceList) *DeviceList {
	t.Helper()
	s, err := SignMessage(identity, LabelDeviceList, l)
	must(t, err)
	list, err := OpenDeviceList(s)
	must(t, err)
	return list
}

func buildReset(t *testing.T, w *world, v *vectors) {
	t.Helper()
	v.People = w.people() // whom v.chain asks for keys
	identity, key, list := newAlice(t, w)
	chain := v.chain(t, negativeVector{Chain: "pair", After: 2})
	renewed := MemberKey{Account: ID(w.alice.Account), IdentityKey: publicOf(identity), Generation: 3, AccountKey: key.PublicKey().Bytes()}
	p, err := TakeIdentity(w.bob.signer(epochMS+4000), chain, renewed.Account, []MemberKey{renewed, member(w.bob, 1)})
	must(t, err)
	commit, err := chain.CheckPost(p, w.device)
	must(t, err)
	taken := commitVector{What: "Bob takes Alice's new identity", Signed: encode(t, commit.Signed), Hash: commit.Hash[:]}
	for i, g := range p.GetGrants() {
		private := w.bob.AccountPrivate
		if bytes.Equal(g.GetAccount(), w.alice.Account) {
			private = key.Bytes()
		}
		taken.EpochKey, err = OpenGrant(private, ID(g.GetAccount()), commit, g)
		must(t, err)
		taken.Grants = append(taken.Grants, grantVector{g.GetAccount(), private, encode(t, g)})
		taken.Members = append(taken.Members, commit.GetMembers()[i].GetAccount())
	}
	v.Reset = resetVector{
		About:       "an administrator let Alice start again; Bob takes her new identity",
		IdentityKey: publicOf(identity), List: encode(t, list.Signed),
		Next: encode(t, resign(t, identity, NextDeviceList(list, epochMS+3000)).Signed),
		Pair: chainVector{"the pair of Alice and Bob goes on", chain.conversation.Bytes(), append(v.Pair.Commits[:2:2], taken)},
	}
	v.Negative = append(v.Negative, negativeReset(t, w, identity, list)...)
	v.Negative = append(v.Negative, negativeNewIdentity(t, w, v, commit)...)
}

func negativeReset(t *testing.T, w *world, identity ed25519.PrivateKey, list *DeviceList) []negativeVector {
	t.Helper()
	_, second := w.aliceLists(t)
	var out []negativeVector
	add := func(why, code string, change func(*pb.DeviceList)) {
		l := proto.CloneOf(list.DeviceList)
		change(l)
		by := identity
		if bytes.Equal(l.GetIdentityKey(), w.alice.IdentityKey) {
			by = w.alice.identity()
		}
		out = append(out, negativeVector{
			What: "device_list", Why: why, Error: code, Signed: encode(t, resign(t, by, l).Signed), Before: encode(t, second.Signed),
		})
	}
	add("a reset that keeps the identity", "forbidden", func(l *pb.DeviceList) { l.IdentityKey = w.alice.IdentityKey })
	add("a reset of another account", "forbidden", func(l *pb.DeviceList) { l.Account = w.bob.Account })
	add("a reset that skips a version", "stale_list", func(l *pb.DeviceList) { l.Version++ })
	add("a reset that follows on another list", "stale_list", func(l *pb.DeviceList) { l.Previous = flip(l.GetPrevious(), 0) })
	add("a reset in the same generation", "malformed", func(l *pb.DeviceList) { l.Generation-- })
	add("a reset that skips a generation", "malformed", func(l *pb.DeviceList) { l.Generation++ })
	add("a reset with the old account key", "malformed", func(l *pb.DeviceList) { l.AccountKey = w.alice.NextAccountKey })
	add("a reset that keeps a device", "malformed", func(l *pb.DeviceList) { l.Devices = append(l.Devices, w.alice.deviceKeys()) })
	return append(out,
		negativeVector{
			What: "device_list", Why: "a reset is no successor", Error: "forbidden", Signed: encode(t, list.Signed), Previous: encode(t, second.Signed),
		},
		negativeVector{
			What: "device_list", Why: "a reset was not seen before", Error: "forbidden", Signed: encode(t, list.Signed), Seen: encode(t, second.Signed),
		})
}

func negativeNewIdentity(t *testing.T, w *world, v *vectors, taken *Commit) []negativeVector {
	t.Helper()
	var out []negativeVector
	add := func(chain string, after int, why, code string, by *person, change func(*pb.Commit)) {
		out = append(out, negativeVector{
			What: "commit", Why: why, Error: code, Chain: chain, After: after, Signed: forgeCommit(t, by, taken.Signed.GetBody(), change),
		})
	}
	pair := func(why, code string, by *person, change func(*pb.Commit)) { add("reset", 2, why, code, by, change) }
	as := func(p *person, m *pb.Commit) { m.Account, m.Device = p.Account, p.Device }
	pair("a new identity with the key of before", "forbidden", w.bob, func(m *pb.Commit) {
		m.PreviousEpochKey = &pb.Sealed{Nonce: make([]byte, NonceSize), Ciphertext: make([]byte, KeySize+tagSize)}
	})
	pair("a new identity that is the old one", "forbidden", w.bob, func(m *pb.Commit) { memberOf(m, w.alice).IdentityKey = w.alice.IdentityKey })
	pair("a new identity in the old generation", "forbidden", w.bob, func(m *pb.Commit) { memberOf(m, w.alice).Generation = 2 })
	pair("a new identity of no account", "malformed", w.bob, func(m *pb.Commit) { m.GetNewIdentity().Account = nil })
	pair("a new identity of somebody who is no member", "forbidden", w.bob, func(m *pb.Commit) { m.GetNewIdentity().Account = w.carol.Account })
	pair("a new identity of another member than changes", "forbidden", w.bob, func(m *pb.Commit) { m.GetNewIdentity().Account = w.bob.Account })
	pair("a new identity taken by its own account", "forbidden", w.alice, func(m *pb.Commit) { as(w.alice, m) })
	pair("a new identity taken by a stranger", "forbidden", w.mallory, func(m *pb.Commit) { as(w.mallory, m) })
	pair("a new identity of both", "forbidden", w.bob, func(m *pb.Commit) { memberOf(m, w.bob).IdentityKey = w.mallory.IdentityKey })
	pair("a new identity with a role", "forbidden", w.bob, func(m *pb.Commit) { memberOf(m, w.alice).Role = pb.Role_ROLE_ADMIN })
	pair("a new identity with a ghost member", "forbidden", w.bob, addMember(w.mallory))
	pair("a new identity in a re-key", "forbidden", w.bob, func(m *pb.Commit) { m.Change = &pb.Commit_Rekey_{Rekey: &pb.Commit_Rekey{}} })
	group := v.chain(t, negativeVector{Chain: "group", After: 3})
	add("group", 3, "a new identity in a group", "forbidden", w.bob, func(m *pb.Commit) {
		m.Conversation, m.Kind, m.Number, m.Epoch, m.Previous = group.conversation.Bytes(), group.Kind(), 4, 4, group.Head()
		memberOf(m, w.alice).Role = pb.Role_ROLE_OWNER
	})
	return out
}

func checkReset(t *testing.T, v *vectors) {
	t.Helper()
	before, err := OpenDeviceList(signedOf(t, v.Accounts.DeviceLists[1].Signed))
	must(t, err)
	list, err := OpenDeviceList(signedOf(t, v.Reset.List))
	must(t, err)
	must(t, list.CheckReset(before))
	next, err := OpenDeviceList(signedOf(t, v.Reset.Next))
	must(t, err)
	must(t, next.CheckSuccessor(list))
	chain := NewChain(ID(v.Reset.Pair.Conversation))
	for _, want := range v.Reset.Pair.Commits {
		checkCommitVector(t, v, chain, want)
	}
	alice, ok := chain.Member(ID(v.People[0].Account))
	if !ok || alice.GetGeneration() != 3 {
		t.Fatalf("Alice is %v", alice)
	}
	same(t, "identity", alice.GetIdentityKey(), v.Reset.IdentityKey)
}
