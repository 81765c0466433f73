package store_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/parley-chat/parley/proto"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/store/storetest"
)

const childOf = "PARLEY_TEST_STORE" // "path conversation account device": this process is a child that posts

// posters is how many goroutines of a child post at once.
const posters = 8

// becomeChild posts without end and prints what was acknowledged, if this process was started for that.
func becomeChild() {
	arg := os.Getenv(childOf)
	if arg == "" {
		return
	}
	var (
		path string
		to   store.Post
	)
	if _, err := fmt.Sscan(arg, &path, &to.Conversation, &to.Account, &to.Device); err != nil {
		panic(err)
	}
	s := storetest.Must(store.Open(context.Background(), store.Config{Path: path}))
	out := make(chan string)
	for range posters {
		go func() {
			for {
				batch := make([]*store.Post, 1+rand.N(3))
				for i := range batch {
					batch[i] = anyPost(to)
				}
				if err := storetest.Posts(context.Background(), s, batch); err != nil {
					panic(err)
				}
				for _, p := range batch {
					out <- fmt.Sprintf("%s %d\n", p.ID, p.Seq)
				}
			}
		}()
	}
	for line := range out {
		if _, err := os.Stdout.WriteString(line); err != nil {
			return
		}
	}
}

// anyPost is a post of a device with bytes that nobody checks in a store.
func anyPost(to store.Post) *store.Post {
	p := to
	p.ID, p.Epoch, p.Counter, p.Kind, p.Counts = proto.NewID(), 1, 1, 1, true
	p.Header, p.Ciphertext, p.Signature, p.Hash = p.ID.Bytes(), make([]byte, 350), make([]byte, 64), p.ID.Bytes()
	p.CiphertextHash = make([]byte, 32)
	return &p
}

// TestKill: whenever the server's process is killed, everything it has acknowledged is there, once and under
// its number.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parley.db")
	s, err := store.Open(t.Context(), store.Config{Path: path})
	ok(t, err)
	anna, berta := storetest.Register(t, s, "anna"), storetest.Register(t, s, "berta")
	pair := storetest.Befriend(anna, berta)
	ok(t, s.Close())
	to := store.Post{Conversation: pair.ID, Account: anna.Session.AccountID, Device: anna.Session.DeviceID}
	acknowledged := make(map[string]uint64)
	for range 4 {
		runAndKill(t, fmt.Sprint(path, " ", to.Conversation, " ", to.Account, " ", to.Device), 1+rand.N(400), acknowledged)
		checkStored(t, path, to, acknowledged)
	}
}

// runAndKill starts a child, kills it after some acknowledgements, and adds all that it gave.
func runAndKill(t *testing.T, arg string, after int, acknowledged map[string]uint64) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childOf+"="+arg)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	ok(t, err)
	ok(t, child.Start())
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ { // to the end: what was printed before the kill counts
		var (
			id  string
			seq uint64
		)
		if _, err := fmt.Sscan(lines.Text(), &id, &seq); err != nil {
			t.Fatal(err)
		}
		acknowledged[id] = seq
		if n == after {
			ok(t, child.Process.Kill())
		}
	}
	if child.Wait() == nil {
		t.Fatal("the child ended by itself")
	}
}

func checkStored(t *testing.T, path string, to store.Post, acknowledged map[string]uint64) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Path: path})
	ok(t, err)
	stored := make(map[string]uint64)
	for after := uint64(0); ; {
		rows, err := s.Page(t.Context(), to.Conversation, 0, after, 0, false, 500)
		ok(t, err)
		if len(rows) == 0 {
			break
		}
		for _, r := range rows {
			equal(t, "number without a gap", r.Seq, after+1)
			after = r.Seq
			if r.Envelope != nil {
				stored[proto.ID(r.Hash).String()] = r.Seq
			}
		}
	}
	for id, seq := range acknowledged {
		equal(t, "number of an acknowledged post", stored[id], seq)
		if rand.N(50) == 0 {
			p := anyPost(to)
			p.ID = storetest.Must(proto.ParseID(id))
			p.Hash = p.ID.Bytes()
			ok(t, storetest.Posts(t.Context(), s, []*store.Post{p}))
			equal(t, "it is known", p.Known && p.Seq == seq, true)
		}
	}
	ok(t, s.Close())
	db, err := sql.Open("sqlite", path)
	ok(t, err)
	defer func() { _ = db.Close() }()
	var integrity string
	ok(t, db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&integrity))
	equal(t, "integrity", integrity, "ok")
	var rows, ids int
	ok(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*), COUNT(DISTINCT id) FROM messages").Scan(&rows, &ids))
	equal(t, "every message once", rows, ids)
}
