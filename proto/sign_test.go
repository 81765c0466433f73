package proto

import (
	"crypto/ed25519"
	"testing"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	key := ed25519.NewKeyFromSeed(seeded("sign"))
	public := ed25519.PublicKey(publicOf(key))
	signature := Sign(key, LabelCommit, []byte("a"), []byte("b"))
	for name, err := range map[string]error{
		"another label":     Verify(public, LabelLogin, signature, []byte("a"), []byte("b")),
		"joined fields":     Verify(public, LabelCommit, signature, []byte("ab")),
		"another field":     Verify(public, LabelCommit, signature, []byte("a"), []byte("c")),
		"a short key":       Verify(public[:31], LabelCommit, signature, []byte("a"), []byte("b")),
		"no key":            Verify(nil, LabelCommit, signature, []byte("a"), []byte("b")),
		"no signature":      Verify(public, LabelCommit, nil, []byte("a"), []byte("b")),
		"a short signature": Verify(public, LabelCommit, signature[:63], []byte("a"), []byte("b")),
		"a long signature":  Verify(public, LabelCommit, append(signature[:64:64], 0), []byte("a"), []byte("b")),
		// S plus the group order is the same number again, which RFC 8032 §5.1.7 refuses.
		"a second form": Verify(public, LabelCommit, append(signature[:32:32], addOrder(signature[32:])...), []byte("a"), []byte("b")),
	} {
		if !HasCode(err, badSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Verify(public, LabelCommit, signature, []byte("a"), []byte("b")); err != nil {
		t.Error(err)
	}
}

// addOrder adds the order of edwards25519's base point to a little-endian scalar.
func addOrder(s []byte) []byte {
	order := [32]byte{
		0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 31: 0x10,
	}
	out, carry := make([]byte, 32), 0
	for i := range out {
		carry += int(s[i]) + int(order[i])
		out[i] = byte(carry)
		carry >>= 8
	}
	return out
}

func TestSignedNamesItsDevice(t *testing.T) {
	t.Parallel()
	key := ed25519.NewKeyFromSeed(seeded("device"))
	account, device := NewID(), NewID()
	lookup := func(a, d ID) (ed25519.PublicKey, error) {
		if a != account || d != device {
			return nil, Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "no such device")
		}
		return ed25519.PublicKey(publicOf(key)), nil
	}
	sign := func(m *pb.DeviceLogin) *pb.Signed {
		s, err := SignMessage(key, LabelLogin, m)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	good := func() *pb.DeviceLogin {
		return &pb.DeviceLogin{Host: "a", Account: account.Bytes(), Device: device.Bytes(), Nonce: make([]byte, LoginNonceSize)}
	}
	if _, err := OpenDeviceLogin(sign(good()), lookup); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*pb.DeviceLogin)
		code   pb.ErrorCode
	}{
		"unknown device": {func(l *pb.DeviceLogin) { l.Device = NewID().Bytes() }, pb.ErrorCode_ERROR_CODE_NOT_FOUND},
		"no device":      {func(l *pb.DeviceLogin) { l.Device = nil }, malformed},
		"no account":     {func(l *pb.DeviceLogin) { l.Account = nil }, malformed},
		"no host":        {func(l *pb.DeviceLogin) { l.Host = "" }, malformed},
		"short nonce":    {func(l *pb.DeviceLogin) { l.Nonce = l.GetNonce()[1:] }, malformed},
	} {
		l := good()
		c.change(l)
		if _, err := OpenDeviceLogin(sign(l), lookup); !HasCode(err, c.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenDeviceLogin(nil, lookup); err == nil {
		t.Error("nothing was taken")
	}
}
