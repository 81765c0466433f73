package relay

// LimitStates makes answers of States small.
func (r *Relay) LimitStates(bytes int) { r.stateBytes = bytes }
