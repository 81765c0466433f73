package signal

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"

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
	postsAhead  = 8           // posts of a connection that are being stored; beyond that it is not read
	closeWait   = time.Second // for the writer to let a close frame pass, and for the client to take it
	drainBytes  = 16 << 20    // read and thrown away meanwhile, at most
)

// connection is one socket of a device. Its reader handles frames one at a time, but goes on while posts are being
// stored. Its writer, which runs while there is something to write, alone sends messages. close may come from anywhere.
type connection struct {
	s        *Server
	session  *store.Session
	token    []byte // hash of the session's token
	ws       *websocket.Conn
	limit    *rate.Limiter   // of this connection
	budget   *rate.Limiter   // of its account
	life     context.Context //nolint:containedctx // ends when it is closed
	end      context.CancelFunc
	once     sync.Once
	forward  *candidates // owned by the reader, as the next two
	left     *greeting   // what does not fit into the Welcome that is being sent
	welcomed bool

	mu      sync.Mutex
	queue   []outgoing
	queued  int       // bytes in queue
	rest    *greeting // what is left of it, to be sent when queue is empty
	dirty   bool      // the account changed
	pingDue bool
	pinger  *time.Timer
	writing bool      // a writer runs
	posting int       // posts that are being stored
	stored  sync.Cond // one of them was
	version uint64
	ready   bool // Hello was answered
	cut     bool // it is being closed: nothing more is queued
	state   pb.PresenceState
	tasks   sync.WaitGroup // the writer, and the close call for a slow reader; added to under mu while not cut
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
	c := &connection{
		s: s, session: session, token: token, ws: ws, forward: newCandidates(),
		limit: rate.NewLimiter(framesPerSec, framesBurst), budget: s.budgets.of(session.Account, s.Clock()),
		state: pb.PresenceState_PRESENCE_STATE_ONLINE,
	}
	c.life, c.end = context.WithCancel(context.Background())
	c.stored.L = &c.mu
	return c
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
		c.end()
		c.s.Logger.Debug("socket closed", "code", code, "reason", reason, "device", hex.EncodeToString(c.session.Device[:]))
	})
}

func (c *connection) serve() {
	cancelHints := c.s.Hints.Subscribe(c.session.Account, c.session.Device, c)
	defer cancelHints()
	if c.s.hub.add(c) {
		c.keepAlive()
		if c.apart(c.valid) { // it may have ended between the handshake and hub.add
			c.guard(c.read)
		}
		c.close(websocket.CloseNormalClosure, "")
		c.pinger.Stop()
		if c.s.hub.remove(c) && c.greeted() { // nobody heard of it before its hello
			c.s.presenceChanged(context.WithoutCancel(c.life), c.session)
		}
	}
	c.close(closeRestart, restarting)
	c.tasks.Wait()
	c.s.touch(context.WithoutCancel(c.life), c.session, c.session.LastAddress) // what it knows of its last use was the writer's
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
func (c *connection) valid() bool {
	_, err := c.s.Store.SessionByToken(c.life, c.token)
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

func (c *connection) read() {
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
		if kind != websocket.BinaryMessage || !c.apart(func() bool { return c.take(c.life, b) }) {
			c.close(closeMalformed, "not a frame, or not hello first")
			return
		}
		c.listen()
	}
}

// apart runs fn in a goroutine of its own and waits for it. The reader would keep the deep stack that the database takes
// for as long as it waits for the next frame: most of what an idle connection costs.
func (c *connection) apart(fn func() bool) (ok bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.guard(func() { ok = fn() })
	}()
	<-done
	return ok
}

// take handles the bytes of one frame; false says that no client of this protocol sends them.
func (c *connection) take(ctx context.Context, b []byte) bool {
	f := &pb.Frame{}
	if proto.Unmarshal(b, f) != nil || f.GetHello() == nil && !c.greeted() {
		return false
	}
	if p := f.GetPost(); p != nil {
		c.post(ctx, f.GetRequest(), p)
		return true
	}
	c.awaitPosts(0) // what was posted before is answered before, and seen by what comes now
	answer, err := c.handle(ctx, f)
	c.respond(f.GetRequest(), answer, err)
	if c.left != nil { // behind Welcome
		c.greetLater(c.left)
		c.left = nil
	}
	return true
}

// post hands envelopes to the relay. The next frame is read while they are being stored.
func (c *connection) post(ctx context.Context, request uint64, p *pb.Post) {
	c.awaitPosts(postsAhead - 1)
	c.mu.Lock()
	c.posting++
	c.mu.Unlock()
	c.s.Conversations.Post(ctx, c.session, p, func(posted *pb.Posted, err error) {
		c.respond(request, &pb.Frame{Kind: &pb.Frame_Posted{Posted: posted}}, err)
		c.mu.Lock()
		c.posting--
		c.mu.Unlock()
		c.stored.Signal()
	})
}

// awaitPosts waits until at most n posts are being stored. Only the reader calls it.
func (c *connection) awaitPosts(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.posting > n {
		c.stored.Wait()
	}
}

// respond queues the answer to a request that wants one.
func (c *connection) respond(request uint64, answer *pb.Frame, err error) {
	if err != nil {
		answer = &pb.Frame{Kind: &pb.Frame_Error{Error: c.s.public(err).ToProto()}}
	}
	if answer != nil && request != 0 {
		answer.Request = request
		c.send(answer)
	}
}

func (c *connection) greeted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ready
}

// push tells the client what changed in its account, if it has not heard of it.
func (c *connection) push() {
	before := c.told()
	changes, err := c.changes(c.life)
	if err != nil {
		c.s.Logger.Debug("account changes", "error", err)
		return
	}
	if changes.GetVersion() > before {
		c.send(&pb.Frame{Kind: &pb.Frame_AccountChanges{AccountChanges: changes}})
	}
}
