package store_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/store/storetest"
)

// pairOf is a store with two contacts.
func pairOf(t *testing.T, open opener) (c *clock, s *store.Store, anna, berta *storetest.Person, pair *storetest.Conversation) {
	t.Helper()
	c = newClock()
	s = open(t, c)
	anna, berta = storetest.Register(t, s, "anna"), storetest.Register(t, s, "berta")
	return c, s, anna, berta, storetest.Befriend(anna, berta)
}

// post stores envelopes of one person.
func post(t *testing.T, s *store.Store, by *storetest.Person, c *storetest.Conversation, all ...*pb.Envelope) []*store.Post {
	t.Helper()
	posts := make([]*store.Post, len(all))
	for i, e := range all {
		posts[i] = by.Post(c, e)
	}
	ok(t, storetest.Posts(t.Context(), s, posts))
	return posts
}

// page reads a conversation.
func page(t *testing.T, s *store.Store, c *storetest.Conversation) []store.Row {
	t.Helper()
	rows, err := s.Page(t.Context(), c.ID, 0, 0, 0, false, 1000)
	ok(t, err)
	return rows
}

func testPosts(t *testing.T, open opener) {
	c, s, anna, berta, pair := pairOf(t, open)
	c.advance(time.Minute)
	first := post(t, s, anna, pair, anna.Text(pair, "one"))[0]
	if first.Seq != 2 || first.RelayMS != c.Now().UnixMilli() || first.Known || first.Err != nil {
		t.Errorf("stored as %+v", first)
	}
	envelopes := make([]*pb.Envelope, proto.MaxPost)
	for i := range envelopes {
		envelopes[i] = berta.Text(pair, fmt.Sprint("message ", i))
	}
	for i, p := range post(t, s, berta, pair, envelopes...) {
		ok(t, p.Err)
		equal(t, "number in a full batch", p.Seq, uint64(3+i))
	}
	rows := page(t, s, pair)
	equal(t, "rows", len(rows), 2+proto.MaxPost)
	if !gproto.Equal(rows[10].Envelope, envelopes[8]) || rows[10].Seq != 11 || rows[10].RelayMS != c.Now().UnixMilli() {
		t.Errorf("row %+v is not what was posted", rows[10])
	}
	stranger := storetest.Register(t, s, "")
	refused(t, post(t, s, stranger, pair, stranger.Text(pair, "let me in"))[0].Err, codeNotFound)
	nowhere := &storetest.Conversation{ID: 999, Public: proto.NewID(), Chain: pair.Chain}
	refused(t, post(t, s, anna, nowhere, anna.Text(nowhere, "hello?"))[0].Err, codeNotFound)
	equal(t, "rows after refusals", len(page(t, s, pair)), 2+proto.MaxPost)
}

// testPostsAgain: identity is (conversation, device, id). The same envelope gets the first answer, another
// one under its id is refused, another device may use the id.
func testPostsAgain(t *testing.T, open opener) {
	c, s, anna, berta, pair := pairOf(t, open)
	h := anna.Header(pair, pb.Kind_KIND_MESSAGE)
	e := anna.Envelope(h, "one")
	first := post(t, s, anna, pair, e)[0]
	ok(t, first.Err)
	c.advance(time.Hour)
	again := post(t, s, anna, pair, e)[0]
	if !again.Known || again.Seq != first.Seq || again.RelayMS != first.RelayMS || again.Err != nil {
		t.Errorf("again: %+v, first: %+v", again, first)
	}
	refused(t, post(t, s, anna, pair, anna.Envelope(h, "another"))[0].Err, codeIDConflict)
	both := post(t, s, anna, pair, anna.Text(pair, "two"), e, anna.Text(pair, "three"))
	if both[0].Seq != 3 || !both[1].Known || both[1].Seq != first.Seq || both[2].Seq != 4 {
		t.Errorf("one known among new: %+v", both)
	}
	twice := anna.Text(pair, "twice in one post")
	both = post(t, s, anna, pair, twice, twice)
	if both[0].Seq != 5 || both[0].Known || both[1].Seq != 5 || !both[1].Known {
		t.Errorf("twice in one post: %+v, %+v", both[0], both[1])
	}
	hers := berta.Header(pair, pb.Kind_KIND_MESSAGE)
	hers.Id = h.GetId()
	ok(t, post(t, s, berta, pair, berta.Envelope(hers, "squatted"))[0].Err)
	equal(t, "rows", len(page(t, s, pair)), 6)
}

// testPostsAndEpochs: only the epoch in force is taken, but who missed an answer still gets it.
func testPostsAndEpochs(t *testing.T, open opener) {
	_, s, anna, berta, pair := pairOf(t, open)
	sent := anna.Text(pair, "answer lost")
	first := post(t, s, anna, pair, sent)[0]
	old, early := anna.Text(pair, "too late"), anna.Header(pair, pb.Kind_KIND_MESSAGE)
	early.Epoch++
	refused(t, post(t, s, anna, pair, anna.Envelope(early, "too early"))[0].Err, codeStaleEpoch)
	pair.Store(berta, pair.Rekey(berta, anna, berta))
	refused(t, post(t, s, anna, pair, old)[0].Err, codeStaleEpoch)
	again := post(t, s, anna, pair, sent)[0]
	if again.Err != nil || !again.Known || again.Seq != first.Seq {
		t.Errorf("after a new epoch: %+v", again)
	}
	berta.Revoke(berta.AddDevice())
	refused(t, post(t, s, anna, pair, anna.Text(pair, "not yet"))[0].Err, codeNeedsEpoch)
	again = post(t, s, anna, pair, sent)[0]
	if again.Err != nil || !again.Known || again.Seq != first.Seq {
		t.Errorf("while an epoch is needed: %+v", again)
	}
	pair.Store(anna, pair.Rekey(anna, anna, berta))
	ok(t, post(t, s, anna, pair, anna.Text(pair, "now"))[0].Err)
}

// testBadPost: what is refused in a batch harms nothing beside it, and takes no number.
func testBadPost(t *testing.T, open opener) {
	_, s, anna, berta, pair := pairOf(t, open)
	known := berta.Text(pair, "known")
	post(t, s, berta, pair, known)
	conflict := berta.Text(pair, "first")
	post(t, s, berta, pair, conflict)
	h := &pb.Header{}
	ok(t, proto.Unmarshal(conflict.GetHeader(), h))
	stale := berta.Header(pair, pb.Kind_KIND_MESSAGE)
	stale.Epoch = 7
	stranger := storetest.Register(t, s, "")
	batch := []*store.Post{
		anna.Post(pair, anna.Text(pair, "a")), berta.Post(pair, known), berta.Post(pair, berta.Envelope(stale, "b")),
		berta.Post(pair, berta.Envelope(h, "conflict")), stranger.Post(pair, stranger.Text(pair, "c")), anna.Post(pair, anna.Text(pair, "d")),
	}
	ok(t, storetest.Posts(t.Context(), s, batch))
	want := []struct {
		seq  uint64
		code pb.ErrorCode
	}{{4, 0}, {2, 0}, {0, codeStaleEpoch}, {0, codeIDConflict}, {0, codeNotFound}, {5, 0}}
	for i, p := range batch {
		if want[i].code == 0 {
			ok(t, p.Err)
			equal(t, "number", p.Seq, want[i].seq)
		} else {
			refused(t, p.Err, want[i].code)
		}
	}
	equal(t, "rows", len(page(t, s, pair)), 5)
}

// testPostsAtOnce: devices that post at once get every number once, each its own in the order it sent.
func testPostsAtOnce(t *testing.T, open opener) {
	_, s, anna, berta, pair := pairOf(t, open)
	const devices, posts = 6, 30
	seen := make([][]uint64, devices)
	var all sync.WaitGroup
	for d := range devices {
		who := []*storetest.Person{anna, berta}[d%2]
		device := who.AddDevice()
		all.Go(func() {
			for i := range posts {
				p := who.Post(pair, device.Envelope(who.HeaderBy(device, pair, pb.Kind_KIND_MESSAGE), fmt.Sprint(i)))
				p.Device = device.Session.DeviceID
				if err := storetest.Posts(context.Background(), s, []*store.Post{p}); err != nil || p.Err != nil {
					t.Error(err, p.Err)
					return
				}
				seen[d] = append(seen[d], p.Seq)
			}
		})
	}
	all.Wait()
	numbers := make(map[uint64]bool)
	for _, of := range seen {
		for i, n := range of {
			if numbers[n] || i > 0 && n <= of[i-1] {
				t.Fatalf("number %d comes again, or before %v", n, of)
			}
			numbers[n] = true
		}
	}
	for n := uint64(2); n < 2+devices*posts; n++ {
		if !numbers[n] {
			t.Fatalf("nobody got number %d", n)
		}
	}
}

func testLargestPosts(t *testing.T, open opener) {
	_, s, anna, _, pair := pairOf(t, open)
	e := anna.Text(pair, strings.Repeat("x", proto.MaxText))
	ok(t, post(t, s, anna, pair, e)[0].Err)
	rows := page(t, s, pair)
	equal(t, "the envelope is as it was sent", gproto.Equal(rows[1].Envelope, e), true)
}

// testPages: pages go both ways, whatever their size, and never beyond the conversation.
func testPages(t *testing.T, open opener) {
	_, s, anna, berta, pair := pairOf(t, open)
	other := storetest.Befriend(anna, storetest.Register(t, s, "")) // the next conversation: beyond the end of the first
	post(t, s, anna, other, anna.Text(other, "elsewhere"))
	for i := range 9 {
		post(t, s, anna, pair, anna.Text(pair, fmt.Sprint(i)))
	}
	pair.Store(berta, pair.Rekey(berta, anna, berta)) // numbers 1 to 11
	ctx := t.Context()
	for _, limit := range []int{1, 2, 3, 11, 50} {
		var up, down []uint64
		for after := uint64(0); ; {
			rows, err := s.Page(ctx, pair.ID, 0, after, 0, false, limit)
			ok(t, err)
			if len(rows) == 0 {
				break
			}
			for _, r := range rows {
				up = append(up, r.Seq)
			}
			after = rows[len(rows)-1].Seq
		}
		for before := uint64(0); ; {
			rows, err := s.Page(ctx, pair.ID, 0, 0, before, true, limit)
			ok(t, err)
			if len(rows) == 0 {
				break
			}
			for i := range rows {
				down = append(down, rows[len(rows)-1-i].Seq)
			}
			before = rows[0].Seq
			if before == 1 {
				break
			}
		}
		if len(up) != 11 || len(down) != 11 || up[0] != 1 || up[10] != 11 || down[0] != 11 || down[10] != 1 {
			t.Errorf("pages of %d: up %v, down %v", limit, up, down)
		}
	}
	for _, far := range []uint64{11, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 3, 1<<64 - 1} {
		rows, err := s.Page(ctx, pair.ID, 0, far, 0, false, 10)
		ok(t, err)
		equal(t, fmt.Sprint("rows after ", far), len(rows), 0)
	}
	rows, err := s.Page(ctx, pair.ID, berta.Session.AccountID, 10, 0, false, 10)
	ok(t, err)
	if len(rows) != 1 || rows[0].Envelope != nil || rows[0].Commit.Number != 2 || proto.ID(rows[0].Commit.Grant.GetAccount()) != berta.ID {
		t.Errorf("the commit is read as %+v", rows[0].Commit)
	}
	for seq, known := range map[uint64]bool{1: true, 11: true, 12: false, 1<<32 + 1: false} {
		hash, err := s.HashAt(ctx, pair.ID, seq)
		equal(t, fmt.Sprint("number ", seq, " is there"), err == nil, known)
		if seq == 11 {
			equal(t, "its hash is the commit's", bytes.Equal(hash, pair.Chain.Head()), true)
		}
	}
}

// testToldInOrder: whoever waits for what is stored hears of it in the order of the numbers.
func testToldInOrder(t *testing.T, open opener) {
	_, s, anna, berta, pair := pairOf(t, open)
	var (
		mu   sync.Mutex
		told []uint64
		all  sync.WaitGroup
	)
	tell := func(seq uint64) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, seq)
	}
	const posters, each = 4, 25
	for i := range posters {
		who := []*storetest.Person{anna, berta}[i%2]
		device := who.AddDevice()
		all.Go(func() {
			for range each {
				p := who.Post(pair, device.Envelope(who.HeaderBy(device, pair, pb.Kind_KIND_MESSAGE), "x"))
				ok(t, s.Posts(context.Background(), []*store.Post{p}, func(err error) {
					if err != nil || p.Err != nil {
						t.Error(err, p.Err)
					}
					tell(p.Seq)
				}))
			}
		})
	}
	all.Wait()
	n := anna.Prepare(pair.Chain, pair.Rekey(anna, anna, berta))
	n.Stored = func() { tell(n.Seq) }
	ok(t, s.Commit(t.Context(), n))
	refused(t, s.Commit(t.Context(), n), codeStaleHead) // not told of
	ok(t, s.Close())
	equal(t, "told", len(told), posters*each+1)
	for i, seq := range told {
		equal(t, "number told", seq, uint64(i+2))
	}
}

// testClosing: what was queued before Close is done, what comes after is refused, and nobody waits for ever.
func testClosing(t *testing.T, open opener) {
	_, s, anna, _, pair := pairOf(t, open)
	const posters = 20
	posts := make([]*store.Post, posters)
	for i := range posts {
		posts[i] = anna.Post(pair, anna.Text(pair, fmt.Sprint(i)))
	}
	answers := make(chan error, posters)
	for _, p := range posts {
		go func() { answers <- storetest.Posts(context.Background(), s, []*store.Post{p}) }()
	}
	ok(t, s.Close())
	done := 0
	for range posts {
		if err := <-answers; err == nil {
			done++
		}
	}
	taken := 0
	for _, p := range posts {
		if p.Seq > 0 {
			taken++
		}
	}
	equal(t, "posts that were answered as stored", done, taken)
	ok(t, s.Close())
	for _, err := range []error{
		storetest.Posts(t.Context(), s, posts[:1]), s.SetNickname(t.Context(), anna.Session.AccountID, "late"),
	} {
		if err == nil {
			t.Error("a closed store takes what is written")
		}
	}
}
