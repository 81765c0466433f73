package turnsrv

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

const (
	// readBuffer holds some frames, so that one read of the socket serves several.
	readBuffer = 4 * maxFrame
	// writeTimeout is how long a client may take to accept what is pending.
	writeTimeout = 10 * time.Second
	// maxPending bounds the bytes that wait for a slow client. Relayed data is dropped beyond maxPendingData,
	// as a full queue on the way would do; answers may use the rest, and when that is full the connection
	// ends.
	maxPending     = 256 << 10
	maxPendingData = 224 << 10
	// keepBuffer is the largest write buffer that an idle connection keeps.
	keepBuffer = 16 << 10
)

var (
	errFraming = errors.New("turnsrv: neither STUN nor ChannelData")
	errSlow    = errors.New("turnsrv: the client does not read")
)

// readFrame returns the next STUN message or ChannelData message of a stream, with its padding (RFC 8656
// §12.5). The slice is valid until the next read of r. A frame that is longer than maxFrame, or that starts
// like neither, cannot be skipped: it ends the connection.
func readFrame(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(channelHeader)
	if err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(head[2:]))
	switch {
	case head[0]&0xc0 == 0x40:
		size = channelHeader + (size+3)&^3
	case head[0]&0xc0 == 0 && size&3 == 0:
		size += headerSize
	default:
		return nil, errFraming
	}
	if size >= maxFrame {
		return nil, errFraming
	}
	frame, err := r.Peek(size)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if _, err := r.Discard(size); err != nil {
		return nil, err
	}
	return frame, nil
}

// tcpConn is one client's connection. Its reader and its writer are a goroutine each.
type tcpConn struct {
	conn   net.Conn
	source netip.AddrPort
	addr   net.Addr
	wake   chan struct{} // one slot: pending has something
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	pending []byte // guarded by mu
}

func newTCPConn(conn net.Conn) *tcpConn {
	return &tcpConn{
		conn: conn, source: addrPort(conn.RemoteAddr()), addr: conn.RemoteAddr(),
		wake: make(chan struct{}, 1), closed: make(chan struct{}),
	}
}

func (c *tcpConn) close() {
	c.once.Do(func() {
		close(c.closed)
		_ = c.conn.Close()
	})
}

// send queues a frame. It reports false when the frame was dropped.
func (c *tcpConn) send(frame []byte) (bool, error) {
	limit := maxPending
	if frame[0]&0xc0 != 0 || isDataIndication(frame) {
		limit = maxPendingData
	}
	c.mu.Lock()
	full := len(c.pending)+len(frame) > limit
	if !full {
		c.pending = append(c.pending, frame...)
	}
	c.mu.Unlock()
	if full && limit == maxPending {
		return false, errSlow
	}
	if full {
		return false, nil
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return true, nil
}

func isDataIndication(frame []byte) bool { return frame[0] == 0 && frame[1] == 0x17 }

// write sends what is pending, everything that has gathered at once, until the connection is closed.
func (c *tcpConn) write() {
	defer c.close()
	var spare []byte
	for {
		select {
		case <-c.closed:
			return
		case <-c.wake:
		}
		c.mu.Lock()
		batch := c.pending
		c.pending = spare[:0]
		c.mu.Unlock()
		if err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return
		}
		if _, err := c.conn.Write(batch); err != nil {
			return
		}
		spare = batch
		if cap(spare) > keepBuffer {
			spare = nil
		}
	}
}

// read gives every frame to deliver until the connection ends. A client that has an allocation may be silent
// between frames, since the allocation's own expiry bounds it; within a frame nobody may.
func (c *tcpConn) read(idle time.Duration, allocated func() bool, deliver func([]byte) bool) error {
	r := bufio.NewReaderSize(c.conn, readBuffer)
	for {
		if err := c.conn.SetReadDeadline(time.Now().Add(idle)); err != nil {
			return err
		}
		frame, err := readFrame(r)
		if errors.Is(err, os.ErrDeadlineExceeded) && r.Buffered() == 0 && allocated() {
			continue
		}
		if err != nil {
			return err
		}
		if !deliver(frame) {
			return nil
		}
	}
}
