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
	// Publish gives a frame to all connections of an account but except, which may be nil.
	Publish(account proto.ID, f *pb.Frame, except Sink)
	// Subscribe adds a connection of an account; cancel takes it away again.
	Subscribe(account proto.ID, sink Sink) (cancel func())
}

// Local is the bus of a single node.
type Local struct {
	mu    sync.RWMutex
	sinks map[proto.ID][]Sink
}

// NewLocal makes the bus of a single node.
func NewLocal() *Local { return &Local{sinks: make(map[proto.ID][]Sink)} }

// Publish implements Bus.
func (b *Local) Publish(account proto.ID, f *pb.Frame, except Sink) {
	b.mu.RLock()
	sinks := b.sinks[account]
	b.mu.RUnlock()
	for _, s := range sinks { // slices are replaced, never changed
		if s != except {
			s.Hint(f)
		}
	}
}

// Subscribe implements Bus.
func (b *Local) Subscribe(account proto.ID, sink Sink) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.sinks[account]
	b.sinks[account] = append(old[:len(old):len(old)], sink)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		var rest []Sink
		for _, s := range b.sinks[account] {
			if s != sink {
				rest = append(rest, s)
			}
		}
		if len(rest) == 0 {
			delete(b.sinks, account)
			return
		}
		b.sinks[account] = rest
	}
}
