package peer

import (
	"time"

	"github.com/parley-chat/parley/proto"
)

// Event is something that happened: one of the Event… types below.
type Event interface{ event() }

// ConnectionEvent tells whether the server is reached.
type ConnectionEvent struct {
	Online  bool          // and everything it had is stored here
	NextTry time.Duration // until the next attempt, while not online
	Err     error         // why not
}

// MessageEvent is a message that is new on this device, or whose text became readable.
type MessageEvent struct{ Message }

// StateEvent is a message, mostly an own one, whose State, Path or Seq changed.
type StateEvent struct{ Message }

// ReceiptEvent is a member who received or read up to a number.
type ReceiptEvent struct {
	Conversation, Account proto.ID
	DeliveredSeq, ReadSeq uint64
}

// ContactEvent is a person whose relation or profile changed.
type ContactEvent struct{ Contact }

// PresenceEvent is a contact who came, went or is away.
type PresenceEvent struct {
	Account  proto.ID
	Away     bool       // there, but not looking
	Devices  []proto.ID // connected ones, none when the contact is offline
	LastSeen time.Time
}

// TypingEvent is somebody who started or stopped writing.
type TypingEvent struct {
	Conversation, Account proto.ID
	Stopped               bool
}

// LinkEvent is a link to another device that changed its state or path.
type LinkEvent struct {
	Account, Device proto.ID
	State           string // connecting, open, restarting, closed
	Path            string // direct or turn while it is open, else empty
	Reason          string // of a closed one
}

// DeviceAskEvent is a new device that asks to be added by a device link of this account; DeviceLink.Open tells what it says.
type DeviceAskEvent struct {
	Code string // of the link
	Ask  []byte // serialised pb.Sealed
}

// GapEvent says that messages of a device may be missing: it counted more than have come here.
type GapEvent struct {
	Conversation, Account, Device proto.ID
	From                          string // display name
	Missing                       int
}

// MissedEvent takes the place of events that a slow subscriber left unread. Client.Arrived and Client.History have the
// messages that were among them.
type MissedEvent struct{ Count int }

// ErrorEvent is something wrong that a person should know of; nothing was lost by it.
type ErrorEvent struct {
	Conversation proto.ID // zero when it concerns none
	Err          error
}

func (ConnectionEvent) event() {}
func (MessageEvent) event()    {}
func (StateEvent) event()      {}
func (ReceiptEvent) event()    {}
func (ContactEvent) event()    {}
func (PresenceEvent) event()   {}
func (TypingEvent) event()     {}
func (LinkEvent) event()       {}
func (DeviceAskEvent) event()  {}
func (GapEvent) event()        {}
func (MissedEvent) event()     {}
func (ErrorEvent) event()      {}
