// Package bus carries hints between connections and nodes: frames that make things quick. The store is
// the source of truth, so a lost hint costs latency and never a message.
package bus

import (
	"sync"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Sink takes hints for one connection. It must not block: a sink that has no room says false, and its
// connection brings itself up to date by syncing.
type Sink interface {
	Hint(f *pb.Frame) bool
}

// Bus delivers hints to every connection of an account, on whichever node it is.
type Bus interface {
	// Publish gives a frame to all connections of an account but those of one device, which may be the zero
	// id for none. Sinks share the frame: nobody changes it any more.
	Publish(account proto.ID, f *pb.Frame, except proto.ID)
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

// Publish implements Bus.
func (b *Local) Publish(account proto.ID, f *pb.Frame, except proto.ID) {
	b.mu.RLock()
	subs := b.subs[account]
	b.mu.RUnlock()
	for _, s := range subs { // slices are replaced, never changed
		if s.device != except {
			s.sink.Hint(f)
		}
	}
}

// Subscribe implements Bus.
func (b *Local) Subscribe(account, device proto.ID, sink Sink) func() {
	added := &subscription{device, sink}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.subs[account]
	b.subs[account] = append(old[:len(old):len(old)], added)
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
