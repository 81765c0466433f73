package proto

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestFragmentsJoinAgain(t *testing.T) {
	t.Parallel()
	var r Reassembler
	for _, n := range []int{0, 1, MaxFragment - 2, MaxFragment - 1, MaxFragment, 2 * (MaxFragment - 1), 2*(MaxFragment-1) + 1, MaxFrame} {
		frame := bytes.Repeat([]byte{7}, n)
		pieces := Fragments(frame)
		for i, p := range pieces {
			if len(p) > MaxFragment {
				t.Fatalf("a piece has %d bytes", len(p))
			}
			got, err := r.Add(p)
			must(t, err)
			if last := i == len(pieces)-1; last != (got != nil) || last && !bytes.Equal(got, frame) {
				t.Fatalf("frame of %d bytes: piece %d of %d gives %d bytes", n, i, len(pieces), len(got))
			}
		}
	}
}

// TestReassemblerTakesAnyCut: a sender may cut where it likes.
func TestReassemblerTakesAnyCut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		frame := rapid.SliceOf(rapid.Byte()).Draw(t, "frame")
		var r Reassembler
		for rest := frame; ; {
			n := rapid.IntRange(min(1, len(rest)), len(rest)).Draw(t, "piece")
			more := byte(1)
			if n == len(rest) {
				more = 0
			}
			got, err := r.Add(append([]byte{more}, rest[:n]...))
			if err != nil {
				t.Fatal(err)
			}
			if rest = rest[n:]; more == 0 {
				if got == nil || !bytes.Equal(got, frame) {
					t.Fatalf("joined %x", got)
				}
				return
			}
		}
	})
}

func TestReassemblerIsBounded(t *testing.T) {
	t.Parallel()
	var r Reassembler
	piece := append([]byte{1}, make([]byte, MaxFragment-1)...)
	for range MaxFrame / (MaxFragment - 1) {
		if _, err := r.Add(piece); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Add(piece); !HasCode(err, tooLarge) {
		t.Errorf("a frame above the limit: %v", err)
	}
}

func TestReassemblerKeepsNoReference(t *testing.T) {
	t.Parallel()
	var r Reassembler
	piece := []byte{1, 5}
	_, err := r.Add(piece)
	must(t, err)
	piece[1] = 9
	got, err := r.Add([]byte{0, 6})
	must(t, err)
	same(t, "frame", got, []byte{5, 6})
}
