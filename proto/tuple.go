package proto

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Sizes in bytes.
const (
	KeySize   = 32 // of every symmetric, Ed25519 public and X25519 key
	NonceSize = 12
	tagSize   = 16 // of AES-GCM
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
	LabelPassword       = "password"
	LabelAuth           = "auth"
	LabelWrap           = "wrap"
	LabelAuthStore      = "auth-store"
	LabelKeyRing        = "key-ring"
	LabelMasterPassword = "master-password"
	LabelGeneration     = "generation"
	LabelPair           = "pair"
	LabelEpochKey       = "epoch-key"
	LabelHistory        = "history"
	LabelGrant          = "grant"
	LabelMessage        = "message"
	LabelSafety         = "safety"
	LabelRecovery       = "recovery"
	LabelRecoveryAuth   = "recovery-auth"
	LabelRecoveryWrap   = "recovery-wrap"
	LabelDeviceLink     = "device-link"
	LabelSetting        = "setting"
)

// labelPrefix separates this protocol and its version from every other use of the same keys.
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
func Hash(label string, fields ...[]byte) [HashSize]byte {
	return sha256.Sum256(Tuple(label, fields...))
}

// Derive makes a 32-byte key from a key by HKDF-SHA256 (RFC 5869) without salt.
func Derive(key []byte, label string, fields ...[]byte) []byte {
	out, err := hkdf.Key(sha256.New, key, nil, string(Tuple(label, fields...)), KeySize)
	if err != nil {
		panic(fmt.Sprintf("hkdf of 32 bytes: %v", err)) // only for lengths above 8160
	}
	return out
}
