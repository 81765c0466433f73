// Package turnsrv is the STUN and TURN server that is embedded in Parley (RFC 8489, RFC 8656), on pion/turn.
// It relays UDP for clients that reach it over UDP and TCP, with credentials that the signaling server issues
// and that expire (TURN REST), and counts what it does.
//
// It never relays to a network that the operator has not opened, never answers a stranger with much more
// than it was sent, never keeps anything about a stranger, and never logs an address or a user.
//
// # How it is put together
//
// Each listener has a guard and a pion server of its own. The guard (guard.go, inspect.go) is the
// net.PacketConn that pion reads: it decodes every frame first, checks credentials, ownership, quotas and
// peers, answers refusals itself with the codes that RFC 8656 asks for, and lets pion see only what pion
// handles rightly. A relayConn (relay.go) is the socket of one allocation; nothing reaches a peer but through
// its WriteTo, where the peer is judged again. The ledger (quota.go) has all live allocations. A tcpMux
// (mux.go, tcp.go) makes packets of the connections of a TCP listener.
//
// # Goroutines
//
//   - Serve, the caller's: starts everything, sweeps every ten seconds, ends everything and waits for it.
//   - pion's, one per listener: reads the guard and handles one frame after the other.
//   - pion's, one per allocation: reads the relay socket and sends to the client; ends when it is closed.
//   - tcpMux.serve, one per TCP listener: accepts connections.
//   - tcpMux.read and tcpConn.write, two per TCP connection.
//   - timers of pion for allocations, permissions and channels.
package turnsrv
