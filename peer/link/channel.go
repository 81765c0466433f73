package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/datachannel"
	"github.com/pion/webrtc/v4"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

var (
	errChannelClosed = errors.New("control channel: closed")
	errFrameTooLarge = errors.New("control channel: frame too large")
)

const (
	sendWindow   = 256 << 10        // bytes that may wait in SCTP before a new frame has to wait
	sendResume   = 64 << 10         // and when it may go on
	readBuffer   = 1 << 10          // kept by an idle link; longer messages borrow a larger one
	pingLifetime = 30 * time.Second // of a Ping without answer
	pongPatience = 100 * time.Millisecond
)

// channel is a session's control channel: frames in and out, split into messages of at most 16 KiB.
type channel struct {
	dc     *webrtc.DataChannel
	raw    datachannel.ReadWriteCloser
	ice    *webrtc.ICETransport
	closed <-chan struct{}

	writer chan struct{} // holds one token: who has it writes
	low    chan struct{} // told when what waits falls below sendResume

	buffer []byte            // the reader's
	frames proto.Reassembler // the reader's

	mu    sync.Mutex
	pings map[uint64]chan struct{}
	next  uint64
	last  atomic.Int64 // nanoseconds, of the last Ping
}

func newChannel(dc *webrtc.DataChannel, raw datachannel.ReadWriteCloser, closed <-chan struct{}, ice *webrtc.ICETransport) *channel {
	c := &channel{
		dc: dc, raw: raw, ice: ice, closed: closed,
		writer: make(chan struct{}, 1), low: make(chan struct{}, 1), buffer: make([]byte, readBuffer),
	}
	dc.SetBufferedAmountLowThreshold(sendResume)
	dc.OnBufferedAmountLow(func() {
		select {
		case c.low <- struct{}{}:
		default:
		}
	})
	return c
}

// send writes a frame. ctx counts until its first piece is written; the others follow without waiting, so that a frame is
// never torn. What waits in SCTP is so at most sendWindow and one frame.
func (c *channel) send(ctx context.Context, f *pb.Frame) error {
	body, err := protobuf.Marshal(f)
	if err != nil {
		return fmt.Errorf("control channel: %w", err)
	}
	if len(body) > proto.MaxFrame {
		return fmt.Errorf("%w: %d bytes", errFrameTooLarge, len(body))
	}
	if err := c.acquire(ctx); err != nil {
		return err
	}
	defer c.release()
	if err := c.drain(ctx, sendWindow); err != nil {
		return err
	}
	for _, piece := range proto.Fragments(body) {
		if _, err := c.raw.Write(piece); err != nil {
			return errChannelClosed
		}
	}
	return nil
}

func (c *channel) acquire(ctx context.Context) error {
	select {
	case c.writer <- struct{}{}:
		return nil
	case <-c.closed:
		return errChannelClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *channel) release() { <-c.writer }

// drain waits until at most limit bytes wait. The writer's token is held.
func (c *channel) drain(ctx context.Context, limit uint64) error {
	for c.dc.BufferedAmount() > limit {
		select {
		case <-c.low:
		case <-c.closed:
			return errChannelClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// flush waits until everything was received by the other end's SCTP, or ctx ends.
func (c *channel) flush(ctx context.Context) {
	if c.acquire(ctx) != nil {
		return
	}
	defer c.release()
	c.dc.SetBufferedAmountLowThreshold(0)
	_ = c.drain(ctx, 0) // the session ends either way
}

// receive reads one frame. Only the reader calls it.
func (c *channel) receive() (*pb.Frame, error) {
	for {
		message, err := c.message()
		if err != nil {
			return nil, err
		}
		body, err := c.frames.Add(message)
		if err != nil {
			return nil, refuse("control channel: %w", err)
		}
		if body == nil {
			continue
		}
		f := new(pb.Frame)
		if err := proto.Unmarshal(body, f); err != nil {
			return nil, refuse("control channel: %w", err)
		}
		return f, nil
	}
}

// message reads one message; it is valid until the next call.
func (c *channel) message() ([]byte, error) {
	n, err := c.raw.Read(c.buffer)
	message := c.buffer
	if errors.Is(err, io.ErrShortBuffer) {
		if n > proto.MaxFragment {
			return nil, refuse("control channel: message of %d bytes", n)
		}
		message = make([]byte, proto.MaxFragment)
		n, err = c.raw.Read(message)
	}
	if err != nil {
		return nil, errChannelClosed
	}
	return message[:n], nil
}

// ping sends a Ping and waits for its reply.
func (c *channel) ping(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, pingLifetime)
	defer cancel()
	reply := make(chan struct{})
	c.mu.Lock()
	if c.pings == nil {
		c.pings = make(map[uint64]chan struct{})
	}
	c.next++
	number := c.next
	c.pings[number] = reply
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pings, number)
		c.mu.Unlock()
	}()
	start := time.Now()
	if err := c.send(ctx, &pb.Frame{Kind: &pb.Frame_Ping{Ping: &pb.Ping{Number: number}}}); err != nil {
		return 0, err
	}
	select {
	case <-reply:
		rtt := time.Since(start)
		c.last.Store(int64(rtt))
		return rtt, nil
	case <-c.closed:
		return 0, errChannelClosed
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// pong takes a Ping: a reply of ours, or one to reply to. If the window is full no reply is sent; the reader
// must not wait for long.
func (c *channel) pong(p *pb.Ping) {
	if !p.GetReply() {
		if c.dc.BufferedAmount() <= sendWindow {
			ctx, cancel := context.WithTimeout(context.Background(), pongPatience)
			defer cancel()
			_ = c.send(ctx, &pb.Frame{Kind: &pb.Frame_Ping{Ping: &pb.Ping{Number: p.GetNumber(), Reply: true}}}) // a measurement lost
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if reply, ok := c.pings[p.GetNumber()]; ok {
		delete(c.pings, p.GetNumber())
		close(reply)
	}
}

// rtt returns the last round trip known: of a Ping, or else of ICE's own checks. 0: none yet.
func (c *channel) rtt() time.Duration {
	if n := c.last.Load(); n != 0 {
		return time.Duration(n)
	}
	stats, ok := c.ice.GetSelectedCandidatePairStats()
	if !ok {
		return 0
	}
	return time.Duration(stats.CurrentRoundTripTime * float64(time.Second))
}
