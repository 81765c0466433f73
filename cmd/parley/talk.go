package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

type sendCmd struct {
	profileFlags
	Name    string        `arg:"" help:"User name, or nickname if only one has it."`
	Text    string        `arg:"" help:"The text in quotes, or - to read it from standard input; up to 64 KiB."`
	Wait    string        `help:"What to wait for: sent (the server has it, or they do), delivered (a device of theirs has it) or read." enum:"sent,delivered,read" default:"sent"`
	Timeout time.Duration `help:"How long to wait, e.g. 90s or 5m." default:"30s"`
	JSON    bool          `help:"Write the message as a JSON object, as history does."`
}

// Help is the longer part of `parley send --help`.
func (*sendCmd) Help() string {
	return `The text is sealed on this device, goes directly to devices that are linked, and to the server. When the time is over (exit code 6)
or the command is interrupted, a message that was not sent stays in the outbox and goes out with the next command that reaches the server.

  parley send mia "see you at eight"
  git log -1 | parley send mia - --wait delivered`
}

func (s *sendCmd) Run(ctx context.Context, std stdio) error {
	if s.Timeout <= 0 {
		return badFlag("--timeout %s: want more than zero, e.g. 30s", s.Timeout)
	}
	body, err := s.read(std)
	if err != nil {
		return err
	}
	draft := peer.Draft{Text: body, ID: proto.NewID()} // with an id it is not sent twice when f runs again
	return s.withOrWithout(ctx, func(c peer.Peer, offline error) error {
		m, err := s.send(ctx, c, offline, draft)
		if err == nil {
			m, err = s.await(ctx, c, m, offline)
		}
		if err == nil && s.JSON {
			err = json.NewEncoder(std.out).Encode(m.Wire("message"))
		}
		return err
	})
}

// send puts the text into the outbox.
func (s *sendCmd) send(ctx context.Context, c peer.Peer, offline error, draft peer.Draft) (peer.Message, error) {
	who, err := c.Resolve(ctx, s.Name)
	switch {
	case errors.Is(err, peer.ErrNoSuchName) && offline != nil:
		return peer.Message{}, fmt.Errorf("%w, and this device knows nobody of the name %q", offline, s.Name)
	case err != nil:
		return peer.Message{}, err
	case who.Conversation.IsZero():
		return peer.Message{}, &refusedError{who.Name() + " has not accepted yet: nothing was sent"}
	}
	draft.Conversation = who.Conversation
	return c.Send(ctx, draft)
}

func (s *sendCmd) read(std stdio) (string, error) {
	if s.Text != "-" {
		return s.Text, nil
	}
	b, err := io.ReadAll(io.LimitReader(std.in, proto.MaxText+2)) // a byte too much, and the line's end
	if err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	return strings.TrimSuffix(string(b), "\n"), nil
}

// await waits until the message is where --wait says.
func (s *sendCmd) await(ctx context.Context, c peer.Peer, m peer.Message, offline error) (peer.Message, error) {
	wait, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	m, err := c.Wait(wait, m, peer.State(s.Wait))
	switch {
	case ctx.Err() == nil && wait.Err() != nil && err != nil:
		return m, s.late(ctx, c, m, offline)
	case err != nil:
		return m, err
	case m.State == peer.StateFailed || m.State == peer.StateOnlyHere:
		return m, &refusedError{"not sent: " + m.Failure}
	}
	return m, nil
}

// late says where a message is when the time is over.
func (s *sendCmd) late(ctx context.Context, c peer.Peer, m peer.Message, offline error) error {
	if now, err := c.Wait(ctx, m, peer.StateWaiting); err == nil { // every message is at least waiting: this reads its state
		m = now
	}
	if m.State != peer.StateWaiting {
		return &timeoutError{fmt.Sprintf("%s, but not %s within %s: the server keeps it for them", m.State, s.Wait, s.Timeout)}
	}
	why := cmp.Or(offline, peer.ErrOffline)
	return &timeoutError{fmt.Sprintf("not sent within %s (%v): it stays in the outbox and goes out when the server is reached", s.Timeout, why)}
}

type historyCmd struct {
	profileFlags
	Name  string `arg:"" help:"User name, or nickname if only one has it."`
	JSON  bool   `help:"One JSON object per line, with the fields of listen's messages."`
	Limit int    `help:"Only so many of the newest; 0 shows all." default:"0"`
}

// Help is the longer part of `parley history --help`.
func (*historyCmd) Help() string {
	return `Oldest first. What came while this device was away is fetched first; when the server cannot be reached, what the device has is shown.`
}

func (h *historyCmd) Run(ctx context.Context, io stdio) error {
	if h.Limit < 0 {
		return badFlag("--limit %d: want 0 or more", h.Limit)
	}
	return h.withOrWithout(ctx, func(c peer.Peer, offline error) error {
		who, err := c.Resolve(ctx, h.Name)
		if errors.Is(err, peer.ErrNoSuchName) && offline != nil {
			return fmt.Errorf("%w, and this device knows nobody of the name %q", offline, h.Name)
		}
		if err != nil {
			return err
		}
		all, err := c.History(ctx, who.Conversation, peer.HistoryOptions{Limit: h.Limit})
		if err != nil {
			return err
		}
		if offline != nil {
			note(io, offline, "this is what the device has")
		}
		out := bufio.NewWriter(io.out)
		for _, m := range all {
			if h.JSON {
				err = json.NewEncoder(out).Encode(m.Wire("message"))
			} else {
				_, err = fmt.Fprintf(out, "%s %s: %s\n", m.Time.Local().Format("2006-01-02 15:04"), line(m.From), text(shownText(m)))
			}
			if err != nil {
				return err
			}
		}
		return out.Flush()
	})
}

// shownText is a message's text, or why there is none.
func shownText(m peer.Message) string {
	switch {
	case m.State == peer.StateSealed:
		return "(waiting for the key)"
	case m.State == peer.StateGone:
		return "(no longer on the server)"
	case !m.Known:
		return "(this needs a newer Parley)"
	}
	return m.Text
}
