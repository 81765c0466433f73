package signal

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"google.golang.org/protobuf/encoding/protojson"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// status is the one place where an error code becomes an HTTP status.
func status(code pb.ErrorCode) int {
	switch code {
	case pb.ErrorCode_ERROR_CODE_INTERNAL:
		return http.StatusInternalServerError
	case pb.ErrorCode_ERROR_CODE_TOO_LARGE:
		return http.StatusRequestEntityTooLarge
	case pb.ErrorCode_ERROR_CODE_RATE_LIMITED:
		return http.StatusTooManyRequests
	case pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED:
		return http.StatusUnauthorized
	case pb.ErrorCode_ERROR_CODE_NOT_FOUND:
		return http.StatusNotFound
	case pb.ErrorCode_ERROR_CODE_FORBIDDEN, pb.ErrorCode_ERROR_CODE_REGISTRATION_CLOSED:
		return http.StatusForbidden
	case pb.ErrorCode_ERROR_CODE_CONFLICT, pb.ErrorCode_ERROR_CODE_STALE_LIST, pb.ErrorCode_ERROR_CODE_STALE_HEAD:
		return http.StatusConflict
	case pb.ErrorCode_ERROR_CODE_EXPIRED, pb.ErrorCode_ERROR_CODE_USED_UP:
		return http.StatusGone
	case pb.ErrorCode_ERROR_CODE_STORE_FULL:
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadRequest
	}
}

func unauthenticated() *proto.Error {
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED, "log in first")
}

// public is what a caller may see of an error; what is not for them is logged.
func (s *Server) public(err error) *proto.Error {
	if known, ok := proto.AsError(err); ok {
		return known
	}
	if errors.Is(err, store.ErrNotFound) {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "not found")
	}
	s.Logger.Error("request failed", "error", err)
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_INTERNAL, "the server failed: try again")
}

// fail answers with problem+json (RFC 9457) and stops the chain.
func (s *Server) fail(c *gin.Context, err error) {
	e := s.public(err)
	code := status(e.Code)
	body, err := protojson.Marshal(&pb.Problem{
		Title: http.StatusText(code), Status: uint32(code), Detail: e.Message, Code: e.Name(), //nolint:gosec // a status
		RetryAfterMs: uint64(max(e.RetryAfter.Milliseconds(), 0)),
	})
	if err != nil {
		c.AbortWithStatus(http.StatusInternalServerError)
		return
	}
	c.Abort()
	s.await(c)
	if e.RetryAfter > 0 {
		c.Header("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	c.Data(code, "application/problem+json", body)
}

// bind reads a body; false means that the answer has been given.
func (s *Server) bind(c *gin.Context, m gproto.Message) bool {
	b, err := io.ReadAll(c.Request.Body)
	if err == nil {
		err = (protojson.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: proto.MaxDepth}).Unmarshal(b, m)
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		s.fail(c, proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "the body is larger than %d bytes", proto.MaxBody))
	case err != nil:
		s.fail(c, proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "the body is not what this address takes: see docs/PROTOCOL.md §8"))
	}
	return err == nil
}

func (s *Server) reply(c *gin.Context, m gproto.Message) {
	b, err := protojson.Marshal(m)
	if err != nil {
		s.fail(c, err)
		return
	}
	s.await(c)
	c.Data(http.StatusOK, "application/json", b)
}

func tokenHash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

func newToken() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

func (s *Server) cookieName() string {
	id := s.Store.ServerID()
	return "__Host-parley-" + hex.EncodeToString(id[:4])
}

// token reads the session token: a bearer header without Origin, or the cookie with the exact one. Browsers send no
// Origin when their own page only reads; they say so in another header that pages cannot set.
func (s *Server) token(r *http.Request) (string, error) {
	origin := r.Header.Get("Origin")
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		if origin != "" {
			return "", forbidden("a token comes without an Origin: pages use the cookie")
		}
		return bearer, nil
	}
	cookie, err := r.Cookie(s.cookieName())
	if err != nil {
		return "", unauthenticated()
	}
	if !s.ownOrigin(r, origin) && !ownRead(r) {
		return "", foreignPage()
	}
	return cookie.Value, nil
}

// ownRead says whether a browser's request only reads, for a page of this very server. A WebSocket's handshake is no such
// request: it has an Origin.
func ownRead(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Origin") == "" && r.Header.Get("Upgrade") == "" && r.Header.Get("Sec-Fetch-Site") == "same-origin"
}

// session finds whose request this is, and the hash of the token that says so.
func (s *Server) session(r *http.Request) (*store.Session, []byte, error) {
	token, err := s.token(r)
	if err != nil {
		return nil, nil, err
	}
	hash := tokenHash(token)
	session, err := s.Store.SessionByToken(r.Context(), hash)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, unauthenticated()
	}
	if err != nil {
		return nil, nil, err
	}
	s.touch(r.Context(), session, remoteAddress(r))
	return session, hash, nil
}

// touch notes that a device was used. That this fails is nothing for the caller.
func (s *Server) touch(ctx context.Context, session *store.Session, address string) {
	if err := s.Store.Touch(ctx, session, address); err != nil {
		s.Logger.Debug("note the use of a device", "error", err)
	}
}

// noteHere is how often a device that stays connected is noted as used.
const noteHere = time.Hour

// stillHere notes now and then that a device is still connected. It belongs to the connection's writer.
func (c *connection) stillHere(ctx context.Context) {
	if c.s.Clock().UnixMilli()-c.session.LastUsedMS >= noteHere.Milliseconds() {
		c.s.touch(ctx, c.session, c.session.LastAddress)
	}
}

// remoteAddress is the IP address that a request came from.
func remoteAddress(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return from.Addr().Unmap().WithZone("").String()
}

// opened answers with a new session: a cookie for browsers, the token for others.
func (s *Server) opened(c *gin.Context, account, device []byte, token string, expires time.Time) {
	out := &pb.SessionOpened{Account: account, Device: device, ExpiresMs: uint64(expires.UnixMilli())}
	if c.GetHeader("Origin") == "" {
		out.Token = token
	} else {
		s.setCookie(c, token, int(sessionLife.Seconds()))
	}
	s.reply(c, out)
}

// setCookie gives the browser its session; a negative age takes it away.
func (s *Server) setCookie(c *gin.Context, token string, age int) {
	http.SetCookie(c.Writer, &http.Cookie{
		Name: s.cookieName(), Value: token, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: age,
	})
}

func (s *Server) serverInfo(c *gin.Context) {
	n, err := s.Store.AccountCount(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	name, registration, err := s.settings(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	s.reply(c, &pb.ServerInfo{
		Name: name, Version: s.Version, Registration: string(registration), TimeMs: s.nowMS(), Setup: n == 0, WebHash: s.WebHash,
	})
}

// loginParams answers for names that do not exist as for those that do.
func (s *Server) loginParams(c *gin.Context) {
	req := &pb.LoginParamsRequest{}
	if !s.bind(c, req) {
		return
	}
	key, err := proto.FoldUserName(req.GetUser())
	if err != nil {
		s.fail(c, err)
		return
	}
	account, err := s.Store.AccountByName(c, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.fail(c, err)
		return
	}
	mac := hmac.New(sha256.New, s.nameKey)
	mac.Write([]byte(key))
	params := proto.NewPasswordParams(s.host)
	params.Salt = mac.Sum(nil)[:16]
	if err == nil && account.Params != nil {
		params = account.Params
	}
	s.reply(c, params)
}

// clientAddress is what an attempt is counted by: an IPv4 address, or the /64 of an IPv6 one, which is
// what one subscriber has.
func clientAddress(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	addr := from.Addr().Unmap().WithZone("")
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}
