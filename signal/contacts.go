package signal

import (
	"cmp"
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

// contact is how the caller sees an account: nickname and keys only if it asks or is a contact.
func (c *connection) contact(ctx context.Context, id proto.ID) (*pb.Contact, error) {
	peer, err := c.s.Store.Account(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return c.deletedContact(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	relation, err := c.s.Store.Contact(ctx, c.session.AccountID, peer.ID)
	if err != nil {
		return nil, err
	}
	out := &pb.Contact{
		Profile: &pb.Profile{Account: id.Bytes(), UserName: peer.UserName}, State: relation.State,
		Note: relation.Note, LinkJoin: relation.Join, SinceMs: uint64(max(relation.SinceMS, 0)), Blocked: relation.Blocked,
		Invitation: relation.Invitation,
	}
	if relation.Blocked && relation.State == pb.ContactState_CONTACT_STATE_ASKING { // that waits until they are let in again
		out.State, out.Note = pb.ContactState_CONTACT_STATE_NONE, ""
		return out, nil
	}
	if relation.State == pb.ContactState_CONTACT_STATE_ASKING || relation.State == pb.ContactState_CONTACT_STATE_ACCEPTED {
		out.Profile.Nickname, out.Profile.Avatar = peer.Nickname, peer.Avatar
		if out.DeviceList, err = c.s.Store.DeviceList(ctx, peer.ID); err != nil {
			return nil, err
		}
	}
	if relation.State == pb.ContactState_CONTACT_STATE_ACCEPTED {
		out.Conversation = proto.PairID(c.session.Account, id).Bytes()
	}
	return out, nil
}

// deletedContact is what is left of an account that was deleted.
func (c *connection) deletedContact(ctx context.Context, id proto.ID) (*pb.Contact, error) {
	deleted, err := c.s.Store.DeletedMS(ctx, id)
	if err != nil {
		return nil, err
	}
	return &pb.Contact{Profile: &pb.Profile{Account: id.Bytes(), DeletedMs: deleted}, State: pb.ContactState_CONTACT_STATE_NONE}, nil
}

func nobody() error {
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "nobody here has that name")
}

// find looks somebody up by the exact user name. Whether there is one shows in the answer, not in when it comes.
func (c *connection) find(ctx context.Context, name string) (*pb.Frame, error) {
	defer until(ctx, c.s.Timing.evenly())
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
	peer, err := c.s.Store.Account(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && peer.ID == c.session.AccountID {
		return 0, id, nobody()
	}
	if err != nil {
		return 0, id, err
	}
	return peer.ID, id, nil
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
	if proto.HasCode(err, pb.ErrorCode_ERROR_CODE_NOT_FOUND) {
		return store.DidNotAsk() // as everybody who did not: nothing tells whether they exist
	}
	if err != nil {
		return err
	}
	if !q.GetAccept() {
		if err := c.s.Store.DeclineContact(ctx, c.session.AccountID, peer); err != nil {
			return err
		}
		c.s.notify(id)
		c.s.part(c.session.Account, id)
		return nil
	}
	if relation, err := c.s.Store.Contact(ctx, c.session.AccountID, peer); err != nil || relation.State != pb.ContactState_CONTACT_STATE_ASKING {
		return cmp.Or(err, store.DidNotAsk())
	}
	first, err := c.s.Conversations.PrepareFirst(ctx, c.session.Account, id, q.GetFirstCommit(), nil)
	if err != nil {
		return err
	}
	if err := c.s.Store.AcceptContact(ctx, c.session.AccountID, peer, first); err != nil {
		return err
	}
	c.s.notify(id)
	c.s.introduce(ctx, c.session.Account, id)
	return nil
}

const maxInvitation = 4 << 10 // bytes of an invitation, and of what is sealed in it

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
	if inv.GetExpiresMs() > uint64(c.s.Clock().Add(proto.MaxInvitationLife+time.Hour).UnixMilli()) {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "an invitation lasts at most %d days", int(proto.MaxInvitationLife.Hours()/24))
	}
	sealed, err := gproto.Marshal(q.GetSealed())
	if err != nil || len(sealed) > maxInvitation || len(q.GetInvitation().GetBody()) > maxInvitation {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "the invitation is too large")
	}
	return c.s.Store.CreateInvitation(ctx, store.Invitation{
		AccountID: c.session.AccountID, Code: inv.GetCode(), Sealed: sealed, Signed: q.GetInvitation(), Uses: inv.GetUses(),
		ExpiresMS: int64(inv.GetExpiresMs()), //nolint:gosec // a year from now at most
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
	c.s.joined(ctx, join)
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
	return c.s.Store.ShareGroup(ctx, c.session.AccountID, peer)
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
		lists, err := c.s.Store.DeviceLists(ctx, peer, proto.MaxPageBytes-gproto.Size(out))
		if err != nil {
			return nil, err
		}
		out.Lists = append(out.Lists, lists...)
	}
	return &pb.Frame{Kind: &pb.Frame_Lists{Lists: out}}, nil
}
