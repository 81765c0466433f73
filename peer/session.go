package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	gproto "google.golang.org/protobuf/proto"

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
	subprotocol    = "parley.v1"
	silence        = 60 * time.Second // nothing heard for so long: the connection is dead
	writeDeadline  = 10 * time.Second
	requestTimeout = 15 * time.Second
	backoffBase    = 500 * time.Millisecond
	backoffCap     = 30 * time.Second
	outQueue       = 64  // frames waiting to be written; a full queue makes requests wait
	pushQueue      = 512 // frames waiting to be handled; a full queue cuts the connection, sync brings the rest
)

// session keeps one authenticated socket to the server alive.
type session struct {
	url     string // ws:// or wss://
	dialer  *websocket.Dialer
	token   func(ctx context.Context, renew bool) (string, error)
	hello   func(ctx context.Context) (*pb.Hello, error)
	welcome func(ctx context.Context, w *pb.Welcome) error // before the first push is handled
	push    func(ctx context.Context, f *pb.Frame)
	state   func(online bool, nextTry time.Duration, err error)
	logger  *slog.Logger

	mu      sync.Mutex
	conn    *connection // nil while offline
	retry   chan struct{}
	request uint64
}

// connection is one WebSocket of a session; it never comes back once closed.
type connection struct {
	ws      *websocket.Conn
	out     chan []byte
	pushes  chan *pb.Frame
	closed  chan struct{}
	once    sync.Once
	mu      sync.Mutex
	pending map[uint64]chan *pb.Frame
	posted  map[uint64]func(error) // requests nobody waits for
}

func (c *connection) close() { c.once.Do(func() { close(c.closed); _ = c.ws.Close() }) }

func socketURL(base string) string {
	return "ws" + strings.TrimPrefix(base, "http") + "/api/v1/socket"
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
			s.state(false, 0, err)
			return err
		}
		if time.Since(started) > backoffCap {
			attempt = 0
		}
		wait := backoff(attempt)
		s.state(false, wait, err)
		s.logger.Debug("socket closed", "error", err, "retry_in", wait)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-s.retry:
			attempt = -1
		case <-timer.C:
		}
		timer.Stop()
	}
}

// backoff is a random time below a ceiling that doubles from 0.5 s to 30 s.
func backoff(attempt int) time.Duration {
	ceiling := min(backoffCap, backoffBase<<min(max(attempt, 0), 10))
	return backoffBase/10 + time.Duration(rand.Int64N(int64(ceiling))) //nolint:gosec // jitter needs no secrecy
}

// retryNow ends a running wait: the network came back.
func (s *session) retryNow() {
	select {
	case s.retry <- struct{}{}:
	default:
	}
}

// serveOnce connects, greets and serves one connection until it ends.
func (s *session) serveOnce(ctx context.Context) error {
	ws, err := s.dial(ctx)
	if err != nil {
		return err
	}
	c := &connection{
		ws: ws, out: make(chan []byte, outQueue), pushes: make(chan *pb.Frame, pushQueue), closed: make(chan struct{}),
		pending: make(map[uint64]chan *pb.Frame), posted: make(map[uint64]func(error)),
	}
	defer c.close()
	stop := context.AfterFunc(ctx, c.close)
	defer stop()

	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer c.close()
	readErr := make(chan error, 1)
	tasks.Go(func() { readErr <- c.read(); c.close() })
	tasks.Go(c.write)

	hello, err := s.hello(ctx)
	if err != nil {
		return err
	}
	answer, err := c.ask(ctx, &pb.Frame{Request: s.nextRequest(), Kind: &pb.Frame_Hello{Hello: hello}})
	if err != nil {
		return errors.Join(err, drain(readErr))
	}
	s.mu.Lock()
	s.conn = c
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.conn = nil
		s.mu.Unlock()
		c.failPending()
	}()
	if err := s.welcome(ctx, answer.GetWelcome()); err != nil {
		return err
	}
	s.state(true, 0, nil)
	for {
		select {
		case f := <-c.pushes:
			s.push(ctx, f)
		case <-c.closed:
			return closeReason(drain(readErr))
		}
	}
}

func drain(errs <-chan error) error {
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// closeReason turns the close codes of docs/PROTOCOL.md §7 into errors to act on.
func closeReason(err error) error {
	switch {
	case websocket.IsCloseError(err, 4409):
		return ErrSuperseded
	case err == nil:
		return ErrOffline
	}
	return fmt.Errorf("%w: %w", ErrOffline, err)
}

// dial opens the WebSocket; a refused token is renewed once by signing.
func (s *session) dial(ctx context.Context) (*websocket.Conn, error) {
	for _, renew := range []bool{false, true} {
		token, err := s.token(ctx, renew)
		if err != nil {
			return nil, err
		}
		ws, res, err := s.dialer.DialContext(ctx, s.url, http.Header{"Authorization": {"Bearer " + token}})
		if res != nil && res.Body != nil {
			_ = res.Body.Close() // after an upgrade it is empty
		}
		if err == nil {
			ws.SetReadLimit(proto.MaxFrame)
			return ws, nil
		}
		if res == nil || res.StatusCode != http.StatusUnauthorized {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
	}
	return nil, ErrSignedOut
}

func (s *session) nextRequest() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.request++
	return s.request
}

func (s *session) current() *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// ask sends a request and returns its answer. An Error frame comes back as *proto.Error; without a
// connection it is ErrOffline at once.
func (s *session) ask(ctx context.Context, f *pb.Frame) (*pb.Frame, error) {
	c := s.current()
	if c == nil {
		return nil, ErrOffline
	}
	f.Request = s.nextRequest()
	return c.ask(ctx, f)
}

// tell sends a frame that has no answer, if that is possible right now.
func (s *session) tell(f *pb.Frame) {
	c := s.current()
	if c == nil {
		return
	}
	b, err := gproto.Marshal(f)
	if err != nil {
		return
	}
	select {
	case c.out <- b:
	default: // typing and presence are not worth waiting for
	}
}

// post sends a request without waiting; failed is called if the server answers with an error. It
// returns ErrOffline when there is no connection or its queue is full.
func (s *session) post(f *pb.Frame, failed func(error)) error {
	c := s.current()
	if c == nil {
		return ErrOffline
	}
	f.Request = s.nextRequest()
	b, err := gproto.Marshal(f)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	c.mu.Lock()
	c.posted[f.GetRequest()] = failed
	c.mu.Unlock()
	select {
	case c.out <- b:
		return nil
	default:
		c.mu.Lock()
		delete(c.posted, f.GetRequest())
		c.mu.Unlock()
		return fmt.Errorf("%w: too much is waiting", ErrOffline)
	}
}

func (c *connection) ask(ctx context.Context, f *pb.Frame) (*pb.Frame, error) {
	b, err := gproto.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	answer := make(chan *pb.Frame, 1)
	c.mu.Lock()
	c.pending[f.GetRequest()] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, f.GetRequest())
		c.mu.Unlock()
	}()
	timer := time.NewTimer(requestTimeout)
	defer timer.Stop()
	select {
	case c.out <- b:
	case <-c.closed:
		return nil, ErrOffline
	case <-ctx.Done():
		return nil, fmt.Errorf("request: %w", ctx.Err())
	case <-timer.C:
		c.close()
		return nil, fmt.Errorf("%w: it does not take requests", ErrOffline)
	}
	select {
	case got, ok := <-answer:
		if !ok {
			return nil, ErrOffline
		}
		if e := got.GetError(); e != nil {
			return nil, proto.FromProto(e)
		}
		return got, nil
	case <-c.closed:
		return nil, ErrOffline
	case <-ctx.Done():
		return nil, fmt.Errorf("request: %w", ctx.Err())
	case <-timer.C:
		c.close() // a server that leaves requests unanswered is as good as gone
		return nil, fmt.Errorf("%w: no answer within %s", ErrOffline, requestTimeout)
	}
}

func (c *connection) failPending() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for number, answer := range c.pending {
		close(answer)
		delete(c.pending, number)
	}
}

// read hands answers to who asked and queues the rest until the connection fails.
func (c *connection) read() error {
	alive := func(string) error { return c.ws.SetReadDeadline(time.Now().Add(silence)) }
	c.ws.SetPingHandler(func(data string) error {
		if err := alive(data); err != nil {
			return err
		}
		return c.ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(writeDeadline))
	})
	for {
		if err := alive(""); err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		kind, b, err := c.ws.ReadMessage()
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		f := &pb.Frame{}
		if kind != websocket.BinaryMessage {
			return errors.New("socket: the server sent text")
		}
		if err := proto.Unmarshal(b, f); err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		if f.GetRequest() != 0 {
			c.answer(f)
			continue
		}
		select {
		case c.pushes <- f:
		default:
			return errors.New("socket: too much at once, coming back to sync")
		}
	}
}

func (c *connection) answer(f *pb.Frame) {
	c.mu.Lock()
	failed := c.posted[f.GetRequest()]
	delete(c.posted, f.GetRequest())
	if answer, ok := c.pending[f.GetRequest()]; ok {
		answer <- f // has room for the one answer
		delete(c.pending, f.GetRequest())
	}
	c.mu.Unlock()
	if e := f.GetError(); e != nil && failed != nil {
		failed(proto.FromProto(e))
	}
}

func (c *connection) write() {
	for {
		select {
		case b := <-c.out:
			if c.ws.SetWriteDeadline(time.Now().Add(writeDeadline)) != nil || c.ws.WriteMessage(websocket.BinaryMessage, b) != nil {
				c.close()
				return
			}
		case <-c.closed:
			return
		}
	}
}
