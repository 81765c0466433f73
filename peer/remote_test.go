package peer

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestEventsBetweenProcesses carries every kind of event to another process and back, also with ids that are not set.
func TestEventsBetweenProcesses(t *testing.T) {
	message := Message{
		ID: proto.NewID(), Conversation: proto.NewID(), From: "ben", FromID: proto.NewID(), Device: proto.NewID(), Text: "你好\n", Known: true,
		Time: time.UnixMilli(1700000000123).UTC(), Seq: 7, Arrival: 8, Path: "direct", State: StateReceived, Altered: true, Failure: "why",
	}
	id := proto.NewID()
	for _, e := range []Event{
		ConnectionEvent{Online: true},
		ConnectionEvent{NextTry: time.Second},
		MessageEvent{message},
		StateEvent{message},
		ReceiptEvent{id, id, 3, 2},
		ContactEvent{Contact{Account: id, UserName: "ben", State: ContactAsking}},
		ContactEvent{Contact{Account: id, Conversation: id, Since: message.Time, Unread: 3, Online: true}},
		PresenceEvent{Account: id, Devices: []proto.ID{id, message.ID}, LastSeen: message.Time},
		PresenceEvent{Account: id, Away: true},
		TypingEvent{id, id, true},
		LinkEvent{id, id, "closed", "", "idle"},
		GapEvent{id, id, id, "ben", 3},
		DeviceAskEvent{"code", []byte{1, 2}},
		MissedEvent{5},
	} {
		b, err := json.Marshal(wireOf(e))
		if err != nil {
			t.Fatal(err)
		}
		var w eventWire
		if err := json.Unmarshal(b, &w); err != nil {
			t.Errorf("%T: %v in %s", e, err, b)
			continue
		}
		if got := w.event(); !reflect.DeepEqual(got, e) {
			t.Errorf("%T: got %+v, want %+v", e, got, e)
		}
		if line, ok := Wire(e); ok && (line.Type == "" || line.Type == "error" && line.Error == "") {
			t.Errorf("%T is written as %+v", e, line)
		}
	}
	for _, e := range []Event{ErrorEvent{Err: errors.New("x")}, ErrorEvent{Conversation: id, Err: ErrSignedOut}, ConnectionEvent{Err: ErrUnreachable}} {
		b, err := json.Marshal(wireOf(e))
		if err != nil {
			t.Fatal(err)
		}
		var w eventWire
		if err := json.Unmarshal(b, &w); err != nil {
			t.Fatalf("%T: %v in %s", e, err, b)
		}
		switch got := w.event().(type) {
		case ErrorEvent:
			if want, ok := e.(ErrorEvent); !ok || got.Conversation != want.Conversation || got.Err.Error() != want.Err.Error() {
				t.Errorf("got %+v, want %+v", got, e)
			}
		case ConnectionEvent:
			if !errors.Is(got.Err, ErrUnreachable) {
				t.Errorf("got %+v", got)
			}
		}
	}
}

// TestFailuresBetweenProcesses carries errors that callers act on.
func TestFailuresBetweenProcesses(t *testing.T) {
	for _, want := range []error{
		ErrNoSuchName, ErrOffline, ErrUnreachable, ErrSignedOut, ErrSuperseded, ErrClosed, ErrNotReady, ErrNoContact, context.DeadlineExceeded,
	} {
		if got := carried(t, want); !errors.Is(got, want) || got.Error() != want.Error() {
			t.Errorf("%v arrives as %v", want, got)
		}
	}
	if got := carried(t, errors.Join(ErrOffline, ErrClosed)); !errors.Is(got, ErrClosed) {
		t.Errorf("a closed profile arrives as %v", got)
	}
	limited := &proto.Error{Code: pb.ErrorCode_ERROR_CODE_RATE_LIMITED, Message: "slowly", RetryAfter: time.Minute}
	if got, ok := proto.AsError(carried(t, limited)); !ok || *got != *limited {
		t.Errorf("arrives as %+v", got)
	}
	var ambiguous *AmbiguousError
	if got := carried(t, &AmbiguousError{Name: "b", Candidates: []string{"ben", "bea"}}); !errors.As(got, &ambiguous) || len(ambiguous.Candidates) != 2 {
		t.Errorf("arrives as %v", got)
	}
	if got := carried(t, errors.New("some other")); got.Error() != "some other" {
		t.Errorf("arrives as %v", got)
	}
}

func carried(t *testing.T, err error) error {
	t.Helper()
	b, marshalErr := json.Marshal(failureOf(err))
	if marshalErr != nil {
		t.Fatal(marshalErr)
	}
	f := &failure{}
	if err := json.Unmarshal(b, f); err != nil {
		t.Fatal(err)
	}
	return f.err()
}

// TestRemote works through another process's client, which has no server.
func TestRemote(t *testing.T) {
	mia, ben, l := couple(t)
	mia.do(t, func(w *work) error {
		p, err := w.person(ben.Account())
		if err != nil {
			return err
		}
		asking := newSomeone(t, "tom")
		tom, err := w.person(asking.Account())
		if err != nil {
			return err
		}
		tom.UserName, tom.State = "tom", pb.ContactState_CONTACT_STATE_ASKING
		p.Conversation = l.id
		return errors.Join(w.SavePerson(p), w.SavePerson(tom))
	})
	lock, err := lockProfile(mia.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	mia.lock = lock
	if mia.shared, err = mia.share(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), mia.cfg); !errors.Is(err, ErrProfileBusy) {
		t.Errorf("a second one opened it: %v", err)
	}
	mia.start()
	p, err := Connect(t.Context(), mia.cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, ok := p.(*Remote)
	if !ok || r.Account() != mia.Account() {
		t.Fatalf("connected to %T", p)
	}
	sub := r.Subscribe()
	contacts, err := r.Contacts(t.Context())
	if err != nil || len(contacts) != 2 {
		t.Errorf("contacts %+v, %v", contacts, err)
	}
	if _, err := r.Resolve(t.Context(), "nobody"); !errors.Is(err, ErrNoSuchName) {
		t.Errorf("resolve: %v", err)
	}
	if _, err := r.Ask(t.Context(), "somebody", ""); !errors.Is(err, ErrOffline) {
		t.Errorf("ask: %v", err)
	}
	draft := Draft{Conversation: l.id, Text: "over there", ID: proto.NewID()}
	m, err := r.Send(t.Context(), draft)
	if err != nil || m.ID != draft.ID {
		t.Errorf("send: %+v, %v", m, err)
	}
	if _, err := r.SendText(t.Context(), l.id, "second"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(r.Retry(t.Context(), m), r.MarkRead(t.Context(), l.id, 1)); err != nil {
		t.Error(err)
	}
	all, err := r.History(t.Context(), l.id, HistoryOptions{Before: &m})
	if err != nil || len(all) != 0 {
		t.Errorf("before the first: %+v, %v", all, err)
	}
	if all, err = r.Arrived(t.Context(), m.Arrival, 0); err != nil || len(all) != 1 || all[0].Text != "second" {
		t.Errorf("arrived: %+v, %v", all, err)
	}
	if last, err := r.LastArrival(t.Context()); err != nil || last != m.Arrival+1 {
		t.Errorf("last arrival %d, %v", last, err)
	}
	wait, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if now, err := r.Wait(wait, m, StateSent); !errors.Is(err, context.DeadlineExceeded) || now.ID != m.ID {
		t.Errorf("wait: %+v, %v", now, err)
	}
	for heard := 0; heard < 2; {
		if e, ok := (<-sub.C).(MessageEvent); ok && e.Own {
			heard++
		}
	}
	if err := mia.Close(); err != nil {
		t.Fatal(err)
	}
	<-r.Ended()
	if err := r.Err(); !errors.Is(err, ErrClosed) {
		t.Errorf("ended with %v", err)
	}
	if _, err := r.Contacts(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(mia.cfg.Dir, socketFile)); !os.IsNotExist(err) {
		t.Errorf("the profile still names a socket: %v", err)
	}
}
