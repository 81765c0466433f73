package proto

import (
	"bytes"
	"testing"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func TestSealBytes(t *testing.T) {
	t.Parallel()
	key := RandomKey()
	s, err := SealBytes(key, []byte("text"), LabelKeyRing, []byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenBytes(key, s, LabelKeyRing, []byte("a")); err != nil || string(got) != "text" {
		t.Errorf("%q, %v", got, err)
	}
	again, err := SealBytes(key, []byte("text"), LabelKeyRing, []byte("a"))
	if err != nil || bytes.Equal(again.GetNonce(), s.GetNonce()) {
		t.Errorf("the nonce comes again: %v", err)
	}
	open := func(key []byte, s *pb.Sealed, label string, field []byte) error {
		_, err := OpenBytes(key, s, label, field)
		return err
	}
	for name, err := range map[string]error{
		"another key":      open(RandomKey(), s, LabelKeyRing, []byte("a")),
		"an AES-128 key":   open(key[:16], s, LabelKeyRing, []byte("a")),
		"another label":    open(key, s, LabelHistory, []byte("a")),
		"another field":    open(key, s, LabelKeyRing, []byte("b")),
		"a flipped octet":  open(key, &pb.Sealed{Nonce: s.GetNonce(), Ciphertext: flip(s.GetCiphertext(), 0)}, LabelKeyRing, []byte("a")),
		"a flipped nonce":  open(key, &pb.Sealed{Nonce: flip(s.GetNonce(), 0), Ciphertext: s.GetCiphertext()}, LabelKeyRing, []byte("a")),
		"a long nonce":     open(key, &pb.Sealed{Nonce: append(s.GetNonce(), 0), Ciphertext: s.GetCiphertext()}, LabelKeyRing, []byte("a")),
		"only half a tag":  open(key, &pb.Sealed{Nonce: s.GetNonce(), Ciphertext: s.GetCiphertext()[:8]}, LabelKeyRing, []byte("a")),
		"nothing":          open(key, nil, LabelKeyRing, []byte("a")),
		"an empty message": open(key, &pb.Sealed{}, LabelKeyRing, []byte("a")),
	} {
		if !HasCode(err, malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := SealBytes(key[:16], nil, LabelKeyRing); err == nil {
		t.Error("sealed with an AES-128 key")
	}
}
