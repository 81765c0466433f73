// Package peer is Parley for programs: an account on a server, its contacts and conversations, with
// messages that travel directly to the other devices when they are online and through the relay
// always. The command line is built on it, and so can a bot be (see Example).
//
// A [Client] owns one profile folder: the device's keys, its own store and its outbox. What Send
// returned for is durable: it goes out when it can, also after a restart. The package knows nothing
// of the server's code; the protocol is in docs/PROTOCOL.md.
//
// Goroutines of an open Client: the session (connects, reads the socket), its pinger, the syncer
// (fetches what is missing), the outbox (posts what is waiting), the link manager's own (package
// link) and one per link being opened. Close ends all of them.
package peer
