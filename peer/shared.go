package peer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Peer is an open profile: a Client, which owns it, or a Remote, which works through the process that does.
type Peer interface {
	Account() proto.ID
	WaitOnline(ctx context.Context) error
	Contacts(ctx context.Context) ([]Contact, error)
	Resolve(ctx context.Context, name string) (Contact, error)
	Ask(ctx context.Context, userName, note string) (Contact, error)
	Accept(ctx context.Context, account proto.ID) (Contact, error)
	Decline(ctx context.Context, account proto.ID) error
	Invite(ctx context.Context, life time.Duration, uses uint32) (Invitation, error)
	AcceptInvitation(ctx context.Context, text string) (Contact, error)
	SendText(ctx context.Context, conversation proto.ID, text string) (Message, error)
	Wait(ctx context.Context, m Message, level State) (Message, error)
	History(ctx context.Context, conversation proto.ID, opts HistoryOptions) ([]Message, error)
	MarkRead(ctx context.Context, conversation proto.ID, seq uint64) error
	Subscribe() *Subscription
	Ended() <-chan struct{}
	Err() error
	Close() error
}

// The process that holds a profile's lock serves the others of the same user on a Unix socket. It lies in a folder of its
// own below the system's temporary one, since a socket's path must be short; socketFile in the profile names it.
const (
	socketFile   = "socket"
	sharedBody   = 1 << 20 // bytes of one request; a text may have 64 KiB, six times that as JSON
	sharedHeader = 5 * time.Second
	connectTries = 100 // of connectPause, while another process is just opening or closing the profile
	connectPause = 50 * time.Millisecond
)

// Connect opens the profile in cfg.Dir, or when another process has it open, works through that one.
func Connect(ctx context.Context, cfg Config) (Peer, error) {
	for try := 0; ; try++ {
		c, err := Open(ctx, cfg)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, ErrProfileBusy) {
			return nil, err
		}
		r, dialErr := dialShared(ctx, cfg.Dir)
		if dialErr == nil {
			return r, nil
		}
		if try >= connectTries {
			return nil, errors.Join(err, dialErr)
		}
		timer := time.NewTimer(connectPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err() //nolint:wrapcheck // the caller's own
		}
	}
}

// shared serves a Client to other processes.
type shared struct {
	c        *Client
	dir      string // of the socket
	pointer  string // the file that names it
	server   *http.Server
	listener net.Listener
}

func (c *Client) share(ctx context.Context) (*shared, error) {
	dir, err := os.MkdirTemp("", "parley-")
	if err != nil {
		return nil, fmt.Errorf("share profile: %w", err)
	}
	s := &shared{c: c, dir: dir, pointer: filepath.Join(c.cfg.Dir, socketFile)}
	path := filepath.Join(dir, "s")
	var lc net.ListenConfig
	if s.listener, err = lc.Listen(ctx, "unix", path); err != nil {
		return nil, errors.Join(fmt.Errorf("share profile: %w", err), os.RemoveAll(dir))
	}
	if err := writeWhole(s.pointer, []byte(path)); err != nil {
		return nil, errors.Join(fmt.Errorf("share profile: %w", err), s.listener.Close(), os.RemoveAll(dir))
	}
	s.server = &http.Server{Handler: s.routes(), ReadHeaderTimeout: sharedHeader, BaseContext: func(net.Listener) context.Context { return c.run }}
	return s, nil
}

// writeWhole replaces a file at once, so that nobody reads half of it.
func writeWhole(path string, b []byte) error {
	random := make([]byte, 8)
	_, _ = rand.Read(random)
	temporary := path + "." + hex.EncodeToString(random)
	if err := os.WriteFile(temporary, b, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

func (s *shared) serve() error {
	err := s.server.Serve(s.listener)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// close ends every request; the other processes try to take the profile over.
func (s *shared) close() error {
	err := s.server.Close()
	return errors.Join(err, os.Remove(s.pointer), os.RemoveAll(s.dir))
}

// Arguments of the calls. Names are those of the methods of Peer.
type (
	nothing     struct{}
	nameArgs    struct{ Name, Note string }
	accountArgs struct{ Account proto.ID }
	inviteArgs  struct {
		Life time.Duration
		Uses uint32
	}
	sendArgs struct {
		Conversation proto.ID
		Text         string
	}
	waitArgs struct {
		Message Message
		Level   State
	}
	historyArgs struct {
		Conversation proto.ID
		Options      HistoryOptions
	}
	readArgs struct {
		Conversation proto.ID
		Seq          uint64
	}
)

func (s *shared) routes() http.Handler {
	c, mux := s.c, http.NewServeMux()
	route(mux, "account", func(context.Context, nothing) (proto.ID, error) { return c.Account(), nil })
	route(mux, "online", func(ctx context.Context, _ nothing) (nothing, error) { return nothing{}, c.WaitOnline(ctx) })
	route(mux, "contacts", func(ctx context.Context, _ nothing) ([]Contact, error) { return c.Contacts(ctx) })
	route(mux, "resolve", func(ctx context.Context, a nameArgs) (Contact, error) { return c.Resolve(ctx, a.Name) })
	route(mux, "ask", func(ctx context.Context, a nameArgs) (Contact, error) { return c.Ask(ctx, a.Name, a.Note) })
	route(mux, "join", func(ctx context.Context, a nameArgs) (Contact, error) { return c.AcceptInvitation(ctx, a.Name) })
	route(mux, "accept", func(ctx context.Context, a accountArgs) (Contact, error) { return c.Accept(ctx, a.Account) })
	route(mux, "decline", func(ctx context.Context, a accountArgs) (nothing, error) {
		return nothing{}, c.Decline(ctx, a.Account)
	})
	route(mux, "invite", func(ctx context.Context, a inviteArgs) (Invitation, error) { return c.Invite(ctx, a.Life, a.Uses) })
	route(mux, "send", func(ctx context.Context, a sendArgs) (Message, error) { return c.SendText(ctx, a.Conversation, a.Text) })
	route(mux, "wait", func(ctx context.Context, a waitArgs) (Message, error) { return c.Wait(ctx, a.Message, a.Level) })
	route(mux, "history", func(ctx context.Context, a historyArgs) ([]Message, error) {
		return c.History(ctx, a.Conversation, a.Options)
	})
	route(mux, "read", func(ctx context.Context, a readArgs) (nothing, error) {
		return nothing{}, c.MarkRead(ctx, a.Conversation, a.Seq)
	})
	mux.HandleFunc("GET /events", s.events)
	return mux
}

// answer is what a call returns.
type answer struct {
	Result json.RawMessage `json:",omitempty"`
	Error  *failure        `json:",omitempty"`
}

func route[In, Out any](mux *http.ServeMux, name string, f func(context.Context, In) (Out, error)) {
	mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
		var (
			in  In
			out answer
		)
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, sharedBody)).Decode(&in)
		if err == nil {
			var result Out
			if result, err = f(r.Context(), in); err == nil {
				out.Result, err = json.Marshal(result)
			}
		}
		if err != nil {
			out = answer{Error: failureOf(err)}
		}
		_ = json.NewEncoder(w).Encode(out) // the caller is gone if this fails
	})
}

// events streams what happens, one JSON object per line, beginning with the present connection.
func (s *shared) events(w http.ResponseWriter, r *http.Request) {
	sub := s.c.Subscribe()
	defer sub.Cancel()
	flush, _ := w.(http.Flusher)
	encoder := json.NewEncoder(w)
	if err := encoder.Encode(eventWire{Connection: &connectionWire{Online: s.c.online.Load()}}); err != nil {
		return
	}
	for {
		if flush != nil {
			flush.Flush()
		}
		select {
		case e, open := <-sub.C:
			if !open || encoder.Encode(wireOf(e)) != nil {
				return
			}
		case <-s.c.ended:
			_ = encoder.Encode(eventWire{Ended: failureOf(s.c.endErr)}) // the caller is gone if this fails
			return
		case <-r.Context().Done():
			return
		}
	}
}

// failure carries an error between processes so that callers can still act on it.
type failure struct {
	Kind       string // see failureKinds; "proto", "ambiguous", "" for any other
	Text       string
	Code       pb.ErrorCode  `json:",omitempty"`
	RetryAfter time.Duration `json:",omitempty"`
	Name       string        `json:",omitempty"`
	Candidates []string      `json:",omitempty"`
}

var failureKinds = map[string]error{ //nolint:gochecknoglobals // a table
	"no-such-name": ErrNoSuchName, "offline": ErrOffline, "unreachable": ErrUnreachable, "signed-out": ErrSignedOut,
	"superseded": ErrSuperseded, "closed": ErrClosed, "timeout": context.DeadlineExceeded,
}

func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: err.Error()}
	var ambiguous *AmbiguousError
	if errors.As(err, &ambiguous) {
		f.Kind, f.Name, f.Candidates = "ambiguous", ambiguous.Name, ambiguous.Candidates
		return f
	}
	for kind, known := range failureKinds {
		if errors.Is(err, known) {
			f.Kind = kind
			return f
		}
	}
	if e, ok := proto.AsError(err); ok {
		f.Kind, f.Code, f.RetryAfter = "proto", e.Code, e.RetryAfter
	}
	return f
}

// remoteError is an error of the other process with the text that it had there.
type remoteError struct {
	text  string
	known error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.known }

func (f *failure) err() error {
	switch known := failureKinds[f.Kind]; {
	case f.Kind == "ambiguous":
		return &AmbiguousError{Name: f.Name, Candidates: f.Candidates}
	case f.Kind == "proto":
		return &proto.Error{Code: f.Code, Message: f.Text, RetryAfter: f.RetryAfter}
	case known != nil:
		return &remoteError{f.Text, known}
	}
	return errors.New(f.Text)
}
