package relay_test

import (
	"slices"
	"testing"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/store/storetest"
)

// TestPostsFollowCommits: who is told of a post, and who may post, is decided by the members of the moment, however
// often the conversation was posted to before they changed.
func TestPostsFollowCommits(t *testing.T) {
	w := newWorld(t)
	owner, member, group, link := w.group()
	w.posted(owner.Session, owner.Text(group, "before"))
	w.posted(member.Session, member.Text(group, "before"))
	third := w.register()
	sink := w.listen(third, third.Device)
	if got := w.post(third.Session, third.Text(group, "too early"))[0].GetError().GetCode(); got != notFound {
		t.Fatalf("who has not joined yet: %v", got)
	}
	old := owner.Text(group, "sealed before the third came")
	w.commit(third, group, group.Join(third, link, owner, member))
	if f := sink.next(); f.GetAccountSync() == nil {
		t.Errorf("the third is told %v, not to look for what is new", f)
	}
	if seq := sink.event().GetSeq(); seq != 6 {
		t.Errorf("the third hears of number %d first, not of its own joining", seq)
	}
	if got := w.post(owner.Session, old)[0].GetError().GetCode(); got != pb.ErrorCode_ERROR_CODE_STALE_EPOCH {
		t.Errorf("an old epoch: %v", got)
	}
	w.posted(owner.Session, owner.Text(group, "after"))
	if seq := sink.event().GetSeq(); seq != 7 {
		t.Errorf("the third hears of number %d, want 7", seq)
	}
	w.posted(third.Session, third.Text(group, "from the third"))

	a, b, pair := w.pair()
	w.posted(a.Session, a.Text(pair, "before"))
	gone := w.listen(b, b.Device)
	a.Remove(b)
	for _, who := range []*store.Session{a.Session, b.Session} {
		e := a.Text(pair, "after")
		if who == b.Session {
			e = b.Text(pair, "after")
		}
		if got := w.post(who, e)[0].GetError().GetCode(); got != notFound {
			t.Errorf("in a pair that was closed: %v", got)
		}
	}
	w.silent(gone)
}

// TestBatches: what one post holds is told in as few frames as it fits into, in order.
func TestBatches(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	c := w.register()
	other := storetest.Befriend(a, c)
	told, elsewhere := w.listen(b, b.Device), w.listen(c, c.Device)
	small := make([]*pb.Envelope, 20)
	for i := range small {
		small[i] = a.Text(pair, "x")
	}
	small[12] = a.Text(other, "to somebody else")
	w.post(a.Session, small...)
	frames := []int{12, 7}
	seq := uint64(1)
	for _, n := range frames {
		events := told.next().GetEvents().GetEvents()
		if len(events) != n {
			t.Errorf("%d events in a frame, want %d", len(events), n)
		}
		for _, e := range events {
			if seq++; e.GetSeq() != seq {
				t.Fatalf("number %d came, want %d", e.GetSeq(), seq)
			}
		}
	}
	if e := elsewhere.event(); proto.ID(e.GetConversation()) != other.Public {
		t.Errorf("told of %v", e)
	}
	large := make([]*pb.Envelope, 4)
	for i := range large {
		large[i] = a.Text(pair, string(slices.Repeat([]byte("x"), proto.MaxText)))
	}
	w.post(a.Session, large...)
	for n := 0; n < len(large); {
		f := told.next()
		if size := gproto.Size(f); size > proto.MaxFrame {
			t.Errorf("a frame of %d bytes", size)
		}
		n += len(f.GetEvents().GetEvents())
	}
	w.silent(told, elsewhere)
}

// TestAnswersInOrder: a caller's posts are answered in the order in which they were made, those too that are refused at
// once, and before that they are told of.
func TestAnswersInOrder(t *testing.T) {
	w := newWorld(t)
	a, _, pair := w.pair()
	const posts = 30
	answered := make(chan int, posts)
	for i := range posts {
		p := &pb.Post{Envelopes: []*pb.Envelope{a.Text(pair, "x")}}
		switch i % 3 {
		case 1:
			p.Envelopes = nil
		case 2:
			p.Envelopes = []*pb.Envelope{{}}
		}
		w.relay.Post(t.Context(), a.Session, p, func(got *pb.Posted, err error) {
			good := err == nil && got.GetResults()[0].GetSeq() == uint64(i/3+2)
			empty := proto.HasCode(err, tooLarge)
			bad := err == nil && got.GetResults()[0].GetError().GetCode() == malformed
			if !slices.Contains([]bool{good && i%3 == 0, empty && i%3 == 1, bad && i%3 == 2}, true) {
				t.Errorf("post %d: %v, %v", i, got, err)
			}
			answered <- i
		})
	}
	for want := range posts {
		if got := <-answered; got != want {
			t.Fatalf("post %d was answered, want %d", got, want)
		}
	}
}
