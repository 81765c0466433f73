package signal

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

const (
	resetLife = 7 * 24 * time.Hour
	resetCode = 16 // bytes of randomness
)

// adminReset makes the one-time code with which a person starts again under an account. It changes nothing by itself: whoever
// uses the code takes the account's place, and everybody who knew it is warned.
func (s *Server) adminReset(c *gin.Context) {
	account, err := proto.ParseID(c.Param("account"))
	if err == nil && c.MustGet(adminID) == account {
		err = proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "you cannot reset yourself: another administrator can")
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	secret := make([]byte, resetCode)
	_, _ = rand.Read(secret)
	code := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret))
	expires := s.Clock().Add(resetLife)
	stores := store.ResetCode{ExpiresMS: expires.UnixMilli()}
	stores.AuthSalt, stores.AuthHash = stored([]byte(code))
	if err := s.Store.SetResetCode(c, account, stores); err != nil {
		s.fail(c, err)
		return
	}
	s.reply(c, &pb.AdminReset{Code: code, ExpiresMs: uint64(expires.UnixMilli())})
}

var byReset = proof{"reset", "user name or reset code is wrong, or the code has expired", func(a *store.Account) (salt, hash []byte, master *pb.Sealed) { //nolint:gochecknoglobals // a constant
	if a.Reset == nil {
		return nil, nil, nil
	}
	return a.Reset.AuthSalt, a.Reset.AuthHash, nil
}}

// typed is a reset code as people may type it.
func typed(code string) []byte {
	return []byte(strings.ToLower(strings.Join(strings.FieldsFunc(code, func(r rune) bool { return r == ' ' || r == '-' }), "")))
}

// resetParams tells whoever has a reset code what the new device list has to follow on.
func (s *Server) resetParams(c *gin.Context) {
	req := &pb.ResetParamsRequest{}
	if !s.bind(c, req) {
		return
	}
	account, _, err := s.proved(c, byReset, req.GetUser(), typed(req.GetCode()))
	if err != nil {
		s.fail(c, err)
		return
	}
	list, err := s.Store.DeviceList(c, account.ID)
	if err != nil {
		s.fail(c, err)
		return
	}
	s.reply(c, &pb.ResetParams{Account: account.Public.Bytes(), DeviceList: list})
}

// reset gives an account a new identity and opens a session for its first device.
func (s *Server) reset(c *gin.Context) {
	req := &pb.ResetRequest{}
	if !s.bind(c, req) {
		return
	}
	account, _, err := s.proved(c, byReset, req.GetUser(), typed(req.GetCode()))
	if err != nil {
		s.fail(c, err)
		return
	}
	r, err := s.newIdentity(c, account, req)
	if err != nil {
		s.fail(c, err)
		return
	}
	token := newToken()
	r.TokenHash, r.Expires = tokenHash(token), s.Clock().Add(sessionLife)
	ended, err := s.Store.ResetAccount(c, *r)
	if err != nil {
		s.fail(c, err)
		return
	}
	for _, device := range ended {
		s.signedOut(account.Public, device, "the account was reset to a new identity")
	}
	s.notify(account.Public)
	s.notifyPeers(c, account.ID)
	s.opened(c, account.Public.Bytes(), r.List.GetDevices()[0].GetDevice(), token, r.Expires)
}

// newIdentity checks everything about a reset that needs no transaction.
func (s *Server) newIdentity(c *gin.Context, account *store.Account, req *pb.ResetRequest) (*store.Reset, error) {
	known, err := s.Store.DeviceList(c, account.ID)
	if err != nil {
		return nil, err
	}
	previous, err := proto.OpenDeviceList(known)
	if err != nil {
		return nil, err
	}
	list, err := proto.OpenDeviceList(req.GetDeviceList())
	if err != nil {
		return nil, err
	}
	if err := checkListSize(list); err != nil {
		return nil, err
	}
	if err := list.CheckReset(previous); err != nil {
		return nil, err
	}
	if len(list.GetDevices()) != 1 || !sealedWell(req.GetKeyRing()) {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "a new identity starts with one device and a key ring")
	}
	password, err := storedPassword(req.GetPassword())
	if err != nil {
		return nil, err
	}
	return &store.Reset{
		Account: account.ID, CodeHash: account.Reset.AuthHash, Previous: previous.GetVersion(), List: list,
		DeviceName: clean(req.GetDeviceName(), "Device"), Password: password, KeyRing: req.GetKeyRing(),
	}, nil
}

// formerKeys gives the key ring from before a reset to whoever has the recovery code of then, and is logged in.
func (s *Server) formerKeys(c *gin.Context) {
	req := &pb.FormerRequest{}
	if !s.bind(c, req) {
		return
	}
	session, _, err := s.session(c.Request)
	if err != nil {
		s.fail(c, err)
		return
	}
	address := clientAddress(c.Request)
	attempt := "former\x00" + session.Account.String() + "\x00" + address
	if wait := s.mayLogIn(attempt, address); wait > 0 {
		s.fail(c, tooMany(wait))
		return
	}
	all, err := s.Store.FormerKeys(c, session.AccountID)
	if err != nil {
		s.fail(c, err)
		return
	}
	for _, f := range all {
		if got := proto.StoredAuth(f.Recovery.AuthSalt, req.GetAuthSecret()); subtle.ConstantTimeCompare(got[:], f.Recovery.AuthHash) == 1 {
			s.logins.clear(attempt)
			s.addresses.undo(address)
			s.reply(c, &pb.FormerKeys{WrappedMaster: f.Recovery.Master, KeyRing: f.KeyRing})
			return
		}
	}
	s.fail(c, proto.Errorf(pb.ErrorCode_ERROR_CODE_FORBIDDEN, "this is not the recovery code that the account had before it was reset"))
}

// resetRoutes are for whoever starts again, and later finds the old recovery code.
func (s *Server) resetRoutes(api *gin.RouterGroup) {
	api.POST("/reset/params", s.even, s.sameSite, s.resetParams)
	api.POST("/reset", s.even, s.sameSite, s.reset)
	api.POST("/recovery/former", s.sameSite, s.formerKeys)
}
