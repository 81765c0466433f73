package peer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Errors of the session that callers act on.
var (
	// ErrOffline says that there is no connection to the server at the moment.
	ErrOffline = errors.New("not connected to the server")
	// ErrSignedOut says that the server does not let this device in any more.
	ErrSignedOut = errors.New("this device was signed out: log in again")
	// ErrSuperseded says that another process connected with the same device.
	ErrSuperseded = errors.New("this device is connected elsewhere")
)

const (
	subprotocol  = "parley.v1"
	backoffBase  = 500 * time.Millisecond
	backoffCap   = 30 * time.Second
	probeTimeout = 5 * time.Second // for the answer that shows that a connection outlived a change of network
)

// Close codes of docs/PROTOCOL.md §7 after which a client does not come back.
const (
	closeSignedOut  = 4401
	closeRefused    = 4403
	closeSuperseded = 4409
)

// attendant does what there is to do over one connection.
type attendant interface {
	push(ctx context.Context, f *pb.Frame) // handles a frame of the server's own accord; called one after the other
	run(ctx context.Context)               // works beside push until ctx ends
}

// session keeps one authenticated socket to the server alive.
type session struct {
	url    string // ws:// or wss://
	dialer *websocket.Dialer
	token  func(ctx context.Context, renew bool) (string, error)
	hello  func(ctx context.Context) (*pb.Hello, error)
	// attach begins to attend to a greeted connection. lost ends that, or tells of an attempt that failed.
	attach func(ctx context.Context, c *connection, w *pb.Welcome) (attendant, error)
	lost   func(nextTry time.Duration, err error)
	logger *slog.Logger
	retry  chan struct{} // ends a running wait

	mu   sync.Mutex
	conn *connection // nil while offline
}

const socketPath = "/api/v1/socket"

func socketURL(base string) string { return "ws" + strings.TrimPrefix(base, "http") + socketPath }

// server is the address as a person knows it.
func (s *session) server() string {
	return "http" + strings.TrimSuffix(strings.TrimPrefix(s.url, "ws"), socketPath)
}

// run connects and reconnects with full-jitter backoff until ctx ends or the server refuses the
// device for good (ErrSignedOut, ErrSuperseded).
func (s *session) run(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		started := time.Now()
		err := s.serveOnce(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // ended on request
		}
		if errors.Is(err, ErrSignedOut) || errors.Is(err, ErrSuperseded) {
			s.lost(0, err)
			return err
		}
		if time.Since(started) > backoffCap {
			attempt = 0
		}
		wait := backoff(attempt)
		s.lost(wait, err)
		s.logger.Debug("socket closed", "error", err, "retry_in", wait)
		if s.sleep(ctx, wait) {
			attempt = -1
		}
	}
}

// sleep waits; true says that it was told to stop waiting.
func (s *session) sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-s.retry:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

// backoff is a random time below a ceiling that doubles from 0.5 s to 30 s.
func backoff(attempt int) time.Duration {
	ceiling := min(backoffCap, backoffBase<<min(max(attempt, 0), 10))
	return backoffBase/10 + time.Duration(rand.Int64N(int64(ceiling))) //nolint:gosec // jitter needs no secrecy
}

// retryNow ends a running wait, or the next one.
func (s *session) retryNow() {
	select {
	case s.retry <- struct{}{}:
	default:
	}
}

// networkChanged ends a running wait, or finds out whether the connection is still one.
func (s *session) networkChanged(ctx context.Context) {
	c := s.current()
	if c == nil {
		s.retryNow()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if _, err := c.ask(ctx, &pb.Frame{Kind: &pb.Frame_IceRequest{IceRequest: &pb.IceRequest{}}}); err != nil {
		if _, answered := proto.AsError(err); !answered {
			c.close()
		}
	}
}

// serveOnce connects, greets and serves one connection until it ends.
func (s *session) serveOnce(ctx context.Context) error {
	ws, err := s.dial(ctx)
	if err != nil {
		return err
	}
	c := newConnection(ws)
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	defer c.close()
	defer context.AfterFunc(ctx, c.close)()
	readErr := make(chan error, 1)
	tasks.Go(func() { readErr <- c.read(); c.close() })
	tasks.Go(c.write)

	hello, err := s.hello(ctx)
	if err != nil {
		return err
	}
	answer, err := c.ask(ctx, &pb.Frame{Kind: &pb.Frame_Hello{Hello: hello}})
	if err != nil {
		return c.reason(err, readErr)
	}
	s.set(c) // before attach: whoever hears what the greeting brought may answer it at once
	defer s.set(nil)
	a, err := s.attach(ctx, c, answer.GetWelcome())
	if err != nil {
		return c.reason(err, readErr)
	}
	tasks.Go(func() { a.run(ctx) })
	for {
		select {
		case f := <-c.pushes:
			a.push(ctx, f)
			if f.GetRequest() != 0 {
				c.answer(f)
			}
		case <-c.closed:
			return c.reason(ErrOffline, readErr)
		}
	}
}

func (s *session) set(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = c
}

// current is the connection, nil while offline.
func (s *session) current() *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// dial opens the WebSocket; a refused token is renewed once by signing.
func (s *session) dial(ctx context.Context) (*websocket.Conn, error) {
	for _, renew := range []bool{false, true} {
		token, err := s.token(ctx, renew)
		if err != nil {
			return nil, err
		}
		ws, res, err := s.dialer.DialContext(ctx, s.url, http.Header{"Authorization": {"Bearer " + token}})
		switch {
		case err == nil:
			ws.SetReadLimit(proto.MaxFrame)
			return ws, nil
		case res == nil:
			return nil, unreachable(s.server(), err)
		}
		body, _ := io.ReadAll(res.Body) // the dialer has read the first KiB of it, which is all there is
		_ = res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized {
			return nil, problem(s.server(), res, body)
		}
	}
	return nil, ErrSignedOut
}

// ask sends a request and returns its answer. An Error frame comes back as *proto.Error; without a
// connection it is ErrOffline at once.
func (s *session) ask(ctx context.Context, f *pb.Frame) (*pb.Frame, error) {
	c := s.current()
	if c == nil {
		return nil, ErrOffline
	}
	return c.ask(ctx, f)
}

// tell sends a frame that has no answer, if that is possible right now.
func (s *session) tell(f *pb.Frame) {
	if c := s.current(); c != nil {
		c.tell(f)
	}
}

// post sends a request without waiting; failed is called if the server answers with an error. It
// returns ErrOffline when there is no connection or its queue is full.
func (s *session) post(f *pb.Frame, failed func(error)) error {
	c := s.current()
	if c == nil {
		return ErrOffline
	}
	return c.post(f, failed)
}
