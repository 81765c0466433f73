package signal

import (
	"context"
	"math/rand/v2"
	"net/http"
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
	subprotocol   = "parley.v1"
	helloDeadline = 10 * time.Second
	silence       = 60 * time.Second
	pingEvery     = 25 * time.Second
	writeDeadline = 10 * time.Second
	outFrames     = 256     // frames queued for a connection …
	outBytes      = 4 << 20 // … and their bytes; a reader slower than that is cut off and syncs
	framesPerSec  = 200
	framesBurst   = 1000
)

// connection is one socket of a device.
type connection struct {
	s       *Server
	session *store.Session
	ws      *websocket.Conn
	limit   *rate.Limiter
	out     chan []byte
	dirty   chan struct{} // the account changed
	closed  chan struct{}
	once    sync.Once

	mu      sync.Mutex
	queued  int // bytes in out
	version uint64
	ready   bool // Hello was answered
	state   pb.PresenceState
}

func upgrade(c *gin.Context) (*websocket.Conn, error) {
	u := websocket.Upgrader{
		HandshakeTimeout: helloDeadline, ReadBufferSize: 1024, WriteBufferSize: 1024, WriteBufferPool: &writeBuffers,
		Subprotocols: []string{subprotocol},
		CheckOrigin:  func(*http.Request) bool { return true }, // session has checked it, more strictly
	}
	return u.Upgrade(c.Writer, c.Request, nil)
}

var writeBuffers sync.Pool //nolint:gochecknoglobals // shared by all connections on purpose

// socket opens the WebSocket of an authenticated device. Who may was settled by session: a browser's
// cookie counts only with the exact Origin, a bearer token only without one.
func (s *Server) socket(c *gin.Context) {
	session, err := s.session(c.Request)
	if err != nil {
		if c.GetHeader("Origin") != "" && !s.ownOrigin(c.Request, c.GetHeader("Origin")) {
			err = forbidden("this request comes from a foreign page")
		}
		s.fail(c, err)
		return
	}
	if !websocket.IsWebSocketUpgrade(c.Request) || !slices.Contains(websocket.Subprotocols(c.Request), subprotocol) {
		s.fail(c, proto.Errorf(pb.ErrorCode_ERROR_CODE_UNSUPPORTED, "this address wants a WebSocket with subprotocol %s", subprotocol))
		return
	}
	ws, err := upgrade(c)
	if err != nil {
		return // the upgrader has answered
	}
	conn := &connection{
		s: s, session: session, ws: ws, limit: rate.NewLimiter(framesPerSec, framesBurst), out: make(chan []byte, outFrames),
		dirty: make(chan struct{}, 1), closed: make(chan struct{}), state: pb.PresenceState_PRESENCE_STATE_ONLINE,
	}
	s.wg.Go(conn.serve) // not in this handler, whose buffers would stay alive
}

// close ends the connection with a code; what is queued is dropped.
func (c *connection) close(code int, reason string) {
	c.once.Do(func() {
		close(c.closed)
		_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(time.Second))
		_ = c.ws.Close()
	})
}

func (c *connection) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cancelHints := c.s.Hints.Subscribe(c.session.Account, c)
	defer cancelHints()
	c.s.hub.add(c)
	var writer sync.WaitGroup
	writer.Go(func() { c.write(ctx) })
	c.read(ctx)
	c.close(websocket.CloseNormalClosure, "")
	c.s.hub.remove(c)
	c.s.presenceChanged(context.WithoutCancel(ctx), c.session)
	writer.Wait()
}

func (c *connection) read(ctx context.Context) {
	c.ws.SetReadLimit(proto.MaxFirstFrame)
	_ = c.ws.SetReadDeadline(time.Now().Add(helloDeadline))
	c.ws.SetPongHandler(func(string) error { return c.ws.SetReadDeadline(time.Now().Add(silence)) })
	for {
		kind, b, err := c.ws.ReadMessage()
		if err != nil {
			return
		}
		if !c.limit.Allow() {
			c.close(closeFlood, "too many frames")
			return
		}
		f := &pb.Frame{}
		if kind != websocket.BinaryMessage || proto.Unmarshal(b, f) != nil {
			c.close(closeMalformed, "not a frame")
			return
		}
		if f.GetHello() == nil && !c.greeted() {
			c.close(closeMalformed, "the first frame is hello")
			return
		}
		answer, err := c.handle(ctx, f)
		if err != nil {
			answer = &pb.Frame{Kind: &pb.Frame_Error{Error: c.s.public(err).ToProto()}}
		}
		if answer != nil && f.GetRequest() != 0 {
			answer.Request = f.GetRequest()
			c.send(answer)
		}
		_ = c.ws.SetReadDeadline(time.Now().Add(silence))
	}
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
	if err != nil {
		return false
	}
	c.mu.Lock()
	full := c.queued+len(b) > outBytes
	if !full {
		select {
		case c.out <- b:
			c.queued += len(b)
		default:
			full = true
		}
	}
	c.mu.Unlock()
	if full {
		go c.close(closeSlow, "too slow: come back and sync")
	}
	return !full
}

func (c *connection) write(ctx context.Context) {
	ping := time.NewTicker(pingEvery*4/5 + time.Duration(rand.Int64N(int64(pingEvery*2/5)))) //nolint:gosec // jitter
	defer ping.Stop()
	for {
		var err error
		select {
		case b := <-c.out:
			c.mu.Lock()
			c.queued -= len(b)
			c.mu.Unlock()
			_ = c.ws.SetWriteDeadline(time.Now().Add(writeDeadline))
			err = c.ws.WriteMessage(websocket.BinaryMessage, b)
		case <-c.dirty:
			changes, failed := c.changes(ctx)
			if failed == nil {
				c.send(&pb.Frame{Kind: &pb.Frame_AccountChanges{AccountChanges: changes}})
			}
		case <-ping.C:
			err = c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeDeadline))
		case <-c.closed:
			return
		}
		if err != nil {
			c.close(closeSlow, "too slow")
			return
		}
	}
}

// hub knows the connections of this node: one per device.
type hub struct {
	mu       sync.Mutex
	byDevice map[proto.ID]*connection
	accounts map[proto.ID]map[*connection]bool
}

func newHub() *hub {
	return &hub{byDevice: make(map[proto.ID]*connection), accounts: make(map[proto.ID]map[*connection]bool)}
}

// add registers a connection; an older one of the same device is closed.
func (h *hub) add(c *connection) {
	h.mu.Lock()
	old := h.byDevice[c.session.Device]
	h.byDevice[c.session.Device] = c
	if h.accounts[c.session.Account] == nil {
		h.accounts[c.session.Account] = make(map[*connection]bool)
	}
	h.accounts[c.session.Account][c] = true
	h.mu.Unlock()
	if old != nil {
		old.close(closeSuperseded, "this device connected again")
	}
}

func (h *hub) remove(c *connection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byDevice[c.session.Device] == c {
		delete(h.byDevice, c.session.Device)
	}
	delete(h.accounts[c.session.Account], c)
	if len(h.accounts[c.session.Account]) == 0 {
		delete(h.accounts, c.session.Account)
	}
}

func (h *hub) device(id proto.ID) *connection {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byDevice[id]
}

func (h *hub) of(account proto.ID) []*connection {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*connection
	for c := range h.accounts[account] {
		all = append(all, c)
	}
	return all
}

func (h *hub) end(device proto.ID, code int, reason string) {
	if c := h.device(device); c != nil {
		c.close(code, reason)
	}
}

func (h *hub) endAccount(account, but proto.ID, code int, reason string) {
	for _, c := range h.of(account) {
		if c.session.Device != but {
			c.close(code, reason)
		}
	}
}

func (h *hub) closeAll(code int, reason string) {
	h.mu.Lock()
	var all []*connection
	for _, c := range h.byDevice {
		all = append(all, c)
	}
	h.mu.Unlock()
	for _, c := range all {
		c.close(code, reason)
	}
}
