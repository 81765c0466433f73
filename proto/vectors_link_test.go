package proto

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

type descriptionVectors struct {
	About       string `json:"about"`
	Offer       octets `json:"offer"`  // Description, by Alice's device
	Answer      octets `json:"answer"` // Description, by Bob's device
	OfferHash   octets `json:"offer_hash"`
	OfferPrint  octets `json:"offer_fingerprint"`
	AnswerPrint octets `json:"answer_fingerprint"`
}

type linkEnd struct {
	Account     octets `json:"account"`
	Device      octets `json:"device"`
	SignKey     octets `json:"sign_key"`
	Fingerprint octets `json:"fingerprint"`
	Nonce       octets `json:"nonce"`
	ListVersion uint64 `json:"list_version"`
	Proof       octets `json:"proof"` // signature of this end
}

type linkProofVector struct {
	Link  octets  `json:"link"`
	Alice linkEnd `json:"alice"`
	Bob   linkEnd `json:"bob"`
}

func sum(b []byte) octets {
	s := sha256.Sum256(b)
	return s[:]
}

// sdp is a description of one data channel, with the fingerprint as often as asked.
func sdp(fingerprints ...[]byte) string {
	lines := []string{
		"v=0", "o=- 4611731400430051336 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
		"c=IN IP4 0.0.0.0", "a=ice-ufrag:abcd", "a=ice-pwd:0123456789abcdef0123456789",
	}
	for _, f := range fingerprints {
		lines = append(lines, "a=fingerprint:sha-256 "+printText(f))
	}
	lines = append(lines, "a=setup:actpass", "a=mid:0", "a=sctp-port:5000", "")
	return strings.Join(lines, "\r\n")
}

func printText(f []byte) string {
	pairs := make([]string, 0, len(f))
	for _, b := range f {
		pairs = append(pairs, strings.ToUpper(hex.EncodeToString([]byte{b})))
	}
	return strings.Join(pairs, ":")
}

func (w *world) describe(from, to *person, kind pb.DescriptionType, offer []byte) *pb.DescriptionBody {
	return &pb.DescriptionBody{
		FromAccount: from.Account, FromDevice: from.Device, ToAccount: to.Account, ToDevice: to.Device, Link: seededID("link").Bytes(),
		Generation: 1, Type: kind, OfferHash: offer,
	}
}

func (w *world) offer(t *testing.T) *pb.Description {
	t.Helper()
	d, err := SignDescription(w.alice.key(), w.describe(w.alice, w.bob, pb.DescriptionType_DESCRIPTION_TYPE_OFFER, nil), sdp(seeded("alice's certificate")))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func buildDescriptions(t *testing.T, w *world, v *vectors) {
	t.Helper()
	offer := w.offer(t)
	hash := OfferHash(offer)
	mark := seeded("bob's certificate")
	answer, err := SignDescription(w.bob.key(), w.describe(w.bob, w.alice, pb.DescriptionType_DESCRIPTION_TYPE_ANSWER, hash[:]), sdp(mark, mark))
	if err != nil {
		t.Fatal(err)
	}
	v.Descriptions = descriptionVectors{
		About: "a link from Alice's to Bob's device; the answer has its fingerprint twice",
		Offer: encode(t, offer), Answer: encode(t, answer), OfferHash: hash[:], OfferPrint: seeded("alice's certificate"), AnswerPrint: mark,
	}
}

func (w *world) ends() (alice, bob LinkEnd) {
	end := func(p *person, version uint64) LinkEnd {
		return LinkEnd{
			Account: ID(p.Account), Device: ID(p.Device), Fingerprint: seeded(p.Name + "'s certificate"), Nonce: seeded(p.Name, "nonce"), ListVersion: version,
		}
	}
	return end(w.alice, 2), end(w.bob, 1)
}

func buildLinkProof(t *testing.T, w *world, v *vectors) {
	t.Helper()
	link := seededID("link")
	alice, bob := w.ends()
	vector := func(p *person, own, other LinkEnd) linkEnd {
		return linkEnd{
			p.Account, p.Device, p.SignKey, own.Fingerprint, own.Nonce, own.ListVersion, SignLinkProof(p.key(), link, own, other).GetSignature(),
		}
	}
	v.LinkProof = linkProofVector{link.Bytes(), vector(w.alice, alice, bob), vector(w.bob, bob, alice)}
}
