package proto

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// SignDescription signs an offer or answer; it sets the hash of the SDP.
func SignDescription(key ed25519.PrivateKey, body *pb.DescriptionBody, sdp string) (*pb.Description, error) {
	body = proto.CloneOf(body)
	sum := sha256.Sum256([]byte(sdp))
	body.SdpHash = sum[:]
	signed, err := SignMessage(key, LabelDescription, body)
	if err != nil {
		return nil, err
	}
	return &pb.Description{Body: signed, Sdp: sdp}, nil
}

// OpenDescription verifies a description's signature, form and SDP hash. That it fits the link (ends,
// generation, offer hash, fingerprint) is for the link to check.
func OpenDescription(key ed25519.PublicKey, d *pb.Description) (*pb.DescriptionBody, error) {
	if err := Verify(key, LabelDescription, d.GetBody().GetSignature(), d.GetBody().GetBody()); err != nil {
		return nil, err
	}
	body, err := PeekDescription(d)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(d.GetSdp()))
	if !bytes.Equal(sum[:], body.GetSdpHash()) {
		return nil, Errorf(badSignature, "the session description was altered on its way")
	}
	return body, nil
}

// PeekDescription parses a description without verifying it, to learn which device to verify it with.
func PeekDescription(d *pb.Description) (*pb.DescriptionBody, error) {
	if len(d.GetSdp()) == 0 || len(d.GetSdp()) > MaxSDP {
		return nil, Errorf(tooLarge, "a session description has 1 to %d bytes", MaxSDP)
	}
	body := &pb.DescriptionBody{}
	if err := Unmarshal(d.GetBody().GetBody(), body); err != nil {
		return nil, err
	}
	for _, b := range [][]byte{body.GetFromAccount(), body.GetFromDevice(), body.GetToAccount(), body.GetToDevice(), body.GetLink()} {
		if _, err := IDFrom(b); err != nil {
			return nil, err
		}
	}
	if len(body.GetCall()) != 0 {
		if _, err := IDFrom(body.GetCall()); err != nil {
			return nil, err
		}
	}
	answer := body.GetType() == pb.DescriptionType_DESCRIPTION_TYPE_ANSWER
	offer := body.GetType() == pb.DescriptionType_DESCRIPTION_TYPE_OFFER
	if !answer && !offer || body.GetGeneration() == 0 || answer && len(body.GetOfferHash()) != HashSize || offer && len(body.GetOfferHash()) != 0 {
		return nil, Errorf(malformed, "a session description lacks type, generation or offer hash")
	}
	return body, nil
}

// OfferHash is what an answer names of the offer it answers.
func OfferHash(offer *pb.Description) [HashSize]byte { return sha256.Sum256(offer.GetBody().GetBody()) }

// FingerprintOf returns the one SHA-256 DTLS certificate fingerprint in an SDP, as 32 raw bytes
// (RFC 8122 §5). Several lines must agree. Anything but 32 pairs of hexadecimal digits joined by colons is
// refused, so that no other parser reads another value out of the same text.
func FingerprintOf(sdp string) ([]byte, error) {
	if strings.Contains(strings.ReplaceAll(sdp, "\r\n", "\n"), "\r") {
		return nil, Errorf(malformed, "the session description has a line that ends in another way")
	}
	var found []byte
	for line := range strings.Lines(sdp) {
		value, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "a=fingerprint:")
		if !ok {
			continue
		}
		algorithm, text, _ := strings.Cut(value, " ")
		sum, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
		if !strings.EqualFold(algorithm, "sha-256") || err != nil || len(sum) != HashSize || len(text) != 3*HashSize-1 {
			return nil, Errorf(malformed, "the session description has a fingerprint that is not SHA-256")
		}
		if found != nil && !bytes.Equal(found, sum) {
			return nil, Errorf(malformed, "the session description has several fingerprints")
		}
		found = sum
	}
	if found == nil {
		return nil, Errorf(malformed, "the session description has no fingerprint")
	}
	return found, nil
}

// LinkEnd is what one end of a link puts into the proof.
type LinkEnd struct {
	Account, Device ID
	Fingerprint     []byte // of its DTLS certificate, 32 bytes
	Nonce           []byte // 32 bytes
	ListVersion     uint64
}

func linkFields(link ID, by, other LinkEnd) [][]byte {
	return [][]byte{
		link[:], by.Account[:], by.Device[:], other.Account[:], other.Device[:], by.Fingerprint, other.Fingerprint,
		by.Nonce, other.Nonce, U64(by.ListVersion), U64(other.ListVersion),
	}
}

// SignLinkProof signs the link as seen from this end (docs/PROTOCOL.md §6).
func SignLinkProof(key ed25519.PrivateKey, link ID, own, other LinkEnd) *pb.LinkProof {
	return &pb.LinkProof{Signature: Sign(key, LabelLink, linkFields(link, own, other)...)}
}

// VerifyLinkProof checks the proof that the other end made. own and other are as this end sees them.
func VerifyLinkProof(key ed25519.PublicKey, link ID, own, other LinkEnd, p *pb.LinkProof) error {
	return Verify(key, LabelLink, p.GetSignature(), linkFields(link, other, own)...)
}
