package peer

import (
	"errors"
	"fmt"
	"time"
)

// WireEvent is an event as `parley listen --json` writes it: one object per line.
type WireEvent struct {
	Type         string     `json:"type"` // ready, message, state, receipt, contact, presence, typing, link, device, error
	ID           string     `json:"id,omitempty"`
	Conversation string     `json:"conversation,omitempty"`
	From         string     `json:"from,omitempty"`
	FromID       string     `json:"from_id,omitempty"`
	Text         string     `json:"text,omitempty"`
	Time         *time.Time `json:"time,omitempty"`
	Seq          uint64     `json:"seq,omitempty"`
	Path         string     `json:"path,omitempty"`
	State        string     `json:"state,omitempty"`
	Delivered    uint64     `json:"delivered,omitempty"`
	Read         uint64     `json:"read,omitempty"`
	Altered      bool       `json:"altered,omitempty"` // the direct copy said something else
	Error        string     `json:"error,omitempty"`
}

// Wire turns a message into the form of history and events.
func (m Message) Wire(kind string) WireEvent {
	return WireEvent{
		Type: kind, ID: m.ID.String(), Conversation: m.Conversation.String(), From: m.From, FromID: m.FromID.String(), Text: m.Text,
		Time: &m.Time, Seq: m.Seq, Path: m.Path, State: string(m.State), Altered: m.Altered, Error: m.Failure,
	}
}

// Wire turns an event into what is written of it; ok is false for what is not written.
func Wire(e Event) (w WireEvent, ok bool) {
	switch e := e.(type) {
	case ConnectionEvent:
		if e.Online {
			return WireEvent{Type: "ready"}, true
		}
		if e.Err == nil {
			e.Err = errors.New("not connected")
		}
		return WireEvent{Type: "error", Error: e.Err.Error()}, true
	case MessageEvent:
		return e.Wire("message"), true
	case StateEvent:
		return e.Wire("state"), true
	case ReceiptEvent:
		return WireEvent{
			Type: "receipt", Conversation: e.Conversation.String(), FromID: e.Account.String(), Delivered: e.DeliveredSeq, Read: e.ReadSeq,
		}, true
	case ContactEvent:
		return WireEvent{Type: "contact", From: e.Name(), FromID: e.Account.String(), State: e.State}, true
	case PresenceEvent:
		state := "offline"
		if len(e.Devices) > 0 {
			state = "online"
		}
		return WireEvent{Type: "presence", FromID: e.Account.String(), State: state}, true
	case TypingEvent:
		return WireEvent{Type: "typing", Conversation: e.Conversation.String(), FromID: e.Account.String()}, !e.Stopped
	case LinkEvent:
		return WireEvent{Type: "link", FromID: e.Account.String(), ID: e.Device.String(), State: e.State, Path: e.Path}, true
	case DeviceAskEvent:
		return WireEvent{Type: "device", ID: e.Code}, true
	case GapEvent:
		return WireEvent{
			Type: "error", Conversation: e.Conversation.String(), From: e.From, FromID: e.Account.String(),
			Error: fmt.Sprintf("messages from %s may be missing: %d", e.From, e.Missing),
		}, true
	case MissedEvent:
		return WireEvent{Type: "error", Error: fmt.Sprintf("%d events were missed: read the history", e.Count)}, true
	case ErrorEvent:
		return WireEvent{Type: "error", Error: e.Err.Error()}, true
	}
	return WireEvent{}, false
}
