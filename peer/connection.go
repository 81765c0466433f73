package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const (
	silence        = 60 * time.Second // nothing heard for so long: the connection is dead
	writeDeadline  = 10 * time.Second
	requestTimeout = 15 * time.Second
	outQueue       = 64  // frames waiting to be written; a full queue makes requests wait
	pushQueue      = 512 // frames waiting to be handled; a full queue cuts the connection, sync brings the rest
)

// connection is one WebSocket of a session; it never comes back once closed.
type connection struct {
	ws     *websocket.Conn
	out    chan []byte
	pushes chan *pb.Frame
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	request uint64 // number of the last one
	pending map[uint64]chan *pb.Frame
	ordered map[uint64]bool        // those of pending whose answer waits for what was pushed before it
	posted  map[uint64]func(error) // requests nobody waits for
}

func newConnection(ws *websocket.Conn) *connection {
	return &connection{
		ws: ws, out: make(chan []byte, outQueue), pushes: make(chan *pb.Frame, pushQueue), closed: make(chan struct{}),
		pending: make(map[uint64]chan *pb.Frame), ordered: make(map[uint64]bool), posted: make(map[uint64]func(error)),
	}
}

func (c *connection) close() { c.once.Do(func() { close(c.closed); _ = c.ws.Close() }) }

// reason is why the connection ended: what the reader met says more than err, if it has ended too.
func (c *connection) reason(err error, read <-chan error) error {
	select {
	case <-c.closed:
	default:
		return err
	}
	met := <-read
	if closed, ok := errors.AsType[*websocket.CloseError](met); ok {
		switch closed.Code {
		case closeSuperseded:
			return ErrSuperseded
		case closeRefused:
			return fmt.Errorf("%w: %w", ErrSignedOut, met)
		case closeSignedOut: // a new session may be had by signing
			return fmt.Errorf("%w: %w", ErrOffline, met)
		}
	}
	if met != nil && errors.Is(err, ErrOffline) {
		return fmt.Errorf("%w: %w", ErrOffline, met)
	}
	return err
}

// ask sends a request and waits for its answer.
func (c *connection) ask(ctx context.Context, f *pb.Frame) (*pb.Frame, error) {
	return c.exchange(ctx, f, false)
}

// askInOrder sends a request whose answer is of the kind that is also pushed. It returns after the answer was handled like a
// push, in its place among them. It must not be called by what handles pushes.
func (c *connection) askInOrder(ctx context.Context, f *pb.Frame) error {
	_, err := c.exchange(ctx, f, true)
	return err
}

func (c *connection) exchange(ctx context.Context, f *pb.Frame, ordered bool) (*pb.Frame, error) {
	answer := make(chan *pb.Frame, 1)
	c.mu.Lock()
	c.request++
	number := c.request
	c.pending[number] = answer
	if ordered {
		c.ordered[number] = true
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, number)
		delete(c.ordered, number)
		c.mu.Unlock()
	}()
	f.Request = number
	b, err := gproto.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
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
	case got := <-answer:
		return result(got)
	case <-c.closed:
		select {
		case got := <-answer: // it came just before
			return result(got)
		default:
			return nil, ErrOffline
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("request: %w", ctx.Err())
	case <-timer.C:
		c.close() // a server that leaves requests unanswered is as good as gone
		return nil, fmt.Errorf("%w: no answer within %s", ErrOffline, requestTimeout)
	}
}

func result(f *pb.Frame) (*pb.Frame, error) {
	if e := f.GetError(); e != nil {
		return nil, proto.FromProto(e)
	}
	return f, nil
}

func (c *connection) tell(f *pb.Frame) {
	b, err := gproto.Marshal(f)
	if err != nil {
		return
	}
	select {
	case c.out <- b:
	default: // typing and presence are not worth waiting for
	}
}

func (c *connection) post(f *pb.Frame, failed func(error)) error {
	c.mu.Lock()
	c.request++
	number := c.request
	c.posted[number] = failed
	c.mu.Unlock()
	f.Request = number
	b, err := gproto.Marshal(f)
	if err == nil {
		select {
		case c.out <- b:
			return nil
		default:
			err = fmt.Errorf("%w: too much is waiting", ErrOffline)
		}
	}
	c.mu.Lock()
	delete(c.posted, number)
	c.mu.Unlock()
	return err
}

// queued says whether a frame is handled in its place among those that were pushed.
func (c *connection) queued(f *pb.Frame) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return f.GetRequest() == 0 || c.ordered[f.GetRequest()]
}

// read hands answers to who asked and queues the rest until the connection fails.
func (c *connection) read() error {
	alive := func() error { return c.ws.SetReadDeadline(time.Now().Add(silence)) }
	c.ws.SetPingHandler(func(data string) error {
		if err := alive(); err != nil {
			return err
		}
		return c.ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(writeDeadline))
	})
	for {
		if err := alive(); err != nil {
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
		if !c.queued(f) {
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
