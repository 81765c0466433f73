package signal

import (
	"context"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// remove ends a contact, or a request, on both sides.
func (c *connection) remove(ctx context.Context, q *pb.RemoveContact) error {
	peer, id, err := c.peer(ctx, q.GetAccount())
	if err == nil {
		err = c.s.Store.DeclineContact(ctx, c.session.AccountID, peer)
	}
	if proto.HasCode(err, pb.ErrorCode_ERROR_CODE_NOT_FOUND) {
		return noAccount()
	}
	if err != nil {
		return err
	}
	c.s.notify(id)
	c.s.part(c.session.Account, id)
	return nil
}

// setBlocked blocks an account or lets it in again. To somebody blocked it looks as if the caller went offline.
func (c *connection) setBlocked(ctx context.Context, q *pb.SetBlocked) error {
	peer, id, err := c.peer(ctx, q.GetAccount())
	if err != nil {
		return err
	}
	own := c.session.Account
	saw := c.s.seePresence(ctx, own, id)
	changed, err := c.s.Store.SetBlocked(ctx, c.session.AccountID, peer, q.GetBlocked())
	if err != nil || !changed {
		return err
	}
	if !q.GetBlocked() {
		c.s.introduce(ctx, own, id)
		return nil
	}
	if saw {
		c.s.vanish(own, id)
	}
	return nil
}

// vanish shows two who saw each other as offline from now on: the second one as if the first had just gone.
func (s *Server) vanish(gone, from proto.ID) {
	if len(s.presence(gone).GetDevices()) > 0 {
		s.showOffline(from, gone, s.nowMS())
	}
	if len(s.presence(from).GetDevices()) > 0 {
		s.showOffline(gone, from, 0)
	}
}
