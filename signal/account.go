package signal

import (
	"context"
	"errors"
	"strings"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

const (
	logPage        = 200      // objects in one AccountChanges …
	maxChangeBytes = 96 << 10 // … and their bytes, but for the last
)

// told is the account version that this connection's client has been told of.
func (c *connection) told() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// notify tells every connection of an account that it changed.
func (s *Server) notify(account proto.ID) {
	s.Hints.Publish(&pb.Frame{Kind: &pb.Frame_AccountSync{AccountSync: &pb.AccountSync{}}}, account)
}

// notifyPeers tells those who see an account's profile and keys that these changed.
func (s *Server) notifyPeers(ctx context.Context, account int64) {
	peers, err := s.Store.Watchers(ctx, account)
	if err != nil {
		s.Logger.Error("notify contacts", "error", err)
	}
	for _, peer := range peers {
		s.notify(peer)
	}
}

// changed answers a request with what it changed.
func (c *connection) changed(ctx context.Context, err error) (*pb.Frame, error) {
	if err != nil {
		return nil, err
	}
	changes, err := c.changes(ctx)
	c.s.notify(c.session.Account)
	return &pb.Frame{Kind: &pb.Frame_AccountChanges{AccountChanges: changes}}, err
}

// changes collects the present state of what changed since this connection was last told.
func (c *connection) changes(ctx context.Context) (*pb.AccountChanges, error) {
	log, after, err := c.log(ctx, c.told())
	if err != nil {
		return nil, err
	}
	out := &pb.AccountChanges{Version: after, More: len(log) == logPage}
	for _, e := range log {
		if gproto.Size(out) > maxChangeBytes {
			out.More = true
			break
		}
		err := c.change(ctx, out, e)
		gone := errors.Is(err, store.ErrNotFound) || proto.HasCode(err, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
		if err != nil && !gone {
			return nil, err
		}
		out.Version = e.Version
	}
	c.mu.Lock()
	if after > 0 {
		c.version = max(c.version, out.GetVersion())
	} else {
		c.version = out.GetVersion()
	}
	c.mu.Unlock()
	return out, nil
}

// log reads what changed after the version that the client knows, and says after which. A client that knows of more than
// there is saw what an older copy of the database lacks: it is told everything.
func (c *connection) log(ctx context.Context, known uint64) (log []store.LogEntry, after uint64, err error) {
	log, err = c.s.Store.Log(ctx, c.session.AccountID, known, logPage)
	if err != nil || len(log) > 0 || known == 0 {
		return log, known, err
	}
	a, err := c.s.Store.Account(ctx, c.session.Account)
	if err != nil || known <= a.Version {
		return log, known, err
	}
	log, err = c.s.Store.Log(ctx, c.session.AccountID, 0, logPage)
	return log, 0, err
}

func (c *connection) change(ctx context.Context, out *pb.AccountChanges, e store.LogEntry) error {
	switch e.Kind {
	case store.LogProfile:
		a, err := c.s.Store.Account(ctx, c.session.Account)
		if err != nil {
			return err
		}
		out.Profile = &pb.Profile{
			Account: a.Public.Bytes(), UserName: a.UserName, Nickname: a.Nickname, Admin: a.Admin, Recovery: a.Recovery != nil, Avatar: a.Avatar,
		}
		out.Privacy = a.Privacy
	case store.LogDeviceList:
		list, err := c.s.Store.DeviceList(ctx, c.session.AccountID)
		if err != nil {
			return err
		}
		out.DeviceList = list
		out.GenerationGrants, err = c.s.Store.GenerationGrants(ctx, c.session.DeviceID, c.session.Device)
		return err
	case store.LogDevice:
		state, err := c.s.Store.DeviceState(ctx, c.session.AccountID, proto.ID(e.Ref))
		if err != nil {
			return err
		}
		out.Devices = append(out.Devices, state)
	case store.LogContact:
		contact, err := c.contact(ctx, proto.ID(e.Ref))
		if err != nil {
			return err
		}
		out.Contacts = append(out.Contacts, contact)
	case store.LogConversation:
		state, err := c.s.Conversations.State(ctx, c.session, proto.ID(e.Ref))
		if err != nil {
			return err
		}
		out.Conversations = append(out.Conversations, state)
	case store.LogInvitation:
		inv, err := c.s.Store.Invitation(ctx, string(e.Ref))
		if err != nil {
			return err
		}
		if inv.AccountID == c.session.AccountID {
			out.Invitations = append(out.Invitations, &pb.InvitationState{Invitation: inv.Signed, UsesLeft: inv.UsesLeft, Revoked: inv.Revoked})
		}
	case store.LogSetting:
		setting, err := c.s.Store.Setting(ctx, c.session.AccountID, string(e.Ref))
		if err != nil {
			return err
		}
		out.Settings = append(out.Settings, setting)
	}
	return nil
}

// setSetting keeps a value that the client sealed for the account's other devices.
func (c *connection) setSetting(ctx context.Context, setting *pb.Setting) error {
	key, value := setting.GetKey(), setting.GetValue()
	if key == "" || len(key) > proto.MaxSettingKey || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "a setting's key is 1 to %d visible ASCII characters", proto.MaxSettingKey)
	}
	if len(value) > proto.MaxSettingValue {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "a setting has at most %d bytes", proto.MaxSettingValue)
	}
	if err := c.s.Store.SetSetting(ctx, c.session.AccountID, key, value); err != nil {
		return err
	}
	c.s.notify(c.session.Account)
	return nil
}

// setProfile changes what contacts see of the account.
func (c *connection) setProfile(ctx context.Context, p *pb.SetProfile) error {
	nickname, err := proto.CleanNickname(p.GetNickname())
	if err != nil {
		return err
	}
	if err := c.s.Store.SetNickname(ctx, c.session.AccountID, nickname); err != nil {
		return err
	}
	c.s.notify(c.session.Account)
	c.s.notifyPeers(ctx, c.session.AccountID)
	return nil
}
