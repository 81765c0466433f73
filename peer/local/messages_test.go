package local

import (
	"errors"
	"reflect"
	"testing"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestMessageRoundTrip writes and reads every field.
func TestMessageRoundTrip(t *testing.T) {
	s, _ := open(t)
	m := &Message{
		Conversation: room, Seq: 7, After: 3, Device: bens, ID: proto.NewID(), Account: ben, Kind: 2, Counter: 5, Epoch: 4, TimeMS: 99,
		Hash: []byte{1}, Content: text("hello"), Envelope: &pb.Envelope{Header: []byte{2}, Ciphertext: []byte{3}, Signature: []byte{4}},
		Path: PathTurn, Status: Unrelayed, Acked: true, Altered: true, Timed: true, Failure: "why",
	}
	check := func() {
		t.Helper()
		update(t, s, func(tx *Tx) error {
			got, err := tx.Message(room, bens, m.ID)
			if err != nil {
				return err
			}
			if !gproto.Equal(got.Content, m.Content) || !gproto.Equal(got.Envelope, m.Envelope) {
				t.Errorf("content %v, envelope %v", got.Content, got.Envelope)
			}
			got.Content, got.Envelope = m.Content, m.Envelope
			if len(got.Hash) == 0 {
				got.Hash = nil
			}
			if !reflect.DeepEqual(got, m) {
				t.Errorf("got %+v, want %+v", got, m)
			}
			return nil
		})
	}
	save(t, s, m)
	check()
	m.Seq, m.Content, m.Envelope, m.Status, m.Acked, m.Failure, m.Hash = 0, nil, nil, NoKey, false, "", nil // NULL and empty
	save(t, s, m)
	m.Hash = nil
	check()
	update(t, s, func(tx *Tx) error {
		if _, err := tx.Message(room, mias, m.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("another device's: %v", err)
		}
		return nil
	})
}

// TestHistoryOrder is the order in which messages are shown: numbered ones by number, what waits for a number at the end in
// order of arrival, what will never have one behind the number that was the newest when it came.
func TestHistoryOrder(t *testing.T) {
	s, _ := open(t)
	failed, only := message(mias, "failed", 0, Failed), message(bens, "only", 0, OnlyHere)
	failed.After, only.After = 2, 2
	save(t, s,
		message(bens, "direct", 0, Unrelayed), message(bens, "three", 3, Stored), failed, message(mias, "waiting", 0, Waiting),
		message(bens, "two", 2, Stored), only, message(mias, "four", 4, Stored))
	all := func(tx *Tx) ([]*Message, error) { return tx.History(room, nil, 0) }
	if got := names(t, s, all); got != "two failed only three four direct waiting " {
		t.Errorf("history: %s", got)
	}
	var pages string
	var before *Message
	for {
		page := names(t, s, func(tx *Tx) ([]*Message, error) {
			page, err := tx.History(room, before, 2)
			if len(page) > 0 {
				before = page[0]
			}
			return page, err
		})
		if page == "" {
			break
		}
		pages = page + "| " + pages
	}
	if pages != "two | failed only | three four | direct waiting | " {
		t.Errorf("pages: %s", pages)
	}
	if got := names(t, s, func(tx *Tx) ([]*Message, error) { return tx.Arrived(3, 3) }); got != "waiting two only " {
		t.Errorf("arrived after the third: %s", got)
	}
	update(t, s, func(tx *Tx) error {
		if last, err := tx.LastArrival(); err != nil || last != 7 {
			t.Errorf("last arrival %d, %v", last, err)
		}
		return nil
	})
}

// TestOutbox is what waits, conversation by conversation in the order in which it was written.
func TestOutbox(t *testing.T) {
	s, _ := open(t)
	other := message(mias, "elsewhere", 0, Waiting)
	other.Conversation = proto.ID{9}
	save(t, s, message(mias, "sent", 2, Stored), message(mias, "a", 0, Waiting), other, message(mias, "b", 0, Waiting),
		message(bens, "theirs", 0, Unrelayed), message(mias, "c", 0, Waiting), message(mias, "failed", 0, Failed))
	for _, test := range []struct {
		after int64
		limit int
		want  string
	}{{0, 10, "a b c "}, {0, 2, "a b "}, {2, 2, "b c "}, {6, 10, ""}} {
		if got := names(t, s, func(tx *Tx) ([]*Message, error) { return tx.Outbox(room, test.after, test.limit) }); got != test.want {
			t.Errorf("after %d, at most %d: %q, want %q", test.after, test.limit, got, test.want)
		}
	}
	update(t, s, func(tx *Tx) error {
		ids, err := tx.WaitingIn()
		if err != nil || len(ids) != 2 || ids[0] != room || ids[1] != other.Conversation {
			t.Errorf("waiting in %v, %v", ids, err)
		}
		ids, err = tx.UnrelayedIn()
		if err != nil || len(ids) != 1 || ids[0] != room {
			t.Errorf("unrelayed in %v, %v", ids, err)
		}
		return nil
	})
	for status, want := range map[Status]string{Stored: "sent ", Failed: "failed ", Unrelayed: "theirs ", NoKey: ""} {
		if got := names(t, s, func(tx *Tx) ([]*Message, error) { return tx.WithStatus(room, status) }); got != want {
			t.Errorf("with status %d: %q, want %q", status, got, want)
		}
	}
}

// TestUnrelayed is what may be posted on behalf of its sender: sealed in this epoch, old enough, and still with its envelope.
func TestUnrelayed(t *testing.T) {
	s, _ := open(t)
	var all []*Message
	for i, name := range []string{"good", "young", "old epoch", "no envelope"} {
		m := message(bens, name, 0, Unrelayed)
		m.Epoch, m.TimeMS, m.Envelope = 2, 10, &pb.Envelope{Header: []byte{1}}
		switch i {
		case 1:
			m.TimeMS = 20
		case 2:
			m.Epoch = 1
		case 3:
			m.Envelope = nil
		}
		all = append(all, m)
	}
	save(t, s, all...)
	if got := names(t, s, func(tx *Tx) ([]*Message, error) { return tx.Unrelayed(room, 2, 15, 10) }); got != "good " {
		t.Errorf("got %q", got)
	}
}

// TestForgetSeqs takes everything out of the relay's log: it waits again, for whoever wrote it to post it.
func TestForgetSeqs(t *testing.T) {
	s, _ := open(t)
	failed := message(mias, "failed", 0, Failed)
	failed.After = 3
	elsewhere := message(mias, "elsewhere", 1, Stored)
	elsewhere.Conversation = proto.ID{9}
	save(t, s, message(bens, "theirs", 3, Stored), message(mias, "mine", 2, Stored), message(bens, "sealed", 4, NoKey), failed, elsewhere)
	update(t, s, func(tx *Tx) error { return tx.ForgetSeqs(room, mias) })
	for status, want := range map[Status]string{Waiting: "mine ", Unrelayed: "theirs ", NoKey: "sealed ", Failed: "failed ", Stored: ""} {
		got := names(t, s, func(tx *Tx) ([]*Message, error) {
			all, err := tx.WithStatus(room, status)
			for _, m := range all {
				if m.Seq != 0 {
					t.Errorf("%s has number %d", m.Hash, m.Seq)
				}
			}
			return all, err
		})
		if got != want {
			t.Errorf("with status %d: %q, want %q", status, got, want)
		}
	}
	if got := names(t, s, func(tx *Tx) ([]*Message, error) { return tx.History(room, nil, 0) }); got != "failed theirs mine sealed " {
		t.Errorf("history: %s", got)
	}
	if got := names(t, s, func(tx *Tx) ([]*Message, error) { return tx.WithStatus(proto.ID{9}, Stored) }); got != "elsewhere " {
		t.Errorf("another conversation lost its numbers: %q", got)
	}
}

// TestNumberTakenByAnother gives a number of an answer to a post to another message: the log has the last word, and the post
// waits again.
func TestNumberTakenByAnother(t *testing.T) {
	s, _ := open(t)
	mine := message(mias, "mine", 5, Stored)
	save(t, s, mine, message(bens, "theirs", 5, Stored))
	if got := names(t, s, func(tx *Tx) ([]*Message, error) { return tx.Outbox(room, 0, 10) }); got != "mine " {
		t.Errorf("waiting: %q", got)
	}
	if got := names(t, s, func(tx *Tx) ([]*Message, error) { return tx.History(room, nil, 0) }); got != "theirs mine " {
		t.Errorf("history: %q", got)
	}
}

// TestUnread counts what others wrote behind the read mark.
func TestUnread(t *testing.T) {
	s, _ := open(t)
	reaction, only := message(bens, "reaction", 6, Stored), message(bens, "only", 0, OnlyHere)
	reaction.Kind = 66
	save(t, s, message(bens, "one", 2, Stored), message(mias, "mine", 3, Stored), message(bens, "two", 4, Stored), message(bens, "sealed", 5, NoKey),
		reaction, message(bens, "direct", 0, Unrelayed), message(mias, "waiting", 0, Waiting), only)
	for read, want := range map[uint64]uint64{0: 4, 2: 3, 4: 2, 6: 1} {
		update(t, s, func(tx *Tx) error {
			if n, err := tx.Unread(room, mia, read, 64); err != nil || n != want {
				t.Errorf("read up to %d: %d unread, want %d, %v", read, n, want, err)
			}
			return nil
		})
	}
}

// TestGaps counts the envelopes of a device against its counters.
func TestGaps(t *testing.T) {
	s, _ := open(t)
	counted := func(device proto.ID, counter uint64) *Message {
		m := message(device, "x", 0, Unrelayed)
		m.Counter = counter
		return m
	}
	gap := func() (all []Gap) {
		update(t, s, func(tx *Tx) (err error) {
			all, err = tx.Gaps()
			return err
		})
		return all
	}
	first := counted(bens, 1)
	save(t, s, first, counted(mias, 1), counted(mias, 2), counted(bens, 5))
	save(t, s, first) // again, not a new one
	if got := gap(); len(got) != 1 || got[0] != (Gap{Conversation: room, Account: ben, Device: bens, Missing: 3}) {
		t.Fatalf("gaps %+v", got)
	}
	update(t, s, func(tx *Tx) error { return tx.TellGap(gap1(t, tx)) })
	if got := gap(); len(got) != 0 {
		t.Errorf("told, and still %+v", got)
	}
	save(t, s, counted(bens, 3), counted(bens, 2)) // late, in any order
	if got := gap(); len(got) != 1 || got[0].Missing != 1 || got[0].Told != 3 {
		t.Errorf("two came late: %+v", got)
	}
	update(t, s, func(tx *Tx) error { return tx.TellGap(gap1(t, tx)) })
	save(t, s, counted(bens, 4))
	if got := gap(); len(got) != 1 || got[0].Missing != 0 {
		t.Errorf("all came: %+v", got)
	}
}

func gap1(t *testing.T, tx *Tx) Gap {
	t.Helper()
	all, err := tx.Gaps()
	if err != nil || len(all) != 1 {
		t.Fatalf("gaps %+v, %v", all, err)
	}
	return all[0]
}
