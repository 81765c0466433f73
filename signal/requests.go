package signal

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"time"
	"unicode/utf8"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

const logPage = 200

func okFrame() *pb.Frame { return &pb.Frame{Kind: &pb.Frame_Ok{Ok: &pb.Ok{}}} }

// handle answers one frame: the table of everything a device may ask for.
func (c *connection) handle(ctx context.Context, f *pb.Frame) (*pb.Frame, error) {
	r := c.s.Conversations
	switch k := f.GetKind().(type) {
	case *pb.Frame_Hello:
		return c.hello(ctx, k.Hello)
	case *pb.Frame_AccountSync:
		c.mu.Lock()
		c.version = k.AccountSync.GetAfter()
		c.mu.Unlock()
		return c.changed(ctx, nil)
	case *pb.Frame_IceRequest:
		return &pb.Frame{Kind: &pb.Frame_IceServers{IceServers: c.s.ice(c.session)}}, nil
	case *pb.Frame_Post:
		posted, err := r.Post(ctx, c.session, k.Post)
		return &pb.Frame{Kind: &pb.Frame_Posted{Posted: posted}}, err
	case *pb.Frame_Commit:
		committed, err := r.Commit(ctx, c.session, k.Commit)
		return &pb.Frame{Kind: &pb.Frame_Committed{Committed: committed}}, err
	case *pb.Frame_Sync:
		page, err := r.Sync(ctx, c.session, k.Sync)
		return &pb.Frame{Kind: &pb.Frame_Page{Page: page}}, err
	case *pb.Frame_Cursor:
		return okFrame(), r.MoveCursor(ctx, c.session, k.Cursor)
	case *pb.Frame_Typing:
		return nil, r.Typing(ctx, c.session, k.Typing)
	case *pb.Frame_SetPresence:
		return nil, c.setPresence(ctx, k.SetPresence.GetState())
	case *pb.Frame_FindAccount:
		return c.find(ctx, k.FindAccount.GetName())
	case *pb.Frame_AskContact:
		return c.changed(ctx, c.ask(ctx, k.AskContact))
	case *pb.Frame_AnswerContact:
		return c.changed(ctx, c.answer(ctx, k.AnswerContact))
	case *pb.Frame_CreateInvitation:
		return c.changed(ctx, c.createInvitation(ctx, k.CreateInvitation))
	case *pb.Frame_RevokeInvitation:
		return c.changed(ctx, c.s.Store.RevokeInvitation(ctx, c.session.AccountID, k.RevokeInvitation.GetCode()))
	case *pb.Frame_AcceptInvitation:
		return c.changed(ctx, c.acceptInvitation(ctx, k.AcceptInvitation))
	case *pb.Frame_GetDeviceLists:
		return c.deviceLists(ctx, k.GetDeviceLists)
	case *pb.Frame_SignalTo:
		return okFrame(), c.signalTo(ctx, k.SignalTo)
	}
	return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_UNSUPPORTED, "this server does not know that request")
}

func (c *connection) hello(ctx context.Context, h *pb.Hello) (*pb.Frame, error) {
	if h.GetVersion() < proto.Version {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_UNSUPPORTED, "this server speaks version %d: update the client", proto.Version)
	}
	c.mu.Lock()
	c.version, c.ready = h.GetAccountVersion(), true
	c.mu.Unlock()
	c.ws.SetReadLimit(proto.MaxFrame)
	changes, err := c.changes(ctx)
	if err != nil {
		return nil, err
	}
	behind, err := c.s.Conversations.Behind(ctx, c.session)
	if err != nil {
		return nil, err
	}
	w := &pb.Welcome{
		Version: proto.Version, Account: c.session.Account.Bytes(), Device: c.session.Device.Bytes(),
		ServerTimeMs: uint64(time.Now().UnixMilli()), Changes: changes, Behind: behind, Ice: c.s.ice(c.session),
	}
	peers, err := c.s.Store.Peers(ctx, c.session.AccountID)
	if err != nil {
		return nil, err
	}
	for _, peer := range peers {
		if p := c.s.presence(peer); len(p.GetDevices()) > 0 {
			w.Presences = append(w.Presences, p)
		}
	}
	c.s.presenceChanged(ctx, c.session)
	return &pb.Frame{Kind: &pb.Frame_Welcome{Welcome: w}}, nil
}

func (s *Server) ice(session *store.Session) *pb.IceServers {
	if s.ICE == nil {
		return &pb.IceServers{ExpiresMs: uint64(time.Now().Add(time.Hour).UnixMilli())}
	}
	return s.ICE(session.Account)
}

// notify tells every connection of an account that it changed.
func (s *Server) notify(account proto.ID) {
	s.Hints.Publish(account, &pb.Frame{Kind: &pb.Frame_AccountSync{AccountSync: &pb.AccountSync{}}})
}

func (s *Server) notifyPeers(ctx context.Context, account int64) {
	peers, err := s.Store.Peers(ctx, account)
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
	c.mu.Lock()
	after := c.version
	c.mu.Unlock()
	log, err := c.s.Store.Log(ctx, c.session.AccountID, after, logPage)
	if err != nil {
		return nil, err
	}
	out := &pb.AccountChanges{Version: after, More: len(log) == logPage}
	for _, e := range log {
		if err := c.change(ctx, out, e); err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		out.Version = e.Version
	}
	c.mu.Lock()
	c.version = max(c.version, out.GetVersion())
	c.mu.Unlock()
	return out, nil
}

func (c *connection) change(ctx context.Context, out *pb.AccountChanges, e store.LogEntry) error {
	switch e.Kind {
	case store.LogProfile:
		a, err := c.s.Store.Account(ctx, c.session.Account)
		if err != nil {
			return err
		}
		out.Profile = &pb.Profile{Account: a.Public.Bytes(), UserName: a.UserName, Nickname: a.Nickname, Admin: a.Admin}
	case store.LogDeviceList:
		list, err := c.s.Store.DeviceList(ctx, c.session.AccountID)
		if err != nil {
			return err
		}
		out.DeviceList = list
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
	}
	return nil
}

// contact is how the caller sees an account: its keys only while there is a relation.
func (c *connection) contact(ctx context.Context, id proto.ID) (*pb.Contact, error) {
	peer, err := c.s.Store.Account(ctx, id)
	if err != nil {
		return nil, err
	}
	relation, err := c.s.Store.Contact(ctx, c.session.AccountID, peer.ID)
	if err != nil {
		return nil, err
	}
	out := &pb.Contact{
		Profile: &pb.Profile{Account: id.Bytes(), UserName: peer.UserName, Nickname: peer.Nickname}, State: relation.State,
		Note: relation.Note, LinkJoin: relation.Join, SinceMs: uint64(max(relation.SinceMS, 0)),
	}
	if relation.State == pb.ContactState_CONTACT_STATE_ASKING || relation.State == pb.ContactState_CONTACT_STATE_ACCEPTED {
		if out.DeviceList, err = c.s.Store.DeviceList(ctx, peer.ID); err != nil {
			return nil, err
		}
	}
	if relation.State == pb.ContactState_CONTACT_STATE_ACCEPTED {
		out.Conversation = proto.PairID(c.session.Account, id).Bytes()
	}
	return out, nil
}

func nobody() error {
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "nobody here has that name")
}

func (c *connection) find(ctx context.Context, name string) (*pb.Frame, error) {
	key, err := proto.FoldUserName(name)
	if err != nil {
		return nil, err
	}
	account, err := c.s.Store.AccountByName(ctx, key)
	if errors.Is(err, store.ErrNotFound) || err == nil && account.ID == c.session.AccountID {
		return nil, nobody()
	}
	if err != nil {
		return nil, err
	}
	contact, err := c.contact(ctx, account.Public)
	return &pb.Frame{Kind: &pb.Frame_Found{Found: &pb.Found{Contact: contact}}}, err
}

func (c *connection) peer(ctx context.Context, account []byte) (int64, proto.ID, error) {
	id, err := proto.IDFrom(account)
	if err != nil {
		return 0, id, err
	}
	peer, err := c.s.Store.AccountID(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && peer == c.session.AccountID {
		return 0, id, nobody()
	}
	return peer, id, err
}

func (c *connection) ask(ctx context.Context, q *pb.AskContact) error {
	if utf8.RuneCountInString(q.GetNote()) > proto.MaxNote {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "a note has at most %d characters", proto.MaxNote)
	}
	peer, id, err := c.peer(ctx, q.GetAccount())
	if err != nil {
		return err
	}
	if err := c.s.Store.AskContact(ctx, c.session.AccountID, peer, q.GetNote()); err != nil {
		return err
	}
	c.s.notify(id)
	return nil
}

func (c *connection) answer(ctx context.Context, q *pb.AnswerContact) error {
	peer, id, err := c.peer(ctx, q.GetAccount())
	if err != nil {
		return err
	}
	if !q.GetAccept() {
		if err := c.s.Store.DeclineContact(ctx, c.session.AccountID, peer); err != nil {
			return err
		}
		c.s.notify(id)
		return nil
	}
	first, err := c.s.Conversations.PrepareFirst(ctx, c.session.Account, id, q.GetFirstCommit(), nil)
	if err != nil {
		return err
	}
	if err := c.s.Store.AcceptContact(ctx, c.session.AccountID, peer, first); err != nil {
		return err
	}
	c.s.Conversations.Committed(first)
	c.s.notify(id)
	c.s.introduce(c.session.Account, id)
	return nil
}

func (c *connection) createInvitation(ctx context.Context, q *pb.CreateInvitation) error {
	inv, err := proto.OpenInvitation(q.GetInvitation(), func(account, device proto.ID) (ed25519.PublicKey, error) {
		d, err := c.s.Store.Device(ctx, device)
		if err != nil || account != c.session.Account || device != c.session.Device {
			return nil, forbidden("an invitation is signed by the device that makes it")
		}
		return d.SignKey, nil
	})
	if err != nil {
		return err
	}
	if inv.GetExpiresMs() > uint64(time.Now().Add(proto.MaxInvitationLife+time.Hour).UnixMilli()) {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "an invitation lasts at most %d days", int(proto.MaxInvitationLife.Hours()/24))
	}
	sealed, err := gproto.Marshal(q.GetSealed())
	if err != nil || len(sealed) > 4096 {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "the invitation is too large")
	}
	return c.s.Store.CreateInvitation(ctx, store.Invitation{
		AccountID: c.session.AccountID, Code: inv.GetCode(), Sealed: sealed, Signed: q.GetInvitation(), Uses: inv.GetUses(),
		ExpiresMS: int64(inv.GetExpiresMs()),
	})
}

func (c *connection) acceptInvitation(ctx context.Context, q *pb.AcceptInvitation) error {
	own, err := c.s.Store.Account(ctx, c.session.Account)
	if err != nil {
		return err
	}
	join, err := c.s.prepareJoin(ctx, q.GetCode(), q.GetLinkJoin(), q.GetFirstCommit(), c.session.Account.Bytes(), own.IdentityKey, nil)
	if err != nil {
		return err
	}
	if err := c.s.Store.UseInvitation(ctx, c.session.AccountID, join); err != nil {
		return err
	}
	c.s.joined(join)
	return nil
}

// related says whether the caller may know an account's keys and reach its devices.
func (c *connection) related(ctx context.Context, peer int64) (bool, error) {
	if peer == c.session.AccountID {
		return true, nil
	}
	relation, err := c.s.Store.Contact(ctx, c.session.AccountID, peer)
	if err != nil {
		return false, err
	}
	if relation.State == pb.ContactState_CONTACT_STATE_ACCEPTED {
		return true, nil
	}
	return c.s.Store.ShareConversation(ctx, c.session.AccountID, peer)
}

func (c *connection) deviceLists(ctx context.Context, q *pb.GetDeviceLists) (*pb.Frame, error) {
	if len(q.GetAccounts()) > proto.MaxDeviceListLookup {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "at most %d accounts at once", proto.MaxDeviceListLookup)
	}
	out := &pb.DeviceLists{}
	for _, b := range q.GetAccounts() {
		id, err := proto.IDFrom(b)
		if err != nil {
			return nil, err
		}
		peer, err := c.s.Store.AccountID(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if ok, err := c.related(ctx, peer); err != nil || !ok {
			if err != nil {
				return nil, err
			}
			continue
		}
		lists, err := c.s.Store.DeviceLists(ctx, peer)
		if err != nil {
			return nil, err
		}
		out.Lists = append(out.Lists, lists...)
	}
	return &pb.Frame{Kind: &pb.Frame_Lists{Lists: out}}, nil
}

// signalTo forwards an offer, answer or candidate to a connected device of somebody related.
func (c *connection) signalTo(ctx context.Context, q *pb.SignalTo) error {
	offline := proto.Errorf(pb.ErrorCode_ERROR_CODE_OFFLINE, "that device is not connected")
	id, err := proto.IDFrom(q.GetAccount())
	if err != nil {
		return err
	}
	device, err := proto.IDFrom(q.GetDevice())
	if err != nil {
		return err
	}
	peer, err := c.s.Store.AccountID(ctx, id)
	if err != nil {
		return offline
	}
	if ok, err := c.related(ctx, peer); err != nil || !ok {
		return offline
	}
	to := c.s.hub.device(device)
	if to == nil || !bytes.Equal(to.session.Account.Bytes(), q.GetAccount()) {
		return offline
	}
	to.Hint(&pb.Frame{Kind: &pb.Frame_SignalFrom{SignalFrom: &pb.SignalFrom{
		Account: c.session.Account.Bytes(), Device: c.session.Device.Bytes(), Signal: q.GetSignal(),
	}}})
	return nil
}

func (c *connection) setPresence(ctx context.Context, state pb.PresenceState) error {
	if state != pb.PresenceState_PRESENCE_STATE_ONLINE && state != pb.PresenceState_PRESENCE_STATE_AWAY {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "presence is online or away")
	}
	c.mu.Lock()
	c.state = state
	c.mu.Unlock()
	c.s.presenceChanged(ctx, c.session)
	return nil
}

// presence is what contacts see of an account.
func (s *Server) presence(account proto.ID) *pb.Presence {
	p := &pb.Presence{Account: account.Bytes(), State: pb.PresenceState_PRESENCE_STATE_OFFLINE}
	for _, c := range s.hub.of(account) {
		c.mu.Lock()
		state, ready := c.state, c.ready
		c.mu.Unlock()
		if ready {
			p.Devices = append(p.Devices, &pb.Presence_Device{Device: c.session.Device.Bytes(), State: state})
			p.State = max(p.GetState(), state)
		}
	}
	if len(p.GetDevices()) == 0 {
		p.LastSeenMs = uint64(time.Now().UnixMilli())
	}
	return p
}

// presenceChanged tells accepted contacts and nobody else.
func (s *Server) presenceChanged(ctx context.Context, session *store.Session) {
	peers, err := s.Store.Peers(ctx, session.AccountID)
	if err != nil {
		s.Logger.Debug("presence", "error", err)
		return
	}
	f := &pb.Frame{Kind: &pb.Frame_Presences{Presences: &pb.Presences{Presences: []*pb.Presence{s.presence(session.Account)}}}}
	for _, peer := range peers {
		s.Hints.Publish(peer, f)
	}
}

// introduce tells two new contacts who of them is there.
func (s *Server) introduce(a, b proto.ID) {
	for _, pair := range [][2]proto.ID{{a, b}, {b, a}} {
		s.Hints.Publish(pair[0], &pb.Frame{Kind: &pb.Frame_Presences{Presences: &pb.Presences{Presences: []*pb.Presence{s.presence(pair[1])}}}})
	}
}
