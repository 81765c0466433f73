package relay_test

import (
	"fmt"
	"strings"
	"testing"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store/storetest"
)

func (w *world) sync(by *storetest.Person, c *storetest.Conversation, q *pb.Sync) *pb.Page {
	w.t.Helper()
	q.Conversation = c.Public.Bytes()
	page, err := w.relay.Sync(w.t.Context(), by.Session, q)
	w.ok(err)
	if page.GetHeadSeq() != page.GetState().GetHeadSeq() || gproto.Size(page) > proto.MaxFrame-1024 {
		w.t.Errorf("page of %d bytes, head %d, state %v", gproto.Size(page), page.GetHeadSeq(), page.GetState())
	}
	return page
}

// TestPages: pages of large messages stay within a frame, both ways, and lose nothing.
func TestPages(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	const messages = 10
	for i := range messages {
		w.posted(a.Session, a.Text(pair, fmt.Sprint(i, strings.Repeat("x", proto.MaxText-2))))
	}
	var up, down []uint64
	for after := uint64(0); ; {
		page := w.sync(b, pair, &pb.Sync{After: after, Limit: proto.MaxPage})
		if len(page.GetEvents()) == 0 {
			if page.GetThroughSeq() != after {
				t.Errorf("an empty page goes through %d, not %d", page.GetThroughSeq(), after)
			}
			break
		}
		for _, e := range page.GetEvents() {
			up = append(up, e.GetSeq())
		}
		if after = page.GetThroughSeq(); after != up[len(up)-1] {
			t.Errorf("through %d, the last is %d", after, up[len(up)-1])
		}
	}
	for before := uint64(0); before != 1; {
		page := w.sync(b, pair, &pb.Sync{Before: before, Backward: true, Limit: 4})
		for i := range page.GetEvents() {
			down = append(down, page.GetEvents()[len(page.GetEvents())-1-i].GetSeq())
		}
		before = down[len(down)-1]
	}
	for i := range uint64(messages + 1) {
		if up[i] != i+1 || down[i] != messages+1-i {
			t.Fatalf("up %v, down %v", up, down)
		}
	}
	if n := len(w.sync(b, pair, &pb.Sync{}).GetEvents()); n != 1 {
		t.Errorf("without a limit a page has %d events", n)
	}
}

// TestDiverged: a client that has something else than the relay hears of it.
func TestDiverged(t *testing.T) {
	w := newWorld(t)
	a, _, pair := w.pair()
	got := w.posted(a.Session, a.Text(pair, "hi"))
	event := w.sync(a, pair, &pb.Sync{After: 1, Limit: 1}).GetEvents()[0]
	for _, c := range []struct {
		seq  uint64
		hash []byte
		want bool
	}{
		{0, nil, false},
		{got.GetSeq(), event.GetHash(), false},
		{got.GetSeq(), make([]byte, 32), true},
		{got.GetSeq(), nil, true},
		{got.GetSeq() + 1, event.GetHash(), true}, // the relay has less
		{1 << 40, event.GetHash(), true},
	} {
		page := w.sync(a, pair, &pb.Sync{KnownSeq: c.seq, KnownHash: c.hash, Limit: 10})
		if page.GetDiverged() != c.want || page.GetDiverged() && len(page.GetEvents()) > 0 {
			t.Errorf("known %d %x: %v", c.seq, c.hash, page)
		}
	}
}

// TestCommitPages: a chain that is too long for an answer comes in several.
func TestCommitPages(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	for range proto.MaxPage {
		w.commit(a, pair, pair.Rekey(a, a, b))
	}
	chain, from, answers := proto.NewChain(pair.Public), uint64(1), 0
	for {
		got, err := w.relay.Commits(t.Context(), b.Session, &pb.CommitsRequest{Conversation: pair.Public.Bytes(), FromNumber: from})
		w.ok(err)
		answers++
		for _, e := range got.GetCommits() {
			commit, err := chain.Check(e.GetCommit(), storetest.Lookup(t, w.store))
			w.ok(err)
			if proto.ID(e.GetGrant().GetAccount()) != b.ID {
				t.Fatalf("commit %d comes with %v", commit.GetNumber(), e.GetGrant())
			}
			chain.Apply(commit)
		}
		if !got.GetMore() {
			break
		}
		from = chain.Epoch() + 1
	}
	if chain.Epoch() != proto.MaxPage+1 || answers != 2 {
		t.Errorf("%d commits in %d answers", chain.Epoch(), answers)
	}
}

// TestStates: however many conversations an account has, all states come, in answers of a size.
func TestStates(t *testing.T) {
	w := newWorld(t)
	w.relay.LimitStates(300)
	a := w.register()
	want := make(map[string]bool)
	for range 9 {
		friend := w.register()
		pair := storetest.Befriend(a, friend)
		w.posted(friend.Session, friend.Text(pair, "hi"))
		want[string(pair.Public.Bytes())] = true
	}
	left := w.register()
	storetest.Befriend(a, left)
	a.Remove(left)
	answers := 0
	for after := int64(0); ; answers++ {
		states, next, err := w.relay.States(t.Context(), a.Session, after)
		w.ok(err)
		size, last := 0, 0
		for _, s := range states {
			if !want[string(s.GetConversation())] || s.GetHeadSeq() != 2 || s.GetUnread() != 1 || len(s.GetMembers()) != 2 {
				t.Errorf("state %v", s)
			}
			delete(want, string(s.GetConversation()))
			last = gproto.Size(s)
			size += last
		}
		if size > 300+last {
			t.Errorf("an answer of %d bytes", size)
		}
		if after = next; next == 0 {
			break
		}
	}
	if len(want) != 0 || answers < 2 {
		t.Errorf("%d states are missing after %d more answers", len(want), answers)
	}
}

// TestCursors: members are told how far somebody is; what is unread is for that one alone.
func TestCursors(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	for range 3 {
		w.posted(a.Session, a.Text(pair, "hi"))
	}
	other, own := w.listen(a, a.Device), w.listen(b, b.Device)
	w.ok(w.relay.MoveCursor(t.Context(), b.Session, &pb.Cursor{Conversation: pair.Public.Bytes(), DeliveredSeq: 4, ReadSeq: 2}))
	for _, c := range []struct {
		s      *sink
		unread uint64
	}{{other, 0}, {own, 2}} {
		want := &pb.CursorMoved{Conversation: pair.Public.Bytes(), Account: b.ID.Bytes(), DeliveredSeq: 4, ReadSeq: 2, Unread: c.unread}
		if got := c.s.next().GetCursorMoved(); !same(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
	}
	w.ok(w.relay.MoveCursor(t.Context(), b.Session, &pb.Cursor{Conversation: pair.Public.Bytes(), DeliveredSeq: 3, ReadSeq: 1}))
	w.silent(other, own) // nothing moved
	w.ok(w.relay.Typing(t.Context(), b.Session, &pb.Typing{Conversation: pair.Public.Bytes(), Account: a.ID.Bytes(), Stopped: true}))
	if got := other.next().GetTyping(); proto.ID(got.GetAccount()) != b.ID || !got.GetStopped() {
		t.Errorf("typing: %v", got)
	}
	w.silent(own)
}

// TestReopenedPair: what two had stays while they are no contacts, and goes on when they are again.
func TestReopenedPair(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	w.posted(a.Session, a.Text(pair, "before"))
	b.Remove(a)
	if got := w.post(a.Session, a.Text(pair, "while"))[0].GetError().GetCode(); got != notFound {
		t.Errorf("a removed contact posts: %v", got)
	}
	b.Ask(a)
	first, err := w.relay.PrepareFirst(t.Context(), a.ID, b.ID, a.FirstCommit(b), nil)
	w.ok(err)
	told := w.listen(b, b.Device)
	w.ok(w.store.AcceptContact(t.Context(), a.Session.AccountID, b.Session.AccountID, first))
	w.silent(told) // the offered commit is not used
	if got := w.post(a.Session, a.Text(pair, "at once"))[0].GetError().GetCode(); got != needsEpoch {
		t.Errorf("the first post after it: %v", got)
	}
	w.commit(a, pair, pair.Rekey(a, a, b))
	w.posted(a.Session, a.Text(pair, "after"))
	page := w.sync(b, pair, &pb.Sync{Limit: 10})
	if len(page.GetEvents()) != 4 {
		t.Errorf("the history has %d events", len(page.GetEvents()))
	}
}
