package peer

import (
	"errors"
	"strings"
	"testing"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func marshalState(s *pb.ChainState) ([]byte, error) { return gproto.Marshal(s) }

func refused(code pb.ErrorCode) *pb.Posted_Result {
	return &pb.Posted_Result{Error: proto.Errorf(code, "no").ToProto()}
}

// TestLateAnswer is an answer to a post that comes after the relay's copy of the message: what is stored stays, whatever the
// answer says.
func TestLateAnswer(t *testing.T) {
	mia, ben, l := couple(t)
	env := mia.writes(t, l.id, "hello")
	batch, _ := mia.outboxOf(t, l.id)
	if !ben.gets(t, mia, env) {
		t.Fatal("refused")
	}
	theirs := ben.behalf(t, l.id)
	l.post(env)
	mia.mustTake(t, l)
	ben.mustTake(t, l)
	for _, code := range []pb.ErrorCode{pb.ErrorCode_ERROR_CODE_ID_CONFLICT, pb.ErrorCode_ERROR_CODE_NOT_FOUND, pb.ErrorCode_ERROR_CODE_BAD_SIGNATURE} {
		for s, batch := range map[*someone][]*local.Message{mia: batch, ben: theirs} {
			p := &posting{batch: batch, results: []*pb.Posted_Result{refused(code)}, synced: true}
			if err := s.record(t.Context(), l.id, p); err != nil {
				t.Fatal(err)
			}
			if got := s.shows(t, l.id); got != "hello" {
				t.Errorf("%s, after %s: %s", s.profile.UserName(), code, got)
			}
		}
	}
}

// TestAnswers is what follows from the relay's answers.
func TestAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		result   *pb.Posted_Result
		want     string
		stale    bool
		conflict bool
		later    bool
	}{
		"taken":        {result: &pb.Posted_Result{Seq: 2, RelayMs: nowMS()}, want: "x"},
		"stale epoch":  {result: refused(pb.ErrorCode_ERROR_CODE_STALE_EPOCH), want: "x?", stale: true},
		"needs epoch":  {result: refused(pb.ErrorCode_ERROR_CODE_NEEDS_EPOCH), want: "x?", stale: true},
		"full":         {result: refused(pb.ErrorCode_ERROR_CODE_STORE_FULL), want: "x?", later: true},
		"id conflict":  {result: refused(pb.ErrorCode_ERROR_CODE_ID_CONFLICT), want: "x?", conflict: true},
		"for good":     {result: refused(pb.ErrorCode_ERROR_CODE_TOO_LARGE), want: "x? failed"},
		"not a member": {result: refused(pb.ErrorCode_ERROR_CODE_NOT_FOUND), want: "x? failed"},
	} {
		t.Run(name, func(t *testing.T) {
			mia, _, l := couple(t)
			mia.writes(t, l.id, "x")
			batch, _ := mia.outboxOf(t, l.id)
			p := &posting{batch: batch, results: []*pb.Posted_Result{test.result}}
			if err := mia.record(t.Context(), l.id, p); err != nil {
				t.Fatal(err)
			}
			if got := mia.shows(t, l.id); got != test.want || p.stale != test.stale || p.conflict != test.conflict || (p.later != nil) != test.later {
				t.Errorf("shows %s, posting %+v", got, p)
			}
			_, rekey := mia.outboxOf(t, l.id)
			if want := name == "needs epoch"; rekey != want {
				t.Errorf("begins a new epoch: %v", rekey)
			}
		})
	}
}

// TestFailedStaysInPlace shows a message that failed where it was written, and lets it be tried again.
func TestFailedStaysInPlace(t *testing.T) {
	mia, ben, l := couple(t)
	mia.writes(t, l.id, "x")
	batch, _ := mia.outboxOf(t, l.id)
	if err := mia.record(t.Context(), l.id, &posting{batch: batch, results: []*pb.Posted_Result{refused(pb.ErrorCode_ERROR_CODE_TOO_LARGE)}}); err != nil {
		t.Fatal(err)
	}
	l.post(ben.writes(t, l.id, "later"))
	mia.mustTake(t, l)
	if got := mia.shows(t, l.id); got != "x? failed|later" {
		t.Errorf("shows %s", got)
	}
	all, err := mia.History(t.Context(), l.id, HistoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := mia.Retry(t.Context(), all[0]); err != nil {
		t.Fatal(err)
	}
	if got := mia.shows(t, l.id); got != "later|x?" {
		t.Errorf("shows %s", got)
	}
	if batch, _ = mia.outboxOf(t, l.id); len(batch) != 1 {
		t.Errorf("outbox %+v", batch)
	}
}

// TestDraft sends the same draft twice, and other drafts that cannot be sent.
func TestDraft(t *testing.T) {
	mia, _, l := couple(t)
	draft := Draft{Conversation: l.id, Text: "once", ID: proto.NewID()}
	first, err := mia.Send(t.Context(), draft)
	if err != nil {
		t.Fatal(err)
	}
	again, err := mia.Send(t.Context(), draft)
	if err != nil || again.Arrival != first.Arrival || mia.shows(t, l.id) != "once?" {
		t.Errorf("again: %+v, %v", again, err)
	}
	draft.Text = "another"
	if _, err := mia.Send(t.Context(), draft); !proto.HasCode(err, pb.ErrorCode_ERROR_CODE_ID_CONFLICT) {
		t.Errorf("another text under the same id: %v", err)
	}
	for name, draft := range map[string]Draft{
		"empty":      {Conversation: l.id},
		"too long":   {Conversation: l.id, Text: strings.Repeat("字", proto.MaxText/3+1)},
		"no v7":      {Conversation: l.id, Text: "x", ID: proto.ID{1}},
		"not UTF-8":  {Conversation: l.id, Text: "\xff"},
		"nobody's":   {Conversation: proto.NewID(), Text: "x"},
		"not a room": {Text: "x"},
	} {
		if _, err := mia.Send(t.Context(), draft); err == nil {
			t.Errorf("%s: sent", name)
		}
	}
	if got := mia.shows(t, l.id); got != "once?" {
		t.Errorf("shows %s", got)
	}
	if _, err := mia.Send(t.Context(), Draft{Conversation: l.id, Text: strings.Repeat("x", proto.MaxText)}); err != nil {
		t.Errorf("a text of 64 KiB: %v", err)
	}
}

// TestIdentityChanged holds sending while nobody has decided about somebody's new identity.
func TestIdentityChanged(t *testing.T) {
	mia, ben, l := couple(t)
	impostor := newSomeone(t, "ben")
	err := mia.update(t.Context(), func(w *work) error {
		p, err := w.person(ben.Account())
		if err != nil {
			return err
		}
		next := proto.NextDeviceList(ben.list, 2)
		next.IdentityKey = impostor.list.GetIdentityKey()
		if err := w.learnList(p, signList(t, impostor.identity, next).Signed); !errors.Is(err, errIdentityChanged) {
			t.Errorf("learned: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mia.SendText(t.Context(), l.id, "x"); !errors.Is(err, errIdentityChanged) {
		t.Errorf("sent: %v", err)
	}
	contact, err := mia.Resolve(t.Context(), "ben")
	if err != nil || !contact.IdentityChanged {
		t.Errorf("contact %+v, %v", contact, err)
	}
}

// TestGapTold tells of missing messages when they lack twice in a row while the conversation is in step, and not again.
func TestGapTold(t *testing.T) {
	mia, ben, l := couple(t)
	lost := mia.writes(t, l.id, "lost")
	l.post(mia.writes(t, l.id, "here"))
	ben.mustTake(t, l)
	look := func() []Event {
		ben.reportGaps(t.Context())
		return take(ben.events)
	}
	take(ben.events)
	if n := told[GapEvent](look()); n != 0 {
		t.Error("told while offline")
	}
	cu := newCatchUp(ben.Client, nil)
	ben.catching = cu
	for range 2 {
		if n := told[GapEvent](look()); n != 0 {
			t.Error("told before the conversation was in step")
		}
	}
	cu.arrived(l.id, 2)
	if n := told[GapEvent](look()); n != 0 {
		t.Error("told at the first look")
	}
	events := look()
	if n := told[GapEvent](events); n != 1 {
		t.Fatalf("told %d times", n)
	}
	if g, ok := events[0].(GapEvent); !ok || g.Missing != 1 || g.From != "mia" || g.Device != mia.Device() {
		t.Errorf("told %+v", events)
	}
	if n := told[GapEvent](look()); n != 0 {
		t.Error("told again")
	}
	ben.gets(t, mia, lost)
	for range 2 {
		if n := told[GapEvent](look()); n != 0 {
			t.Error("told although it came late")
		}
	}
}

// TestReadMark counts unread messages, and moves the mark on this device without a server.
func TestReadMark(t *testing.T) {
	mia, ben, l := couple(t)
	for _, text := range []string{"a", "b", "c"} {
		l.post(mia.writes(t, l.id, text))
	}
	ben.mustTake(t, l)
	unread := func() uint64 {
		contact, err := ben.Resolve(t.Context(), "mia")
		if err != nil {
			t.Fatal(err)
		}
		return contact.Unread
	}
	ben.do(t, func(w *work) error {
		p, err := w.person(mia.Account())
		if err != nil {
			return err
		}
		p.Conversation = l.id
		return w.SavePerson(p)
	})
	if n := unread(); n != 3 {
		t.Errorf("%d unread", n)
	}
	for _, test := range []struct{ mark, want uint64 }{{3, 1}, {2, 1}, {1000, 0}} {
		if err := ben.MarkRead(t.Context(), l.id, test.mark); err != nil {
			t.Fatal(err)
		}
		if n := unread(); n != test.want {
			t.Errorf("read up to %d: %d unread, want %d", test.mark, n, test.want)
		}
	}
	l.post(mia.writes(t, l.id, "d"))
	ben.mustTake(t, l)
	if n := unread(); n != 1 {
		t.Errorf("a mark beyond the end swallowed a message: %d unread", n)
	}
}

// TestHints takes typing and acknowledgements only from members.
func TestHints(t *testing.T) {
	mia, ben, l := couple(t)
	eve := newSomeone(t, "eve")
	for _, test := range []struct {
		who  *someone
		want int
	}{{ben, 1}, {eve, 0}, {mia, 0}} {
		if err := mia.applyTyping(t.Context(), &pb.Typing{Conversation: l.id.Bytes(), Account: test.who.Account().Bytes()}); err != nil {
			t.Error(err)
		}
		if n := told[TypingEvent](take(mia.events)); n != test.want {
			t.Errorf("%s types: told %d times", test.who.profile.UserName(), n)
		}
	}
}

// TestCompare fetches what may be behind, what a restored server may have lost, and where a key has to be asked for; nothing else.
func TestCompare(t *testing.T) {
	for name, test := range map[string]struct {
		head, delivered uint64
		change          func(*room) error
		fetched         bool
	}{
		"in step":               {head: 1, delivered: 1},
		"behind":                {head: 2, delivered: 1, fetched: true},
		"server lost the end":   {head: 0, fetched: true},
		"server lost a cursor":  {head: 1, delivered: 0, fetched: true},
		"read again, and began": {head: 1, delivered: 1, fetched: true, change: func(r *room) error { r.row.Rereading = true; return r.save() }},
		"without its key": {head: 1, delivered: 1, fetched: true, change: func(r *room) error {
			return r.SaveEpochKey(r.row.ID, 1, make([]byte, proto.KeySize))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			mia, ben, l := couple(t)
			if test.change != nil {
				mia.in(t, l.id, test.change)
			}
			cu := newCatchUp(mia.Client, nil)
			mia.catching = cu
			err := mia.noteState(t.Context(), &pb.ConversationState{
				Conversation: l.id.Bytes(), Kind: pb.ConversationKind_CONVERSATION_KIND_PAIR, HeadSeq: test.head, DeliveredSeq: test.delivered,
				Members: []*pb.MemberState{{Account: ben.Account().Bytes(), DeliveredSeq: 1}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if inStep := cu.announced(l.id, 0); inStep == test.fetched || (len(cu.due) == 1) != test.fetched {
				t.Errorf("in step %v, to be fetched %v", inStep, cu.due)
			}
		})
	}
}
