package relay_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/relay"
	"github.com/parley-chat/parley/relay/bus"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second // for what must come; never waited out by a test that passes

// clock goes on by a millisecond at every look, so that two looks are told apart.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { return c.advance(time.Millisecond) }

func (c *clock) advance(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

// world is a relay over a real store.
type world struct {
	t     *testing.T
	clock *clock
	store *store.Store
	bus   *bus.Local
	relay *relay.Relay
	last  *last // see settle
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, bus: bus.NewLocal()}
	var err error
	w.store, err = store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "parley.db"), Clock: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	w.relay = relay.New(relay.Config{Store: w.store, Bus: w.bus, Logger: slog.New(slog.DiscardHandler), Clock: w.clock.Now})
	return w
}

func (w *world) register() *storetest.Person { return storetest.Register(w.t, w.store, "") }

// pair makes two contacts.
func (w *world) pair() (a, b *storetest.Person, c *storetest.Conversation) {
	a, b = w.register(), w.register()
	return a, b, storetest.Befriend(a, b)
}

// group makes a group of an owner and somebody who joined by a link.
func (w *world) group() (owner, member *storetest.Person, c *storetest.Conversation, link *storetest.Link) {
	owner, member = w.register(), w.register()
	c = owner.NewGroup()
	c.TimeMS = uint64(w.clock.Now().UnixMilli())
	link = storetest.NewLink(10, uint64(w.clock.Now().Add(time.Hour).UnixMilli()))
	w.commit(owner, c, c.SetLink(owner, link, owner))
	w.commit(member, c, c.Join(member, link, owner))
	return owner, member, c, link
}

// commit has a commit stored by the relay and applied to the test's chain.
func (w *world) commit(by *storetest.Person, c *storetest.Conversation, p *pb.CommitPost) *pb.Committed {
	w.t.Helper()
	got, err := w.relay.Commit(w.t.Context(), by.Session, p)
	if err != nil {
		w.t.Fatal(err)
	}
	c.Chain.Apply(storetest.Must(c.Chain.CheckPost(p, storetest.Lookup(w.t, w.store))))
	return got
}

// post posts envelopes and returns the results.
func (w *world) post(by *store.Session, all ...*pb.Envelope) []*pb.Posted_Result {
	w.t.Helper()
	got, err := w.tryPost(by, all...)
	if err != nil {
		w.t.Fatal(err)
	}
	return got.GetResults()
}

// tryPost posts envelopes and waits for the answer.
func (w *world) tryPost(by *store.Session, all ...*pb.Envelope) (got *pb.Posted, err error) {
	done := make(chan bool, 1)
	w.relay.Post(context.Background(), by, &pb.Post{Envelopes: all}, func(posted *pb.Posted, refused error) {
		got, err = posted, refused
		done <- true
	})
	<-done
	return got, err
}

// posted posts one envelope that has to be taken.
func (w *world) posted(by *store.Session, e *pb.Envelope) *pb.Posted_Result {
	w.t.Helper()
	got := w.post(by, e)[0]
	if got.GetError() != nil {
		w.t.Fatal(got.GetError())
	}
	return got
}

// sink is a connection that keeps what it is told.
type sink struct {
	t      *testing.T
	frames chan *pb.Frame
	full   bool // takes nothing
}

func (s *sink) Hint(f *pb.Frame, _ []byte) bool {
	if s.full {
		return false
	}
	s.frames <- f
	return true
}

// listen connects a device of a person. It is told of what is stored from now on.
func (w *world) listen(p *storetest.Person, d *storetest.Device) *sink {
	w.t.Helper()
	w.settle()
	return w.subscribe(p, d)
}

func (w *world) subscribe(p *storetest.Person, d *storetest.Device) *sink {
	s := &sink{t: w.t, frames: make(chan *pb.Frame, 10_000)}
	w.t.Cleanup(w.bus.Subscribe(p.ID, d.ID, s))
	return s
}

func (s *sink) next() *pb.Frame {
	s.t.Helper()
	select {
	case f := <-s.frames:
		return f
	case <-time.After(patience):
		s.t.Fatal("nothing came")
		return nil
	}
}

// event waits for one event in a frame.
func (s *sink) event() *pb.Event {
	s.t.Helper()
	f := s.next()
	if len(f.GetEvents().GetEvents()) != 1 {
		s.t.Fatalf("no event: %v", f)
	}
	return f.GetEvents().GetEvents()[0]
}

// settle waits until everybody has been told of everything that was stored before.
func (w *world) settle() {
	w.t.Helper()
	if w.last == nil {
		a, b := w.register(), w.register()
		w.last = &last{by: b, told: w.subscribe(a, a.Device), pair: storetest.Befriend(a, b)}
	}
	got := w.posted(w.last.by.Session, w.last.by.Text(w.last.pair, "the last"))
	for w.last.told.event().GetSeq() != got.GetSeq() { //nolint:revive // until it is told of
	}
}

// last is a conversation whose messages come behind everything that was stored before.
type last struct {
	by   *storetest.Person
	told *sink
	pair *storetest.Conversation
}

// silent fails the test if any of the sinks has been told something.
func (w *world) silent(sinks ...*sink) {
	w.t.Helper()
	w.settle()
	for i, s := range sinks {
		select {
		case f := <-s.frames:
			w.t.Errorf("sink %d got %v", i, f)
		default:
		}
	}
}

func (w *world) refused(err error, code pb.ErrorCode) {
	w.t.Helper()
	if !proto.HasCode(err, code) {
		w.t.Fatalf("got %v, want %v", err, code)
	}
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func same(a, b gproto.Message) bool { return gproto.Equal(a, b) }

const (
	notFound     = pb.ErrorCode_ERROR_CODE_NOT_FOUND
	forbidden    = pb.ErrorCode_ERROR_CODE_FORBIDDEN
	malformed    = pb.ErrorCode_ERROR_CODE_MALFORMED
	badSignature = pb.ErrorCode_ERROR_CODE_BAD_SIGNATURE
	tooLarge     = pb.ErrorCode_ERROR_CODE_TOO_LARGE
	idConflict   = pb.ErrorCode_ERROR_CODE_ID_CONFLICT
	staleHead    = pb.ErrorCode_ERROR_CODE_STALE_HEAD
	expired      = pb.ErrorCode_ERROR_CODE_EXPIRED
	usedUp       = pb.ErrorCode_ERROR_CODE_USED_UP
	needsEpoch   = pb.ErrorCode_ERROR_CODE_NEEDS_EPOCH
)
