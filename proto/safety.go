package proto

import (
	"bytes"
	"fmt"
	"strings"
)

// A safety number has safetyGroups groups of safetyDigits digits, half of them of each account. Each group comes from
// five bytes of a hash, so that a half holds 79.7 bits: making an identity key with a given half takes about 2^79 tries.
const (
	safetyGroups = 12
	safetyDigits = 4
	safetyChunk  = 5 // bytes a group is made of
	safetyPrefix = "parley-safety:"
)

// SafetyEnd is an account with the identity key that a device has pinned for it.
type SafetyEnd struct {
	Account     ID
	IdentityKey []byte // Ed25519 public key
}

// SafetyNumber is what two people compare to know that nobody stands between them: 48 digits in groups of four, the same
// on both sides (docs/PROTOCOL.md §3). It fails for an identity key of the wrong length.
func SafetyNumber(a, b SafetyEnd) (string, error) {
	if bytes.Compare(a.Account[:], b.Account[:]) > 0 {
		a, b = b, a
	}
	groups := make([]string, 0, safetyGroups)
	for _, end := range []SafetyEnd{a, b} {
		if err := check32("an identity key", end.IdentityKey); err != nil {
			return "", err
		}
		sum := Hash(LabelSafety, end.Account[:], end.IdentityKey)
		for i := range safetyGroups / 2 {
			groups = append(groups, safetyGroup(sum[i*safetyChunk:(i+1)*safetyChunk]))
		}
	}
	return strings.Join(groups, " "), nil
}

func safetyGroup(chunk []byte) string {
	n := uint64(0)
	for _, b := range chunk {
		n = n<<8 | uint64(b)
	}
	return fmt.Sprintf("%0*d", safetyDigits, n%10_000)
}

// SafetyText is what the QR code of a safety number says.
func SafetyText(number string) string { return safetyPrefix + strings.ReplaceAll(number, " ", "") }

// MatchSafety says whether what a QR code says, or a person typed, is the safety number: with or without the prefix and
// white space. It fails for what is no safety number at all.
func MatchSafety(number, text string) (bool, error) {
	digits := strings.Join(strings.Fields(strings.TrimPrefix(strings.TrimSpace(text), safetyPrefix)), "")
	if len(digits) != safetyGroups*safetyDigits || strings.Trim(digits, "0123456789") != "" {
		return false, Errorf(malformed, "this is not a safety number: it has %d digits", safetyGroups*safetyDigits)
	}
	return digits == strings.ReplaceAll(number, " ", ""), nil
}
