package signal

import (
	"github.com/parley-chat/parley/proto"
	"github.com/parley-chat/parley/store"
)

// LimitPresences makes frames of presences small.
func (s *Server) LimitPresences(bytes int) { s.presences = bytes }

// Routes lists what the API serves, as "METHOD /path".
func (s *Server) Routes() []string {
	var all []string
	for _, r := range s.routes().Routes() {
		all = append(all, r.Method+" "+r.Path)
	}
	return all
}

// OfSuperseded is how many connections of an account count while an older one of its device has not gone yet.
func OfSuperseded() int {
	h, s := newHub(), &store.Session{Account: proto.NewID(), Device: proto.NewID()}
	older, newer := &connection{session: s}, &connection{session: s}
	h.byDevice[s.Device] = newer
	h.accounts[s.Account] = map[*connection]bool{older: true, newer: true}
	return len(h.of(s.Account))
}
