package proto

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const (
	deviceLinkPath        = "/d/"
	deviceLinkSecretBytes = 16
)

// DeviceLinkSecret is what an older device shows, as a QR code, so that a new one is added to its account without a
// password typed there: the code that the server knows, the secret that it does not, and whose account it is.
type DeviceLinkSecret struct {
	Code    string
	Account ID
	secret  []byte
}

// NewDeviceLink makes a fresh secret for a code that the server gave.
func NewDeviceLink(code string, account ID) *DeviceLinkSecret {
	return &DeviceLinkSecret{Code: code, Account: account, secret: randomBytes(deviceLinkSecretBytes)}
}

// ParseDeviceLink reads CODE.SECRET.ACCOUNT or a device link. It fails with malformed.
func ParseDeviceLink(text string) (*DeviceLinkSecret, error) {
	code, rest, err := splitInvitation(text, deviceLinkPath)
	if err != nil {
		return nil, Errorf(malformed, "not a whole device link: it ends in #… which has to be copied too")
	}
	if err := CheckInvitationCode(code); err != nil {
		return nil, Errorf(malformed, "%q is not the code of a device link", truncate(code, 40))
	}
	secret, account, _ := strings.Cut(strings.ToLower(rest), ".")
	b, err := parseBase32(secret)
	id, idErr := parseBase32(account)
	if err != nil || idErr != nil || len(b) != deviceLinkSecretBytes || len(id) != IDSize || base32Text(b) != secret || base32Text(id) != account {
		return nil, Errorf(malformed, "the device link is cut off: scan it again, or copy all of it")
	}
	return &DeviceLinkSecret{Code: code, Account: ID(id), secret: b}, nil
}

// String is the form for the command line.
func (l *DeviceLinkSecret) String() string { return l.Code + "." + l.fragment() }

// Path is the form for a link, behind the server's address. Browsers do not send what stands in the fragment.
func (l *DeviceLinkSecret) Path() string { return deviceLinkPath + l.Code + "#" + l.fragment() }

func (l *DeviceLinkSecret) fragment() string {
	return base32Text(l.secret) + "." + base32Text(l.Account[:])
}

// Seal seals what the new device says of itself. Only who has the secret can.
func (l *DeviceLinkSecret) Seal(ask *pb.DeviceAsk) (*pb.Sealed, error) {
	b, err := proto.Marshal(ask)
	if err != nil {
		return nil, fmt.Errorf("device link: %w", err)
	}
	return SealBytes(Derive(l.secret, LabelDeviceLink), b, LabelDeviceLink, []byte(l.Code))
}

// Open opens what Seal made, and checks the form of the keys. It fails with malformed, above all when another one sealed it.
func (l *DeviceLinkSecret) Open(s *pb.Sealed) (*pb.DeviceAsk, error) {
	b, err := OpenBytes(Derive(l.secret, LabelDeviceLink), s, LabelDeviceLink, []byte(l.Code))
	if err != nil {
		return nil, err
	}
	ask := &pb.DeviceAsk{}
	if err := Unmarshal(b, ask); err != nil {
		return nil, err
	}
	keys := ask.GetKeys()
	if _, err := IDFrom(keys.GetDevice()); err != nil {
		return nil, err
	}
	if err := check32("a device's sign key", keys.GetSignKey()); err != nil {
		return nil, err
	}
	return ask, check32("a device's seal key", keys.GetSealKey())
}
