package proto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Sizes in bytes.
const (
	KeySize   = 32 // of every symmetric, Ed25519 public and X25519 key
	NonceSize = 12
	HashSize  = sha256.Size
)

// Labels separate the domains of signatures, hashes and keys (docs/PROTOCOL.md §2).
const (
	LabelDeviceList     = "device-list"
	LabelDeviceListHash = "device-list-hash"
	LabelLogin          = "login"
	LabelInvitation     = "invitation"
	LabelInvitationSeal = "invitation-seal"
	LabelInvitationLink = "invitation-link"
	LabelLinkJoin       = "link-join"
	LabelCommit         = "commit"
	LabelCommitHash     = "commit-hash"
	LabelEnvelope       = "envelope"
	LabelEnvelopeHash   = "envelope-hash"
	LabelDescription    = "description"
	LabelLink           = "link"
	LabelPassword       = "password" //nolint:gosec // a label, not a password
	LabelAuth           = "auth"
	LabelWrap           = "wrap"
	LabelAuthStore      = "auth-store"
	LabelKeyRing        = "key-ring"
	LabelMasterPassword = "master-password" //nolint:gosec // a label
	LabelGeneration     = "generation"
	LabelPair           = "pair"
	LabelEpochKey       = "epoch-key"
	LabelHistory        = "history"
	LabelGrant          = "grant"
	LabelMessage        = "message"
)

const labelPrefix = "parley/v1 "

// Tuple joins a label and fields in the only way byte strings are joined (docs/PROTOCOL.md §2).
func Tuple(label string, fields ...[]byte) []byte {
	n := len(labelPrefix) + len(label) + 1
	for _, f := range fields {
		n += 4 + len(f)
	}
	b := make([]byte, 0, n)
	b = append(b, labelPrefix...)
	b = append(b, label...)
	b = append(b, 0)
	for _, f := range fields {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f))) //nolint:gosec // fields are bounded far below 4 GiB
		b = append(b, f...)
	}
	return b
}

// U32 is n as a field.
func U32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// U64 is n as a field.
func U64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// Hash is SHA-256 of the tuple.
func Hash(label string, fields ...[]byte) [HashSize]byte { return sha256.Sum256(Tuple(label, fields...)) }

// Derive makes a 32-byte key from a key by HKDF-SHA256 (RFC 5869) without salt.
func Derive(key []byte, label string, fields ...[]byte) []byte {
	out, err := hkdf.Key(sha256.New, key, nil, string(Tuple(label, fields...)), KeySize)
	if err != nil {
		panic(fmt.Sprintf("hkdf of 32 bytes: %v", err)) // only for lengths above 8160
	}
	return out
}

// Sign makes an Ed25519 signature (RFC 8032) over the tuple.
func Sign(key ed25519.PrivateKey, label string, fields ...[]byte) []byte {
	return ed25519.Sign(key, Tuple(label, fields...))
}

// Verify checks a signature made by Sign. It fails with code bad_signature.
func Verify(key ed25519.PublicKey, label string, signature []byte, fields ...[]byte) error {
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, Tuple(label, fields...), signature) {
		return Errorf(badSignature, "the signature of the %s is wrong", label)
	}
	return nil
}

// SignMessage serialises m and signs the bytes.
func SignMessage(key ed25519.PrivateKey, label string, m proto.Message) (*pb.Signed, error) {
	body, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", label, err)
	}
	return &pb.Signed{Body: body, Signature: Sign(key, label, body)}, nil
}

// Unmarshal parses bytes that come from outside: nesting is limited, unknown fields are ignored.
func Unmarshal(b []byte, m proto.Message) error {
	if err := (proto.UnmarshalOptions{RecursionLimit: MaxDepth, DiscardUnknown: true}).Unmarshal(b, m); err != nil {
		return Errorf(malformed, "not a valid %s", m.ProtoReflect().Descriptor().Name())
	}
	return nil
}

// RandomKey makes 32 random bytes.
func RandomKey() []byte { return randomBytes(KeySize) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never returns an error
	return b
}

func aead(key []byte) (cipher.AEAD, error) {
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

// SealTo seals with HPKE base mode (RFC 9180, suite 1) to an X25519 public key.
func SealTo(publicKey, info, plaintext []byte) (enc, ciphertext []byte, err error) {
	key, err := ecdh.X25519().NewPublicKey(publicKey)
	if err != nil {
		return nil, nil, Errorf(malformed, "a public key is not X25519")
	}
	public, err := hpke.NewDHKEMPublicKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("hpke key: %w", err)
	}
	enc, sender, err := hpke.NewSender(public, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		return nil, nil, fmt.Errorf("hpke: %w", err)
	}
	ciphertext, err = sender.Seal(nil, plaintext)
	if err != nil {
		return nil, nil, fmt.Errorf("hpke: %w", err)
	}
	return enc, ciphertext, nil
}

// OpenFrom opens what SealTo made for the owner of the private key.
func OpenFrom(privateKey, enc, info, ciphertext []byte) ([]byte, error) {
	key, err := ecdh.X25519().NewPrivateKey(privateKey)
	if err != nil {
		return nil, Errorf(malformed, "a private key is not X25519")
	}
	private, err := hpke.NewDHKEMPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("hpke key: %w", err)
	}
	recipient, err := hpke.NewRecipient(enc, private, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		return nil, Errorf(malformed, "the sealed key does not open")
	}
	plaintext, err := recipient.Open(nil, ciphertext)
	if err != nil {
		return nil, Errorf(malformed, "the sealed key does not open")
	}
	return plaintext, nil
}

func checkSize(what string, b []byte, n int) error {
	if len(b) != n {
		return Errorf(malformed, "%s has %d bytes, not %d", what, n, len(b))
	}
	return nil
}
