package peer

import (
	"sync"
	"time"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Event is something that happened: one of the Event… types below.
type Event interface{ event() }

// ConnectionEvent tells whether the server is reached.
type ConnectionEvent struct {
	Online  bool
	NextTry time.Duration // until the next attempt, while not online
	Err     error         // why not
}

// MessageEvent is a message that is new on this device, or whose text became readable.
type MessageEvent struct{ Message Message }

// StateEvent is a message, mostly an own one, whose State, Path or Seq changed.
type StateEvent struct{ Message Message }

// ReceiptEvent is a member who received or read up to a number.
type ReceiptEvent struct {
	Conversation, Account  proto.ID
	DeliveredSeq, ReadSeq uint64
}

// ContactEvent is a person whose relation or profile changed.
type ContactEvent struct{ Contact Contact }

// PresenceEvent is a contact who came, went or is away.
type PresenceEvent struct {
	Account  proto.ID
	State    pb.PresenceState
	Devices  []proto.ID // connected ones
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
	Path            local.Path
	Reason          string
}

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
func (ErrorEvent) event()      {}

// State is what a person sees of a message.
type State string

// The states of DESIGN §5.
const (
	StateWaiting   State = "waiting"   // on this device only
	StateSent      State = "sent"      // the relay has it
	StateDelivered State = "delivered" // a device of the recipient has it
	StateRead      State = "read"
	StateFailed    State = "failed"   // see Failure
	StateReceived  State = "received" // somebody else's
	StateSealed    State = "sealed"   // waiting for the key
	StateGone      State = "gone"     // no longer on the server
	StateOnlyHere  State = "only-here"
)

// Message is a message as it is shown.
type Message struct {
	ID           proto.ID
	Conversation proto.ID
	From         string // display name
	FromID       proto.ID
	Device       proto.ID
	Own          bool
	Text         string
	Known        bool // false: of a kind that needs a newer Parley
	Time         time.Time
	Seq          uint64 // 0 until the relay has numbered it
	Path         string // direct, turn, relay, waiting
	State        State
	Failure      string
}

// eventQueue is how many events a slow subscriber may leave unread; then the oldest are dropped;
// History has what was missed.
const eventQueue = 4096

// Subscription delivers events. Cancel it when done.
type Subscription struct {
	C      <-chan Event
	cancel func()
}

// Cancel ends the subscription and closes C.
func (s *Subscription) Cancel() { s.cancel() }

// hub fans events out to subscribers.
type hub struct {
	mu     sync.Mutex
	subs   map[chan Event]struct{}
	closed bool
}

func (h *hub) subscribe() *Subscription {
	ch := make(chan Event, eventQueue)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(ch)
		return &Subscription{C: ch, cancel: func() {}}
	}
	if h.subs == nil {
		h.subs = make(map[chan Event]struct{})
	}
	h.subs[ch] = struct{}{}
	return &Subscription{C: ch, cancel: func() { h.drop(ch) }}
}

func (h *hub) drop(ch chan Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.subs[ch]; ok {
		delete(h.subs, ch)
		close(ch)
	}
}

// emit never blocks: a full subscriber loses its oldest event.
func (h *hub) emit(events ...Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.subs {
		for _, e := range events {
			select {
			case ch <- e:
				continue
			default:
			}
			select {
			case <-ch:
			default:
			}
			select {
			case ch <- e:
			default:
			}
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for ch := range h.subs {
		delete(h.subs, ch)
		close(ch)
	}
}
