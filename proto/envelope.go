package proto

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// SealEnvelope makes an envelope: it puts a fresh nonce into the header, seals the content under a key
// derived from epoch key and header, and signs both. The header is serialised here once and for all.
func SealEnvelope(epochKey []byte, h *pb.Header, content *pb.Content, key ed25519.PrivateKey) (*pb.Envelope, error) {
	if err := check32("an epoch key", epochKey); err != nil {
		return nil, err
	}
	h = proto.CloneOf(h)
	h.Nonce = randomBytes(NonceSize)
	header, err := proto.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if _, err = ParseHeader(header); err != nil {
		return nil, err
	}
	if err = checkContent(h, content); err != nil {
		return nil, err
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
		if err := checkRef(r); err != nil {
			return nil, err
		}
	} else if k := pb.Kind(h.GetKind()); k >= pb.Kind_KIND_EDIT && k <= pb.Kind_KIND_REACTION { //nolint:gosec // compared only
		return nil, Errorf(malformed, "an edit, deletion or reaction does not say of which message")
	}
	return h, nil
}

// ParseEnvelope parses the header of an envelope as it is sent: with a ciphertext and a signature of
// the right sizes. It verifies nothing.
func ParseEnvelope(e *pb.Envelope) (*pb.Header, error) {
	switch {
	case len(e.GetHeader())+len(e.GetCiphertext()) > MaxEnvelope:
		return nil, Errorf(tooLarge, "the message is larger than %d bytes", MaxEnvelope)
	case len(e.GetCiphertext()) < tagSize, len(e.GetCiphertextHash()) != 0:
		return nil, Errorf(malformed, "a message was sent without its body")
	case len(e.GetSignature()) != ed25519.SignatureSize:
		return nil, Errorf(badSignature, "the message has no signature")
	}
	return ParseHeader(e.GetHeader())
}

// Blank returns the envelope without its body, as the relay keeps it after a deletion: header and
// signature still verify.
func Blank(e *pb.Envelope) *pb.Envelope {
	return &pb.Envelope{Header: e.GetHeader(), Signature: e.GetSignature(), CiphertextHash: CiphertextHash(e)}
}

// IsBlank says whether an envelope's body was taken out.
func IsBlank(e *pb.Envelope) bool { return len(e.GetCiphertext()) == 0 }

// CiphertextHash is SHA-256 of the ciphertext, also of a blanked envelope.
func CiphertextHash(e *pb.Envelope) []byte {
	if IsBlank(e) && len(e.GetCiphertextHash()) == HashSize {
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
	if err := check32("an epoch key", epochKey); err != nil {
		return nil, err
	}
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
	if err := checkContent(h, content); err != nil {
		return nil, err
	}
	return content, nil
}

// checkContent checks the sizes of content that this version knows, and that the header announces just
// that: what does not count as unread must not be shown as a message. Contents of later versions pass.
func checkContent(h *pb.Header, content *pb.Content) error {
	kind := pb.Kind_KIND_UNSPECIFIED
	switch c := content.GetKind().(type) {
	case *pb.Content_Text_:
		kind = pb.Kind_KIND_MESSAGE
		if r := c.Text.GetReplyTo(); r != nil {
			if err := checkRef(r); err != nil {
				return err
			}
		}
	case *pb.Content_Edit_:
		kind = pb.Kind_KIND_EDIT
	case *pb.Content_Delete_:
		kind = pb.Kind_KIND_DELETE
	case *pb.Content_Reaction_:
		kind = pb.Kind_KIND_REACTION
	}
	if kind != pb.Kind_KIND_UNSPECIFIED && h.GetKind() != uint32(kind) {
		return Errorf(malformed, "the message holds something else than its header says")
	}
	if n := max(len(content.GetText().GetBody()), len(content.GetEdit().GetBody())); n > MaxText {
		return Errorf(tooLarge, "the text has %d bytes, at most %d go into one message", n, MaxText)
	}
	if n := len(content.GetReaction().GetEmoji()); n > MaxEmoji {
		return Errorf(tooLarge, "a reaction has at most %d bytes", MaxEmoji)
	}
	return nil
}

func checkRef(r *pb.MessageRef) error {
	if _, err := IDFrom(r.GetDevice()); err != nil {
		return err
	}
	return checkV7(r.GetId())
}
