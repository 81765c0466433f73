package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

type profileFlags struct {
	Profile string `help:"Folder of the profile." env:"PARLEY_PROFILE"`
}

func (p profileFlags) options() (peer.Options, error) {
	dir := p.Profile
	if dir == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return peer.Options{}, badFlag("--profile: %v: name a folder", err)
		}
		dir = filepath.Join(config, "parley")
	}
	return peer.Options{Dir: dir}, nil
}

// open opens the profile and waits until the server is reached.
func (p profileFlags) open(ctx context.Context) (peer.Peer, error) {
	opts, err := p.options()
	if err != nil {
		return nil, err
	}
	c, err := peer.Connect(ctx, peer.Config{Options: opts, Program: "parley " + version, Logger: logger()})
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := c.WaitOnline(wait); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// password reads PARLEY_PASSWORD_FILE, else asks on the terminal, else fails.
func password(io stdio) (string, error) {
	if path := os.Getenv("PARLEY_PASSWORD_FILE"); path != "" {
		b, err := os.ReadFile(path) //nolint:gosec // named by the person
		if err != nil {
			return "", badFlag("PARLEY_PASSWORD_FILE: %v", err)
		}
		return strings.TrimRight(string(b), "\r\n"), nil
	}
	file, ok := io.in.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return "", badFlag("no password: set PARLEY_PASSWORD_FILE to a file that holds it, or run this on a terminal")
	}
	_, _ = fmt.Fprint(io.err, "Password: ")
	b, err := term.ReadPassword(int(file.Fd()))
	_, _ = fmt.Fprintln(io.err)
	return string(b), err
}

type accountFlags struct {
	profileFlags
	Server string `help:"Address of the server, e.g. https://talk.example." required:""`
	User   string `help:"User name." required:""`
}

type registerCmd struct {
	accountFlags
	Invite   string `help:"Invitation: CODE.SECRET or the whole link."`
	Nickname string `help:"Name that contacts see; the user name otherwise."`
}

func (r *registerCmd) Run(ctx context.Context, io stdio) error {
	opts, err := r.options()
	if err != nil {
		return err
	}
	secret, err := password(io)
	if err != nil {
		return err
	}
	p, err := peer.Register(ctx, opts, peer.Credentials{Server: r.Server, User: r.User, Password: secret, Invitation: r.Invite, Nickname: r.Nickname})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.out, "registered", r.User, p.Account())
	return err
}

type loginCmd struct{ accountFlags }

func (l *loginCmd) Run(ctx context.Context, io stdio) error {
	opts, err := l.options()
	if err != nil {
		return err
	}
	secret, err := password(io)
	if err != nil {
		return err
	}
	p, err := peer.Login(ctx, opts, peer.Credentials{Server: l.Server, User: l.User, Password: secret})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.out, "logged in as", l.User, p.Account())
	return err
}

type logoutCmd struct {
	profileFlags
	Force bool `help:"Delete the profile even if the server cannot be reached."`
}

func (l *logoutCmd) Run(ctx context.Context) error {
	opts, err := l.options()
	if err != nil {
		return err
	}
	p, err := peer.LoadProfile(opts.Dir)
	if err != nil {
		return err
	}
	return peer.Logout(ctx, opts, p, l.Force)
}

type contactsCmd struct {
	Add     contactAddCmd     `cmd:"" help:"Ask somebody, by exact user name, or accept an invitation."`
	Accept  contactAcceptCmd  `cmd:"" help:"Accept somebody who asked."`
	Decline contactDeclineCmd `cmd:"" help:"Decline somebody who asked."`
	List    contactListCmd    `cmd:"" help:"List contacts and requests."`
	Invite  contactInviteCmd  `cmd:"" help:"Make an invitation."`
}

// with opens the profile, runs f and closes it again.
func (p profileFlags) with(ctx context.Context, f func(peer.Peer) error) error {
	c, err := p.open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(f(c), c.Close())
}

type contactAddCmd struct {
	profileFlags
	Name string `arg:"" help:"User name, or an invitation."`
	Note string `help:"A line that they see with the request."`
}

func (a *contactAddCmd) Run(ctx context.Context, io stdio) error {
	return a.with(ctx, func(c peer.Peer) error {
		var (
			contact peer.Contact
			err     error
		)
		if _, parseErr := proto.ParseInvitation(a.Name); parseErr == nil {
			contact, err = c.AcceptInvitation(ctx, a.Name)
		} else {
			contact, err = c.Ask(ctx, a.Name, a.Note)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(io.out, contact.State, contact.Name())
		return err
	})
}

type contactAcceptCmd struct {
	profileFlags
	Name string `arg:"" help:"User name or nickname."`
}

func (a *contactAcceptCmd) Run(ctx context.Context, io stdio) error {
	return a.with(ctx, func(c peer.Peer) error {
		who, err := c.Resolve(ctx, a.Name)
		if err != nil {
			return err
		}
		contact, err := c.Accept(ctx, who.Account)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(io.out, contact.State, contact.Name())
		return err
	})
}

type contactDeclineCmd struct {
	profileFlags
	Name string `arg:"" help:"User name or nickname."`
}

func (d *contactDeclineCmd) Run(ctx context.Context) error {
	return d.with(ctx, func(c peer.Peer) error {
		who, err := c.Resolve(ctx, d.Name)
		if err != nil {
			return err
		}
		return c.Decline(ctx, who.Account)
	})
}

type contactListCmd struct {
	profileFlags
	JSON bool `help:"One JSON object per line."`
}

func (l *contactListCmd) Run(ctx context.Context, io stdio) error {
	return l.with(ctx, func(c peer.Peer) error {
		all, err := c.Contacts(ctx)
		if err != nil {
			return err
		}
		for _, contact := range all {
			if l.JSON {
				err = json.NewEncoder(io.out).Encode(map[string]any{
					"id": contact.Account, "user": contact.UserName, "name": contact.Name(), "state": contact.State, "note": contact.Note,
					"online": contact.Online, "unread": contact.Unread,
				})
			} else {
				_, err = fmt.Fprintf(io.out, "%-9s %-20s %s\n", contact.State, contact.UserName, contact.Name())
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

type contactInviteCmd struct {
	profileFlags
	Days int `help:"How long it works." default:"7"`
	Uses int `help:"How many people it takes." default:"1"`
}

func (i *contactInviteCmd) Run(ctx context.Context, io stdio) error {
	if i.Days < 1 || i.Days > 365 || i.Uses < 1 || i.Uses > proto.MaxInvitationUses {
		return badFlag("--days is 1 to 365, --uses is 1 to %d", proto.MaxInvitationUses)
	}
	return i.with(ctx, func(c peer.Peer) error {
		inv, err := c.Invite(ctx, time.Duration(i.Days)*24*time.Hour, uint32(i.Uses)) //nolint:gosec // checked
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(io.out, "%s\n%s\n", inv.Code, inv.URL)
		return err
	})
}

type sendCmd struct {
	profileFlags
	Name    string        `arg:"" help:"User name or nickname."`
	Text    string        `arg:"" help:"The text, or - to read it from standard input."`
	Wait    string        `help:"What to wait for: sent, delivered or read." enum:"sent,delivered,read" default:"sent"`
	Timeout time.Duration `help:"How long to wait; the message stays in the outbox after that." default:"30s"`
	JSON    bool          `help:"Write the message as a JSON object."`
}

func (s *sendCmd) Run(ctx context.Context, std stdio) error {
	text := s.Text
	if text == "-" {
		b, err := io.ReadAll(io.LimitReader(std.in, proto.MaxText+1))
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
		text = strings.TrimSuffix(string(b), "\n")
	}
	draft := peer.Draft{Text: text, ID: proto.NewID()}
	for {
		err := s.with(ctx, func(c peer.Peer) error { return s.send(ctx, c, draft, std) })
		if !errors.Is(err, peer.ErrClosed) || ctx.Err() != nil {
			return err
		} // the process that held the profile ended meanwhile; the same draft is not sent twice
	}
}

func (s *sendCmd) send(ctx context.Context, c peer.Peer, draft peer.Draft, std stdio) error {
	who, err := c.Resolve(ctx, s.Name)
	if err != nil {
		return err
	}
	if who.Conversation.IsZero() {
		return fmt.Errorf("%w: %s has not accepted yet", peer.ErrNoSuchName, who.Name())
	}
	draft.Conversation = who.Conversation
	m, err := c.Send(ctx, draft)
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	m, err = c.Wait(wait, m, peer.State(s.Wait))
	if err != nil {
		return err
	}
	if m.State == peer.StateFailed {
		return errors.New(m.Failure)
	}
	if s.JSON {
		return json.NewEncoder(std.out).Encode(m.Wire("message"))
	}
	return nil
}

type historyCmd struct {
	profileFlags
	Name  string `arg:"" help:"User name or nickname."`
	JSON  bool   `help:"One JSON object per line."`
	Limit int    `help:"Only the newest; 0 shows all." default:"0"`
}

func (h *historyCmd) Run(ctx context.Context, io stdio) error {
	return h.with(ctx, func(c peer.Peer) error {
		who, err := c.Resolve(ctx, h.Name)
		if err != nil {
			return err
		}
		all, err := c.History(ctx, who.Conversation, peer.HistoryOptions{Limit: h.Limit})
		if err != nil {
			return err
		}
		for _, m := range all {
			if h.JSON {
				err = json.NewEncoder(io.out).Encode(m.Wire("message"))
			} else {
				_, err = fmt.Fprintf(io.out, "%s %s: %s\n", m.Time.Local().Format("2006-01-02 15:04"), m.From, m.Text)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// logger writes warnings to standard error; PARLEY_LOG_LEVEL=debug shows more.
func logger() *slog.Logger {
	level := slog.LevelWarn
	if err := level.UnmarshalText([]byte(os.Getenv("PARLEY_LOG_LEVEL"))); err != nil {
		level = slog.LevelWarn
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
