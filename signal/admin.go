package signal

import (
	"cmp"
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// adminRoutes are for sessions of administrators; for everybody else there is nothing there. They tell of accounts,
// invitations and totals, never whom somebody knows or what is written.
func (s *Server) adminRoutes(e *gin.Engine) {
	admin := e.Group("/api/v1/admin", s.harden, s.administrator)
	admin.GET("/users", s.adminUsers)
	admin.PUT("/users/:account/suspension", s.suspend)
	admin.POST("/users/:account/reset", s.adminReset)
	admin.GET("/invitations", s.adminInvitations)
	admin.DELETE("/invitations/:code", s.adminRevoke)
	admin.GET("/stats", s.adminStats)
	admin.GET("/settings", s.adminSettings)
	admin.PUT("/settings", s.setAdminSettings)
}

func nothingHere() error {
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "there is nothing at this address")
}

const adminID = "administrator" // in the request's context: the account's public id

// administrator lets administrators pass. Whoever is none gets what an address gives at which there is nothing.
func (s *Server) administrator(c *gin.Context) {
	session, _, err := s.session(c.Request)
	if _, known := proto.AsError(err); err != nil && !known {
		s.fail(c, err)
		return
	}
	if err != nil || !session.Admin {
		s.fail(c, nothingHere())
		return
	}
	c.Set(adminID, session.Account)
	if c.Request.Method != http.MethodGet {
		s.sameSite(c)
	}
}

func (s *Server) adminUsers(c *gin.Context) {
	users, err := s.Store.AdminUsers(c, c.Query("q"), c.Query("after"))
	if err != nil {
		s.fail(c, err)
		return
	}
	for _, u := range users.GetUsers() {
		if len(s.hub.of(proto.ID(u.GetAccount()))) > 0 {
			u.LastSeenMs = s.nowMS()
		}
	}
	s.reply(c, users)
}

// suspend ends what an account has open at once, or lets it in again.
func (s *Server) suspend(c *gin.Context) {
	req := &pb.AdminSuspend{}
	if !s.bind(c, req) {
		return
	}
	account, err := proto.ParseID(c.Param("account"))
	if err == nil && req.GetSuspended() && c.MustGet(adminID) == account {
		err = proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "you cannot suspend yourself")
	}
	var devices []proto.ID
	if err == nil {
		devices, err = s.Store.Suspend(c, account, req.GetSuspended())
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	for _, device := range devices {
		s.signedOut(account, device, "the account is suspended")
	}
	c.Status(http.StatusNoContent)
}

// suspended is the answer to whoever proved to be somebody who is suspended.
func suspended() error {
	return forbidden("this account is suspended: ask the administrator of this server")
}

func (s *Server) adminInvitations(c *gin.Context) {
	invitations, err := s.Store.AdminInvitations(c, c.Query("after"))
	if err != nil {
		s.fail(c, err)
		return
	}
	s.reply(c, invitations)
}

func (s *Server) adminRevoke(c *gin.Context) {
	owner, err := s.Store.RevokeAnyInvitation(c, c.Param("code"))
	if err != nil {
		s.fail(c, err)
		return
	}
	s.notify(owner)
	c.Status(http.StatusNoContent)
}

func (s *Server) adminStats(c *gin.Context) {
	stats, err := s.Store.AdminStats(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	stats.Connections = uint64(len(s.hub.all()))
	s.reply(c, stats)
}

// settings are what an administrator has set, or else what the server was started with.
func (s *Server) settings(ctx context.Context) (name string, registration Registration, err error) {
	set, err := s.Store.ServerSettings(ctx)
	return cmp.Or(set.Name, "Parley"), cmp.Or(Registration(set.Registration), s.Registration), err
}

func (s *Server) adminSettings(c *gin.Context) {
	name, registration, err := s.settings(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	s.reply(c, &pb.AdminSettings{ServerName: name, Registration: string(registration)})
}

// setAdminSettings changes what is given, from the next request on and for the time after a restart.
func (s *Server) setAdminSettings(c *gin.Context) {
	req := &pb.AdminSettings{}
	if !s.bind(c, req) {
		return
	}
	set, err := newSettings(req)
	if err == nil {
		err = s.Store.SetServerSettings(c, set)
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	s.adminSettings(c)
}

func newSettings(req *pb.AdminSettings) (set store.ServerSettings, err error) {
	switch Registration(req.GetRegistration()) {
	case "", Open, Invite, Closed:
		set.Registration = req.GetRegistration()
	default:
		return set, proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "registration is %s, %s or %s", Open, Invite, Closed)
	}
	if req.GetServerName() != "" {
		set.Name, err = proto.CleanNickname(req.GetServerName())
	}
	return set, err
}
