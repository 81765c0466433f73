package proto

import (
	"crypto/ed25519"
	"encoding/base32"
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const (
	invitationCodeBytes   = 10
	invitationSecretBytes = 16
	setupCode             = "setup"
)

// base32Text writes lower-case base32 without padding (RFC 4648 §6).
func base32Text(b []byte) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

func parseBase32(s string) ([]byte, error) {
	b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(s))
	if err != nil {
		return nil, Errorf(malformed, "not an invitation")
	}
	return b, nil
}

// InvitationSecret is an invitation as its holder has it: the code that the server knows, and the
// secret that it does not.
type InvitationSecret struct {
	Code   string
	secret []byte
}

// NewInvitation makes a fresh code and secret.
func NewInvitation() *InvitationSecret {
	return &InvitationSecret{Code: base32Text(randomBytes(invitationCodeBytes)), secret: randomBytes(invitationSecretBytes)}
}

// CheckInvitationCode says whether a code has the right form.
func CheckInvitationCode(code string) error {
	b, err := parseBase32(code)
	if err != nil || len(b) != invitationCodeBytes || base32Text(b) != code {
		return Errorf(malformed, "%q is not an invitation code", truncate(code, 40))
	}
	return nil
}

// ParseInvitation reads CODE.SECRET or an invitation link.
func ParseInvitation(text string) (*InvitationSecret, error) {
	code, secret, err := splitInvitation(text, "/i/")
	if err != nil {
		return nil, err
	}
	if err = CheckInvitationCode(code); err != nil {
		return nil, err
	}
	b, err := parseBase32(secret)
	if err != nil || len(b) != invitationSecretBytes || base32Text(b) != strings.ToLower(secret) {
		return nil, Errorf(malformed, "the invitation is cut off: copy all of it")
	}
	return &InvitationSecret{Code: code, secret: b}, nil
}

// ParseSetup reads setup.SECRET or a set-up link. ok is false for anything else.
func ParseSetup(text string) (secret string, ok bool) {
	if rest, found := strings.CutPrefix(strings.TrimSpace(text), setupCode+"."); found {
		return rest, rest != ""
	}
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Path != "/"+setupCode {
		return "", false
	}
	return u.Fragment, u.Fragment != ""
}

func splitInvitation(text, path string) (code, secret string, err error) {
	text = strings.TrimSpace(text)
	if len(text) > 2048 {
		return "", "", Errorf(malformed, "not an invitation")
	}
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil {
			return "", "", Errorf(malformed, "not an invitation link")
		}
		inPath, found := strings.CutPrefix(u.Path, path)
		if !found || u.Fragment == "" {
			return "", "", Errorf(malformed, "not a whole invitation link: it ends in #… which has to be copied too")
		}
		return strings.ToLower(inPath), u.Fragment, nil
	}
	code, secret, found := strings.Cut(text, ".")
	if !found {
		return "", "", Errorf(malformed, "not an invitation: want CODE.SECRET or the whole link")
	}
	return strings.ToLower(code), secret, nil
}

func truncate(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// String is the form for the command line.
func (i *InvitationSecret) String() string { return i.Code + "." + base32Text(i.secret) }

// Path is the form for a link, behind the server's address. The secret stands in the fragment, which
// browsers do not send.
func (i *InvitationSecret) Path() string { return "/i/" + i.Code + "#" + base32Text(i.secret) }

// LinkKey is the key that vouches for joiners.
func (i *InvitationSecret) LinkKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(Derive(i.secret, LabelInvitationLink))
}

// Seal seals what the holder of the secret may read.
func (i *InvitationSecret) Seal(part *pb.InvitationSecretPart) (*pb.Sealed, error) {
	b, err := proto.Marshal(part)
	if err != nil {
		return nil, fmt.Errorf("invitation: %w", err)
	}
	return SealBytes(Derive(i.secret, LabelInvitationSeal), b, LabelInvitationSeal, []byte(i.Code))
}

// Open opens what Seal made.
func (i *InvitationSecret) Open(s *pb.Sealed) (*pb.InvitationSecretPart, error) {
	b, err := OpenBytes(Derive(i.secret, LabelInvitationSeal), s, LabelInvitationSeal, []byte(i.Code))
	if err != nil {
		return nil, err
	}
	part := &pb.InvitationSecretPart{}
	if err := Unmarshal(b, part); err != nil {
		return nil, err
	}
	if _, err := IDFrom(part.GetAccount()); err != nil {
		return nil, err
	}
	if len(part.GetConversation()) != 0 {
		if _, err := IDFrom(part.GetConversation()); err != nil {
			return nil, err
		}
	}
	if err := check32("the inviter's identity key", part.GetIdentityKey()); err != nil {
		return nil, err
	}
	return part, nil
}

// OpenLinkJoin verifies that the holder of the link key vouches for a joiner.
func OpenLinkJoin(linkKey ed25519.PublicKey, s *pb.Signed) (*pb.LinkJoin, error) {
	if err := Verify(linkKey, LabelLinkJoin, s.GetSignature(), s.GetBody()); err != nil {
		return nil, err
	}
	join := &pb.LinkJoin{}
	if err := Unmarshal(s.GetBody(), join); err != nil {
		return nil, err
	}
	for _, b := range [][]byte{join.GetAccount(), join.GetConversation()} {
		if _, err := IDFrom(b); err != nil {
			return nil, err
		}
	}
	if err := check32("the joiner's identity key", join.GetIdentityKey()); err != nil {
		return nil, err
	}
	return join, nil
}

// OpenInvitation verifies an invitation by the device that it names and checks its form. Whether it is
// still open (expiry against a clock, uses left) is for the server to check.
func OpenInvitation(s *pb.Signed, lookup Lookup) (*pb.Invitation, error) {
	inv := &pb.Invitation{}
	if err := Unmarshal(s.GetBody(), inv); err != nil { // read to learn whose key to verify with
		return nil, err
	}
	if err := verifyBy(lookup, inv.GetAccount(), inv.GetDevice(), LabelInvitation, s); err != nil {
		return nil, err
	}
	if err := CheckInvitationCode(inv.GetCode()); err != nil {
		return nil, err
	}
	if len(inv.GetConversation()) != 0 {
		if _, err := IDFrom(inv.GetConversation()); err != nil {
			return nil, err
		}
	}
	if inv.GetUses() == 0 || inv.GetUses() > MaxInvitationUses || inv.GetExpiresMs() == 0 {
		return nil, Errorf(malformed, "an invitation has 1 to %d uses and an end", MaxInvitationUses)
	}
	if err := check32("a link key", inv.GetLinkKey()); err != nil {
		return nil, err
	}
	return inv, nil
}
