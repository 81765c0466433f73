package proto

import (
	"encoding/base32"
	"strings"
)

const (
	recoveryBytes  = 16 // of randomness: nothing has to be made slow to guess
	recoveryCheck  = 12 // bits of a checksum, so that a slip of the pen is found before the server is asked
	recoveryChars  = (8*recoveryBytes + recoveryCheck) / 5
	recoveryGroup  = 4
	recoveryGroups = recoveryChars / recoveryGroup
)

// RecoveryCode opens an account when every device and the password are lost. It is random and written on paper.
type RecoveryCode struct{ secret [recoveryBytes]byte }

// NewRecoveryCode makes a code of 128 random bits.
func NewRecoveryCode() *RecoveryCode {
	return &RecoveryCode{[recoveryBytes]byte(randomBytes(recoveryBytes))}
}

// String is the code as it is written down: seven groups of four letters and digits.
func (c *RecoveryCode) String() string {
	sum := Hash(LabelRecovery, c.secret[:])
	// 128 bits and the checksum's 12 in base32: the last byte's low half would be a 29th character.
	b := append(c.secret[:], sum[0], sum[1]&0xf0)
	text := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))[:recoveryChars]
	groups := make([]string, recoveryGroups)
	for i := range groups {
		groups[i] = text[i*recoveryGroup : (i+1)*recoveryGroup]
	}
	return strings.Join(groups, "-")
}

// ParseRecoveryCode reads a code as people type it: in any case, with any spaces and dashes, 0 for o, 1 for l and 8 for b.
// It fails when characters are missing or one is wrong.
func ParseRecoveryCode(text string) (*RecoveryCode, error) {
	text = strings.Map(func(r rune) rune {
		switch r {
		case ' ', '-', '\t', '\n', '\r', '–', '—', '\u00a0', '\u3000':
			return -1
		case '0':
			return 'O'
		case '1':
			return 'L'
		case '8':
			return 'B'
		}
		return r
	}, text)
	if len(text) != recoveryChars {
		return nil, Errorf(malformed, "a recovery code has %d groups of %d letters and digits", recoveryGroups, recoveryGroup)
	}
	// One more character of zero bits makes whole bytes of it.
	b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(text) + "A")
	if err != nil {
		return nil, Errorf(malformed, "a recovery code has letters and the digits 2 to 7 only: check what you typed")
	}
	c := &RecoveryCode{[recoveryBytes]byte(b)}
	sum := Hash(LabelRecovery, c.secret[:])
	if b[recoveryBytes] != sum[0] || b[recoveryBytes+1] != sum[1]&0xf0 {
		return nil, Errorf(malformed, "a character of the recovery code is wrong: compare it with what you wrote down")
	}
	return c, nil
}

// Secrets are what proves the code to the server at a host, and what opens the account.
func (c *RecoveryCode) Secrets(host string) (auth, wrap []byte) {
	return Derive(c.secret[:], LabelRecoveryAuth, []byte(host)), Derive(c.secret[:], LabelRecoveryWrap)
}
