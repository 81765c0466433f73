package proto

import (
	"crypto/ed25519"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func pairHeader(w *world) *pb.Header {
	w.pair = NewChain(NewID())
	w.pair.state.Number = 1
	return w.header(w.alice, 1, pb.Kind_KIND_MESSAGE)
}

// TestLargestTextFits: 64 KiB of text with everything else a header can hold.
func TestLargestTextFits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := pairHeader(w)
	for range MaxMentions {
		h.Mentions = append(h.Mentions, NewID().Bytes())
	}
	h.MentionAll, h.Replaces = true, &pb.MessageRef{Device: NewID().Bytes(), Id: NewID().Bytes()}
	reply := &pb.MessageRef{Device: NewID().Bytes(), Id: NewID().Bytes()}
	key := RandomKey()
	e, err := SealEnvelope(key, h, textContent(strings.Repeat("x", MaxText), reply), w.alice.key())
	must(t, err)
	if _, err := ParseEnvelope(e); err != nil {
		t.Fatal(err)
	}
	content, err := OpenEnvelope(key, e)
	must(t, err)
	if len(content.GetText().GetBody()) != MaxText {
		t.Error("the text is cut")
	}
	if n := proto.Size(&pb.Frame{Kind: &pb.Frame_Post{Post: &pb.Post{Envelopes: []*pb.Envelope{e}}}}); n > MaxFrame {
		t.Errorf("the frame has %d bytes", n)
	}
	if _, err := SealEnvelope(key, h, textContent(strings.Repeat("x", MaxText+1), nil), w.alice.key()); !HasCode(err, tooLarge) {
		t.Errorf("one octet more: %v", err)
	}
}

func TestContentHasLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := pairHeader(w)
	h.Replaces = &pb.MessageRef{Device: NewID().Bytes(), Id: NewID().Bytes()}
	reaction := func(emoji string) *pb.Content {
		return &pb.Content{Kind: &pb.Content_Reaction_{Reaction: &pb.Content_Reaction{Emoji: emoji}}}
	}
	edit := func(body string) *pb.Content {
		return &pb.Content{Kind: &pb.Content_Edit_{Edit: &pb.Content_Edit{Body: body}}}
	}
	for name, c := range map[string]struct {
		kind    pb.Kind
		content *pb.Content
		code    pb.ErrorCode
	}{
		"a reaction":      {pb.Kind_KIND_REACTION, reaction("👩🏽‍💻"), 0},
		"a withdrawn one": {pb.Kind_KIND_REACTION, reaction(""), 0},
		"a long one":      {pb.Kind_KIND_REACTION, reaction(strings.Repeat("x", MaxEmoji+1)), tooLarge},
		"a long edit":     {pb.Kind_KIND_EDIT, edit(strings.Repeat("x", MaxText+1)), tooLarge},
		"another kind":    {pb.Kind_KIND_MESSAGE, reaction("x"), malformed},
		"kind of later":   {pb.Kind(200), &pb.Content{}, 0},
	} {
		h.Kind = uint32(c.kind)
		key := RandomKey()
		e, err := SealEnvelope(key, h, c.content, w.alice.key())
		if c.code != 0 {
			if !HasCode(err, c.code) {
				t.Errorf("%s was sealed: %v", name, err)
			}
			// Whoever seals it nevertheless is refused by the receiver.
			h.Nonce = make([]byte, NonceSize)
			e = sealAny(t, w.alice.key(), key, encode(t, h), h.GetNonce(), encode(t, c.content))
			if _, err := OpenEnvelope(key, e); !HasCode(err, c.code) {
				t.Errorf("%s was opened: %v", name, err)
			}
			continue
		}
		must(t, err)
		if _, err := OpenEnvelope(key, e); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSealEnvelopeTakesAFreshNonce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := pairHeader(w)
	key := RandomKey()
	a, err := SealEnvelope(key, h, textContent("x", nil), w.alice.key())
	must(t, err)
	b, err := SealEnvelope(key, h, textContent("x", nil), w.alice.key())
	must(t, err)
	if EnvelopeHash(a) == EnvelopeHash(b) || len(h.GetNonce()) != 0 {
		t.Error("the nonce came again, or the caller's header was changed")
	}
	if _, err := SealEnvelope(key[:16], h, textContent("x", nil), w.alice.key()); !HasCode(err, malformed) {
		t.Errorf("sealed with a short epoch key: %v", err)
	}
	if _, err := OpenEnvelope(key[:16], a); !HasCode(err, malformed) {
		t.Errorf("opened with a short epoch key: %v", err)
	}
}

func TestSealEnvelopeRefusesBadHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := pairHeader(w)
	h.Counter = 0
	if _, err := SealEnvelope(RandomKey(), h, textContent("x", nil), w.alice.key()); !HasCode(err, malformed) {
		t.Error(err)
	}
}

func TestBlankedEnvelope(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := RandomKey()
	e, err := SealEnvelope(key, pairHeader(w), textContent("secret", nil), w.alice.key())
	must(t, err)
	blank := Blank(e)
	if !IsBlank(blank) || IsBlank(e) || EnvelopeHash(blank) != EnvelopeHash(e) {
		t.Error("the blanked envelope is another")
	}
	if again := Blank(blank); !proto.Equal(again, blank) {
		t.Error("blanking twice is not the same as once")
	}
	must(t, VerifyEnvelope(blank, ed25519.PublicKey(w.alice.SignKey)))
	if _, err := OpenEnvelope(key, blank); !HasCode(err, malformed) {
		t.Errorf("it opens: %v", err)
	}
	if _, err := ParseEnvelope(blank); !HasCode(err, malformed) {
		t.Errorf("it can be posted: %v", err)
	}
	blank.CiphertextHash = flip(blank.GetCiphertextHash(), 0)
	if err := VerifyEnvelope(blank, ed25519.PublicKey(w.alice.SignKey)); !HasCode(err, badSignature) {
		t.Errorf("another hash verifies: %v", err)
	}
}

func TestParseEnvelopeLimitsSize(t *testing.T) {
	t.Parallel()
	e := &pb.Envelope{Header: []byte{1}, Ciphertext: make([]byte, MaxEnvelope), Signature: make([]byte, ed25519.SignatureSize)}
	if _, err := ParseEnvelope(e); !HasCode(err, tooLarge) {
		t.Error(err)
	}
	if _, err := ParseHeader(make([]byte, MaxEnvelope+1)); !HasCode(err, tooLarge) {
		t.Error(err)
	}
	if _, err := ParseEnvelope(nil); err == nil {
		t.Error("nothing was taken")
	}
}
