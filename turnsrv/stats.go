package turnsrv

import "sync/atomic"

// Reason says why something was refused or dropped. The values are label values of metrics.
type Reason string

// The reasons.
const (
	RefusedCredential  Reason = "credential"   // unknown secret, forged, malformed
	RefusedExpired     Reason = "expired"      // a credential past its time
	RefusedRevoked     Reason = "revoked"      // a credential of a user that was revoked
	RefusedOwner       Reason = "owner"        // another user's allocation
	RefusedPeer        Reason = "peer"         // a peer address that is not relayed to
	RefusedUserQuota   Reason = "user_quota"   // allocations of one user
	RefusedSourceQuota Reason = "source_quota" // allocations of one source address
	RefusedTotal       Reason = "total"        // allocations of the server, or no port is free
	RefusedPermissions Reason = "permissions"  // peer addresses of one allocation
	RefusedReplies     Reason = "replies"      // unauthenticated requests of one source
	RefusedConns       Reason = "connections"  // TCP connections
	RefusedMalformed   Reason = "malformed"    // bytes that are no STUN, or STUN that is not for a server
	RefusedRate        Reason = "rate"         // bytes per second of one user
	RefusedSlow        Reason = "slow"         // a TCP client that does not read
	RefusedFault       Reason = "fault"        // a fault of the server
)

// reasons lists them all; a Reason's place here is its place in stats.refused.
func reasons() []Reason {
	return []Reason{
		RefusedCredential, RefusedExpired, RefusedRevoked, RefusedOwner, RefusedPeer, RefusedUserQuota,
		RefusedSourceQuota, RefusedTotal, RefusedPermissions, RefusedReplies, RefusedConns, RefusedMalformed,
		RefusedRate, RefusedSlow, RefusedFault,
	}
}

// Stats is a copy of the server's counters. All but Allocations, Users and TCPConns only grow.
type Stats struct {
	Allocations int // live now
	Users       int // with live allocations now
	TCPConns    int // open now

	AllocationsTotal uint64
	Bindings         uint64 // STUN binding requests answered
	// Up is from clients to peers, Down from peers to clients; bytes are payload.
	PacketsUp, PacketsDown, BytesUp, BytesDown uint64
	// Refused counts by reason: requests, packets and connections. Every reason is present.
	Refused map[Reason]uint64
}

type stats struct {
	allocations, bindings                      atomic.Uint64
	packetsUp, packetsDown, bytesUp, bytesDown atomic.Uint64
	refused                                    map[Reason]*atomic.Uint64 // fixed after newStats
}

func newStats() *stats {
	s := &stats{refused: make(map[Reason]*atomic.Uint64)}
	for _, r := range reasons() {
		s.refused[r] = new(atomic.Uint64)
	}
	return s
}

func (s *stats) refuse(r Reason) { s.refused[r].Add(1) }

func (s *stats) snapshot() Stats {
	out := Stats{
		AllocationsTotal: s.allocations.Load(),
		Bindings:         s.bindings.Load(),
		PacketsUp:        s.packetsUp.Load(),
		PacketsDown:      s.packetsDown.Load(),
		BytesUp:          s.bytesUp.Load(),
		BytesDown:        s.bytesDown.Load(),
		Refused:          make(map[Reason]uint64, len(s.refused)),
	}
	for r, n := range s.refused {
		out.Refused[r] = n.Load()
	}
	return out
}
