package proto

import (
	"crypto/ed25519"
	"crypto/sha256"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// sealAny seals and signs content under any header, as a sender who breaks the rules does.
func sealAny(t *testing.T, key ed25519.PrivateKey, epochKey, header, nonce, plaintext []byte) *pb.Envelope {
	t.Helper()
	a, err := aead(messageKey(epochKey, header))
	if err != nil {
		t.Fatal(err)
	}
	e := &pb.Envelope{Header: header, Ciphertext: a.Seal(nil, nonce, plaintext, header)}
	hash := sha256.Sum256(e.GetCiphertext())
	e.Signature = Sign(key, LabelEnvelope, header, hash[:])
	return e
}

func negativeEnvelopes(t *testing.T, w *world, v *vectors) []negativeVector {
	t.Helper()
	text, reaction := decode(t, v.Envelopes[0].Envelope, &pb.Envelope{}), decode(t, v.Envelopes[2].Envelope, &pb.Envelope{})
	epochKey := v.Envelopes[0].EpochKey
	entry := func(why, code string, by *person, e *pb.Envelope) negativeVector {
		return negativeVector{What: "envelope", Why: why, Error: code, Key: by.SignKey, EpochKey: epochKey, Envelope: encode(t, e)}
	}
	altered := func(why, code string, by *person, e *pb.Envelope, change func(*pb.Envelope)) negativeVector {
		e = proto.CloneOf(e)
		change(e)
		return entry(why, code, by, e)
	}
	// header changes a header without a new signature.
	header := func(why string, by *person, e *pb.Envelope, change func(*pb.Header)) negativeVector {
		return altered(why, "bad_signature", by, e, func(e *pb.Envelope) {
			h := decode(t, e.GetHeader(), &pb.Header{})
			change(h)
			e.Header = encode(t, h)
		})
	}
	// made is by a sender who seals and signs what breaks a rule.
	made := func(why, code string, change func(*pb.Header), content *pb.Content) negativeVector {
		h := decode(t, text.GetHeader(), &pb.Header{})
		nonce := h.GetNonce()
		change(h)
		return entry(why, code, w.alice, sealAny(t, w.alice.key(), epochKey, encode(t, h), nonce, encode(t, content)))
	}
	hello := textContent("hello", nil)
	out := []negativeVector{
		header("the kind is altered", w.alice, text, func(h *pb.Header) { h.Kind = uint32(pb.Kind_KIND_FILE) }),
		header("replaces is altered", w.bob, reaction, func(h *pb.Header) { h.Replaces.Id = flip(h.GetReplaces().GetId(), 15) }),
		header("the epoch is altered", w.alice, text, func(h *pb.Header) { h.Epoch = 1 }),
		header("the sender is altered", w.alice, text, func(h *pb.Header) { h.Account = w.mallory.Account }),
		header("the time is altered", w.alice, text, func(h *pb.Header) { h.TimeMs++ }),
		altered("a flipped octet of the body", "bad_signature", w.alice, text, func(e *pb.Envelope) { e.Ciphertext = flip(e.GetCiphertext(), 0) }),
		altered("a flipped signature", "bad_signature", w.alice, text, func(e *pb.Envelope) { e.Signature = flip(e.GetSignature(), 0) }),
		altered("a short signature", "bad_signature", w.alice, text, func(e *pb.Envelope) { e.Signature = e.GetSignature()[:63] }),
		altered("somebody else's key", "bad_signature", w.mallory, text, func(*pb.Envelope) {}),
		altered("no body", "malformed", w.alice, text, func(e *pb.Envelope) { e.Ciphertext = nil }),
		altered("a body with a hash beside it", "malformed", w.alice, text, func(e *pb.Envelope) { e.CiphertextHash = make([]byte, HashSize) }),
		made("sealed under the key of another epoch", "malformed", func(h *pb.Header) { h.Epoch = 1 }, hello),
		made("version 2", "unsupported", func(h *pb.Header) { h.Version = 2 }, hello),
		made("suite 2", "unsupported", func(h *pb.Header) { h.Suite = 2 }, hello),
		made("no counter", "malformed", func(h *pb.Header) { h.Counter = 0 }, hello),
		made("no epoch", "malformed", func(h *pb.Header) { h.Epoch = 0 }, hello),
		made("no kind", "malformed", func(h *pb.Header) { h.Kind = 0 }, hello),
		made("no time", "malformed", func(h *pb.Header) { h.TimeMs = 0 }, hello),
		made("a message id that is no UUIDv7", "malformed", func(h *pb.Header) { h.Id[6] = 0x40 }, hello),
		made("a short conversation id", "malformed", func(h *pb.Header) { h.Conversation = h.GetConversation()[:15] }, hello),
		made("an account id of zeros", "malformed", func(h *pb.Header) { h.Account = make([]byte, IDSize) }, hello),
		made("a short nonce", "malformed", func(h *pb.Header) { h.Nonce = h.GetNonce()[:11] }, hello),
		made("51 mentions", "too_large", func(h *pb.Header) {
			for range MaxMentions + 1 {
				h.Mentions = append(h.Mentions, w.bob.Account)
			}
		}, hello),
		made("a mention that is no id", "malformed", func(h *pb.Header) { h.Mentions = [][]byte{{1}} }, hello),
		made("a reaction to nothing", "malformed", func(h *pb.Header) { h.Kind = uint32(pb.Kind_KIND_REACTION) }, hello),
		made("an edit that says it is a message", "malformed", func(*pb.Header) {}, &pb.Content{Kind: &pb.Content_Edit_{Edit: &pb.Content_Edit{Body: "x"}}}),
		made("a text that does not count as unread", "malformed", func(h *pb.Header) { h.Kind = uint32(pb.Kind_KIND_NOTICE) }, hello),
		made("a reply to no id", "malformed", func(*pb.Header) {}, textContent("x", &pb.MessageRef{})),
	}
	// One whose header says epoch 1 is opened with the key of epoch 1.
	for i := range out {
		if out[i].Why == "sealed under the key of another epoch" {
			out[i].EpochKey = v.Pair.Commits[0].EpochKey
		}
	}
	return out
}
