package proto

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func TestSealTo(t *testing.T) {
	t.Parallel()
	p := newPerson(t, "hpke")
	enc, ciphertext, err := SealTo(p.SealKey, []byte("info"), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenFrom(p.SealPrivate, enc, []byte("info"), ciphertext); err != nil || string(got) != "key" {
		t.Errorf("%q, %v", got, err)
	}
	open := func(private, enc []byte, info string, ciphertext []byte) error {
		_, err := OpenFrom(private, enc, []byte(info), ciphertext)
		return err
	}
	for name, err := range map[string]error{
		"another key":         open(p.AccountPrivate, enc, "info", ciphertext),
		"a short key":         open(p.SealPrivate[:31], enc, "info", ciphertext),
		"other info":          open(p.SealPrivate, enc, "inf", ciphertext),
		"a flipped octet":     open(p.SealPrivate, enc, "info", flip(ciphertext, 0)),
		"a flipped enc":       open(p.SealPrivate, flip(enc, 0), "info", ciphertext),
		"a short enc":         open(p.SealPrivate, enc[:31], "info", ciphertext),
		"an enc of order one": open(p.SealPrivate, make([]byte, KeySize), "info", ciphertext),
		"nothing":             open(p.SealPrivate, nil, "info", nil),
	} {
		if !HasCode(err, malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, key := range map[string][]byte{"short": p.SealKey[:31], "of order one": make([]byte, KeySize), "none": nil} {
		if _, _, err := SealTo(key, nil, nil); !HasCode(err, malformed) {
			t.Errorf("a key that is %s: %v", name, err)
		}
	}
}

// TestKeysOfRFC9180 uses the recipient's key pair of RFC 9180, A.1.1.
func TestKeysOfRFC9180(t *testing.T) {
	t.Parallel()
	private, err := hex.DecodeString("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8") // RFC 9180 A.1.1 skRm
	if err != nil {
		t.Fatal(err)
	}
	public, err := hex.DecodeString("3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d") // pkRm
	if err != nil {
		t.Fatal(err)
	}
	enc, ciphertext, err := SealTo(public, []byte("info"), []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenFrom(private, enc, []byte("info"), ciphertext); err != nil || !bytes.Equal(got, []byte("text")) {
		t.Errorf("%q, %v", got, err)
	}
}
