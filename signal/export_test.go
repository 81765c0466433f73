package signal

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
