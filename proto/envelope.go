package proto

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// SealEnvelope makes an envelope: it puts a fresh nonce into the header, seals the content under a key
// derived from epoch key and header, and signs both. The header is serialised here once and for all.
func SealEnvelope(epochKey []byte, h *pb.Header, content *pb.Content, key ed25519.PrivateKey) (*pb.Envelope, error) {
	h = proto.CloneOf(h)
	h.Nonce = randomBytes(NonceSize)
	header, err := proto.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if _, err := ParseHeader(header); err != nil {
		return nil, err
	}
	if n := len(content.GetText().GetBody()); n > MaxText {
		return nil, Errorf(tooLarge, "the text has %d bytes, at most %d go into one message", n, MaxText)
	}
	plaintext, err := proto.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	a, err := aead(messageKey(epochKey, header))
	if err != nil {
		return nil, err
	}
	e := &pb.Envelope{Header: header, Ciphertext: a.Seal(nil, h.GetNonce(), plaintext, header)}
	if len(e.GetHeader())+len(e.GetCiphertext()) > MaxEnvelope {
		return nil, Errorf(tooLarge, "the message is larger than %d bytes", MaxEnvelope)
	}
	sum := sha256.Sum256(e.GetCiphertext())
	e.Signature = Sign(key, LabelEnvelope, header, sum[:])
	return e, nil
}

func messageKey(epochKey, header []byte) []byte {
	sum := sha256.Sum256(header)
	return Derive(epochKey, LabelMessage, sum[:])
}

// ParseHeader parses a header and makes every check that needs no state (docs/PROTOCOL.md §5).
func ParseHeader(b []byte) (*pb.Header, error) {
	if len(b) > MaxEnvelope {
		return nil, Errorf(tooLarge, "the header is too large")
	}
	h := &pb.Header{}
	if err := Unmarshal(b, h); err != nil {
		return nil, err
	}
	if h.GetVersion() != Version || h.GetSuite() != Suite {
		return nil, Errorf(unsupported, "a message of version %d, suite %d needs a newer Parley", h.GetVersion(), h.GetSuite())
	}
	for _, id := range [][]byte{h.GetConversation(), h.GetAccount(), h.GetDevice()} {
		if _, err := IDFrom(id); err != nil {
			return nil, err
		}
	}
	if err := checkV7(h.GetId()); err != nil {
		return nil, err
	}
	switch {
	case h.GetEpoch() == 0, h.GetCounter() == 0, h.GetKind() == 0, h.GetTimeMs() == 0:
		return nil, Errorf(malformed, "a header lacks epoch, counter, kind or time")
	case len(h.GetMentions()) > MaxMentions:
		return nil, Errorf(tooLarge, "a message mentions at most %d people", MaxMentions)
	case len(h.GetNonce()) != NonceSize:
		return nil, Errorf(malformed, "a header has no nonce")
	}
	for _, m := range h.GetMentions() {
		if _, err := IDFrom(m); err != nil {
			return nil, err
		}
	}
	if r := h.GetReplaces(); r != nil {
		if _, err := IDFrom(r.GetDevice()); err != nil {
			return nil, err
		}
		if err := checkV7(r.GetId()); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// CiphertextHash is SHA-256 of the ciphertext, also of a blanked envelope.
func CiphertextHash(e *pb.Envelope) []byte {
	if len(e.GetCiphertext()) == 0 && len(e.GetCiphertextHash()) == HashSize {
		return e.GetCiphertextHash()
	}
	sum := sha256.Sum256(e.GetCiphertext())
	return sum[:]
}

// EnvelopeHash identifies an envelope's exact bytes, blanked or not.
func EnvelopeHash(e *pb.Envelope) [HashSize]byte {
	return Hash(LabelEnvelopeHash, e.GetHeader(), CiphertextHash(e))
}

// VerifyEnvelope checks the sender's signature with the device key.
func VerifyEnvelope(e *pb.Envelope, key ed25519.PublicKey) error {
	return Verify(key, LabelEnvelope, e.GetSignature(), e.GetHeader(), CiphertextHash(e))
}

// OpenEnvelope opens the content. The caller has verified the signature.
func OpenEnvelope(epochKey []byte, e *pb.Envelope) (*pb.Content, error) {
	h, err := ParseHeader(e.GetHeader())
	if err != nil {
		return nil, err
	}
	a, err := aead(messageKey(epochKey, e.GetHeader()))
	if err != nil {
		return nil, err
	}
	plaintext, err := a.Open(nil, h.GetNonce(), e.GetCiphertext(), e.GetHeader())
	if err != nil {
		return nil, Errorf(malformed, "the message does not open: it was altered, or the key is wrong")
	}
	content := &pb.Content{}
	if err := Unmarshal(plaintext, content); err != nil {
		return nil, err
	}
	if body := content.GetText().GetBody(); len(body) > MaxText || !utf8.ValidString(body) {
		return nil, Errorf(tooLarge, "the text is longer than %d bytes", MaxText)
	}
	return content, nil
}
