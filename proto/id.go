package proto

import (
	"bytes"
	"fmt"

	"github.com/google/uuid"
)

// IDSize is the length of every id in bytes.
const IDSize = 16

// ID is a 16-byte identifier: a UUIDv7 (RFC 9562 §5.7), or a derived one for a pair.
type ID [IDSize]byte

// NewID makes a UUIDv7.
func NewID() ID { return ID(uuid.Must(uuid.NewV7())) } // fails only if the system's randomness does, which never returns

// IDFrom reads an id of exactly 16 bytes that are not all zero.
func IDFrom(b []byte) (ID, error) {
	if len(b) != IDSize {
		return ID{}, Errorf(malformed, "an id has %d bytes, not %d", IDSize, len(b))
	}
	id := ID(b)
	if id.IsZero() {
		return ID{}, Errorf(malformed, "an id is empty")
	}
	return id, nil
}

// ParseID reads the text form of a UUID (36 characters, either case) that is not all zero.
func ParseID(s string) (ID, error) {
	u, err := uuid.Parse(s)
	if err != nil || len(s) != 36 {
		return ID{}, Errorf(malformed, "%q is not an id", s)
	}
	return IDFrom(u[:])
}

// Bytes returns a copy of the id's bytes.
func (id ID) Bytes() []byte { return bytes.Clone(id[:]) }

// String is the UUID's text form.
func (id ID) String() string { return uuid.UUID(id).String() }

// IsZero says that the id is not set.
func (id ID) IsZero() bool { return id == ID{} }

// Compare orders ids bytewise.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// checkV7 refuses ids that are not UUIDv7.
func checkV7(b []byte) error {
	if len(b) != IDSize || b[6]>>4 != 7 || b[8]>>6 != 2 {
		return Errorf(malformed, "a message id is not a UUIDv7")
	}
	return nil
}

// PairID is the id of the conversation of two accounts, whichever is named first.
func PairID(a, b ID) ID {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	h := Hash(LabelPair, a[:], b[:])
	return ID(h[:IDSize])
}

// MarshalText writes the text form; an id that is not set is empty text.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText reads what MarshalText writes.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*id = ID{}
		return nil
	}
	parsed, err := ParseID(string(text))
	if err != nil {
		return fmt.Errorf("id: %w", err)
	}
	*id = parsed
	return nil
}
