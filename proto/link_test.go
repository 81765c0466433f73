package proto

import (
	"crypto/ed25519"
	"strings"
	"testing"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func TestSignDescriptionLeavesItsArgument(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body := w.describe(w.alice, w.bob, pb.DescriptionType_DESCRIPTION_TYPE_OFFER, nil)
	d, err := SignDescription(w.alice.key(), body, sdp(seeded("x")))
	must(t, err)
	if len(body.GetSdpHash()) != 0 {
		t.Error("the caller's body was changed")
	}
	peeked, err := PeekDescription(d)
	must(t, err)
	same(t, "device", peeked.GetFromDevice(), w.alice.Device)
}

func TestDescriptionHasALimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d, err := SignDescription(w.alice.key(), w.describe(w.alice, w.bob, pb.DescriptionType_DESCRIPTION_TYPE_OFFER, nil), strings.Repeat("a", MaxSDP+1))
	must(t, err)
	if _, err := OpenDescription(ed25519.PublicKey(w.alice.SignKey), d); !HasCode(err, tooLarge) {
		t.Error(err)
	}
	if _, err := OpenDescription(ed25519.PublicKey(w.alice.SignKey), nil); err == nil {
		t.Error("nothing was taken")
	}
}

func TestFingerprintOf(t *testing.T) {
	t.Parallel()
	f := seeded("certificate")
	for _, text := range []string{
		sdp(f), sdp(f, f), strings.ReplaceAll(sdp(f), "\r\n", "\n"), strings.ToLower(sdp(f)), strings.ReplaceAll(sdp(f), "sha-256", "SHA-256"),
	} {
		got, err := FingerprintOf(text)
		must(t, err)
		same(t, "fingerprint", got, f)
	}
}

// TestLinkProofCoversEveryField: a change of any one of what both ends know breaks it.
func TestLinkProofCoversEveryField(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link := NewID()
	alice, bob := w.ends()
	p := SignLinkProof(w.bob.key(), link, bob, alice)
	key := ed25519.PublicKey(w.bob.SignKey)
	must(t, VerifyLinkProof(key, link, alice, bob, p))
	changes := map[string]func(*LinkEnd){
		"account":     func(e *LinkEnd) { e.Account = NewID() },
		"device":      func(e *LinkEnd) { e.Device = NewID() },
		"fingerprint": func(e *LinkEnd) { e.Fingerprint = flip(e.Fingerprint, 0) },
		"nonce":       func(e *LinkEnd) { e.Nonce = flip(e.Nonce, 0) },
		"version":     func(e *LinkEnd) { e.ListVersion++ },
	}
	for name, change := range changes {
		a, b := alice, bob
		change(&a)
		if err := VerifyLinkProof(key, link, a, bob, p); !HasCode(err, badSignature) {
			t.Errorf("own %s: %v", name, err)
		}
		change(&b)
		if err := VerifyLinkProof(key, link, alice, b, p); !HasCode(err, badSignature) {
			t.Errorf("other %s: %v", name, err)
		}
	}
	if err := VerifyLinkProof(key, NewID(), alice, bob, p); !HasCode(err, badSignature) {
		t.Errorf("another link: %v", err)
	}
	if err := VerifyLinkProof(key, link, bob, alice, p); !HasCode(err, badSignature) {
		t.Errorf("the other way round: %v", err)
	}
	if err := VerifyLinkProof(key, link, alice, bob, nil); !HasCode(err, badSignature) {
		t.Errorf("no proof: %v", err)
	}
}
