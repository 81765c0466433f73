package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

type listenCmd struct {
	profileFlags
	JSON bool `help:"One JSON object per line and event."`
	Read bool `help:"Mark what is shown as read."`
}

// Help is the longer part of `parley listen --help`.
func (*listenCmd) Help() string {
	return `Shows messages as they come, sends what waits in the outbox and keeps links open until it is interrupted. Other commands work on the
same profile meanwhile. With --json every event has a type: ready (the server is reached), message, state (a message's state changed),
receipt, contact, presence, typing, link or error. Messages have id, conversation, from, from_id, text, time, seq, path and state.

  parley listen --json | jq -r 'select(.type == "message") | .from + ": " + .text'`
}

// Run shows events until ctx ends. When it works through another process and that one ends, it takes the profile over, or
// goes on through the next one that has it.
func (l *listenCmd) Run(ctx context.Context, io stdio) error {
	shown := &listener{listenCmd: l, io: io, out: bufio.NewWriter(io.out)}
	for ctx.Err() == nil {
		c, err := l.connect(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // interrupted while another process opened or closed the profile
		}
		if err != nil {
			return err
		}
		err = errors.Join(shown.follow(ctx, c), c.Close())
		if !errors.Is(err, peer.ErrClosed) {
			return err
		}
	}
	return nil
}

// listener shows what happens, over several openings of the profile.
type listener struct {
	*listenCmd
	io     stdio
	out    *bufio.Writer
	said   string // of the connection, the last time
	begun  bool
	last   int64             // Arrival of the newest message there was
	caught map[proto.ID]bool // shown as missed; their events may still come
}

// follow shows events until ctx ends, and first the messages that came since the last call. It returns peer.ErrClosed when it
// worked through another process and that one let the profile go.
func (l *listener) follow(ctx context.Context, c peer.Peer) error {
	sub := c.Subscribe()
	defer sub.Cancel()
	err := l.catchUp(ctx, c)
	for err == nil {
		select {
		case e, open := <-sub.C:
			if open {
				err = l.take(ctx, c, e)
				continue
			}
			<-c.Ended()
			if err = c.Err(); err == nil {
				err = peer.ErrClosed
			}
		case <-ctx.Done():
			return nil
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// catchUp shows the messages that nobody heard of: of the time between two openings, or that were too many at once.
func (l *listener) catchUp(ctx context.Context, c peer.Peer) (err error) {
	if !l.begun {
		l.begun = true
		l.last, err = c.LastArrival(ctx)
		return err
	}
	missed, err := c.Arrived(ctx, l.last, 0)
	if err != nil {
		return err
	}
	l.caught = make(map[proto.ID]bool)
	for _, m := range missed {
		if err := l.show(ctx, c, peer.MessageEvent{Message: m}); err != nil {
			return err
		}
		l.caught[m.ID] = true
	}
	return nil
}

func (l *listener) take(ctx context.Context, c peer.Peer, e peer.Event) error {
	switch e := e.(type) {
	case peer.MissedEvent:
		return l.catchUp(ctx, c)
	case peer.MessageEvent:
		if l.caught[e.ID] {
			delete(l.caught, e.ID)
			return nil
		}
	}
	return l.show(ctx, c, e)
}

func (l *listener) show(ctx context.Context, c peer.Peer, e peer.Event) error {
	if m, ok := shownMessage(e); ok {
		l.last = max(l.last, m.Arrival)
		if l.Read && !m.Own && m.Seq > 0 {
			if err := c.MarkRead(ctx, m.Conversation, m.Seq); err != nil {
				return err
			}
		}
	}
	if !l.JSON {
		return l.print(e)
	}
	if w, ok := peer.Wire(e); ok {
		if err := json.NewEncoder(l.out).Encode(w); err != nil {
			return err
		}
	}
	return l.out.Flush()
}

// print shows what a person wants to see: messages, and on standard error what is wrong.
func (l *listener) print(e peer.Event) error {
	switch e := e.(type) {
	case peer.MessageEvent:
		_, _ = fmt.Fprintf(l.out, "%s %s: %s\n", e.Time.Local().Format("15:04"), line(e.From), text(shownText(e.Message)))
	case peer.ErrorEvent:
		_, _ = fmt.Fprintln(l.io.err, "parley:", line(e.Err.Error()))
	case peer.ConnectionEvent:
		said := "connected"
		if e.Err != nil {
			said = line(e.Err.Error())
		}
		if said != l.said { // and not at every attempt
			_, _ = fmt.Fprintln(l.io.err, "parley:", said)
		}
		l.said = said
	}
	return l.out.Flush()
}

// shownMessage is the message of an event that may have brought its number: of one that came directly it comes later.
func shownMessage(e peer.Event) (peer.Message, bool) {
	switch e := e.(type) {
	case peer.MessageEvent:
		return e.Message, true
	case peer.StateEvent:
		return e.Message, true
	}
	return peer.Message{}, false
}
