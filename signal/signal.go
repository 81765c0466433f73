// Package signal is the server's front door: accounts, devices, contacts and invitations over REST, and
// the socket on which everything else travels. Identity comes from a session (store.Session) and from
// nowhere else; offers, answers and candidates are forwarded between accepted devices and never looked into.
package signal

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// Conversations is what signal needs of the relay.
type Conversations interface {
	PrepareFirst(ctx context.Context, a, b proto.ID, p *pb.CommitPost, keys proto.Lookup) (*store.NewCommit, error)
	// Post calls answer once, for one caller in the order of the posts, when they are durable; answer does not block.
	Post(ctx context.Context, caller *store.Session, p *pb.Post, answer func(*pb.Posted, error))
	Commit(ctx context.Context, caller *store.Session, p *pb.CommitPost) (*pb.Committed, error)
	Sync(ctx context.Context, caller *store.Session, q *pb.Sync) (*pb.Page, error)
	Commits(ctx context.Context, caller *store.Session, q *pb.CommitsRequest) (*pb.Commits, error)
	RequestGrant(ctx context.Context, caller *store.Session, q *pb.GrantRequest) error
	AddGrant(ctx context.Context, caller *store.Session, p *pb.GrantPost) error
	State(ctx context.Context, caller *store.Session, conversation proto.ID) (*pb.ConversationState, error)
	States(ctx context.Context, caller *store.Session, after int64) (states []*pb.ConversationState, next int64, err error)
	MoveCursor(ctx context.Context, caller *store.Session, q *pb.Cursor) error
	Typing(ctx context.Context, caller *store.Session, t *pb.Typing) error
}

// Sink takes hints for one connection without blocking.
type Sink interface {
	// Hint takes a frame and its encoding, which sinks share.
	Hint(f *pb.Frame, encoded []byte) bool
}

// Hints reaches every connection of accounts.
type Hints interface {
	Publish(f *pb.Frame, accounts ...proto.ID)
	// Tell gives a frame to one device, on whichever node it is connected; false: on none, or it took none.
	Tell(f *pb.Frame, account, device proto.ID) bool
	Subscribe(account, device proto.ID, sink Sink) (cancel func())
}

// ICE tells devices how to reach STUN and TURN.
type ICE interface {
	// Servers are the addresses with fresh credentials for a device.
	Servers(account, device proto.ID) *pb.IceServers
	// Revoke ends the credentials that a device has, and what it relays with them.
	Revoke(account, device proto.ID)
}

// Registration says who may make an account.
type Registration string

// Modes of registration.
const (
	Open   Registration = "open"
	Invite Registration = "invite"
	Closed Registration = "closed" // invitations make contacts but no accounts
)

// Config is what a Server needs.
type Config struct {
	Store         *store.Store
	Conversations Conversations
	Hints         Hints
	ICE           ICE // nil: no STUN and TURN
	Logger        *slog.Logger
	Registration  Registration // until an administrator sets another
	URL           string       // where browsers reach the server
	Version       string
	WebHash       string           // SHA-256 of the build of the browser app, as 'parley version' shows it
	Setup         string           // one-time secret that makes the first account the administrator
	Web           http.Handler     // answers GET outside /api; nil: nothing there
	Clock         func() time.Time // of sessions, tickets, invitations and throttling; nil: time.Now
	Timing        Timing
}

// Timing holds the deadlines of the socket, and of answers. Zero values are those of docs/PROTOCOL.md §7. They run on
// the operating system's clock, never on Config.Clock.
type Timing struct {
	Hello   time.Duration // until the first frame: 10 s
	Silence time.Duration // nothing heard for so long: closed: 60 s
	Ping    time.Duration // between pings, ±20 %: 25 s
	Write   time.Duration // for one frame: 10 s
	Even    time.Duration // answers that could tell whether a name exists come no sooner, and up to twice as late: 5 ms
}

func (t Timing) withDefaults() Timing {
	t.Hello = cmp.Or(t.Hello, 10*time.Second)
	t.Silence = cmp.Or(t.Silence, 60*time.Second)
	t.Ping = cmp.Or(t.Ping, 25*time.Second)
	t.Write = cmp.Or(t.Write, 10*time.Second)
	t.Even = cmp.Or(t.Even, 5*time.Millisecond)
	return t
}

// Server is the front door. Handler serves it; Close ends every socket.
type Server struct {
	Config
	host      string
	hub       *hub
	logins    *throttle // by name and address
	addresses *throttle // failed log-ins of an address
	lookups   *throttle // invitations an address asked for in vain
	avatars   *throttle // how often an account changes its picture
	budgets   *budgets
	nameKey   []byte // makes salts for names that do not exist
	presences int    // bytes of a frame of them; maxPresenceBytes, less in tests

	mu     sync.Mutex
	closed bool           // no more sockets
	wg     sync.WaitGroup // one per socket; added to under mu
}

const (
	sessionLife = 90 * 24 * time.Hour
	ticketLife  = 10 * time.Minute
	nonceLife   = time.Minute
	closeGrace  = 2 * time.Second        // for connections to take their goodbye
	comeBack    = 500 * time.Millisecond // what a goodbye asks clients to wait, plus as much again at random
)

// New makes a Server.
func New(ctx context.Context, cfg Config) (*Server, error) {
	key, err := cfg.Store.Secret(ctx, "name_key", proto.KeySize)
	if err != nil {
		return nil, err
	}
	host, err := proto.ServerHost(cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	cfg.Timing = cfg.Timing.withDefaults()
	cfg.URL = strings.TrimSuffix(cfg.URL, "/")
	return &Server{
		Config: cfg, host: host, hub: newHub(), budgets: newBudgets(), nameKey: key, presences: maxPresenceBytes,
		logins: newThrottle(cfg.Clock), addresses: newThrottle(cfg.Clock), lookups: newThrottle(cfg.Clock),
		avatars: newThrottle(cfg.Clock),
	}, nil
}

func (s *Server) nowMS() uint64 { return uint64(max(s.Clock().UnixMilli(), 0)) }

// Handler serves REST and socket, and the web app if there is one.
func (s *Server) Handler() http.Handler { return s.routes() }

func (s *Server) routes() *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.Use(gin.CustomRecoveryWithWriter(nil, func(c *gin.Context, v any) {
		s.Logger.Error("panic in a handler", "value", v, "path", c.FullPath())
		s.fail(c, proto.Errorf(pb.ErrorCode_ERROR_CODE_INTERNAL, "the server failed: try again"))
	}))
	api := e.Group("/api/v1", s.harden)
	api.GET("/server", s.serverInfo)
	api.POST("/register", s.even, s.sameSite, s.register)
	api.POST("/login/params", s.even, s.sameSite, s.loginParams)
	api.POST("/login", s.even, s.sameSite, s.login(byPassword))
	api.POST("/login/recovery", s.even, s.sameSite, s.login(byRecovery))
	api.PUT("/recovery", s.sameSite, s.setRecovery)
	api.PUT("/devices", s.sameSite, s.updateDevices)
	api.POST("/devices/links", s.sameSite, s.openDeviceLink)
	api.PUT("/devices/links/:code", s.even, s.sameSite, s.askByLink)
	api.PUT("/password", s.sameSite, s.changePassword)
	api.POST("/session/challenge", s.sameSite, s.challenge)
	api.POST("/session", s.sameSite, s.openSession)
	api.DELETE("/session", s.sameSite, s.logout)
	api.GET("/invitations/:code", s.even, s.invitation)
	api.POST("/account/delete", s.sameSite, s.deleteAccount)
	api.PUT("/avatar", s.sameSite, s.setAvatar)
	api.DELETE("/avatar", s.sameSite, s.deleteAvatar)
	api.GET("/avatars/:account/:hash", s.even, s.avatar)
	api.GET("/socket", s.socket)
	s.resetRoutes(api)
	s.adminRoutes(e)
	e.NoRoute(s.elsewhere)
	return e
}

// harden limits bodies, and says to browsers that answers of the API are data, for nobody to keep.
func (s *Server) harden(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, proto.MaxBody)
	h := c.Writer.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
}

// elsewhere is everything but the API: the web app, which answers with headers of its own.
func (s *Server) elsewhere(c *gin.Context) {
	path, method := c.Request.URL.Path, c.Request.Method
	api := path == "/api" || strings.HasPrefix(path, "/api/")
	if s.Web == nil || api || method != http.MethodGet && method != http.MethodHead {
		s.harden(c)
		s.fail(c, nothingHere())
		return
	}
	c.Status(http.StatusOK) // until Web says otherwise; gin starts with 404 here
	s.Web.ServeHTTP(c.Writer, c.Request)
}

// Close says goodbye on every socket, closes them, and waits for their goroutines. No socket opens after it.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, c := range s.hub.stop() {
		c.finish(&pb.Frame{Kind: &pb.Frame_Goodbye{Goodbye: &pb.Goodbye{Error: (&proto.Error{
			Code: pb.ErrorCode_ERROR_CODE_INTERNAL, Message: restarting, RetryAfter: comeBack + rand.N(comeBack), //nolint:gosec // jitter
		}).ToProto()}}}, closeRestart, restarting)
	}
	cut := time.AfterFunc(closeGrace, func() {
		for _, c := range s.hub.all() {
			c.close(closeRestart, restarting)
		}
	})
	defer cut.Stop()
	s.wg.Wait()
}

const restarting = "the server restarts"

// start runs a connection unless the server is closing.
func (s *Server) start(c *connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.wg.Go(c.serve) // not in the HTTP handler, whose buffers would stay alive
	}
	return !s.closed
}

// sameSite refuses what a foreign page could send: a browser's request must carry the exact Origin and
// the header that no form can set.
func (s *Server) sameSite(c *gin.Context) {
	origin := c.GetHeader("Origin")
	if origin == "" {
		return
	}
	if !s.ownOrigin(c.Request, origin) || c.GetHeader("X-Parley") != "1" {
		s.fail(c, foreignPage())
	}
}

func foreignPage() error { return forbidden("this request comes from a foreign page") }

// ownOrigin says whether an Origin is this server's: its public URL, or a loopback name at the address
// the request came to.
func (s *Server) ownOrigin(r *http.Request, origin string) bool {
	if origin == s.URL {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.Host != r.Host {
		return false
	}
	host, err := proto.ServerHost(origin)
	return err == nil && host == "localhost"
}
