package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/parley-chat/parley/proto"
)

// Remote is a profile that another process has open, reached through that process. When it closes the profile, Ended is
// closed and Err is ErrClosed: Connect again.
type Remote struct {
	http    *http.Client
	account proto.ID
	hub     hub
	cancel  context.CancelFunc
	done    sync.WaitGroup
	ended   chan struct{}
	endErr  error // set before ended is closed
}

func dialShared(ctx context.Context, dir string) (*Remote, error) {
	path, err := os.ReadFile(filepath.Join(dir, socketFile)) //nolint:gosec // the profile's own file
	if err != nil {
		return nil, fmt.Errorf("open profile of another process: %w", err)
	}
	dialer := &net.Dialer{Timeout: sharedHeader}
	r := &Remote{ended: make(chan struct{}), http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", string(path))
		},
	}}}
	if r.account, err = ask[proto.ID](ctx, r, "account", nothing{}); err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.cancel = cancel
	body, err := r.open(run)
	if err != nil {
		cancel()
		return nil, err
	}
	r.done.Go(func() {
		r.endErr = r.read(body)
		r.hub.close()
		close(r.ended)
	})
	return r, nil
}

// ask makes one call.
func ask[Out any](ctx context.Context, r *Remote, name string, in any) (out Out, err error) {
	b, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("%s: %w", name, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://profile/"+name, bytes.NewReader(b))
	if err != nil {
		return out, fmt.Errorf("%s: %w", name, err)
	}
	response, err := r.http.Do(request)
	switch {
	case ctx.Err() != nil:
		return out, ctx.Err() //nolint:wrapcheck // the caller's own
	case err != nil:
		return out, fmt.Errorf("%w: %w", ErrClosed, err)
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	var a answer
	if err := json.NewDecoder(response.Body).Decode(&a); err != nil {
		return out, fmt.Errorf("%w: %s: %w", ErrClosed, name, err)
	}
	if a.Error != nil {
		return out, a.Error.err()
	}
	if err := json.Unmarshal(a.Result, &out); err != nil {
		return out, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

// open starts the stream of events.
func (r *Remote) open(ctx context.Context) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://profile/events", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	response, err := r.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w: events: %w", ErrClosed, err)
	}
	return response.Body, nil
}

// read hands events on until the stream ends.
func (r *Remote) read(body io.ReadCloser) error {
	defer func() { _ = body.Close() }() // it was only read
	decoder := json.NewDecoder(body)
	for {
		var w eventWire
		if err := decoder.Decode(&w); err != nil {
			return ErrClosed
		}
		if w.Ended != nil {
			return w.Ended.err()
		}
		if e := w.event(); e != nil {
			r.hub.emit(e)
		}
	}
}

// Account returns the account's id.
func (r *Remote) Account() proto.ID { return r.account }

// Subscribe delivers everything that happens from now on.
func (r *Remote) Subscribe() *Subscription { return r.hub.subscribe() }

// Ended is closed when the other process closed the profile, or its session gave up.
func (r *Remote) Ended() <-chan struct{} { return r.ended }

// Err says why Ended was closed: ErrClosed when the other process let the profile go.
func (r *Remote) Err() error {
	select {
	case <-r.ended:
		return r.endErr
	default:
		return nil
	}
}

// Close leaves the other process alone.
func (r *Remote) Close() error {
	r.cancel()
	r.done.Wait()
	r.http.CloseIdleConnections()
	return nil
}

// Reach is Client.Reach.
func (r *Remote) Reach(ctx context.Context) error {
	_, err := ask[nothing](ctx, r, "reach", nothing{})
	return err
}

// Contacts is Client.Contacts.
func (r *Remote) Contacts(ctx context.Context) ([]Contact, error) {
	return ask[[]Contact](ctx, r, "contacts", nothing{})
}

// Resolve is Client.Resolve.
func (r *Remote) Resolve(ctx context.Context, name string) (Contact, error) {
	return ask[Contact](ctx, r, "resolve", nameArgs{Name: name})
}

// Ask is Client.Ask.
func (r *Remote) Ask(ctx context.Context, userName, note string) (Contact, error) {
	return ask[Contact](ctx, r, "ask", nameArgs{userName, note})
}

// Accept is Client.Accept.
func (r *Remote) Accept(ctx context.Context, account proto.ID) (Contact, error) {
	return ask[Contact](ctx, r, "accept", accountArgs{account})
}

// Decline is Client.Decline.
func (r *Remote) Decline(ctx context.Context, account proto.ID) error {
	_, err := ask[nothing](ctx, r, "decline", accountArgs{account})
	return err
}

// AcceptIdentity is Client.AcceptIdentity.
func (r *Remote) AcceptIdentity(ctx context.Context, account proto.ID) (Contact, error) {
	return ask[Contact](ctx, r, "accept-identity", accountArgs{account})
}

// RecoverFormer is Client.RecoverFormer.
func (r *Remote) RecoverFormer(ctx context.Context, code string) error {
	_, err := ask[nothing](ctx, r, "recover-former", nameArgs{Name: code})
	return err
}

// ResetCode is Client.ResetCode.
func (r *Remote) ResetCode(ctx context.Context, name string) (ResetCode, error) {
	return ask[ResetCode](ctx, r, "reset-code", nameArgs{Name: name})
}

// Invite is Client.Invite.
func (r *Remote) Invite(ctx context.Context, life time.Duration, uses uint32) (Invitation, error) {
	return ask[Invitation](ctx, r, "invite", inviteArgs{life, uses})
}

// AcceptInvitation is Client.AcceptInvitation.
func (r *Remote) AcceptInvitation(ctx context.Context, text string) (Contact, error) {
	return ask[Contact](ctx, r, "join", nameArgs{Name: text})
}

// Send is Client.Send. When the other process ends meanwhile (ErrClosed) nobody knows whether the message was stored:
// Connect again and send the draft again, with the same ID.
func (r *Remote) Send(ctx context.Context, d Draft) (Message, error) {
	if d.ID.IsZero() {
		d.ID = proto.NewID()
	}
	return ask[Message](ctx, r, "send", d)
}

// SendText is Client.SendText.
func (r *Remote) SendText(ctx context.Context, conversation proto.ID, text string) (Message, error) {
	return r.Send(ctx, Draft{Conversation: conversation, Text: text})
}

// Retry is Client.Retry.
func (r *Remote) Retry(ctx context.Context, m Message) error {
	_, err := ask[nothing](ctx, r, "retry", messageArgs{m})
	return err
}

// Arrived is Client.Arrived.
func (r *Remote) Arrived(ctx context.Context, after int64, limit int) ([]Message, error) {
	return ask[[]Message](ctx, r, "arrived", arrivedArgs{after, limit})
}

// LastArrival is Client.LastArrival.
func (r *Remote) LastArrival(ctx context.Context) (int64, error) {
	return ask[int64](ctx, r, "last", nothing{})
}

// Wait is Client.Wait; when ctx ends first the message is the one given.
func (r *Remote) Wait(ctx context.Context, m Message, level State) (Message, error) {
	now, err := ask[Message](ctx, r, "wait", waitArgs{m, level})
	if err != nil {
		return m, err
	}
	return now, nil
}

// History is Client.History.
func (r *Remote) History(ctx context.Context, conversation proto.ID, opts HistoryOptions) ([]Message, error) {
	return ask[[]Message](ctx, r, "history", historyArgs{conversation, opts})
}

// MarkRead is Client.MarkRead.
func (r *Remote) MarkRead(ctx context.Context, conversation proto.ID, seq uint64) error {
	_, err := ask[nothing](ctx, r, "read", readArgs{conversation, seq})
	return err
}

// eventWire is one line of the stream: exactly one field is set.
type eventWire struct {
	Connection *connectionWire `json:",omitempty"`
	Message    *Message        `json:",omitempty"`
	State      *Message        `json:",omitempty"`
	Receipt    *ReceiptEvent   `json:",omitempty"`
	Contact    *Contact        `json:",omitempty"`
	Presence   *PresenceEvent  `json:",omitempty"`
	Typing     *TypingEvent    `json:",omitempty"`
	Link       *LinkEvent      `json:",omitempty"`
	DeviceAsk  *DeviceAskEvent `json:",omitempty"`
	Gap        *GapEvent       `json:",omitempty"`
	Missed     *MissedEvent    `json:",omitempty"`
	Error      *errorWire      `json:",omitempty"`
	Ended      *failure        `json:",omitempty"`
}

type connectionWire struct {
	Online  bool
	NextTry time.Duration
	Err     *failure `json:",omitempty"`
}

type errorWire struct {
	Conversation proto.ID `json:",omitzero"`
	Err          *failure
}

func wireOf(e Event) eventWire {
	switch e := e.(type) {
	case ConnectionEvent:
		return eventWire{Connection: &connectionWire{e.Online, e.NextTry, failureOf(e.Err)}}
	case MessageEvent:
		return eventWire{Message: &e.Message}
	case StateEvent:
		return eventWire{State: &e.Message}
	case ReceiptEvent:
		return eventWire{Receipt: &e}
	case ContactEvent:
		return eventWire{Contact: &e.Contact}
	case PresenceEvent:
		return eventWire{Presence: &e}
	case TypingEvent:
		return eventWire{Typing: &e}
	case LinkEvent:
		return eventWire{Link: &e}
	case DeviceAskEvent:
		return eventWire{DeviceAsk: &e}
	case GapEvent:
		return eventWire{Gap: &e}
	case MissedEvent:
		return eventWire{Missed: &e}
	case ErrorEvent:
		return eventWire{Error: &errorWire{e.Conversation, failureOf(e.Err)}}
	}
	return eventWire{}
}

func (w *eventWire) event() Event {
	switch {
	case w.Connection != nil:
		e := ConnectionEvent{Online: w.Connection.Online, NextTry: w.Connection.NextTry}
		if w.Connection.Err != nil {
			e.Err = w.Connection.Err.err()
		}
		return e
	case w.Message != nil:
		return MessageEvent{*w.Message}
	case w.State != nil:
		return StateEvent{*w.State}
	case w.Receipt != nil:
		return *w.Receipt
	case w.Contact != nil:
		return ContactEvent{*w.Contact}
	case w.Presence != nil:
		return *w.Presence
	case w.Typing != nil:
		return *w.Typing
	case w.Link != nil:
		return *w.Link
	case w.DeviceAsk != nil:
		return *w.DeviceAsk
	case w.Gap != nil:
		return *w.Gap
	case w.Missed != nil:
		return *w.Missed
	case w.Error != nil && w.Error.Err != nil:
		return ErrorEvent{Conversation: w.Error.Conversation, Err: w.Error.Err.err()}
	}
	return nil
}
