package link

import (
	"fmt"
	"net/netip"
	"time"
)

// Phase is where a link stands.
type Phase int

// The phases of a link. Closed is final: Open makes a new Link.
const (
	Connecting Phase = iota // negotiating, or proving
	Open                    // frames flow
	Restarting              // was open; the path is lost or being replaced, frames wait
	Closed
)

// String names the phase in lower case.
func (p Phase) String() string {
	switch p {
	case Connecting:
		return "connecting"
	case Open:
		return "open"
	case Restarting:
		return "restarting"
	case Closed:
		return "closed"
	default:
		return fmt.Sprintf("phase %d", int(p))
	}
}

// Reason is why a link closed. The first four also travel in LinkClose.
type Reason = string

// Reasons.
const (
	ReasonIdle       Reason = "idle"       // no frames and no holds for Config.IdleTimeout
	ReasonRestart    Reason = "restart"    // the program ends or starts again
	ReasonRefused    Reason = "refused"    // a signature, proof, list or frame was wrong; State.Err says which
	ReasonSuperseded Reason = "superseded" // another link to the same device took its place
	ReasonTimeout    Reason = "timeout"    // not open within Config.OpenTimeout
	ReasonOffline    Reason = "offline"    // the server says that the device is not connected
	ReasonLost       Reason = "lost"       // the path was lost and could not be repaired
	ReasonFailed     Reason = "failed"     // something on this device failed; State.Err says what
)

// State is a link's state at one moment.
type State struct {
	Phase  Phase
	Reason Reason // when closed
	Err    error  // when closed, the cause if there is more to say
	Path   Path   // when open
}

// Kind is the kind of a path.
type Kind string

// Kinds of path.
const (
	Direct Kind = "direct"
	Turn   Kind = "turn" // at least one end goes through a TURN server
)

// Path says how the bytes of an open link travel.
type Path struct {
	Kind          Kind
	Protocol      string         // to the other end, or to the own TURN server: udp, tcp, tls, dtls
	LocalType     string         // ICE candidate type: host, srflx, prflx, relay
	RemoteType    string         // likewise
	RemoteAddress netip.AddrPort // where packets are sent to; zero if unknown
	RTT           time.Duration  // last measured; 0: not yet
	Since         time.Time      // when this path was chosen
}

// same says whether two paths differ only in what is measured.
func (p Path) same(o Path) bool {
	return p.Kind == o.Kind && p.Protocol == o.Protocol && p.LocalType == o.LocalType &&
		p.RemoteType == o.RemoteType && p.RemoteAddress == o.RemoteAddress
}

// ClosedError is what Open, Send and Ping return on a link that has closed.
type ClosedError struct {
	Reason Reason
	Err    error // may be nil
}

// Error says the reason and the cause.
func (e *ClosedError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("link closed (%s): %v", e.Reason, e.Err)
	}
	return fmt.Sprintf("link closed (%s)", e.Reason)
}

// Unwrap returns the cause.
func (e *ClosedError) Unwrap() error { return e.Err }
