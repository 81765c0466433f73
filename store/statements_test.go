package store

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
)

// TestStatements: statements are prepared once and work on in later transactions and reads, also those that were one too
// many to be kept, and those that failed.
func TestStatements(t *testing.T) {
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "parley.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	check := func(texts int) {
		t.Helper()
		for i := range texts {
			var wrote, read int
			query := fmt.Sprintf("SELECT ? + %d", i)
			err := s.write(t.Context(), func(w *writeTx) error { return w.row(query, 5).Scan(&wrote) })
			if err != nil || wrote != 5+i {
				t.Fatalf("the writer's statement %d gave %d: %v", i, wrote, err)
			}
			if err := s.read.QueryRowContext(t.Context(), query, 5).Scan(&read); err != nil || read != 5+i {
				t.Fatalf("the readers' statement %d gave %d: %v", i, read, err)
			}
		}
	}
	kept := func() (writer, readers int) {
		err := s.write(context.Background(), func(*writeTx) error { writer = len(s.prepared); return nil })
		if err != nil {
			t.Fatal(err)
		}
		return writer, len(s.read.prepared)
	}
	check(3)
	writer, readers := kept()
	check(3)
	if w, r := kept(); w != writer || r != readers || w < 3 || r < 3 {
		t.Errorf("%d and %d statements are kept, %d and %d after they ran again", writer, readers, w, r)
	}
	for range 2 {
		if err := s.write(t.Context(), func(w *writeTx) error { _, err := w.exec("INSERT INTO nowhere VALUES (1)"); return err }); err == nil {
			t.Error("wrote into a table that does not exist")
		}
		if s.read.QueryRowContext(t.Context(), "SELECT 1 FROM nowhere").Scan(new(int)) == nil {
			t.Error("read a table that does not exist")
		}
	}
	check(maxStatements + 10)
	if w, r := kept(); w != maxStatements || r != maxStatements {
		t.Errorf("%d and %d statements are kept, want %d", w, r, maxStatements)
	}
	check(maxStatements + 10)
}
