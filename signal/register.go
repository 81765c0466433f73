package signal

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/subtle"
	"errors"

	"github.com/gin-gonic/gin"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

func forbidden(text string) error {
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_FORBIDDEN, "%s", text)
}

// register makes an account.
func (s *Server) register(c *gin.Context) {
	req := &pb.RegisterRequest{}
	if !s.bind(c, req) {
		return
	}
	n, err := s.newAccount(c, req)
	if err != nil {
		s.fail(c, err)
		return
	}
	token := newToken()
	n.TokenHash, n.Expires = tokenHash(token), s.Clock().Add(sessionLife)
	if err := s.Store.CreateAccount(c, *n); err != nil {
		s.fail(c, err)
		return
	}
	if n.Setup && req.GetServerName() != "" {
		if err := s.Store.SetServerSettings(c, store.ServerSettings{Name: clean(req.GetServerName(), "Parley")}); err != nil {
			s.Logger.Error("keep server name", "error", err)
		}
	}
	if n.Join != nil {
		s.joined(c, n.Join)
	}
	s.opened(c, n.List.GetAccount(), n.List.GetDevices()[0].GetDevice(), token, n.Expires)
}

// newAccount checks everything about a registration that needs no transaction.
func (s *Server) newAccount(ctx context.Context, req *pb.RegisterRequest) (*store.NewAccount, error) {
	list, err := proto.OpenDeviceList(req.GetDeviceList())
	if err != nil {
		return nil, err
	}
	if err := checkListSize(list); err != nil {
		return nil, err
	}
	if list.GetVersion() != 1 || len(list.GetDevices()) != 1 {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "a new account starts with one device in list version 1")
	}
	n := &store.NewAccount{List: list, DeviceName: clean(req.GetDeviceName(), "Device"), KeyRing: req.GetKeyRing()}
	if n.Nickname, err = proto.CleanNickname(req.GetNickname()); err != nil {
		return nil, err
	}
	if req.GetUser() != "" {
		n.UserName = req.GetUser()
		if n.UserKey, err = proto.FoldUserName(req.GetUser()); err != nil {
			return nil, err
		}
		if n.Password, err = storedPassword(req.GetPassword()); err != nil {
			return nil, err
		}
		if req.GetKeyRing() == nil {
			return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "an account with a password has a key ring")
		}
	}
	_, registration, err := s.settings(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case req.GetSetup() != "":
		if s.Setup == "" || subtle.ConstantTimeCompare([]byte(req.GetSetup()), []byte(s.Setup)) != 1 {
			return nil, forbidden("this set-up link is not the newest one: the server prints it when it starts")
		}
		if n.UserKey == "" {
			return nil, forbidden("the administrator needs a user name and a password")
		}
		n.Admin, n.Setup = true, true
	case req.GetInvitation() != "":
		if registration == Closed {
			return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_REGISTRATION_CLOSED, "this server makes no new accounts")
		}
		n.Join, err = s.prepareJoin(ctx, req.GetInvitation(), req.GetLinkJoin(), req.GetFirstCommit(), list.GetAccount(), list.GetIdentityKey(), ownKey(list))
	case registration != Open:
		err = proto.Errorf(pb.ErrorCode_ERROR_CODE_REGISTRATION_CLOSED, "this server wants an invitation: ask somebody who is on it")
	case n.UserKey == "":
		err = forbidden("without an invitation an account needs a user name and a password")
	}
	return n, err
}

// ownKey finds keys in a list that is not stored yet.
func ownKey(list *proto.DeviceList) proto.Lookup {
	return func(account, device proto.ID) (ed25519.PublicKey, error) {
		d, ok := list.Device(device)
		if !ok || !bytes.Equal(list.GetAccount(), account[:]) {
			return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_BAD_SIGNATURE, "the first commit is signed by somebody else")
		}
		return d.GetSignKey(), nil
	}
}

func clean(name, otherwise string) string {
	name, err := proto.CleanNickname(name)
	if err != nil {
		return otherwise
	}
	return name
}

func storedPassword(p *pb.PasswordSetup) (*store.Password, error) {
	if p == nil || len(p.GetAuthSecret()) != proto.KeySize || p.GetWrappedMaster() == nil {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "a user name comes with a password")
	}
	if err := proto.CheckPasswordParams(p.GetParams()); err != nil {
		return nil, err
	}
	salt, hash := stored(p.GetAuthSecret())
	return &store.Password{Params: p.GetParams(), AuthSalt: salt, AuthHash: hash, Master: p.GetWrappedMaster()}, nil
}

// prepareJoin checks the use of an invitation by an account.
func (s *Server) prepareJoin(ctx context.Context, code string, proof *pb.Signed, first *pb.CommitPost, account, identity []byte, keys proto.Lookup) (*store.Join, error) {
	inv, err := s.openInvitation(ctx, code)
	if err != nil {
		return nil, err
	}
	body := &pb.Invitation{}
	if err := proto.Unmarshal(inv.Signed.GetBody(), body); err != nil {
		return nil, err
	}
	join, err := proto.OpenLinkJoin(body.GetLinkKey(), proof)
	if err != nil {
		return nil, err
	}
	if join.GetCode() != code || !bytes.Equal(join.GetAccount(), account) || !bytes.Equal(join.GetIdentityKey(), identity) {
		return nil, forbidden("the invitation vouches for somebody else")
	}
	if bytes.Equal(body.GetAccount(), account) {
		return nil, forbidden("this is your own invitation")
	}
	commit, err := s.Conversations.PrepareFirst(ctx, proto.ID(account), proto.ID(body.GetAccount()), first, keys)
	if err != nil {
		return nil, err
	}
	return &store.Join{Code: code, Proof: proof, First: commit}, nil
}

// joined tells both accounts of a contact made by invitation.
func (s *Server) joined(ctx context.Context, j *store.Join) {
	for _, m := range j.First.Commit.GetMembers() {
		s.notify(proto.ID(m.GetAccount()))
	}
	s.introduce(ctx, proto.ID(j.First.Commit.GetMembers()[0].GetAccount()), proto.ID(j.First.Commit.GetMembers()[1].GetAccount()))
}

func (s *Server) openInvitation(ctx context.Context, code string) (*store.Invitation, error) {
	if err := proto.CheckInvitationCode(code); err != nil {
		return nil, err
	}
	inv, err := s.Store.Invitation(ctx, code)
	if errors.Is(err, store.ErrNotFound) {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "there is no such invitation, or it was revoked: ask for a new one")
	}
	if err != nil {
		return nil, err
	}
	return inv, s.Store.CheckInvitation(inv)
}

// invitation shows what the holder of a link needs to open it.
func (s *Server) invitation(c *gin.Context) {
	address := clientAddress(c.Request)
	if wait := s.lookups.attempt(address, freeLookups); wait > 0 {
		s.fail(c, tooMany(wait))
		return
	}
	inv, err := s.openInvitation(c, c.Param("code"))
	if err != nil {
		s.fail(c, err)
		return
	}
	s.lookups.undo(address)
	list, err := s.Store.DeviceList(c, inv.AccountID)
	if err != nil {
		s.fail(c, err)
		return
	}
	_, registration, err := s.settings(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	sealed := &pb.Sealed{}
	if err := proto.Unmarshal(inv.Sealed, sealed); err != nil {
		s.fail(c, err)
		return
	}
	s.reply(c, &pb.InvitationInfo{
		Sealed: sealed, Invitation: inv.Signed, DeviceList: list, UsesLeft: inv.UsesLeft, Registration: string(registration),
	})
}
