package signal

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// Close codes of docs/PROTOCOL.md §7.
const (
	closeRestart    = 1012
	closeMalformed  = 4400
	closeSignedOut  = 4401
	closeSlow       = 4408
	closeSuperseded = 4409
	closeFlood      = 4429
)

const (
	subprotocol = "parley.v1"
	outFrames   = 256         // frames queued for a connection …
	outBytes    = 4 << 20     // … and their bytes; a reader slower than that is cut off and syncs
	closeWait   = time.Second // for the writer to let a close frame pass, and for the client to take it
	drainBytes  = 16 << 20    // read and thrown away meanwhile, at most
)

// connection is one socket of a device. Its reader handles frames one at a time; its writer alone sends
// messages; close may come from anywhere.
type connection struct {
	s        *Server
	session  *store.Session
	token    []byte // hash of the session's token
	ws       *websocket.Conn
	limit    *rate.Limiter // of this connection
	budget   *rate.Limiter // of its account
	forward  *candidates   // owned by the reader, as the next two
	left     *greeting     // what does not fit into the Welcome that is being sent
	welcomed bool
	out      chan outgoing
	dirty    chan struct{} // the account changed
	greet    chan greeting // what is left of the greeting, for the writer
	closed   chan struct{}
	once     sync.Once

	mu      sync.Mutex
	queued  int // bytes in out
	version uint64
	ready   bool // Hello was answered
	cut     bool // it is being closed: nothing more is queued
	state   pb.PresenceState
	closers sync.WaitGroup // of the close call for a slow reader; added to under mu while not cut
}

// outgoing is a frame to be written. With a code the connection closes after it.
type outgoing struct {
	frame  []byte
	code   int
	reason string
}

var writeBuffers sync.Pool //nolint:gochecknoglobals // shared by all connections on purpose

func (s *Server) upgrade(c *gin.Context) (*websocket.Conn, error) {
	u := websocket.Upgrader{
		HandshakeTimeout: s.Timing.Hello, ReadBufferSize: 1024, WriteBufferSize: 1024, WriteBufferPool: &writeBuffers,
		Subprotocols: []string{subprotocol},
		CheckOrigin:  func(*http.Request) bool { return true }, // session has checked it, more strictly
	}
	return u.Upgrade(c.Writer, c.Request, nil)
}

// socket opens the WebSocket of an authenticated device. Who may was settled by session: a browser's
// cookie counts only with the exact Origin, a bearer token only without one.
func (s *Server) socket(c *gin.Context) {
	session, hash, err := s.session(c.Request)
	if err != nil {
		s.fail(c, err)
		return
	}
	if !websocket.IsWebSocketUpgrade(c.Request) || !slices.Contains(websocket.Subprotocols(c.Request), subprotocol) {
		s.fail(c, proto.Errorf(pb.ErrorCode_ERROR_CODE_UNSUPPORTED, "this address wants a WebSocket with subprotocol %s", subprotocol))
		return
	}
	ws, err := s.upgrade(c)
	if err != nil {
		return // the upgrader has answered
	}
	if conn := newConnection(s, session, hash, ws); !s.start(conn) { // the server closed since the handshake began
		conn.close(closeRestart, restarting)
		conn.drain()
	}
}

func newConnection(s *Server, session *store.Session, token []byte, ws *websocket.Conn) *connection {
	return &connection{
		s: s, session: session, token: token, ws: ws, forward: newCandidates(),
		limit: rate.NewLimiter(framesPerSec, framesBurst), budget: s.budgets.of(session.Account, s.Clock()),
		out: make(chan outgoing, outFrames), dirty: make(chan struct{}, 1), greet: make(chan greeting, 1), closed: make(chan struct{}),
		state: pb.PresenceState_PRESENCE_STATE_ONLINE,
	}
}

// close ends the connection with a code; what is queued is dropped. It returns after the close frame was
// written or could not be.
func (c *connection) close(code int, reason string) {
	c.once.Do(func() {
		_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(closeWait))
		c.mu.Lock()
		c.cut = true
		_ = c.ws.NetConn().SetDeadline(time.Unix(1, 0)) // wakes reader and writer
		c.mu.Unlock()
		close(c.closed)
		c.s.Logger.Debug("socket closed", "code", code, "reason", reason, "device", hex.EncodeToString(c.session.Device[:]))
	})
}

// finish writes a frame behind everything that is queued, then closes.
func (c *connection) finish(f *pb.Frame, code int, reason string) {
	if b, err := gproto.Marshal(f); err == nil {
		c.enqueue(outgoing{frame: b, code: code, reason: reason})
	}
}

func (c *connection) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cancelHints := c.s.Hints.Subscribe(c.session.Account, c.session.Device, c)
	defer cancelHints()
	if c.s.hub.add(c) {
		var writer sync.WaitGroup
		writer.Go(func() { c.guard(func() { c.write(ctx) }); cancel() })
		if c.valid(ctx) { // it may have ended between the handshake and hub.add
			c.guard(func() { c.read(ctx) })
		}
		c.close(websocket.CloseNormalClosure, "")
		if c.s.hub.remove(c) && c.greeted() { // nobody heard of it before its hello
			c.s.presenceChanged(context.WithoutCancel(ctx), c.session)
		}
		writer.Wait()
		c.s.touch(context.WithoutCancel(ctx), c.session, c.session.LastAddress)
	}
	c.close(closeRestart, restarting)
	c.closers.Wait()
	c.drain()
}

// guard runs one of the connection's loops. A panic in it ends this connection and no other.
func (c *connection) guard(loop func()) {
	defer func() {
		if v := recover(); v != nil {
			c.s.Logger.Error("panic on a socket", "value", v, "stack", string(debug.Stack()))
			c.close(websocket.CloseInternalServerErr, "the server failed")
		}
	}()
	loop()
}

// valid closes the connection if its session has ended, and says whether it goes on.
func (c *connection) valid(ctx context.Context) bool {
	_, err := c.s.Store.SessionByToken(ctx, c.token)
	if errors.Is(err, store.ErrNotFound) {
		c.close(closeSignedOut, "the session is over")
		return false
	}
	return true // a store in trouble signs nobody out
}

// drain reads for a moment what the client still sends: closing with unread bytes would reset the
// connection, and the client would lose the frames that say why.
func (c *connection) drain() {
	conn := c.ws.NetConn()
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = conn.SetDeadline(time.Now().Add(closeWait))
	_, _ = io.CopyN(io.Discard, conn, drainBytes)
	_ = c.ws.Close()
}

// listen lets the reader wait for the next frame until the client has been silent for too long. Before
// Hello is answered the first deadline and the small limit stay.
func (c *connection) listen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ready && !c.cut {
		c.ws.SetReadLimit(proto.MaxFrame)
		_ = c.ws.SetReadDeadline(time.Now().Add(c.s.Timing.Silence))
	}
}

func (c *connection) read(ctx context.Context) {
	c.ws.SetReadLimit(proto.MaxFirstFrame)
	c.ws.SetPongHandler(func(string) error { c.listen(); return nil })
	c.mu.Lock()
	if !c.cut {
		_ = c.ws.SetReadDeadline(time.Now().Add(c.s.Timing.Hello))
	}
	c.mu.Unlock()
	for {
		kind, b, err := c.ws.ReadMessage()
		if err != nil {
			return
		}
		if now := c.s.Clock(); !c.limit.AllowN(now, 1) || !c.budget.AllowN(now, 1) {
			c.close(closeFlood, "too many frames")
			return
		}
		if kind != websocket.BinaryMessage || !c.take(ctx, b) {
			c.close(closeMalformed, "not a frame, or not hello first")
			return
		}
		c.listen()
	}
}

// take handles the bytes of one frame; false says that no client of this protocol sends them.
func (c *connection) take(ctx context.Context, b []byte) bool {
	f := &pb.Frame{}
	if proto.Unmarshal(b, f) != nil || f.GetHello() == nil && !c.greeted() {
		return false
	}
	answer, err := c.handle(ctx, f)
	if err != nil {
		answer = &pb.Frame{Kind: &pb.Frame_Error{Error: c.s.public(err).ToProto()}}
	}
	if answer != nil && f.GetRequest() != 0 {
		answer.Request = f.GetRequest()
		c.send(answer)
	}
	if c.left != nil { // behind Welcome
		c.greet <- *c.left
		c.left = nil
	}
	return true
}

func (c *connection) greeted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ready
}

// Hint queues a frame that the server sends on its own account.
func (c *connection) Hint(f *pb.Frame) bool {
	if !c.greeted() {
		return true // Welcome will tell
	}
	if f.GetAccountSync() != nil {
		select {
		case c.dirty <- struct{}{}:
		default:
		}
		return true
	}
	return c.send(f)
}

// send queues a frame; a connection that takes too little is closed.
func (c *connection) send(f *pb.Frame) bool {
	b, err := gproto.Marshal(f)
	return err == nil && c.enqueue(outgoing{frame: b})
}

func (c *connection) enqueue(o outgoing) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return false
	}
	if c.queued+len(o.frame) <= outBytes {
		select {
		case c.out <- o:
			c.queued += len(o.frame)
			return true
		default:
		}
	}
	c.cut = true
	c.closers.Go(func() { c.close(closeSlow, "too slow: come back and sync") })
	return false
}

func (c *connection) write(ctx context.Context) {
	every := c.s.Timing.Ping
	ping := time.NewTicker(every*4/5 + rand.N(every*2/5+1)) //nolint:gosec // jitter
	defer ping.Stop()
	for {
		select {
		case o := <-c.out:
			if !c.writeFrame(o) {
				return
			}
		case <-c.dirty:
			c.push(ctx)
		case g := <-c.greet:
			if !c.greetOn(ctx, g) {
				return
			}
		case <-ping.C:
			if !c.valid(ctx) {
				return
			}
			c.stillHere(ctx)
			if c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(c.s.Timing.Write)) != nil {
				c.close(closeSlow, "too slow")
				return
			}
		case <-c.closed:
			return
		}
	}
}

// writeFrame writes a frame; false says that the connection is over.
func (c *connection) writeFrame(o outgoing) bool {
	c.mu.Lock()
	c.queued -= len(o.frame)
	c.mu.Unlock()
	if !c.writeBytes(o.frame) {
		return false
	}
	if o.code != 0 {
		c.close(o.code, o.reason)
	}
	return o.code == 0
}

func (c *connection) writeBytes(frame []byte) bool {
	_ = c.ws.SetWriteDeadline(time.Now().Add(c.s.Timing.Write))
	if c.ws.WriteMessage(websocket.BinaryMessage, frame) != nil {
		c.close(closeSlow, "too slow")
		return false
	}
	return true
}

// push tells the client what changed in its account, if it has not heard of it.
func (c *connection) push(ctx context.Context) {
	before := c.told()
	changes, err := c.changes(ctx)
	if err != nil {
		c.s.Logger.Debug("account changes", "error", err)
		return
	}
	if changes.GetVersion() > before {
		c.send(&pb.Frame{Kind: &pb.Frame_AccountChanges{AccountChanges: changes}})
	}
}
