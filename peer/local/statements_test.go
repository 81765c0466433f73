package local

import (
	"fmt"
	"path/filepath"
	"testing"
)

// TestStatements: statements are prepared once and work on in later transactions, also those that were one too many to be
// kept, and those that failed.
func TestStatements(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "peer.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	count := func(texts int) {
		t.Helper()
		for i := range texts {
			var got int
			err := s.Update(t.Context(), func(tx *Tx) error {
				return tx.row(fmt.Sprintf("SELECT ? + %d", i), 5).Scan(&got)
			})
			if err != nil || got != 5+i {
				t.Fatalf("statement %d gave %d: %v", i, got, err)
			}
		}
	}
	count(3)
	first := s.prepared["SELECT ? + 1"]
	count(3)
	if len(s.prepared) != 3 || first == nil || s.prepared["SELECT ? + 1"] != first {
		t.Errorf("%d statements are kept, want the first three", len(s.prepared))
	}
	for range 2 {
		if err := s.Update(t.Context(), func(tx *Tx) error { return tx.exec("try", "INSERT INTO nowhere VALUES (1)") }); err == nil {
			t.Error("wrote into a table that does not exist")
		}
	}
	count(maxStatements + 10)
	if len(s.prepared) != maxStatements {
		t.Errorf("%d statements are kept, want %d", len(s.prepared), maxStatements)
	}
	count(maxStatements + 10)
}
