package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-chat/parley/store"
)

// TestOneProcess: a database that is open is not opened a second time, and is free again when it was closed or its owner died.
func TestOneProcess(t *testing.T) {
	cfg := store.Config{Path: filepath.Join(t.TempDir(), "parley.db")}
	first, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := store.Open(t.Context(), cfg); err == nil {
		t.Error("opened twice", second.Close())
	} else if !strings.Contains(err.Error(), "another process") {
		t.Errorf("it does not say why: %v", err)
	}
	if err := first.SetMeta(t.Context(), "name", []byte("value")); err != nil {
		t.Errorf("the first one does not go on: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(cfg.Path + ".lock"); err != nil {
		t.Errorf("the file that a dead owner leaves: %v", err)
	}
	again, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
