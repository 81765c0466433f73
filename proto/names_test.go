package proto

import (
	"strings"
	"testing"
)

// The cases stand in the vectors; here is what cannot be read from a list.

func TestFoldUserNameIsStable(t *testing.T) {
	t.Parallel()
	for _, name := range userNames() {
		folded, err := FoldUserName(name)
		if err != nil {
			continue
		}
		if again, err := FoldUserName(folded); err != nil || again != folded {
			t.Errorf("%q folds to %q, which folds to %q: %v", name, folded, again, err)
		}
	}
}

func TestLookAlikesAreRefused(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{
		{"alice", "аlice"}, // Cyrillic a
		{"bob", "bоb"},     // Cyrillic o
		{"omega", "οmega"}, // Greek omicron
		{"admin", "admi\u0307n"},
		{"alice", "alice\u200b"},
		{"ecila", "\u202eecila"},
		{"boб", "bob"},
	} {
		a, errA := FoldUserName(pair[0])
		b, errB := FoldUserName(pair[1])
		if errA == nil && errB == nil {
			t.Errorf("%q and %q are both names: %q, %q", pair[0], pair[1], a, b)
		}
	}
}

func TestLongNamesAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 1<<20)
	if _, err := FoldUserName(long); !HasCode(err, nameInvalid) {
		t.Error(err)
	}
	if _, err := CleanNickname(long); !HasCode(err, nameInvalid) {
		t.Error(err)
	}
	if _, err := CleanNickname("a\xffb"); !HasCode(err, nameInvalid) {
		t.Error("text that is not UTF-8 was taken")
	}
	if _, err := FoldUserName("ab\xff"); !HasCode(err, nameInvalid) {
		t.Error("text that is not UTF-8 was taken")
	}
}

func TestCleanNicknameIsStable(t *testing.T) {
	t.Parallel()
	for _, name := range nicknames() {
		clean, err := CleanNickname(name)
		if err != nil {
			continue
		}
		if again, err := CleanNickname(clean); err != nil || again != clean {
			t.Errorf("%q becomes %q, then %q: %v", name, clean, again, err)
		}
	}
}
