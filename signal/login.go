package signal

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

func tooMany(wait time.Duration) error {
	return &proto.Error{Code: pb.ErrorCode_ERROR_CODE_RATE_LIMITED, Message: "too many failed attempts: wait a little", RetryAfter: wait}
}

// proof is one way to log in: what the server compares a secret with, and what it then hands out.
type proof struct {
	kind  string // counts its failures apart
	wrong string // the one answer to a wrong name and to a wrong secret
	of    func(*store.Account) (salt, hash []byte, master *pb.Sealed)
}

var byPassword = proof{"password", "user name or password is wrong", func(a *store.Account) (salt, hash []byte, master *pb.Sealed) { //nolint:gochecknoglobals // a constant
	return a.AuthSalt, a.AuthHash, a.Master
}}

var byRecovery = proof{"recovery", "user name or recovery code is wrong", func(a *store.Account) (salt, hash []byte, master *pb.Sealed) { //nolint:gochecknoglobals // likewise
	if a.Recovery == nil {
		return nil, nil, nil
	}
	return a.Recovery.AuthSalt, a.Recovery.AuthHash, a.Recovery.Master
}}

// login answers requests that log in by p.
func (s *Server) login(p proof) gin.HandlerFunc {
	return func(c *gin.Context) {
		req := &pb.LoginRequest{}
		if !s.bind(c, req) {
			return
		}
		account, master, err := s.proved(c, p, req.GetUser(), req.GetAuthSecret())
		if err != nil {
			s.fail(c, err)
			return
		}
		s.grant(c, account, master)
	}
}

// proved finds the account that a name and a secret belong to, and what p hands out then. An address is slowed for each name
// it fails at, so that others who know the secret are not locked out. Whoever is suspended is told so.
func (s *Server) proved(c *gin.Context, p proof, user string, secret []byte) (*store.Account, *pb.Sealed, error) {
	key, err := proto.FoldUserName(user)
	if err != nil {
		return nil, nil, err
	}
	address := clientAddress(c.Request)
	pair := p.kind + "\x00" + key + "\x00" + address
	if wait := s.mayLogIn(pair, address); wait > 0 {
		return nil, nil, tooMany(wait)
	}
	account, master, err := s.prove(c, p, key, secret)
	if err != nil {
		return nil, nil, err
	}
	s.logins.clear(pair)
	s.addresses.undo(address)
	if account.SuspendedMS > 0 {
		return nil, nil, suspended()
	}
	return account, master, nil
}

// mayLogIn counts an attempt, or says how long to wait before one.
func (s *Server) mayLogIn(pair, address string) time.Duration {
	wait := s.addresses.wait(address)
	if wait == 0 {
		wait = s.logins.attempt(pair, freeLogins)
	}
	if wait == 0 {
		wait = s.addresses.attempt(address, freeAddresses)
	}
	return wait
}

// prove compares a secret with what is stored of a name. Names that do not exist, accounts that have no such
// secret and wrong secrets take the same steps.
func (s *Server) prove(c *gin.Context, p proof, key string, secret []byte) (*store.Account, *pb.Sealed, error) {
	account, err := s.Store.AccountByName(c, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, nil, err
	}
	salt, want := s.nameKey, make([]byte, proto.HashSize)
	var master *pb.Sealed
	if err == nil {
		if ownSalt, hash, sealed := p.of(account); hash != nil {
			salt, want, master = ownSalt, hash, sealed
		}
	}
	got := proto.StoredAuth(salt, secret)
	if subtle.ConstantTimeCompare(got[:], want) != 1 {
		return nil, nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED, "%s", p.wrong)
	}
	return account, master, nil
}

// grant answers a proved secret.
func (s *Server) grant(c *gin.Context, account *store.Account, master *pb.Sealed) {
	ticket := newToken()
	if err := s.Store.AddTicket(c, store.TicketLogin, tokenHash(ticket), account.ID, 0, s.Clock().Add(ticketLife)); err != nil {
		s.fail(c, err)
		return
	}
	list, err := s.Store.DeviceList(c, account.ID)
	if err != nil {
		s.fail(c, err)
		return
	}
	s.reply(c, &pb.LoginGrant{Ticket: ticket, Account: account.Public.Bytes(), WrappedMaster: master, KeyRing: account.KeyRing, DeviceList: list})
}

// maxSealed bounds the bytes of what a client has sealed for itself.
const maxSealed = 1 << 10

// stored is how an auth secret is kept: a salt of its own, and the hash.
func stored(secret []byte) (salt, hash []byte) {
	salt = make([]byte, 16)
	_, _ = rand.Read(salt)
	sum := proto.StoredAuth(salt, secret)
	return salt, sum[:]
}

// setRecovery replaces the recovery code of an account, or takes it away. The ticket says that its password,
// or the old code, was proved just now.
func (s *Server) setRecovery(c *gin.Context) {
	req := &pb.SetRecovery{}
	if !s.bind(c, req) {
		return
	}
	session, _, err := s.session(c.Request)
	if err != nil {
		s.fail(c, err)
		return
	}
	var recovery *store.Recovery
	if r := req.GetRecovery(); r != nil {
		if len(r.GetAuthSecret()) != proto.KeySize || !sealedWell(r.GetWrappedMaster()) {
			s.fail(c, proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "a recovery code comes with its secret and the sealed master key"))
			return
		}
		recovery = &store.Recovery{Master: r.GetWrappedMaster()}
		recovery.AuthSalt, recovery.AuthHash = stored(r.GetAuthSecret())
	}
	if err := s.takeTicket(c, session, req.GetTicket()); err != nil {
		s.fail(c, err)
		return
	}
	if err := s.Store.SetRecovery(c, session.AccountID, recovery); err != nil {
		s.fail(c, err)
		return
	}
	s.notify(session.Account)
	c.Status(http.StatusNoContent)
}

// sealedWell says whether something has the form of a sealed object of a client's own.
func sealedWell(b *pb.Sealed) bool {
	return len(b.GetNonce()) > 0 && len(b.GetCiphertext()) > 0 && len(b.GetNonce())+len(b.GetCiphertext()) <= maxSealed
}

// takeTicket uses up the ticket of a log-in to the session's own account.
func (s *Server) takeTicket(ctx context.Context, session *store.Session, ticket string) error {
	account, _, err := s.Store.TakeTicket(ctx, store.TicketLogin, tokenHash(ticket))
	if errors.Is(err, store.ErrNotFound) || err == nil && account != session.AccountID {
		return unauthenticated()
	}
	return err
}
