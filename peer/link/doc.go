// Package link keeps one PeerConnection per pair of devices: it negotiates it, proves who is at the other end, carries
// frames over its control channel, repairs it when the network changes and closes it when nobody uses it
// (docs/PROTOCOL.md §6).
//
// A Link is the relation to one device of one account. Below it lies a session, one PeerConnection with an id of its
// own; a Link outlives the sessions that follow each other while two new ones collide or the other end starts again.
//
// The package never looks into envelopes, keeps nothing on disk and believes nothing that the signaling server says
// about who sent a description: only the device key in the account's signed device list counts.
//
// Goroutines: Manager.Serve (sweeps, and refills the certificate pool), one reader per session whose control channel is
// open, and one per Link while its queue has work. What pion starts is ended by closing the PeerConnection gracefully.
package link
