package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/store/storetest"
)

// raw runs statements on a database file.
func raw(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	ok(t, err)
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	ok(t, db.Close())
}

// opens fails the test if a store opens; it returns why it does not.
func opens(t *testing.T, path string) error {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Path: path})
	if err == nil {
		_ = s.Close()
		t.Fatalf("%s opens", path)
	}
	return err
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	ok(t, os.WriteFile(file, []byte(strings.Repeat("this is no database ", 100)), 0o600))
	for name, path := range map[string]string{
		"a folder that is missing": filepath.Join(dir, "missing", "parley.db"),
		"a folder that is a file":  filepath.Join(file, "parley.db"),
		"a folder":                 dir,
		"another kind of file":     file,
	} {
		if err := opens(t, path); !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %q does not name it", name, err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || len(b) != 2000 {
		t.Errorf("the file was changed: %d bytes, %v", len(b), err)
	}
}

func TestNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parley.db")
	s := openFile(t, path, newClock())
	storetest.Register(t, s, "anna")
	ok(t, s.Close())
	raw(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
	err := opens(t, path)
	for _, word := range []string{path, "newer Parley", "9999", "start that version"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q lacks %q", err, word)
		}
	}
	raw(t, path, "DELETE FROM goose_db_version WHERE version_id = 9999")
	again := openFile(t, path, newClock())
	_, err = again.AccountByName(t.Context(), "anna")
	ok(t, err)
}

func TestMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parley.db")
	s := openFile(t, path, newClock())
	storetest.Register(t, s, "anna")
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		ok(t, err)
		equal(t, name, info.Mode().Perm(), os.FileMode(0o600))
	}
}

// TestSeeks: what is asked at every post, cursor and greeting reads no table or index from end to end.
func TestSeeks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parley.db")
	ok(t, openFile(t, path, newClock()).Close())
	db, err := sql.Open("sqlite", path)
	ok(t, err)
	defer func() { _ = db.Close() }()
	for query, args := range store.SeekingQueries() {
		rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
		ok(t, err)
		steps := 0
		for rows.Next() {
			var (
				id, parent, unused int
				step               string
			)
			ok(t, rows.Scan(&id, &parent, &unused, &step))
			if steps++; strings.Contains(step, "SCAN") && step != "SCAN CONSTANT ROW" || strings.Contains(step, "TEMP B-TREE") {
				t.Errorf("%s\n%s", query, step)
			}
		}
		ok(t, errors.Join(rows.Err(), rows.Close()))
		equal(t, "there is a plan", steps > 0, true)
	}
}

// TestFull: while there is no room nothing is acknowledged, and senders hear why; afterwards it goes on.
func TestFull(t *testing.T) {
	_, s, anna, berta, pair := pairOf(t, openSQLite)
	ctx := t.Context()
	limit := func(pages int) {
		t.Helper()
		ok(t, s.InOperation(ctx, func(o store.Operation) error {
			return o.Exec(fmt.Sprint("PRAGMA max_page_count = ", pages))
		}))
	}
	large := strings.Repeat("x", proto.MaxText)
	ok(t, post(t, s, anna, pair, anna.Text(pair, large))[0].Err)
	limit(1) // no more than there are
	full := false
	var lost []*pb.Envelope
	for range 8 {
		e := anna.Text(pair, large)
		err := storetest.Posts(ctx, s, []*store.Post{anna.Post(pair, e)})
		if err != nil {
			refused(t, err, codeStoreFull)
			known, _ := proto.AsError(err)
			full = known.Retryable() && known.RetryAfter > 0
			lost = append(lost, e)
		}
	}
	equal(t, "the store is full", full, true)
	refused(t, s.SetSetting(ctx, anna.Session.AccountID, "large", []byte(large)), codeStoreFull)
	_, err := s.Setting(ctx, anna.Session.AccountID, "large")
	equal(t, "a setting that was refused", errors.Is(err, store.ErrNotFound), true)
	stored := page(t, s, pair)
	for i, r := range stored {
		equal(t, "number", r.Seq, uint64(i+1))
	}
	limit(1 << 30)
	for i, p := range post(t, s, anna, pair, lost...) {
		ok(t, p.Err)
		equal(t, "number after it", p.Seq, uint64(len(stored)+1+i))
		equal(t, "nothing of it was kept", p.Known, false)
	}
	ok(t, post(t, s, berta, pair, berta.Text(pair, "on we go"))[0].Err)
}

// TestTransactionEnded: when the database ends a transaction in the middle of a group, as it may when the disk
// is full, nothing of the group is kept: neither what came before nor what would come after.
func TestTransactionEnded(t *testing.T) {
	_, s, anna, berta, _ := pairOf(t, openSQLite)
	ctx := t.Context()
	started, release := make(chan bool), make(chan bool)
	answers := make(chan error, 4)
	go func() {
		answers <- s.InOperation(ctx, func(store.Operation) error { started <- true; <-release; return nil })
	}()
	<-started // the writer is busy: what comes now is one group
	queued := func(fn func() error) {
		before := s.Queued()
		go func() { answers <- fn() }()
		for s.Queued() == before {
			runtime.Gosched() // until it stands in the queue
		}
	}
	queued(func() error { return s.SetNickname(context.Background(), anna.Session.AccountID, "before") })
	queued(func() error {
		return s.InOperation(context.Background(), func(o store.Operation) error {
			return errors.Join(o.Exec("UPDATE accounts SET nickname = 'within'"), o.Exec("ROLLBACK"), errors.New("no room"))
		})
	})
	queued(func() error { return s.SetNickname(context.Background(), berta.Session.AccountID, "after") })
	close(release)
	failed := 0
	for range 4 {
		if <-answers != nil {
			failed++
		}
	}
	equal(t, "operations that failed", failed, 3)
	for _, p := range []*storetest.Person{anna, berta} {
		a, err := s.Account(ctx, p.ID)
		ok(t, err)
		equal(t, "the nickname", a.Nickname, "Nick "+a.UserName)
	}
	ok(t, s.SetNickname(ctx, anna.Session.AccountID, "later"))
}

// TestFailedOperation: an operation that fails undoes what it did and nothing else, and what is cached of it.
func TestFailedOperation(t *testing.T) {
	_, s, anna, _, pair := pairOf(t, openSQLite)
	equal(t, "its error", s.Spoil(t.Context(), pair.ID) != nil, true)
	first := post(t, s, anna, pair, anna.Text(pair, "one"))[0]
	ok(t, first.Err)
	err := s.InOperation(t.Context(), func(o store.Operation) error {
		o.After(func() { t.Error("told of what failed") })
		return errors.Join(o.Exec("UPDATE accounts SET nickname = 'x'"), errors.New("no"))
	})
	equal(t, "its error", err != nil, true)
	a, err := s.Account(t.Context(), anna.ID)
	ok(t, err)
	equal(t, "the nickname", a.Nickname, "Nick anna")
	heads, err := s.Heads(t.Context())
	ok(t, err)
	equal(t, "conversations still cached", heads, 1) // who fails on purpose does not slow others down
	equal(t, "the next number", post(t, s, anna, pair, anna.Text(pair, "two"))[0].Seq, 3)
	ok(t, s.Close())
}
