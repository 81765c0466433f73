package proto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// RandomKey makes 32 random bytes.
func RandomKey() []byte { return randomBytes(KeySize) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never returns an error
	return b
}

// aead is AES-256-GCM. The package would take shorter AES keys too, which the protocol has not.
func aead(key []byte) (cipher.AEAD, error) {
	if err := check32("a key", key); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("AES key: %w", err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("AES-GCM: %w", err)
	}
	return a, nil
}

// SealBytes seals plaintext with AES-256-GCM under a random nonce, the tuple as additional data.
func SealBytes(key, plaintext []byte, label string, fields ...[]byte) (*pb.Sealed, error) {
	a, err := aead(key)
	if err != nil {
		return nil, err
	}
	nonce := randomBytes(NonceSize)
	return &pb.Sealed{Nonce: nonce, Ciphertext: a.Seal(nil, nonce, plaintext, Tuple(label, fields...))}, nil
}

// OpenBytes opens what SealBytes made. It fails with code malformed when key, label or a byte differs.
func OpenBytes(key []byte, s *pb.Sealed, label string, fields ...[]byte) ([]byte, error) {
	a, err := aead(key)
	if err != nil {
		return nil, err
	}
	if len(s.GetNonce()) != NonceSize {
		return nil, Errorf(malformed, "the sealed %s has no nonce", label)
	}
	plaintext, err := a.Open(nil, s.GetNonce(), s.GetCiphertext(), Tuple(label, fields...))
	if err != nil {
		return nil, Errorf(malformed, "the sealed %s does not open", label)
	}
	return plaintext, nil
}
