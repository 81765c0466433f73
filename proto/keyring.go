package proto

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// SealKeyRing seals an account's keys under its master key.
func SealKeyRing(master []byte, account ID, ring *pb.KeyRing) (*pb.Sealed, error) {
	b, err := proto.Marshal(ring)
	if err != nil {
		return nil, fmt.Errorf("key ring: %w", err)
	}
	return SealBytes(master, b, LabelKeyRing, account[:])
}

// OpenKeyRing opens what SealKeyRing made. CheckKeyRing must follow.
func OpenKeyRing(master []byte, account ID, s *pb.Sealed) (*pb.KeyRing, error) {
	b, err := OpenBytes(master, s, LabelKeyRing, account[:])
	if err != nil {
		return nil, err
	}
	ring := &pb.KeyRing{}
	if err := Unmarshal(b, ring); err != nil {
		return nil, err
	}
	return ring, nil
}

// CheckKeyRing says whether a ring belongs to a device list: its identity, and its newest account key.
func CheckKeyRing(ring *pb.KeyRing, list *pb.DeviceList) error {
	if len(ring.GetIdentitySeed()) != ed25519.SeedSize || len(ring.GetKeys()) == 0 {
		return Errorf(malformed, "the key ring lacks keys")
	}
	identity := ed25519.NewKeyFromSeed(ring.GetIdentitySeed()).Public().(ed25519.PublicKey) //nolint:forcetypeassert // by definition
	for i, k := range ring.GetKeys() {
		if len(k.GetPrivateKey()) != KeySize || k.GetGeneration() == 0 || i > 0 && k.GetGeneration() <= ring.GetKeys()[i-1].GetGeneration() {
			return Errorf(malformed, "the key ring's generations are out of order")
		}
	}
	newest := ring.GetKeys()[len(ring.GetKeys())-1]
	key, err := ecdh.X25519().NewPrivateKey(newest.GetPrivateKey())
	if err != nil {
		return Errorf(malformed, "the key ring holds a key that is none")
	}
	if !bytes.Equal(identity, list.GetIdentityKey()) || newest.GetGeneration() != list.GetGeneration() ||
		!bytes.Equal(key.PublicKey().Bytes(), list.GetAccountKey()) {
		return Errorf(staleList, "the key ring is not the one of the account's device list: the server returned an older copy")
	}
	return nil
}

// WrapMaster seals the account master key under the password's wrapping key.
func WrapMaster(wrap []byte, account ID, master []byte) (*pb.Sealed, error) {
	if err := check32("the master key", master); err != nil {
		return nil, err
	}
	return SealBytes(wrap, master, LabelMasterPassword, account[:])
}

// UnwrapMaster opens what WrapMaster made.
func UnwrapMaster(wrap []byte, account ID, s *pb.Sealed) ([]byte, error) {
	master, err := OpenBytes(wrap, s, LabelMasterPassword, account[:])
	if err != nil {
		return nil, err
	}
	if err := check32("the master key", master); err != nil {
		return nil, err
	}
	return master, nil
}

// GrantGeneration seals a new generation of the account key to one remaining device.
func GrantGeneration(account ID, device *pb.DeviceKeys, key *pb.AccountKey) (*pb.GenerationGrant, error) {
	info := Tuple(LabelGeneration, account[:], U32(key.GetGeneration()), device.GetDevice())
	enc, ciphertext, err := SealTo(device.GetSealKey(), info, key.GetPrivateKey())
	if err != nil {
		return nil, err
	}
	return &pb.GenerationGrant{Device: device.GetDevice(), Generation: key.GetGeneration(), Enc: enc, Ciphertext: ciphertext}, nil
}

// OpenGeneration opens a grant with the device's private seal key.
func OpenGeneration(sealKey []byte, account ID, g *pb.GenerationGrant) ([]byte, error) {
	info := Tuple(LabelGeneration, account[:], U32(g.GetGeneration()), g.GetDevice())
	key, err := OpenFrom(sealKey, g.GetEnc(), info, g.GetCiphertext())
	if err != nil {
		return nil, err
	}
	if err := check32("an account key", key); err != nil {
		return nil, err
	}
	return key, nil
}
