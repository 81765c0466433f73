package proto

import (
	"crypto/ed25519"
	"encoding/hex"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func negativeBytes() []negativeVector {
	nested := func(levels int) octets {
		var b []byte
		for range levels {
			b = protowire.AppendTag(b, 1000, protowire.StartGroupType)
		}
		for range levels {
			b = protowire.AppendTag(b, 1000, protowire.EndGroupType)
		}
		return b
	}
	return []negativeVector{
		{What: "fragments", Why: "an empty message", Error: "malformed", Messages: []octets{{}}},
		{What: "fragments", Why: "neither more nor last", Error: "malformed", Messages: []octets{{2, 1}}},
		{What: "fragments", Why: "more follows after nothing", Error: "malformed", Messages: []octets{{1}}},
		{What: "fragments", Why: "a message of 16 KiB and one octet", Error: "malformed", Messages: []octets{append([]byte{0}, make([]byte, MaxFragment)...)}},
		{What: "nesting", Why: "33 groups within each other in an unknown field", Error: "malformed", Bytes: nested(33)},
	}
}

func negativeLinks(t *testing.T, w *world, v *vectors) []negativeVector {
	t.Helper()
	offer := decode(t, v.Descriptions.Offer, &pb.Description{})
	description := func(why, code string, key []byte, change func(*pb.Description)) negativeVector {
		d := proto.CloneOf(offer)
		change(d)
		return negativeVector{What: "description", Why: why, Error: code, Key: key, Description: encode(t, d)}
	}
	signed := func(why string, change func(*pb.DescriptionBody)) negativeVector {
		body := decode(t, offer.GetBody().GetBody(), &pb.DescriptionBody{})
		change(body)
		d, err := SignDescription(w.alice.key(), body, offer.GetSdp())
		if err != nil {
			t.Fatal(err)
		}
		return negativeVector{What: "description", Why: why, Error: "malformed", Key: w.alice.SignKey, Description: encode(t, d)}
	}
	mark := seeded("alice's certificate")
	link := seededID("link")
	alice, bob := w.ends()
	proof := func(why string, key ed25519.PrivateKey, change func(own, other *LinkEnd)) negativeVector {
		own, other := bob, alice
		change(&own, &other)
		return negativeVector{What: "link_proof", Why: why, Error: "bad_signature", Signature: SignLinkProof(key, link, own, other).GetSignature()}
	}
	return []negativeVector{
		description("a swapped fingerprint", "bad_signature", w.alice.SignKey, func(d *pb.Description) { d.Sdp = sdp(seeded("mallory's certificate")) }),
		description("somebody else's key", "bad_signature", w.mallory.SignKey, func(*pb.Description) {}),
		description("a flipped signature", "bad_signature", w.alice.SignKey, func(d *pb.Description) { d.Body = flipSignature(d.GetBody()) }),
		description("no text", "too_large", w.alice.SignKey, func(d *pb.Description) { d.Sdp = "" }),
		signed("an offer that names an offer", func(b *pb.DescriptionBody) { b.OfferHash = make([]byte, HashSize) }),
		signed("an answer that names none", func(b *pb.DescriptionBody) { b.Type = pb.DescriptionType_DESCRIPTION_TYPE_ANSWER }),
		signed("neither offer nor answer", func(b *pb.DescriptionBody) { b.Type = 0 }),
		signed("no generation", func(b *pb.DescriptionBody) { b.Generation = 0 }),
		signed("a short link id", func(b *pb.DescriptionBody) { b.Link = b.GetLink()[:15] }),
		signed("a short call id", func(b *pb.DescriptionBody) { b.Call = []byte{1} }),
		{What: "fingerprint", Why: "none", Error: "malformed", SDP: sdp()},
		{What: "fingerprint", Why: "two", Error: "malformed", SDP: sdp(mark, seeded("mallory's certificate"))},
		{What: "fingerprint", Why: "too short", Error: "malformed", SDP: sdp(mark[:20])},
		{What: "fingerprint", Why: "of another hash", Error: "malformed", SDP: "v=0\r\na=fingerprint:sha-1 " + printText(mark[:20]) + "\r\n"},
		{What: "fingerprint", Why: "without colons", Error: "malformed", SDP: "v=0\r\na=fingerprint:sha-256 " + hex.EncodeToString(mark) + "\r\n"},
		{What: "fingerprint", Why: "a line that ends in CR only", Error: "malformed", SDP: "v=0\ra=fingerprint:sha-256 " + printText(mark) + "\r\n" + "a=fingerprint:sha-256 " + printText(mark) + "\r\n"},
		proof("a swapped fingerprint", w.bob.key(), func(own, _ *LinkEnd) { own.Fingerprint = seeded("mallory's certificate") }),
		proof("a swapped fingerprint of the other end", w.bob.key(), func(_, other *LinkEnd) { other.Fingerprint = seeded("mallory's certificate") }),
		proof("another nonce", w.bob.key(), func(_, other *LinkEnd) { other.Nonce = seeded("replay") }),
		proof("an older list", w.bob.key(), func(_, other *LinkEnd) { other.ListVersion = 1 }),
		proof("the own proof sent back", w.alice.key(), func(own, other *LinkEnd) { *own, *other = *other, *own }),
		proof("another device", w.mallory.key(), func(*LinkEnd, *LinkEnd) {}),
	}
}
