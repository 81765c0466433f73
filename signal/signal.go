// Package signal is the server's front door: accounts, devices, contacts and invitations over REST, and
// the socket on which everything else travels. Identity comes from a session (store.Session) and from
// nowhere else; offers, answers and candidates are forwarded between accepted devices and never looked into.
package signal

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
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
	Committed(n *store.NewCommit)
	Post(ctx context.Context, caller *store.Session, p *pb.Post) (*pb.Posted, error)
	Commit(ctx context.Context, caller *store.Session, p *pb.CommitPost) (*pb.Committed, error)
	Sync(ctx context.Context, caller *store.Session, q *pb.Sync) (*pb.Page, error)
	State(ctx context.Context, caller *store.Session, conversation proto.ID) (*pb.ConversationState, error)
	Behind(ctx context.Context, caller *store.Session) ([]*pb.ConversationState, error)
	MoveCursor(ctx context.Context, caller *store.Session, q *pb.Cursor) error
	Typing(ctx context.Context, caller *store.Session, t *pb.Typing) error
}

// Sink takes hints for one connection without blocking.
type Sink interface{ Hint(f *pb.Frame) bool }

// Hints reaches every connection of an account.
type Hints interface {
	Publish(account proto.ID, f *pb.Frame)
	Subscribe(account proto.ID, sink Sink) (cancel func())
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
	ICE           func(account proto.ID) *pb.IceServers // STUN and TURN with fresh credentials; nil: none
	Logger        *slog.Logger
	Registration  Registration
	URL           string // where browsers reach the server
	Version       string
	Setup         string // one-time secret that makes the first account the administrator
}

// Server is the front door. Handler serves it; Close ends every socket.
type Server struct {
	Config
	host      string
	hub       *hub
	logins    *throttle
	addresses *throttle
	nameKey   []byte // makes salts for names that do not exist
	wg        sync.WaitGroup
}

const sessionLife = 90 * 24 * time.Hour

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
	return &Server{Config: cfg, host: host, hub: newHub(), nameKey: key, logins: newThrottle(), addresses: newThrottle()}, nil
}

// Handler serves REST and socket.
func (s *Server) Handler() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.Use(gin.CustomRecoveryWithWriter(nil, func(c *gin.Context, v any) {
		s.Logger.Error("panic in a handler", "value", v, "path", c.FullPath())
		s.fail(c, proto.Errorf(pb.ErrorCode_ERROR_CODE_INTERNAL, "the server failed: try again"))
	}), func(c *gin.Context) {
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, proto.MaxBody)
		h := c.Writer.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	})
	api := e.Group("/api/v1")
	api.GET("/server", s.serverInfo)
	api.POST("/register", s.sameSite, s.register)
	api.POST("/login/params", s.sameSite, s.loginParams)
	api.POST("/login", s.sameSite, s.login)
	api.PUT("/devices", s.sameSite, s.updateDevices)
	api.PUT("/password", s.sameSite, s.changePassword)
	api.POST("/session/challenge", s.sameSite, s.challenge)
	api.POST("/session", s.sameSite, s.openSession)
	api.DELETE("/session", s.sameSite, s.logout)
	api.GET("/invitations/:code", s.invitation)
	api.GET("/socket", s.socket)
	e.NoRoute(func(c *gin.Context) {
		s.fail(c, proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "there is nothing at this address"))
	})
	return e
}

// Close ends every socket with a hint to come back, and waits for their goroutines.
func (s *Server) Close() {
	s.hub.closeAll(closeRestart, "the server restarts")
	s.wg.Wait()
}

// sameSite refuses what a foreign page could send: a browser's request must carry the exact Origin and
// the header that no form can set.
func (s *Server) sameSite(c *gin.Context) {
	origin := c.GetHeader("Origin")
	if origin == "" {
		return
	}
	if !s.ownOrigin(c.Request, origin) || c.GetHeader("X-Parley") != "1" {
		s.fail(c, proto.Errorf(pb.ErrorCode_ERROR_CODE_FORBIDDEN, "this request comes from a foreign page"))
	}
}

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
