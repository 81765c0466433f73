package proto

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// negativeVector is something to refuse. What says which check refuses it and which fields it needs:
//
//	device_list  Signed is opened and, if previous is there, must follow on it; if seen is there, must not fall behind it; if before
//	             is there, must be that account's list after a reset
//	commit       Signed is checked against chain (pair, group or reset) after its first commits; keys are those of people
//	commit_post  likewise a CommitPost with its grants
//	grant        Grant to account is opened with private_key for the commit at index after-1 of chain
//	link_join    Signed is opened with key
//	login, invitation  Signed is opened; keys are those of people
//	envelope     Envelope is parsed, verified with key, opened with epoch_key
//	description  Description is opened with key
//	fingerprint  sdp has no usable fingerprint
//	link_proof   signature is checked as Bob's in link_proof
//	sealed_key_ring, wrapped_master  Sealed of account is opened with key
//	key_ring     KeyRing is checked against the list in Signed
//	fragments    one of the messages is refused
//	nesting      bytes are no Frame
type negativeVector struct {
	What        string   `json:"what"`
	Why         string   `json:"why"`
	Error       string   `json:"error"`
	Signed      octets   `json:"Signed,omitempty"`
	Previous    octets   `json:"previous,omitempty"`
	Seen        octets   `json:"seen,omitempty"`
	Before      octets   `json:"before,omitempty"`
	Chain       string   `json:"chain,omitempty"`
	After       int      `json:"after,omitempty"`
	CommitPost  octets   `json:"CommitPost,omitempty"`
	Grant       octets   `json:"Grant,omitempty"`
	Account     octets   `json:"account,omitempty"`
	PrivateKey  octets   `json:"private_key,omitempty"`
	Key         octets   `json:"key,omitempty"`
	Envelope    octets   `json:"Envelope,omitempty"`
	EpochKey    octets   `json:"epoch_key,omitempty"`
	Description octets   `json:"Description,omitempty"`
	SDP         string   `json:"sdp,omitempty"`
	Signature   octets   `json:"signature,omitempty"`
	Sealed      octets   `json:"Sealed,omitempty"`
	KeyRing     octets   `json:"KeyRing,omitempty"`
	Messages    []octets `json:"messages,omitempty"`
	Bytes       octets   `json:"bytes,omitempty"`
}

func buildNegative(t *testing.T, w *world, v *vectors) {
	t.Helper()
	v.Negative = append(v.Negative, negativeLists(t, w)...)
	v.Negative = append(v.Negative, negativeAccount(t, w, v)...)
	v.Negative = append(v.Negative, negativePair(t, w, v)...)
	v.Negative = append(v.Negative, negativeGroup(t, w, v)...)
	v.Negative = append(v.Negative, negativeGrants(t, w, v)...)
	v.Negative = append(v.Negative, negativeEnvelopes(t, w, v)...)
	v.Negative = append(v.Negative, negativeLinks(t, w, v)...)
	v.Negative = append(v.Negative, negativeBytes()...)
}

// flip changes the lowest bit of octet i, counted from the end if negative.
func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	if i < 0 {
		i += len(b)
	}
	b[i] ^= 1
	return b
}

func flipSignature(s *pb.Signed) *pb.Signed {
	return &pb.Signed{Body: s.GetBody(), Signature: flip(s.GetSignature(), 0)}
}

func negativeLists(t *testing.T, w *world) []negativeVector {
	t.Helper()
	first, second := w.aliceLists(t)
	var out []negativeVector
	add := func(why, code string, s, previous, seen *pb.Signed) {
		n := negativeVector{What: "device_list", Why: why, Error: code, Signed: encode(t, s)}
		if previous != nil {
			n.Previous = encode(t, previous)
		}
		if seen != nil {
			n.Seen = encode(t, seen)
		}
		out = append(out, n)
	}
	// forge signs a changed copy of a list without the checks of SignDeviceList.
	forge := func(by *person, l *DeviceList, change func(*pb.DeviceList)) *pb.Signed {
		m := proto.CloneOf(l.DeviceList)
		change(m)
		s, err := SignMessage(by.identity(), LabelDeviceList, m)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	add("the signature is flipped", "bad_signature", flipSignature(first.Signed), nil, nil)
	add("somebody else signed it", "bad_signature", forge(w.mallory, first, func(*pb.DeviceList) {}), nil, nil)
	add("it has another suite", "unsupported", forge(w.alice, first, func(l *pb.DeviceList) { l.Suite = 2 }), nil, nil)
	add("version 0", "malformed", forge(w.alice, first, func(l *pb.DeviceList) { l.Version = 0 }), nil, nil)
	add("version 1 with a previous list", "malformed", forge(w.alice, first, func(l *pb.DeviceList) { l.Previous = first.Hash[:] }), nil, nil)
	add("version 2 without", "malformed", forge(w.alice, second, func(l *pb.DeviceList) { l.Previous = nil }), nil, nil)
	add("no generation", "malformed", forge(w.alice, first, func(l *pb.DeviceList) { l.Generation = 0 }), nil, nil)
	add("no devices", "malformed", forge(w.alice, first, func(l *pb.DeviceList) { l.Devices = nil }), nil, nil)
	add("a device twice", "malformed", forge(w.alice, first, func(l *pb.DeviceList) { l.Devices[1].Device = l.GetDevices()[0].GetDevice() }), nil, nil)
	add("a short key", "malformed", forge(w.alice, first, func(l *pb.DeviceList) { l.Devices[0].SealKey = l.GetDevices()[0].GetSealKey()[:31] }), nil, nil)
	add("a short account id", "malformed", forge(w.alice, first, func(l *pb.DeviceList) { l.Account = l.GetAccount()[:15] }), nil, nil)
	add("a lower version than was seen", "stale_list", first.Signed, nil, second.Signed)
	add("another body of the version that was seen", "stale_list", forge(w.alice, second, func(l *pb.DeviceList) { l.TimeMs++ }), nil, second.Signed)
	add("another identity than was seen", "forbidden", forge(w.mallory, second, func(l *pb.DeviceList) { l.IdentityKey = w.mallory.IdentityKey }), nil, first.Signed)
	add("its previous is another", "stale_list", forge(w.alice, second, func(l *pb.DeviceList) { l.Previous = flip(l.GetPrevious(), 0) }), first.Signed, nil)
	add("it skips a version", "stale_list", forge(w.alice, second, func(l *pb.DeviceList) { l.Version = 3 }), first.Signed, nil)
	add("it drops a device without a new generation", "malformed", forge(w.alice, second, func(l *pb.DeviceList) {
		l.Generation, l.AccountKey = 1, w.alice.AccountKey
	}), first.Signed, nil)
	add("a new account key without a new generation", "malformed", forge(w.alice, second, func(l *pb.DeviceList) { l.Generation = 1 }), first.Signed, nil)
	add("a new generation with the old key", "malformed", forge(w.alice, second, func(l *pb.DeviceList) { l.AccountKey = w.alice.AccountKey }), first.Signed, nil)
	add("a generation is skipped", "malformed", forge(w.alice, second, func(l *pb.DeviceList) { l.Generation = 3 }), first.Signed, nil)
	add("a device has another key than before", "malformed", forge(w.alice, second, func(l *pb.DeviceList) { l.Devices[0].SignKey = w.mallory.SignKey }), first.Signed, nil)
	return out
}

func negativeAccount(t *testing.T, w *world, v *vectors) []negativeVector {
	t.Helper()
	a := v.Accounts
	sealed := decode(t, a.SealedKeyRing, &pb.Sealed{})
	short := decode(t, a.KeyRing, &pb.KeyRing{})
	short.Keys = short.GetKeys()[:1]
	swapped := decode(t, a.KeyRing, &pb.KeyRing{})
	swapped.Keys[0], swapped.Keys[1] = swapped.GetKeys()[1], swapped.GetKeys()[0]
	other := decode(t, a.KeyRing, &pb.KeyRing{})
	other.IdentitySeed = w.mallory.IdentitySeed
	second := a.DeviceLists[1].Signed
	join := w.pairJoin(t)
	login := signedOf(t, a.Login)
	inv := signedOf(t, v.Invitation.Invitation)
	many := decode(t, inv.GetBody(), &pb.Invitation{})
	many.Uses = MaxInvitationUses + 1
	return []negativeVector{
		{What: "sealed_key_ring", Why: "of another account", Error: "malformed", Account: w.bob.Account, Key: a.Master, Sealed: a.SealedKeyRing},
		{What: "sealed_key_ring", Why: "another master key", Error: "malformed", Account: w.alice.Account, Key: a.Wrap, Sealed: a.SealedKeyRing},
		{What: "sealed_key_ring", Why: "a flipped tag", Error: "malformed", Account: w.alice.Account, Key: a.Master, Sealed: encode(t, &pb.Sealed{
			Nonce: sealed.GetNonce(), Ciphertext: flip(sealed.GetCiphertext(), -1),
		})},
		{What: "sealed_key_ring", Why: "a short nonce", Error: "malformed", Account: w.alice.Account, Key: a.Master, Sealed: encode(t, &pb.Sealed{
			Nonce: sealed.GetNonce()[:11], Ciphertext: sealed.GetCiphertext(),
		})},
		{What: "wrapped_master", Why: "another password", Error: "malformed", Account: w.alice.Account, Key: a.Master, Sealed: a.WrappedMaster},
		{What: "key_ring", Why: "an older copy", Error: "stale_list", KeyRing: encode(t, short), Signed: second},
		{What: "key_ring", Why: "generations out of order", Error: "malformed", KeyRing: encode(t, swapped), Signed: second},
		{What: "key_ring", Why: "another identity", Error: "stale_list", KeyRing: encode(t, other), Signed: second},
		{What: "link_join", Why: "another link key", Error: "bad_signature", Key: w.mallory.SignKey, Signed: encode(t, join)},
		{What: "link_join", Why: "a flipped signature", Error: "bad_signature", Key: v.Invitation.LinkKey, Signed: encode(t, flipSignature(join))},
		{What: "login", Why: "a flipped signature", Error: "bad_signature", Signed: encode(t, flipSignature(login))},
		{What: "login", Why: "signed as something else", Error: "bad_signature", Signed: encode(t, &pb.Signed{
			Body: login.GetBody(), Signature: Sign(w.bob.key(), LabelCommit, login.GetBody()),
		})},
		{What: "invitation", Why: "another device signed", Error: "bad_signature", Signed: encode(t, &pb.Signed{
			Body: inv.GetBody(), Signature: Sign(w.mallory.key(), LabelInvitation, inv.GetBody()),
		})},
		{What: "invitation", Why: "too many uses", Error: "malformed", Signed: encode(t, mustSign(t, w.alice, LabelInvitation, many))},
	}
}
