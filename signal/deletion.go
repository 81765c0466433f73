package signal

import (
	"net/http"

	"github.com/gin-gonic/gin"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// deleteAccount ends an account for good.
func (s *Server) deleteAccount(c *gin.Context) {
	req := &pb.DeleteAccount{}
	if !s.bind(c, req) {
		return
	}
	session, _, err := s.session(c.Request)
	if err != nil {
		s.fail(c, err)
		return
	}
	account, err := s.Store.Account(c, session.Account)
	if err == nil && account.Params != nil {
		err = s.takeTicket(c, session, req.GetTicket())
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	gone, err := s.Store.DeleteAccount(c, session.AccountID)
	if err != nil {
		s.fail(c, err)
		return
	}
	for _, device := range gone.Devices {
		s.signedOut(session.Account, device, "the account was deleted")
	}
	for _, peer := range gone.Peers {
		s.notify(peer)
		s.showOffline(peer, session.Account, 0)
	}
	if c.GetHeader("Origin") != "" {
		s.setCookie(c, "", -1)
	}
	c.Status(http.StatusNoContent)
}
