package proto

import (
	"crypto/ed25519"
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Sign makes an Ed25519 signature (RFC 8032) over the tuple.
func Sign(key ed25519.PrivateKey, label string, fields ...[]byte) []byte {
	return ed25519.Sign(key, Tuple(label, fields...))
}

// Verify checks a signature made by Sign. It fails with code bad_signature.
func Verify(key ed25519.PublicKey, label string, signature []byte, fields ...[]byte) error {
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, Tuple(label, fields...), signature) {
		return Errorf(badSignature, "the signature of the %s is wrong", label)
	}
	return nil
}

// SignMessage serialises m and signs the bytes.
func SignMessage(key ed25519.PrivateKey, label string, m proto.Message) (*pb.Signed, error) {
	body, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", label, err)
	}
	return &pb.Signed{Body: body, Signature: Sign(key, label, body)}, nil
}

// Lookup finds the signing key of an account's device among verified device lists. Its errors come
// back unchanged from what uses it.
type Lookup func(account, device ID) (ed25519.PublicKey, error)

// verifyBy checks an object's signature with the key of the device that stands in it.
func verifyBy(lookup Lookup, account, device []byte, label string, s *pb.Signed) error {
	a, err := IDFrom(account)
	if err != nil {
		return err
	}
	d, err := IDFrom(device)
	if err != nil {
		return err
	}
	key, err := lookup(a, d)
	if err != nil {
		return err
	}
	return Verify(key, label, s.GetSignature(), s.GetBody())
}
