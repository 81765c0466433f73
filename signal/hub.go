package signal

import (
	"maps"
	"slices"
	"sync"

	"github.com/parley-chat/parley/proto"
)

// hub knows the connections of this node: one per device.
type hub struct {
	mu       sync.Mutex
	stopped  bool
	byDevice map[proto.ID]*connection
	accounts map[proto.ID]map[*connection]bool
}

func newHub() *hub {
	return &hub{byDevice: make(map[proto.ID]*connection), accounts: make(map[proto.ID]map[*connection]bool)}
}

// add registers a connection; an older one of the same device is closed. false says that the server stops.
func (h *hub) add(c *connection) bool {
	h.mu.Lock()
	if h.stopped {
		h.mu.Unlock()
		return false
	}
	old := h.byDevice[c.session.Device]
	h.byDevice[c.session.Device] = c
	if h.accounts[c.session.Account] == nil {
		h.accounts[c.session.Account] = make(map[*connection]bool)
	}
	h.accounts[c.session.Account][c] = true
	h.mu.Unlock()
	if old != nil {
		old.close(closeSuperseded, "this device connected again")
	}
	return true
}

// remove takes a connection out. false says that a newer one of its device has taken its place.
func (h *hub) remove(c *connection) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := h.byDevice[c.session.Device] == c
	if last {
		delete(h.byDevice, c.session.Device)
	}
	delete(h.accounts[c.session.Account], c)
	if len(h.accounts[c.session.Account]) == 0 {
		delete(h.accounts, c.session.Account)
	}
	return last
}

// of returns the connections of an account, one per device: not those that a newer one has taken the place of.
func (h *hub) of(account proto.ID) []*connection {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*connection
	for c := range h.accounts[account] {
		if h.byDevice[c.session.Device] == c {
			all = append(all, c)
		}
	}
	return all
}

// all returns every connection that is registered, superseded ones too.
func (h *hub) all() []*connection {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*connection
	for _, connections := range h.accounts {
		all = slices.AppendSeq(all, maps.Keys(connections))
	}
	return all
}

// stop lets nobody in any more and returns who is there.
func (h *hub) stop() []*connection {
	h.mu.Lock()
	h.stopped = true
	h.mu.Unlock()
	return h.all()
}
