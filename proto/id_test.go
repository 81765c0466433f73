package proto

import (
	"encoding/json"
	"testing"
)

func TestNewIDIsUUIDv7(t *testing.T) {
	t.Parallel()
	a, b := NewID(), NewID()
	if err := checkV7(a.Bytes()); err != nil || a == b || a.IsZero() {
		t.Errorf("ids %v and %v: %v", a, b, err)
	}
	if a.Compare(b) >= 0 {
		t.Errorf("%v is not before %v, which was made later", a, b)
	}
}

func TestIDFrom(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 15, 17, 32} {
		if _, err := IDFrom(make([]byte, n)); err == nil {
			t.Errorf("%d bytes were taken", n)
		}
	}
	if _, err := IDFrom(make([]byte, IDSize)); err == nil {
		t.Error("zeros were taken")
	}
	want := NewID()
	if got, err := IDFrom(want.Bytes()); err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestParseID(t *testing.T) {
	t.Parallel()
	want := NewID()
	if got, err := ParseID(want.String()); err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
	for _, s := range []string{"", "x", "{" + want.String() + "}", "urn:uuid:" + want.String(), want.String()[:35], ID{}.String()} {
		if _, err := ParseID(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func TestIDAsJSON(t *testing.T) {
	t.Parallel()
	got := NewID()
	for _, want := range []ID{NewID(), {}} { // one that is not set too: structs hold them
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Errorf("%s reads as %v, %v", b, got, err)
		}
	}
	if err := json.Unmarshal([]byte(`"no"`), &got); err == nil {
		t.Error("text that is no id was taken")
	}
}

func TestPairIDHasNoOrder(t *testing.T) {
	t.Parallel()
	a, b, c := NewID(), NewID(), NewID()
	if PairID(a, b) != PairID(b, a) || PairID(a, b) == PairID(a, c) {
		t.Error("the pair's id depends on the order, or not on the accounts")
	}
}
