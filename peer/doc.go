// Package peer is Parley for programs: an account on a server, its contacts and conversations, with messages that travel
// directly to the other devices when they are online and through the relay always. The command line is built on it, and so
// can a bot be: the example is one.
//
// # A walk through
//
// [Register] or [Login] makes a profile: a folder with a device's keys, its own store and its outbox. [Open] opens it as a
// [Client] and starts to connect; [Connect] does that too, or works through the process that has the profile open already (a
// [Remote]). [Client.Close] ends everything that was started.
//
// [Client.Invite], [Client.AcceptInvitation], [Client.Ask] and [Client.Accept] make contacts; [Client.Resolve] finds one by
// name. A contact has a conversation, into which [Client.Send] and [Client.SendText] put messages. What Send returned for is
// durable and goes out by itself, also after a restart, once: over open links at once, to the relay as soon as it is reached.
// [Client.Wait] waits until it is sent, delivered or read, and Message.Path says how it travelled.
//
// [Client.Subscribe] tells what happens. Its first subscription begins with what happened since Open, so a program that
// subscribes after opening misses nothing; one that reads too slowly gets a [MissedEvent] and looks into [Client.History], or
// into [Client.Arrived], which also serves programs that must not miss a message over a crash of their own.
//
// Methods that change something at the server need it and fail with [ErrOffline] without; everything about messages works
// without it. Errors of the server are *proto.Error, with a code to act on. Identity keys are pinned at first sight; sending to
// somebody whose key changed fails until the person decided.
//
// The package knows nothing of the server's code; the protocol is in docs/PROTOCOL.md.
//
// # Goroutines
//
// Of an open Client: the session, which connects and handles what the server pushes, one push after the other; while it is
// connected the socket's reader, its writer, and the catch-up, which fetches what is missing and tells how far this device is;
// the outbox, which posts what waits; the link manager's own (package link), one that feeds each open link, one for each link
// that is being opened; and the server for other processes with one for each of their requests. Of a Remote: the reader of
// events. Close ends and waits for all of them.
package peer
