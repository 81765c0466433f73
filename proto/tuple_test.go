package proto

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestTupleIsInjective: two lists of fields never give the same octets.
func TestTupleIsInjective(t *testing.T) {
	t.Parallel()
	fields := rapid.SliceOfN(rapid.SliceOfN(rapid.ByteRange(0, 2), 0, 4), 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		a, b := fields.Draw(t, "a"), fields.Draw(t, "b")
		equal := len(a) == len(b)
		for i := 0; equal && i < len(a); i++ {
			equal = bytes.Equal(a[i], b[i])
		}
		if got := bytes.Equal(Tuple(LabelCommit, a...), Tuple(LabelCommit, b...)); got != equal {
			t.Fatalf("%v and %v", a, b)
		}
	})
}

func TestTupleBytes(t *testing.T) {
	t.Parallel()
	want := append([]byte("parley/v1 link\x00"), 0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0)
	if got := Tuple(LabelLink, []byte("ab"), nil); !bytes.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if !bytes.Equal(U32(0x01020304), []byte{1, 2, 3, 4}) || !bytes.Equal(U64(5), []byte{0, 0, 0, 0, 0, 0, 0, 5}) {
		t.Error("numbers are not big-endian")
	}
}

func TestDeriveSeparatesLabels(t *testing.T) {
	t.Parallel()
	key := RandomKey()
	a, b, c := Derive(key, LabelAuth), Derive(key, LabelWrap), Derive(key, LabelAuth, []byte{})
	if len(a) != KeySize || bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Error("labels or fields do not tell keys apart")
	}
}
