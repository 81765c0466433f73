package local

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestUpdate is all or nothing, and errors that say whose they are.
func TestUpdate(t *testing.T) {
	s, path := open(t)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	mine := errors.New("mine")
	set := func(tx *Tx) error { return tx.Set("key", []byte("value")) }
	if err := s.Update(t.Context(), func(tx *Tx) error { return errors.Join(set(tx), mine) }); !errors.Is(err, mine) {
		t.Errorf("error %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = s.Update(t.Context(), func(tx *Tx) error {
			_ = set(tx)
			panic("in a transaction")
		})
	}()
	ended, cancel := context.WithCancel(t.Context())
	err := s.Update(ended, func(tx *Tx) error {
		cancel()
		return set(tx)
	})
	var failure *Error
	if !errors.As(err, &failure) || !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of its context: %v", err)
	}
	update(t, s, func(tx *Tx) error {
		value, err := tx.Get("key")
		if value != nil {
			t.Errorf("something of a failed transaction stayed: %s", value)
		}
		return errors.Join(err, set(tx), tx.Set("key", []byte("newer")))
	})
	update(t, s, func(tx *Tx) error {
		if value, err := tx.Get("key"); err != nil || string(value) != "newer" {
			t.Errorf("value %q, %v", value, err)
		}
		return nil
	})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Update(t.Context(), set); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestConversations writes and reads every field of conversations, their keys and cursors.
func TestConversations(t *testing.T) {
	s, _ := open(t)
	want := &Conversation{
		ID: room, Kind: pb.ConversationKind_CONVERSATION_KIND_PAIR, Chain: []byte{1}, ThroughSeq: 2, HeadSeq: 3, ReadSeq: 4, NeedsEpoch: true,
		Counter: 5, KnownSeq: 6, KnownHash: []byte{7}, SuspectSeq: 9, SuspectHash: []byte{10}, Rereading: true, NewChain: []byte{8}, Met: true, WantsEpoch: true,
	}
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.SaveConversation(&Conversation{ID: room}), tx.SaveConversation(want), tx.SaveConversation(&Conversation{ID: proto.ID{1}}))
	})
	update(t, s, func(tx *Tx) error {
		got, err := tx.Conversation(room)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v", got, err)
		}
		if all, err := tx.Conversations(); err != nil || len(all) != 2 {
			t.Errorf("%d conversations, %v", len(all), err)
		}
		if _, err := tx.Conversation(proto.ID{2}); !errors.Is(err, ErrNotFound) {
			t.Errorf("unknown: %v", err)
		}
		if _, err := tx.EpochKey(room, 1); !errors.Is(err, ErrNotFound) {
			t.Errorf("unknown key: %v", err)
		}
		if err := errors.Join(tx.SaveEpochKey(room, 1, []byte("old")), tx.SaveEpochKey(room, 1, []byte("new"))); err != nil {
			return err
		}
		if key, err := tx.EpochKey(room, 1); err != nil || string(key) != "new" {
			t.Errorf("key %s, %v", key, err)
		}
		return nil
	})
	for _, step := range []struct {
		move, want Cursor
		moved      bool
	}{
		{Cursor{ben, 5, 2}, Cursor{ben, 5, 2}, true},
		{Cursor{ben, 4, 2}, Cursor{ben, 5, 2}, false},
		{Cursor{ben, 4, 3}, Cursor{ben, 5, 3}, true},
	} {
		update(t, s, func(tx *Tx) error {
			moved, err := tx.MoveCursor(room, step.move)
			if err != nil || moved != step.moved {
				t.Errorf("%+v: moved %v, %v", step.move, moved, err)
			}
			all, err := tx.Cursors(room)
			if err != nil || len(all) != 1 || all[0] != step.want {
				t.Errorf("%+v: %+v, %v", step.move, all, err)
			}
			return nil
		})
	}
	update(t, s, func(tx *Tx) error {
		if err := tx.ForgetCursors(room); err != nil {
			return err
		}
		all, err := tx.Cursors(room)
		if len(all) != 0 {
			t.Errorf("forgotten, and still %+v", all)
		}
		return err
	})
}

// TestPeople writes and reads every field of people and device keys.
func TestPeople(t *testing.T) {
	s, _ := open(t)
	want := &Person{
		Account: ben, UserName: "ben", Nickname: "Ben 本", State: pb.ContactState_CONTACT_STATE_ACCEPTED, Note: "hi", Conversation: room, SinceMS: 7,
		IdentityKey: []byte{1}, NewIdentity: []byte{2}, ListVersion: 3, List: &pb.Signed{Body: []byte{4}, Signature: []byte{5}},
		Blocked: true, Avatar: []byte{6}, Invitation: "code", DeletedMS: 8,
	}
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.SavePerson(want), tx.SavePerson(&Person{Account: mia}),
			tx.AddDeviceKey(DeviceKey{ben, bens, []byte{1}, []byte{2}, []byte{3}}), tx.AddDeviceKey(DeviceKey{ben, bens, []byte{9}, []byte{9}, []byte{9}}))
	})
	update(t, s, func(tx *Tx) error {
		got, err := tx.Person(ben)
		if err != nil || got.List.String() != want.List.String() {
			t.Fatalf("got %+v, %v", got, err)
		}
		got.List = want.List
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v", got)
		}
		if got.DisplayName() != "Ben 本" {
			t.Errorf("called %s", got.DisplayName())
		}
		if all, err := tx.People(); err != nil || len(all) != 2 || all[0].Account != mia || all[0].List != nil {
			t.Errorf("people %+v, %v", all, err)
		}
		key, err := tx.DeviceKeyOf(ben, bens)
		if err != nil || !bytes.Equal(key.SignKey, []byte{1}) {
			t.Errorf("the first key does not stay: %+v, %v", key, err)
		}
		if _, err := tx.DeviceKeyOf(mia, bens); !errors.Is(err, ErrNotFound) {
			t.Errorf("somebody else's device: %v", err)
		}
		return nil
	})
}

// TestUpgrade opens what the first program wrote.
func TestUpgrade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peer.db")
	schema, err := os.ReadFile(filepath.Join("testdata", "schema1.sql"))
	if err != nil {
		t.Fatal(err)
	}
	execute(t, path, string(schema))
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if got := names(t, s, func(tx *Tx) ([]*Message, error) { return tx.History(room, nil, 0) }); got != "on me two no wait " {
		t.Errorf("history: %s", got)
	}
	if got := names(t, s, func(tx *Tx) ([]*Message, error) { return tx.Outbox(room, 0, 10) }); got != "wait " {
		t.Errorf("outbox: %s", got)
	}
	update(t, s, func(tx *Tx) error {
		c, err := tx.Conversation(room)
		if err != nil || c.ThroughSeq != 5 || c.ReadSeq != 3 || c.Counter != 2 || c.KnownSeq != 4 || !bytes.Equal(c.KnownHash, []byte{0xa2}) || c.Rereading {
			t.Errorf("conversation %+v, %v", c, err)
		}
		if version, err := tx.Get("account_version"); err != nil || version != nil {
			t.Errorf("the server would not be asked for what was passed over until now: %v, %v", version, err)
		}
		i, err := tx.Invitation("aaaa")
		if err != nil || !bytes.Equal(i.Body, []byte{0x66}) {
			t.Errorf("invitation %+v, %v", i, err)
		}
		m, err := tx.Message(room, bens, proto.ID(bytes.Repeat([]byte{2}, 16)))
		if err != nil || m.Seq != 4 || m.Path != PathDirect || !m.Timed || m.Counter != 0 {
			t.Errorf("message %+v, %v", m, err)
		}
		return nil
	})
	late := message(bens, "late", 6, Stored)
	late.Counter = 40
	save(t, s, late)
	update(t, s, func(tx *Tx) error {
		if gaps, err := tx.Gaps(); err != nil || len(gaps) != 0 {
			t.Errorf("what was not counted counts as missing: %+v, %v", gaps, err)
		}
		return nil
	})
}

// TestNewerSchema refuses a database of a later program, and leaves it alone.
func TestNewerSchema(t *testing.T) {
	s, path := open(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	execute(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)")
	if _, err := Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), "newer Parley") {
		t.Errorf("opened, or %v", err)
	}
}

func execute(t *testing.T, path, statements string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), statements); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// writerEnv names the database that a process started by TestKill writes to.
const writerEnv = "PARLEY_TEST_LOCAL_WRITER"

// writeForEver stores messages and tells of each when Update has returned.
func writeForEver(path string) error {
	s, err := Open(context.Background(), path)
	if err != nil {
		return err
	}
	for {
		m := message(mias, "x", 0, Waiting)
		if err := s.Update(context.Background(), func(tx *Tx) error { return tx.SaveMessage(m) }); err != nil {
			return err
		}
		if _, err := fmt.Println(m.Arrival); err != nil {
			return err
		}
	}
}

// TestKill kills a writing process again and again: what Update returned for is there.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peer.db")
	told := int64(0)
	for range 8 {
		cmd := exec.CommandContext(context.Background(), os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 1 + rand.IntN(40); n > 0 && lines.Scan(); n-- {
			if told, err = strconv.ParseInt(lines.Text(), 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it said before it was gone
			if n, err := strconv.ParseInt(lines.Text(), 10, 64); err == nil {
				told = n
			}
		}
		_ = cmd.Wait() // killed: that is what it says
		s, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		update(t, s, func(tx *Tx) error {
			var intact string
			if err := tx.row("PRAGMA integrity_check").Scan(&intact); err != nil || intact != "ok" {
				t.Errorf("integrity: %s, %v", intact, err)
			}
			var have int64
			if err := tx.row("SELECT count(*) FROM messages").Scan(&have); err != nil || have < told || told == 0 {
				t.Errorf("%d messages are there of %d that were told, %v", have, told, err)
			}
			return nil
		})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
