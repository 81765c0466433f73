package link

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

var errDescription = errors.New("description: malformed")

// signDescription signs what docs/PROTOCOL.md §6 says a description is.
func signDescription(key ed25519.PrivateKey, body *pb.DescriptionBody, sdp string) (*pb.Description, error) {
	signed, err := proto.SignMessage(key, proto.LabelDescription, body)
	if err != nil {
		return nil, fmt.Errorf("description: %w", err)
	}
	return &pb.Description{Body: signed, Sdp: sdp}, nil
}

// openDescription verifies a description and that it is from and to whom it must be. Nothing is parsed before the
// signature verified.
func openDescription(d *pb.Description, key ed25519.PublicKey, from, to Peer, link proto.ID) (*pb.DescriptionBody, error) {
	signed := d.GetBody()
	if err := proto.Verify(key, proto.LabelDescription, signed.GetSignature(), signed.GetBody()); err != nil {
		return nil, fmt.Errorf("description: %w", err)
	}
	body := new(pb.DescriptionBody)
	if err := proto.Unmarshal(signed.GetBody(), body); err != nil {
		return nil, fmt.Errorf("description: %w", err)
	}
	sum := sha256.Sum256([]byte(d.GetSdp()))
	ends := bytes.Equal(body.GetFromAccount(), from.Account.Bytes()) && bytes.Equal(body.GetFromDevice(), from.Device.Bytes()) &&
		bytes.Equal(body.GetToAccount(), to.Account.Bytes()) && bytes.Equal(body.GetToDevice(), to.Device.Bytes())
	isAnswer := body.GetType() == pb.DescriptionType_DESCRIPTION_TYPE_ANSWER
	isOffer := body.GetType() == pb.DescriptionType_DESCRIPTION_TYPE_OFFER
	switch {
	case !ends:
		return nil, errors.New("description: for or from another device")
	case !bytes.Equal(body.GetLink(), link.Bytes()):
		return nil, errors.New("description: of another link")
	case !bytes.Equal(body.GetSdpHash(), sum[:]):
		return nil, errors.New("description: the SDP is not the one signed")
	case body.GetGeneration() == 0, !isAnswer && !isOffer,
		isAnswer && len(body.GetOfferHash()) != sha256.Size, isOffer && len(body.GetOfferHash()) != 0:
		return nil, errDescription
	}
	return body, nil
}

// fingerprintOf returns the one SHA-256 certificate fingerprint that an SDP must hold (RFC 8122), 32 bytes.
func fingerprintOf(sdp string) ([]byte, error) {
	var found []byte
	for line := range strings.Lines(sdp) {
		value, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "a=fingerprint:")
		if !ok {
			continue
		}
		algorithm, text, _ := strings.Cut(value, " ")
		print, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(text), ":", ""))
		if !strings.EqualFold(algorithm, "sha-256") || err != nil || len(print) != sha256.Size {
			return nil, errors.New("description: fingerprint is not SHA-256")
		}
		if found != nil && !bytes.Equal(found, print) {
			return nil, errors.New("description: more than one fingerprint")
		}
		found = print
	}
	if found == nil {
		return nil, errors.New("description: no fingerprint")
	}
	return found, nil
}

// linkEnd is one end's part of a proof.
type linkEnd struct {
	Peer
	print   []byte
	nonce   []byte
	version uint64
}

// linkProof is what both ends sign, each as its own.
type linkProof struct {
	link       proto.ID
	own, other linkEnd
}

func (p linkProof) fields() [][]byte {
	return [][]byte{
		p.link.Bytes(), p.own.Account.Bytes(), p.own.Device.Bytes(), p.other.Account.Bytes(), p.other.Device.Bytes(),
		p.own.print, p.other.print, p.own.nonce, p.other.nonce, proto.U64(p.own.version), proto.U64(p.other.version),
	}
}

func (p linkProof) sign(key ed25519.PrivateKey) []byte {
	return proto.Sign(key, proto.LabelLink, p.fields()...)
}

// verify checks the other end's signature, which has the ends the other way round.
func (p linkProof) verify(key ed25519.PublicKey, signature []byte) error {
	p.own, p.other = p.other, p.own
	return proto.Verify(key, proto.LabelLink, signature, p.fields()...)
}
