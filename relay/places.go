package relay

import (
	"context"
	"sync"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// maxPlaceMembers bounds what places keeps, by the members of all conversations in it; beyond it starts again.
const maxPlaceMembers = 100_000

// places keeps the conversations that are posted to, so that not every envelope costs a read and a chain taken apart.
// What it has may be out of date and is good for posting alone: the store takes an envelope only of a member and of the
// epoch in force, and decides both when it writes. Each commit makes an epoch, so a chain of an envelope's epoch, if the
// store takes that, is the chain in force: nobody but the members of that moment is told.
type places struct {
	mu      sync.Mutex
	byID    map[proto.ID]*access
	members int
}

func newPlaces() *places { return &places{byID: make(map[proto.ID]*access)} }

func (p *places) get(id proto.ID) *access {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byID[id]
}

func (p *places) put(a *access) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.byID[a.Public]; old != nil {
		p.members -= len(old.members)
	} else if p.members >= maxPlaceMembers {
		clear(p.byID)
		p.members = 0
	}
	p.byID[a.Public] = a
	p.members += len(a.members)
}

// place finds where an envelope goes.
func (r *Relay) place(ctx context.Context, caller *store.Session, h *pb.Header) (*access, error) {
	if a := r.places.get(proto.ID(h.GetConversation())); a != nil && a.chain.Epoch() == h.GetEpoch() {
		if _, member := a.chain.Member(caller.Account); member {
			return a, nil
		}
	}
	a, err := r.authorise(ctx, caller, h.GetConversation())
	if err != nil {
		return nil, err
	}
	r.places.put(a)
	return a, nil
}
