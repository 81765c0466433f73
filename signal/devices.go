package signal

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// updateDevices puts the next device list in force.
func (s *Server) updateDevices(c *gin.Context) {
	req := &pb.UpdateDevices{}
	if !s.bind(c, req) {
		return
	}
	account, err := s.ticketOrSession(c, req.GetTicket())
	if err != nil {
		s.fail(c, err)
		return
	}
	u, err := s.listUpdate(c, account, req)
	if err != nil {
		s.fail(c, err)
		return
	}
	token := newToken()
	u.TokenHash, u.Expires = tokenHash(token), time.Now().Add(sessionLife)
	ended, err := s.Store.UpdateDevices(c, *u)
	if err != nil {
		s.fail(c, err)
		return
	}
	for _, device := range ended {
		s.hub.end(device, closeSignedOut, "this device was signed out")
	}
	owner := proto.ID(u.List.GetAccount())
	s.notify(owner)
	s.notifyPeers(c, account)
	if u.Added == nil {
		c.Status(http.StatusNoContent)
		return
	}
	s.opened(c, owner.Bytes(), u.Added.GetDevice(), token, u.Expires)
}

func (s *Server) listUpdate(ctx context.Context, account int64, req *pb.UpdateDevices) (*store.ListUpdate, error) {
	known, err := s.Store.DeviceList(ctx, account)
	if err != nil {
		return nil, err
	}
	previous, err := proto.OpenDeviceList(known)
	if err != nil {
		return nil, err
	}
	next, err := proto.OpenDeviceList(req.GetDeviceList())
	if err != nil {
		return nil, err
	}
	if err := next.CheckSuccessor(previous); err != nil {
		return nil, err
	}
	u := &store.ListUpdate{Account: account, Previous: previous.GetVersion(), List: next, DeviceName: clean(req.GetDeviceName(), "Device")}
	if len(req.GetNewDevice()) == 0 {
		return u, nil
	}
	id, err := proto.IDFrom(req.GetNewDevice())
	if err != nil {
		return nil, err
	}
	_, before := previous.Device(id)
	added, ok := next.Device(id)
	if !ok || before {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "the new device is not new in this list")
	}
	u.Added = added
	return u, nil
}

// ticketOrSession returns the account that a log-in ticket or a session speaks for.
func (s *Server) ticketOrSession(c *gin.Context, ticket string) (int64, error) {
	if ticket == "" {
		session, err := s.session(c.Request)
		if err != nil {
			return 0, err
		}
		return session.AccountID, nil
	}
	account, _, err := s.Store.TakeTicket(c, store.TicketLogin, tokenHash(ticket))
	if errors.Is(err, store.ErrNotFound) {
		return 0, unauthenticated()
	}
	return account, err
}

func (s *Server) changePassword(c *gin.Context) {
	req := &pb.ChangePassword{}
	if !s.bind(c, req) {
		return
	}
	session, err := s.session(c.Request)
	if err != nil {
		s.fail(c, err)
		return
	}
	account, _, err := s.Store.TakeTicket(c, store.TicketLogin, tokenHash(req.GetTicket()))
	if err != nil || account != session.AccountID {
		s.fail(c, unauthenticated())
		return
	}
	password, err := storedPassword(req.GetPassword())
	if err == nil {
		err = s.Store.SetPassword(c, session.AccountID, password, tokenHash(s.token(c.Request)))
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	s.hub.endAccount(session.Account, session.Device, closeSignedOut, "the password was changed")
	c.Status(http.StatusNoContent)
}

// challenge makes the nonce that a device signs to log in. An unknown device gets one worth nothing.
func (s *Server) challenge(c *gin.Context) {
	req := &pb.ChallengeRequest{}
	if !s.bind(c, req) {
		return
	}
	id, err := proto.IDFrom(req.GetDevice())
	if err != nil {
		s.fail(c, err)
		return
	}
	nonce := make([]byte, proto.LoginNonceSize)
	_, _ = rand.Read(nonce)
	if d, err := s.Store.Device(c, id); err == nil {
		if err := s.Store.AddTicket(c, store.TicketChallenge, tokenHash(string(nonce)), d.AccountID, d.ID, time.Now().Add(time.Minute)); err != nil {
			s.fail(c, err)
			return
		}
	}
	s.reply(c, &pb.Challenge{Nonce: nonce})
}

// openSession lets a device in by its signature.
func (s *Server) openSession(c *gin.Context) {
	req := &pb.SessionRequest{}
	if !s.bind(c, req) {
		return
	}
	var device *store.Device
	login, err := proto.OpenDeviceLogin(req.GetLogin(), func(account, id proto.ID) (ed25519.PublicKey, error) {
		d, err := s.Store.Device(c, id)
		if err != nil {
			return nil, unauthenticated()
		}
		if internal, err := s.Store.AccountID(c, account); err != nil || internal != d.AccountID {
			return nil, unauthenticated()
		}
		device = d
		return d.SignKey, nil
	})
	if err != nil {
		s.fail(c, unauthenticated())
		return
	}
	host, err := proto.ServerHost("http://" + c.Request.Host)
	if err != nil || login.GetHost() != host {
		s.fail(c, forbidden("the log-in was signed for another server"))
		return
	}
	_, id, err := s.Store.TakeTicket(c, store.TicketChallenge, tokenHash(string(login.GetNonce())))
	if err != nil || id != device.ID {
		s.fail(c, unauthenticated())
		return
	}
	token, expires := newToken(), time.Now().Add(sessionLife)
	if err := s.Store.OpenSession(c, device.ID, tokenHash(token), expires); err != nil {
		s.fail(c, err)
		return
	}
	s.opened(c, login.GetAccount(), login.GetDevice(), token, expires)
}

func (s *Server) logout(c *gin.Context) {
	session, err := s.session(c.Request)
	if err == nil {
		err = s.Store.EndDevice(c, session.AccountID, session.DeviceID, session.Device)
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	s.hub.end(session.Device, closeSignedOut, "signed out")
	c.Status(http.StatusNoContent)
}
