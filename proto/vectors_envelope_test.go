package proto

import (
	"testing"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

type envelopeVector struct {
	What       string `json:"what"`
	EpochKey   octets `json:"epoch_key"`
	SignSeed   octets `json:"sign_seed"`
	SignKey    octets `json:"sign_key"`
	Header     octets `json:"header"` // exact bytes, a Header
	MessageKey octets `json:"message_key"`
	Content    octets `json:"Content"`
	Envelope   octets `json:"Envelope"`
	Hash       octets `json:"hash"`
	Blanked    octets `json:"blanked"` // the same as an Envelope without its body
}

// header is that of the nth message of a person in the pair.
func (w *world) header(by *person, n uint64, kind pb.Kind) *pb.Header {
	return &pb.Header{
		Version: Version, Suite: Suite, Conversation: w.pair.conversation.Bytes(), Epoch: w.pair.Epoch(), Id: seededID(by.Name, "message", string(rune('0'+n))).Bytes(),
		Account: by.Account, Device: by.Device, Counter: n, TimeMs: epochMS + 10_000*n, Kind: uint32(kind),
	}
}

func buildEnvelopes(t *testing.T, w *world, v *vectors) {
	t.Helper()
	text := w.header(w.alice, 1, pb.Kind_KIND_MESSAGE)
	target := &pb.MessageRef{Device: text.GetDevice(), Id: text.GetId()}
	about := func(h *pb.Header) *pb.Header {
		h.Replaces = target
		return h
	}
	mentions := w.header(w.bob, 1, pb.Kind_KIND_MESSAGE)
	mentions.Mentions, mentions.MentionAll = [][]byte{w.alice.Account}, true
	for _, c := range []struct {
		what    string
		by      *person
		header  *pb.Header
		content *pb.Content
	}{
		{"a text", w.alice, text, textContent("你好，世界 👋🏽 — 今天见面吗？", nil)},
		{"a reply that mentions", w.bob, mentions, textContent("好的 🎉", target)},
		{"a reaction", w.bob, about(w.header(w.bob, 2, pb.Kind_KIND_REACTION)), &pb.Content{Kind: &pb.Content_Reaction_{Reaction: &pb.Content_Reaction{Emoji: "❤️"}}}},
		{"an edit", w.alice, about(w.header(w.alice, 2, pb.Kind_KIND_EDIT)), &pb.Content{Kind: &pb.Content_Edit_{Edit: &pb.Content_Edit{Body: "你好！"}}}},
		{"a deletion", w.alice, about(w.header(w.alice, 3, pb.Kind_KIND_DELETE)), &pb.Content{Kind: &pb.Content_Delete_{Delete: &pb.Content_Delete{}}}},
		{"of a kind of later", w.bob, w.header(w.bob, 3, pb.Kind(40)), &pb.Content{}},
	} {
		e, err := SealEnvelope(w.pairKeys[1], c.header, c.content, c.by.key())
		if err != nil {
			t.Fatal(err)
		}
		hash := EnvelopeHash(e)
		v.Envelopes = append(v.Envelopes, envelopeVector{
			What: c.what, EpochKey: w.pairKeys[1], SignSeed: c.by.SignSeed, SignKey: c.by.SignKey, Header: e.GetHeader(),
			MessageKey: messageKey(w.pairKeys[1], e.GetHeader()), Content: encode(t, c.content), Envelope: encode(t, e), Hash: hash[:],
			Blanked: encode(t, Blank(e)),
		})
	}
}

func textContent(body string, reply *pb.MessageRef) *pb.Content {
	return &pb.Content{Kind: &pb.Content_Text_{Text: &pb.Content_Text{Body: body, ReplyTo: reply}}}
}
