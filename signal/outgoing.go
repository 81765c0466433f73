package signal

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	gproto "google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const (
	outFrames   = 256      // frames queued for a connection …
	outBytes    = 4 << 20  // … and their bytes; a reader slower than that is cut off and syncs
	gatherBytes = 64 << 10 // of frames that are written with one system call, but for a single larger one
)

// outgoing is a frame to be written. With a code the connection closes after it.
type outgoing struct {
	frame  []byte
	code   int
	reason string
}

// Hint takes a frame that the server or somebody else has for this connection: it queues it, but for two that are for
// the connection itself. Goodbye says that the session is over, AccountSync that the account changed.
func (c *connection) Hint(f *pb.Frame, encoded []byte) bool {
	if over := f.GetGoodbye(); over != nil {
		c.close(closeSignedOut, over.GetError().GetMessage()) // before who ended the session hears that it is over
		return true
	}
	fleeting := f.GetSignalFrom() != nil || f.GetTyping() != nil
	if !c.greeted() {
		return !fleeting // Welcome tells the rest
	}
	if f.GetAccountSync() != nil {
		c.markDirty()
		return true
	}
	if fleeting && c.busy() {
		return false
	}
	return c.enqueue(outgoing{frame: encoded})
}

// markDirty has the writer tell what changed in the account.
func (c *connection) markDirty() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirty = true
	c.schedule()
}

// busy says that half of the queue is taken. What others make up at will is dropped then, so that they cannot have
// the connection cut off.
func (c *connection) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue) >= outFrames/2 || c.queued >= outBytes/2
}

// send queues a frame; a connection that takes too little is closed.
func (c *connection) send(f *pb.Frame) {
	if b, err := gproto.Marshal(f); err == nil {
		c.enqueue(outgoing{frame: b})
	}
}

// finish writes a frame behind everything that is queued, then closes.
func (c *connection) finish(f *pb.Frame, code int, reason string) {
	if b, err := gproto.Marshal(f); err == nil {
		c.enqueue(outgoing{frame: b, code: code, reason: reason})
	}
}

func (c *connection) enqueue(o outgoing) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return false
	}
	if len(c.queue) >= outFrames || c.queued+len(o.frame) > outBytes {
		c.cut = true
		c.tasks.Go(func() { c.close(closeSlow, "too slow: come back and sync") })
		return false
	}
	c.queue = append(c.queue, o)
	c.queued += len(o.frame)
	c.schedule()
	return true
}

// greetLater leaves the rest of a greeting to the writer.
func (c *connection) greetLater(g *greeting) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest = g
	c.schedule()
}

// keepAlive has the writer ping the client now and then.
func (c *connection) keepAlive() {
	every := c.s.Timing.Ping
	every = every*4/5 + rand.N(every*2/5+1) //nolint:gosec // jitter
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pinger = time.AfterFunc(every, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.cut {
			c.pingDue = true
			c.schedule()
			c.pinger.Reset(every)
		}
	})
}

// schedule starts the writer unless it runs. An idle connection has none: it would cost more memory than all the rest.
// mu is held.
func (c *connection) schedule() {
	if c.writing || c.cut {
		return
	}
	c.writing = true
	c.tasks.Go(func() {
		c.guard(func() {
			for c.writeNext() {
			}
		})
	})
}

// writeNext writes some of what there is. The writer ends with false: there is nothing, or the connection is over.
func (c *connection) writeNext() bool {
	c.mu.Lock()
	ping, dirty, frames := c.pingDue, c.dirty, c.gathered()
	c.pingDue, c.dirty = false, false
	var rest *greeting
	if len(frames) == 0 {
		rest, c.rest = c.rest, nil
	}
	c.writing = ping || dirty || len(frames) > 0 || rest != nil
	over := c.cut || !c.writing
	c.mu.Unlock()
	if over || ping && !c.ping() {
		return false
	}
	if dirty {
		c.push()
	}
	return c.writeFrames(frames) && (rest == nil || c.greetOn(rest))
}

func (c *connection) ping() bool {
	if !c.valid() {
		return false
	}
	c.stillHere(c.life)
	if c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(c.s.Timing.Write)) != nil {
		c.close(closeSlow, "too slow")
		return false
	}
	return true
}

// gathered takes what is written next off the queue. mu is held.
func (c *connection) gathered() []outgoing {
	n, size := 0, 0
	for n < len(c.queue) && (n == 0 || size+len(c.queue[n].frame) <= gatherBytes) {
		size += len(c.queue[n].frame)
		n++
		if c.queue[n-1].code != 0 {
			break
		}
	}
	next := c.queue[:n]
	c.queue = c.queue[n:]
	c.queued -= size
	if len(c.queue) == 0 {
		c.queue = nil // an idle connection has none
	}
	return next
}

var gatherBuffers = sync.Pool{New: func() any { return new([]byte) }} //nolint:gochecknoglobals // shared by all connections on purpose

// writeFrames writes frames with one system call, which the websocket package has no way to do. Each Write to the
// connection is atomic, so control frames that the package writes meanwhile come before or after. It returns false when
// the connection is over, as it is behind a frame with a code.
func (c *connection) writeFrames(frames []outgoing) bool {
	if len(frames) == 0 {
		return true
	}
	buffer := gatherBuffers.Get().(*[]byte) //nolint:forcetypeassert // New's
	b := (*buffer)[:0]
	for _, o := range frames {
		b = appendMessage(b, o.frame)
	}
	ok := c.writeBytes(b)
	if cap(b) <= 2*gatherBytes {
		*buffer = b
		gatherBuffers.Put(buffer)
	}
	if last := frames[len(frames)-1]; ok && last.code != 0 {
		c.close(last.code, last.reason)
		return false
	}
	return ok
}

func (c *connection) writeBytes(b []byte) bool {
	conn := c.ws.NetConn()
	c.mu.Lock()
	cut := c.cut
	if !cut {
		_ = conn.SetWriteDeadline(time.Now().Add(c.s.Timing.Write))
	}
	c.mu.Unlock()
	if cut {
		return false
	}
	if _, err := conn.Write(b); err != nil {
		c.close(closeSlow, "too slow")
		return false
	}
	return true
}

// appendMessage appends a binary message in one frame as a server sends it, unmasked (RFC 6455 §5.2).
func appendMessage(b, payload []byte) []byte {
	const final, length16, length64 = 0x80, 126, 127
	b = append(b, final|websocket.BinaryMessage)
	switch n := len(payload); {
	case n < length16:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, length16), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, length64), uint64(n))
	}
	return append(b, payload...)
}
