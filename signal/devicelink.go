package signal

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

const (
	deviceLinkLife = 10 * time.Minute
	deviceLinkCode = 10 // random bytes of a code
)

// openDeviceLink makes the code by which a new device may ask to be added.
func (s *Server) openDeviceLink(c *gin.Context) {
	session, _, err := s.session(c.Request)
	if err != nil {
		s.fail(c, err)
		return
	}
	b := make([]byte, deviceLinkCode)
	_, _ = rand.Read(b)
	code := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
	expires := s.Clock().Add(deviceLinkLife)
	if err := s.Store.AddDeviceLink(c, session.AccountID, code, expires); err != nil {
		s.fail(c, err)
		return
	}
	s.reply(c, &pb.DeviceLink{Code: code, ExpiresMs: uint64(expires.UnixMilli())})
}

// askByLink takes what a new device says of itself, once per code, and tells the account's devices.
func (s *Server) askByLink(c *gin.Context) {
	req := &pb.DeviceLinkAsk{}
	if !s.bind(c, req) {
		return
	}
	address := clientAddress(c.Request)
	if wait := s.lookups.attempt(address, freeLookups); wait > 0 {
		s.fail(c, tooMany(wait))
		return
	}
	account, code, err := s.noteAsk(c, c.Param("code"), req.GetAsk())
	if err != nil {
		s.fail(c, err)
		return
	}
	s.lookups.undo(address)
	s.Hints.Publish(deviceAsksFrame(code, req.GetAsk()), account)
	s.await(c)
	c.Status(http.StatusNoContent)
}

func (s *Server) noteAsk(ctx context.Context, code string, ask *pb.Sealed) (proto.ID, string, error) {
	if err := proto.CheckInvitationCode(code); err != nil { // they are made alike
		return proto.ID{}, "", err
	}
	if !sealedWell(ask) {
		return proto.ID{}, "", proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "a new device asks with something sealed, of at most %d bytes", maxSealed)
	}
	b, err := gproto.Marshal(ask)
	if err != nil {
		return proto.ID{}, "", err
	}
	account, err := s.Store.AskByLink(ctx, code, b)
	if errors.Is(err, store.ErrNotFound) {
		err = proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "this code is not known, or has expired: show a new one")
	}
	return account, code, err
}

func deviceAsksFrame(code string, ask *pb.Sealed) *pb.Frame {
	return &pb.Frame{Kind: &pb.Frame_DeviceAsks{DeviceAsks: &pb.DeviceAsks{Code: code, Ask: ask}}}
}

// deviceAsks are the frames of new devices that asked while nobody listened.
func (c *connection) deviceAsks(ctx context.Context) ([]*pb.Frame, error) {
	asks, err := c.s.Store.DeviceAsks(ctx, c.session.AccountID)
	if err != nil {
		return nil, err
	}
	var all []*pb.Frame
	for _, a := range asks {
		sealed := &pb.Sealed{}
		if err := proto.Unmarshal(a.Ask, sealed); err != nil {
			return nil, err
		}
		all = append(all, deviceAsksFrame(a.Code, sealed))
	}
	return all, nil
}
