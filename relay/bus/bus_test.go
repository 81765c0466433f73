package bus_test

import (
	"bytes"
	"sync"
	"testing"

	"go.uber.org/goleak"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/relay/bus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counter counts what it is told.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) Hint(f *pb.Frame, encoded []byte) bool {
	if want, err := gproto.Marshal(f); err != nil || !bytes.Equal(encoded, want) {
		return false // and is not counted
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return true
}

func TestLocal(t *testing.T) {
	b := bus.NewLocal()
	account, one, two := proto.NewID(), proto.NewID(), proto.NewID()
	first, second := &counter{}, &counter{}
	cancel := b.Subscribe(account, one, first)
	b.Subscribe(account, two, second)
	b.Publish(&pb.Frame{Request: 7}, proto.ID{}, account)
	b.Publish(&pb.Frame{Request: 7}, one, account)
	b.Publish(&pb.Frame{Request: 7}, proto.ID{}, proto.NewID())
	b.Publish(&pb.Frame{Request: 7}, proto.ID{})
	cancel()
	cancel() // a second time does nothing
	b.Publish(&pb.Frame{Request: 7}, proto.ID{}, account)
	if first.n != 1 || second.n != 3 {
		t.Errorf("the devices got %d and %d frames, want 1 and 3", first.n, second.n)
	}
}

func TestLocalTell(t *testing.T) {
	b := bus.NewLocal()
	account, one, two := proto.NewID(), proto.NewID(), proto.NewID()
	first, second := &counter{}, &counter{}
	cancel := b.Subscribe(account, one, first)
	b.Subscribe(account, two, second)
	f := &pb.Frame{Request: 7}
	if !b.Tell(f, account, one) || b.Tell(f, account, proto.NewID()) || b.Tell(f, proto.NewID(), one) {
		t.Error("it says something else than who took it")
	}
	b.Subscribe(account, two, refuses{})
	if !b.Tell(f, account, two) {
		t.Error("of two connections of a device one took it")
	}
	cancel()
	b.Subscribe(account, one, refuses{})
	if b.Tell(f, account, one) {
		t.Error("nobody took it")
	}
	if first.n != 1 || second.n != 1 {
		t.Errorf("the devices got %d and %d frames, want 1 each", first.n, second.n)
	}
}

// refuses has no room.
type refuses struct{}

func (refuses) Hint(*pb.Frame, []byte) bool { return false }

// TestLocalAtOnce: connections come and go while frames are published.
func TestLocalAtOnce(t *testing.T) {
	b := bus.NewLocal()
	account, stays := proto.NewID(), &counter{}
	b.Subscribe(account, proto.NewID(), stays)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				b.Subscribe(account, proto.NewID(), &counter{})()
			}
		})
		all.Go(func() {
			for range 100 {
				b.Publish(&pb.Frame{Request: 7}, proto.ID{}, account)
			}
		})
	}
	all.Wait()
	if stays.n != 400 {
		t.Errorf("who stays got %d frames, want 400", stays.n)
	}
}
