// Package bus carries hints between connections and nodes: frames that make things quick. The store is
// the source of truth, so a lost hint costs latency and never a message.
package bus

import (
	"slices"
	"sync"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Sink takes hints for one connection. It must not block, but for the moment that a close frame takes: a sink that has no
// room says false, and its connection brings itself up to date by syncing.
type Sink interface {
	// Hint takes a frame and its encoding. Sinks share both: nobody changes them.
	Hint(f *pb.Frame, encoded []byte) bool
}

// Bus delivers hints to every connection of an account, on whichever node it is.
type Bus interface {
	// Publish gives a frame to all connections of some accounts but those of one device, which may be the zero
	// id for none. Nobody changes the frame any more.
	Publish(f *pb.Frame, except proto.ID, accounts ...proto.ID)
	// Tell gives a frame to one device of an account, and says whether it took it: false when it is not connected.
	Tell(f *pb.Frame, account, device proto.ID) bool
	// Subscribe adds a connection of an account's device; cancel takes it away again.
	Subscribe(account, device proto.ID, sink Sink) (cancel func())
}

// Local is the bus of a single node.
type Local struct {
	mu   sync.RWMutex
	subs map[proto.ID][]*subscription
}

type subscription struct {
	device proto.ID
	sink   Sink
}

// NewLocal makes the bus of a single node.
func NewLocal() *Local { return &Local{subs: make(map[proto.ID][]*subscription)} }

// Publish implements Bus. The frame is encoded once, however many it goes to.
func (b *Local) Publish(f *pb.Frame, except proto.ID, accounts ...proto.ID) {
	var encoded []byte
	for _, account := range accounts {
		b.mu.RLock()
		subs := b.subs[account]
		b.mu.RUnlock()
		for _, s := range subs { // slices are replaced, never changed
			if s.device == except {
				continue
			}
			if encoded == nil {
				var err error
				if encoded, err = gproto.Marshal(f); err != nil {
					return // never: its strings are UTF-8
				}
			}
			s.sink.Hint(f, encoded)
		}
	}
}

// Tell implements Bus.
func (b *Local) Tell(f *pb.Frame, account, device proto.ID) bool {
	b.mu.RLock()
	subs := b.subs[account]
	b.mu.RUnlock()
	taken := false
	for _, s := range subs {
		if s.device != device {
			continue
		}
		if encoded, err := gproto.Marshal(f); err == nil && s.sink.Hint(f, encoded) {
			taken = true
		}
	}
	return taken
}

// Subscribe implements Bus.
func (b *Local) Subscribe(account, device proto.ID, sink Sink) func() {
	added := &subscription{device, sink}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.subs[account]
	b.subs[account] = append(slices.Clip(old), added)
	return func() { b.remove(account, added) }
}

func (b *Local) remove(account proto.ID, gone *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var rest []*subscription
	for _, s := range b.subs[account] {
		if s != gone {
			rest = append(rest, s)
		}
	}
	if len(rest) == 0 {
		delete(b.subs, account)
		return
	}
	b.subs[account] = rest
}
