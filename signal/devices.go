package signal

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"math"
	"net"
	"net/http"

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
	account, caller, err := s.ticketOrSession(c, req.GetTicket())
	if err != nil {
		s.fail(c, err)
		return
	}
	u, err := s.listUpdate(c, account, caller, req)
	if err != nil {
		s.fail(c, err)
		return
	}
	token := newToken()
	u.TokenHash, u.Expires = tokenHash(token), s.Clock().Add(sessionLife)
	ended, err := s.Store.UpdateDevices(c, *u)
	if err != nil {
		s.fail(c, err)
		return
	}
	owner := proto.ID(u.List.GetAccount())
	for _, device := range ended {
		s.signedOut(owner, device, "this device was signed out")
	}
	s.notify(owner)
	s.notifyPeers(c, account)
	if u.Added == nil || u.Link != "" {
		c.Status(http.StatusNoContent)
		return
	}
	s.opened(c, owner.Bytes(), u.Added.GetDevice(), token, u.Expires)
}

// listUpdate checks everything about an update that needs no transaction. caller is the device that asks,
// zero when a ticket does.
func (s *Server) listUpdate(ctx context.Context, account int64, caller proto.ID, req *pb.UpdateDevices) (*store.ListUpdate, error) {
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
	if err := checkListSize(next); err != nil {
		return nil, err
	}
	if err := next.CheckSuccessor(previous); err != nil {
		return nil, err
	}
	if err := s.checkGeneration(ctx, previous, next, caller, req); err != nil {
		return nil, err
	}
	u := &store.ListUpdate{
		Account: account, Previous: previous.GetVersion(), List: next, DeviceName: clean(req.GetDeviceName(), "Device"),
		Link: req.GetLink(), NewKey: next.GetGeneration() > previous.GetGeneration(), KeyRing: req.GetKeyRing(), Grants: req.GetGenerationGrants(),
	}
	if len(req.GetNewDevice()) == 0 {
		if u.Link != "" {
			return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "a device link adds a new device")
		}
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

// maxDeviceList bounds a list's body in bytes: 64 devices take less than half of it.
const maxDeviceList = 16 << 10

func checkListSize(l *proto.DeviceList) error {
	if len(l.Signed.GetBody()) > maxDeviceList {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "a device list has at most %d bytes", maxDeviceList)
	}
	return nil
}

// checkGeneration says whether an update brings what a new generation of the account key takes: the key
// ring with the new key, if the account has one, and a grant for every device that stays. The device that
// made the key needs no grant.
func (s *Server) checkGeneration(ctx context.Context, previous, next *proto.DeviceList, caller proto.ID, req *pb.UpdateDevices) error {
	if req.GetLink() != "" {
		account, err := s.Store.Account(ctx, proto.ID(next.GetAccount()))
		if err != nil {
			return err
		}
		return checkAllGenerations(previous, next, account.FirstGeneration, req)
	}
	if next.GetGeneration() == previous.GetGeneration() {
		if len(req.GetGenerationGrants()) > 0 || req.GetKeyRing() != nil {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "grants and a key ring come with a new generation only")
		}
		return nil
	}
	account, err := s.Store.Account(ctx, proto.ID(next.GetAccount()))
	if err != nil {
		return err
	}
	if (account.KeyRing != nil) != (req.GetKeyRing() != nil) {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "a new generation comes with a key ring if the account has a password, and only then")
	}
	granted := make(map[proto.ID]bool)
	for _, g := range req.GetGenerationGrants() {
		id, err := proto.IDFrom(g.GetDevice())
		if err != nil {
			return err
		}
		_, stays := next.Device(id)
		if !stays || granted[id] || g.GetGeneration() != next.GetGeneration() || !keySealed(g) {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "a generation grant is not for a device of this list, or not of its generation")
		}
		granted[id] = true
	}
	for _, d := range previous.GetDevices() {
		id := proto.ID(d.GetDevice())
		if _, stays := next.Device(id); stays && id != caller && !granted[id] {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "a device that stays gets no grant of the new account key")
		}
	}
	return nil
}

// checkAllGenerations says whether an update by a device link hands every generation of the account key to the
// new device, and nothing to others: those of the identity in force, which began with the generation first, and such before
// as the older device has. It makes no new generation: what it seals would be known to the added device.
func checkAllGenerations(previous, next *proto.DeviceList, first uint32, req *pb.UpdateDevices) error {
	grants := req.GetGenerationGrants()
	newest, n := next.GetGeneration(), uint32(min(len(grants), math.MaxUint32))
	if newest != previous.GetGeneration() || req.GetKeyRing() != nil || n > newest || n < newest-first+1 {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "a device link adds a device with a grant of every generation, and changes nothing else")
	}
	for i, g := range grants {
		if g.GetGeneration() != newest-n+1+uint32(i) || !bytes.Equal(g.GetDevice(), req.GetNewDevice()) || !keySealed(g) {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "the grants of a device link are for the new device, of every generation, oldest first")
		}
	}
	return nil
}

func keySealed(g *pb.GenerationGrant) bool {
	return len(g.GetEnc()) == proto.KeySize && len(g.GetCiphertext()) == sealedKeySize
}

const sealedKeySize = proto.KeySize + 16 // a key and the tag of AES-256-GCM

// signedOut ends what a device has after its sessions ended: its connection and its TURN credentials.
func (s *Server) signedOut(account, device proto.ID, why string) {
	over := proto.Errorf(pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED, "%s", why)
	s.Hints.Tell(&pb.Frame{Kind: &pb.Frame_Goodbye{Goodbye: &pb.Goodbye{Error: over.ToProto()}}}, account, device)
	if s.ICE != nil {
		s.ICE.Revoke(account, device)
	}
}

// ticketOrSession returns the account that a log-in ticket or a session speaks for, and the session's device.
func (s *Server) ticketOrSession(c *gin.Context, ticket string) (int64, proto.ID, error) {
	if ticket == "" {
		session, _, err := s.session(c.Request)
		if err != nil {
			return 0, proto.ID{}, err
		}
		return session.AccountID, session.Device, nil
	}
	account, _, err := s.Store.TakeTicket(c, store.TicketLogin, tokenHash(ticket))
	if errors.Is(err, store.ErrNotFound) {
		err = unauthenticated()
	}
	return account, proto.ID{}, err
}

// changePassword replaces how an account logs in, or gives it a name and a password if it has none.
func (s *Server) changePassword(c *gin.Context) {
	req := &pb.ChangePassword{}
	if !s.bind(c, req) {
		return
	}
	session, hash, err := s.session(c.Request)
	if err != nil {
		s.fail(c, err)
		return
	}
	password, err := storedPassword(req.GetPassword())
	if err != nil {
		s.fail(c, err)
		return
	}
	account, err := s.Store.Account(c, session.Account)
	if err == nil && account.Params == nil {
		err = s.keepAccount(c, session, req, password)
	} else if err == nil {
		err = s.replacePassword(c, session, req.GetTicket(), password, hash)
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

func (s *Server) replacePassword(ctx context.Context, session *store.Session, ticket string, password *store.Password, keep []byte) error {
	if err := s.takeTicket(ctx, session, ticket); err != nil {
		return err
	}
	ended, err := s.Store.SetPassword(ctx, session.AccountID, password, keep)
	if err != nil {
		return err
	}
	for _, device := range ended {
		if device != session.Device {
			s.signedOut(session.Account, device, "the password was changed")
		}
	}
	return nil
}

// keepAccount gives a name-first account a user name and a password.
func (s *Server) keepAccount(ctx context.Context, session *store.Session, req *pb.ChangePassword, password *store.Password) error {
	key, err := proto.FoldUserName(req.GetUser())
	if err != nil {
		return err
	}
	if req.GetKeyRing() == nil {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "an account with a password has a key ring")
	}
	if err := s.Store.KeepAccount(ctx, session.AccountID, req.GetUser(), key, password, req.GetKeyRing()); err != nil {
		return err
	}
	s.notify(session.Account)
	s.notifyPeers(ctx, session.AccountID)
	return nil
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
		if err := s.Store.AddTicket(c, store.TicketChallenge, tokenHash(string(nonce)), d.AccountID, d.ID, s.Clock().Add(nonceLife)); err != nil {
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
	if !s.ownHost(c.Request, login.GetHost()) {
		s.fail(c, forbidden("the log-in was signed for another server"))
		return
	}
	_, id, err := s.Store.TakeTicket(c, store.TicketChallenge, tokenHash(string(login.GetNonce())))
	if err != nil || id != device.ID {
		s.fail(c, unauthenticated())
		return
	}
	account, err := s.Store.Account(c, proto.ID(login.GetAccount()))
	if err == nil && account.SuspendedMS > 0 {
		err = suspended()
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	token, expires := newToken(), s.Clock().Add(sessionLife)
	if err := s.Store.OpenSession(c, device.ID, tokenHash(token), expires); err != nil {
		s.fail(c, err)
		return
	}
	s.opened(c, login.GetAccount(), login.GetDevice(), token, expires)
}

// ownHost says whether a log-in was signed for this server: for the host of its public URL, or for the
// address that the connection came to. The Host header does not count: a server that was sent the log-in
// could forward it with any.
func (s *Server) ownHost(r *http.Request, host string) bool {
	if host == s.host {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	own, err := proto.ServerHost("http://" + local.String())
	return err == nil && host == own
}

// logout ends the session and signs its device out.
func (s *Server) logout(c *gin.Context) {
	session, _, err := s.session(c.Request)
	if err == nil {
		err = s.Store.EndDevice(c, session.AccountID, session.DeviceID, session.Device)
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	s.signedOut(session.Account, session.Device, "signed out")
	s.notify(session.Account)
	if c.GetHeader("Origin") != "" {
		s.setCookie(c, "", -1)
	}
	c.Status(http.StatusNoContent)
}
