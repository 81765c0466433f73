package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Peer is an open profile: a Client, which owns it, or a Remote, which works through the process that does.
type Peer interface {
	Account() proto.ID
	Reach(ctx context.Context) error
	Contacts(ctx context.Context) ([]Contact, error)
	Resolve(ctx context.Context, name string) (Contact, error)
	Ask(ctx context.Context, userName, note string) (Contact, error)
	Accept(ctx context.Context, account proto.ID) (Contact, error)
	Decline(ctx context.Context, account proto.ID) error
	AcceptIdentity(ctx context.Context, account proto.ID) (Contact, error)
	RecoverFormer(ctx context.Context, code string) error
	ResetCode(ctx context.Context, name string) (ResetCode, error)
	Remove(ctx context.Context, person proto.ID) error
	SetBlocked(ctx context.Context, person proto.ID, blocked bool) (Contact, error)
	SetNickname(ctx context.Context, person proto.ID, nickname string) (Contact, error)
	SetHideAddressFrom(ctx context.Context, person proto.ID, hide bool) (Contact, error)
	SafetyNumber(ctx context.Context, person proto.ID) (SafetyNumber, error)
	SetCompared(ctx context.Context, person proto.ID, number string, compared bool) (Contact, error)
	Find(ctx context.Context, userName string) (proto.ID, error)
	Self(ctx context.Context) (Self, error)
	SetOwnNickname(ctx context.Context, nickname string) error
	SetPrivacy(ctx context.Context, p Privacy) error
	SetPresence(away bool)
	Devices(ctx context.Context) ([]Device, error)
	Revoke(ctx context.Context, devices []proto.ID, password string) error
	RevokeOthers(ctx context.Context, password string) (int, error)
	OpenDeviceLink(ctx context.Context) (DeviceLink, error)
	AddDevice(ctx context.Context, link DeviceLink, ask DeviceAskEvent, password string) error
	Keep(ctx context.Context, user, password string) error
	ChangePassword(ctx context.Context, proof Proof, password string) error
	NewRecoveryCode(ctx context.Context, proof Proof) (string, error)
	Conversations(ctx context.Context) ([]Conversation, error)
	Invitations(ctx context.Context) ([]OwnInvitation, error)
	RevokeInvitation(ctx context.Context, text string) error
	Invite(ctx context.Context, life time.Duration, uses uint32) (Invitation, error)
	AcceptInvitation(ctx context.Context, text string) (Contact, error)
	Send(ctx context.Context, d Draft) (Message, error)
	SendText(ctx context.Context, conversation proto.ID, text string) (Message, error)
	Retry(ctx context.Context, m Message) error
	Wait(ctx context.Context, m Message, level State) (Message, error)
	History(ctx context.Context, conversation proto.ID, opts HistoryOptions) ([]Message, error)
	Arrived(ctx context.Context, after int64, limit int) ([]Message, error)
	LastArrival(ctx context.Context) (int64, error)
	MarkRead(ctx context.Context, conversation proto.ID, seq uint64) error
	Subscribe() *Subscription
	Ended() <-chan struct{}
	Err() error
	Close() error
	doer // the REST API, as this device
}

// The process that holds a profile's lock serves the others of the same user on a Unix socket. It lies in a folder of its
// own below the system's temporary one, since a socket's path must be short; socketFile in the profile names it.
const (
	socketFile   = "socket"
	socketDir    = "parley-" // and a random end
	socketName   = "s"
	sharedBody   = 1 << 20 // bytes of one request; a text may have 64 KiB, six times that as JSON
	sharedHeader = 5 * time.Second
	connectFor   = 30 * time.Second // while another process is just opening or closing the profile
	connectPause = 20 * time.Millisecond
)

// Connect opens the profile in cfg.Dir, or when another process has it open, works through that one.
func Connect(ctx context.Context, cfg Config) (Peer, error) {
	deadline := time.Now().Add(connectFor)
	for {
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
		if time.Now().After(deadline) {
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
	handlers tasks // of requests
}

// share opens the socket. Only who holds the profile's lock does, so what an earlier holder left behind is taken away.
func (c *Client) share(ctx context.Context) (*shared, error) {
	s := &shared{c: c, pointer: filepath.Join(c.cfg.Dir, socketFile)}
	s.removeStale()
	var err error
	if s.dir, err = os.MkdirTemp("", socketDir); err != nil {
		return nil, fmt.Errorf("share profile: %w", err)
	}
	path := filepath.Join(s.dir, socketName)
	var lc net.ListenConfig
	if s.listener, err = lc.Listen(ctx, "unix", path); err != nil {
		return nil, errors.Join(fmt.Errorf("share profile: %w", err), os.RemoveAll(s.dir))
	}
	if err := writeWhole(s.pointer, []byte(path)); err != nil {
		return nil, errors.Join(fmt.Errorf("share profile: %w", err), s.listener.Close(), os.RemoveAll(s.dir))
	}
	s.server = &http.Server{
		Handler: s.count(s.routes()), ReadHeaderTimeout: sharedHeader, BaseContext: func(net.Listener) context.Context { return c.run },
	}
	return s, nil
}

// removeStale removes the socket of a process that was killed, if it lies where this package puts sockets.
func (s *shared) removeStale() {
	path, err := os.ReadFile(s.pointer)
	if err != nil {
		return
	}
	dir, name := filepath.Split(string(path))
	if name != socketName || !strings.HasPrefix(filepath.Base(dir), socketDir) {
		return
	}
	_ = os.Remove(string(path)) //nolint:gosec // no more than these two, whatever the file says
	_ = os.Remove(dir)          //nolint:gosec // likewise
}

// count lets close wait for requests that are being answered.
func (s *shared) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.handlers.enter() {
			http.Error(w, ErrClosed.Error(), http.StatusServiceUnavailable)
			return
		}
		defer s.handlers.leave()
		next.ServeHTTP(w, r)
	})
}

// serve answers until close, and returns when nothing is being answered any more.
func (s *shared) serve() {
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		s.c.logger.Error("serving other processes", "error", err)
	}
	s.handlers.wait()
}

// close ends every request; the other processes try to take the profile over.
func (s *shared) close() error {
	err := s.server.Close()
	if gone := os.Remove(s.pointer); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return errors.Join(err, os.RemoveAll(s.dir))
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
	messageArgs struct{ Message Message }
	arrivedArgs struct {
		After int64
		Limit int
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
	route(s, mux, "account", func(context.Context, nothing) (proto.ID, error) { return c.Account(), nil })
	route(s, mux, "reach", func(ctx context.Context, _ nothing) (nothing, error) { return nothing{}, c.Reach(ctx) })
	route(s, mux, "contacts", func(ctx context.Context, _ nothing) ([]Contact, error) { return c.Contacts(ctx) })
	route(s, mux, "resolve", func(ctx context.Context, a nameArgs) (Contact, error) { return c.Resolve(ctx, a.Name) })
	route(s, mux, "ask", func(ctx context.Context, a nameArgs) (Contact, error) { return c.Ask(ctx, a.Name, a.Note) })
	route(s, mux, "join", func(ctx context.Context, a nameArgs) (Contact, error) { return c.AcceptInvitation(ctx, a.Name) })
	route(s, mux, "accept", func(ctx context.Context, a accountArgs) (Contact, error) { return c.Accept(ctx, a.Account) })
	route(s, mux, "decline", func(ctx context.Context, a accountArgs) (nothing, error) {
		return nothing{}, c.Decline(ctx, a.Account)
	})
	route(s, mux, "accept-identity", func(ctx context.Context, a accountArgs) (Contact, error) { return c.AcceptIdentity(ctx, a.Account) })
	route(s, mux, "recover-former", func(ctx context.Context, a nameArgs) (nothing, error) {
		return nothing{}, c.RecoverFormer(ctx, a.Name)
	})
	route(s, mux, "reset-code", func(ctx context.Context, a nameArgs) (ResetCode, error) { return c.ResetCode(ctx, a.Name) })
	route(s, mux, "invite", func(ctx context.Context, a inviteArgs) (Invitation, error) { return c.Invite(ctx, a.Life, a.Uses) })
	route(s, mux, "send", func(ctx context.Context, d Draft) (Message, error) { return c.Send(ctx, d) })
	route(s, mux, "retry", func(ctx context.Context, a messageArgs) (nothing, error) { return nothing{}, c.Retry(ctx, a.Message) })
	route(s, mux, "wait", func(ctx context.Context, a waitArgs) (Message, error) { return c.Wait(ctx, a.Message, a.Level) })
	route(s, mux, "history", func(ctx context.Context, a historyArgs) ([]Message, error) {
		return c.History(ctx, a.Conversation, a.Options)
	})
	route(s, mux, "arrived", func(ctx context.Context, a arrivedArgs) ([]Message, error) { return c.Arrived(ctx, a.After, a.Limit) })
	route(s, mux, "last", func(ctx context.Context, _ nothing) (int64, error) { return c.LastArrival(ctx) })
	route(s, mux, "read", func(ctx context.Context, a readArgs) (nothing, error) {
		return nothing{}, c.MarkRead(ctx, a.Conversation, a.Seq)
	})
	s.peopleRoutes(mux)
	mux.HandleFunc("GET /events", s.events)
	return mux
}

// answer is what a call returns.
type answer struct {
	Result json.RawMessage `json:",omitempty"`
	Error  *failure        `json:",omitempty"`
}

func route[In, Out any](s *shared, mux *http.ServeMux, name string, f func(context.Context, In) (Out, error)) {
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
		if err != nil && s.c.run.Err() != nil { // whatever it is, it comes from Close
			err = fmt.Errorf("%w: %w", ErrClosed, err)
		}
		if err != nil {
			out = answer{Error: failureOf(err)}
		}
		_ = json.NewEncoder(w).Encode(out) // the caller is gone if this fails
	})
}

// events streams what happens, one JSON object per line, beginning with the present connection.
func (s *shared) events(w http.ResponseWriter, r *http.Request) {
	sub := s.c.events.join()
	defer sub.Cancel()
	flush, _ := w.(http.Flusher)
	encoder := json.NewEncoder(w)
	for {
		if flush != nil {
			flush.Flush()
		}
		select {
		case e, open := <-sub.C:
			if !open { // Close ends the stream too, but without a word: the caller takes the profile over
				<-s.c.ended
				if s.c.endErr != nil {
					_ = encoder.Encode(eventWire{Ended: failureOf(s.c.endErr)}) // the caller is gone if this fails
				}
				return
			}
			if encoder.Encode(wireOf(e)) != nil {
				return
			}
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
	"superseded": ErrSuperseded, "closed": ErrClosed, "timeout": context.DeadlineExceeded, "not-ready": ErrNotReady,
	"no-contact": ErrNoContact, "identity-changed": errIdentityChanged, "no-identity": ErrNoIdentity, "password-needed": ErrPasswordNeeded,
	"not-keeper": ErrNotKeeper, "kept": ErrKept,
}

func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: err.Error()}
	if ambiguous, ok := errors.AsType[*AmbiguousError](err); ok {
		f.Kind, f.Name, f.Candidates = "ambiguous", ambiguous.Name, ambiguous.Candidates
		return f
	}
	if errors.Is(err, ErrClosed) { // before anything that it may wrap
		f.Kind = "closed"
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
