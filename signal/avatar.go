package signal

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// freeAvatars is how often an account changes its picture before it has to wait: every change is told to all contacts.
const freeAvatars = 20

// setAvatar takes the account's picture.
func (s *Server) setAvatar(c *gin.Context) {
	b, err := io.ReadAll(io.LimitReader(c.Request.Body, maxAvatar+1))
	var kind string
	switch {
	case err != nil:
		err = proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "the picture did not arrive")
	case len(b) > maxAvatar:
		err = proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "a picture has at most %d bytes", maxAvatar)
	default:
		kind, err = picture(b)
	}
	s.changeAvatar(c, kind, b, err)
}

// deleteAvatar takes the account's picture away.
func (s *Server) deleteAvatar(c *gin.Context) { s.changeAvatar(c, "", nil, nil) }

// changeAvatar stores a picture unless it was found wrong: who is logged in is settled first.
func (s *Server) changeAvatar(c *gin.Context, kind string, image []byte, wrong error) {
	session, _, err := s.session(c.Request)
	if err == nil {
		err = wrong
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	if wait := s.avatars.attempt(string(session.Account[:]), freeAvatars); wait > 0 {
		s.fail(c, &proto.Error{Code: pb.ErrorCode_ERROR_CODE_RATE_LIMITED, Message: "the picture was changed often: wait a little", RetryAfter: wait})
		return
	}
	changed, err := s.Store.SetAvatar(c, session.AccountID, kind, image)
	if err != nil {
		s.fail(c, err)
		return
	}
	if changed {
		s.notify(session.Account)
		s.notifyPeers(c, session.AccountID)
	}
	c.Status(http.StatusNoContent)
}

// avatar shows a picture to those who see the profile. Its address names its content, so that it may be kept for good.
func (s *Server) avatar(c *gin.Context) {
	session, _, err := s.session(c.Request)
	if err != nil {
		s.fail(c, err)
		return
	}
	kind, image, err := s.findAvatar(c, session, c.Param("account"), c.Param("hash"))
	if err != nil {
		s.fail(c, err)
		return
	}
	s.await(c)
	h := c.Writer.Header()
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	h.Set("Content-Disposition", "attachment; filename=avatar")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	c.Data(http.StatusOK, kind, image)
}

func (s *Server) findAvatar(ctx context.Context, session *store.Session, account, hash string) (kind string, image []byte, err error) {
	nothing := proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "there is no such picture")
	id, err := proto.ParseID(account)
	if err != nil {
		return "", nil, nothing
	}
	sum, err := hex.DecodeString(hash)
	if err != nil {
		return "", nil, nothing
	}
	sees, err := s.seesProfile(ctx, session, id)
	if err != nil {
		return "", nil, err
	}
	if !sees {
		return "", nil, nothing
	}
	kind, image, err = s.Store.Avatar(ctx, id, sum)
	if errors.Is(err, store.ErrNotFound) {
		err = nothing
	}
	return kind, image, err
}

// seesProfile says whether a caller sees nickname and picture of an account: its own, its contacts', and those of who asks
// it, unless it blocked them.
func (s *Server) seesProfile(ctx context.Context, session *store.Session, account proto.ID) (bool, error) {
	if account == session.Account {
		return true, nil
	}
	peer, err := s.Store.AccountID(ctx, account)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	relation, err := s.Store.Contact(ctx, session.AccountID, peer)
	if err != nil {
		return false, err
	}
	asking := relation.State == pb.ContactState_CONTACT_STATE_ASKING && !relation.Blocked
	return asking || relation.State == pb.ContactState_CONTACT_STATE_ACCEPTED, nil
}
