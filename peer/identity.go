package peer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/peer/link"
	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// An administrator can let somebody start again under their account, with a new identity; so could a server that was taken
// over, which makes up such a list itself. Only the person at this end can tell one from the other: the new list is set aside,
// and until AcceptIdentity nothing is sealed for it, no link is made to its devices and nothing of theirs is shown. Then the
// commit NewIdentity puts it into the chain of the pair. Other devices of this account follow that commit.

// errIdentityChanged says that somebody's identity key is not the one pinned.
var errIdentityChanged = errors.New("their identity changed: compare safety numbers before you go on")

func changed(p *local.Person) error { return fmt.Errorf("%s: %w", p.DisplayName(), errIdentityChanged) }

// errIdentityPending says that others have not accepted this account's new identity yet.
var errIdentityPending = fmt.Errorf("they have not accepted the new identity of this account yet: %w", ErrNotReady)

// setAside notes another identity of p than the one pinned, with the list that it signed, and changes nothing else. It fails
// with errIdentityChanged, but not again for an identity that was noted before.
func (w *work) setAside(p *local.Person, list *proto.DeviceList) error {
	if p.Account == w.c.Account() {
		return fmt.Errorf("the server shows another identity of this account: %w", errIdentityChanged)
	}
	known := bytes.Equal(p.NewIdentity, list.GetIdentityKey())
	p.NewIdentity = list.GetIdentityKey()
	if list.GetVersion() > p.ListVersion { // an older one can be no reset
		if err := w.SaveRenewal(&local.Renewal{Account: p.Account, IdentityKey: p.NewIdentity, List: list.Signed}); err != nil {
			return err
		}
	}
	w.c.closeLinksTo(p.Account)
	if err := errors.Join(w.SavePerson(p), w.tellContact(p)); err != nil || known {
		return err
	}
	return changed(p)
}

// inForceAgain is for when the server shows the newest list of the pinned identity: whatever other one it showed before is not
// in force, so there is nothing to decide.
func (w *work) inForceAgain(p *local.Person) error {
	list, err := proto.OpenDeviceList(p.List)
	if err != nil || p.NewIdentity == nil || !bytes.Equal(list.GetIdentityKey(), p.IdentityKey) {
		return nil //nolint:nilerr // of a list that does not open nothing follows
	}
	p.NewIdentity = nil
	return errors.Join(w.DropRenewals(p.Account), w.SavePerson(p), w.tellContact(p))
}

// doubted asks the server once more for the lists of people whose identity changed: it may not show the other one any more.
func (c *Client) doubted(ctx context.Context, ask asker) error {
	var doubted []proto.ID
	err := c.update(ctx, func(w *work) error {
		people, err := w.People()
		for _, p := range people {
			if p.NewIdentity != nil {
				doubted = append(doubted, p.Account)
			}
		}
		return err
	})
	for _, account := range doubted {
		if err == nil {
			err = c.fetchLists(ctx, ask, account)
		}
	}
	return err
}

func (w *work) tellContact(p *local.Person) error {
	contact, err := w.contact(p)
	if err == nil {
		w.tell(ContactEvent{contact})
	}
	return err
}

// closeLinksTo closes the links to all devices of an account, soon.
func (c *Client) closeLinksTo(account proto.ID) {
	if c.links == nil {
		return
	}
	c.tasks.start(func() {
		for _, l := range c.links.Links() {
			if l.Account() == account {
				l.Close(link.ReasonIdle)
			}
		}
	})
}

// AcceptIdentity takes the identity that somebody was reset to in place of the one pinned. From then on they read and write
// again; of what was before they can read nothing. It fails with conflict when their identity has not changed.
func (c *Client) AcceptIdentity(ctx context.Context, account proto.ID) (contact Contact, err error) {
	var conversation proto.ID
	err = c.update(ctx, func(w *work) error {
		p, err := w.Person(account)
		if errors.Is(err, local.ErrNotFound) || err == nil && p.NewIdentity == nil {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "their identity has not changed: there is nothing to accept")
		}
		if err != nil {
			return err
		}
		conversation = p.Conversation
		if err := w.takeIdentity(p, p.NewIdentity); err != nil {
			return err
		}
		contact, err = w.contact(p)
		return err
	})
	if unknown := (*unknownDeviceError)(nil); errors.As(err, &unknown) {
		return contact, proto.Errorf(pb.ErrorCode_ERROR_CODE_STALE_LIST, "the server shows an older device list of theirs than it did before: there is nothing to accept yet")
	}
	if cu := c.attending(); err == nil && cu != nil && !conversation.IsZero() {
		cu.behind(conversation, 0) // whoever fetches it commits
	}
	c.kick()
	return contact, err
}

// takeIdentity pins another identity of p, with the list that was set aside. It fails with *unknownDeviceError when there is
// none.
func (w *work) takeIdentity(p *local.Person, identity []byte) error {
	aside, err := w.RenewalOf(p.Account, identity)
	if errors.Is(err, local.ErrNotFound) {
		return &unknownDeviceError{p.Account, fmt.Errorf("no device list of the new identity of %s is known: %w", p.DisplayName(), errIdentityChanged)}
	}
	if err != nil {
		return err
	}
	list, err := openListOf(p, aside.List)
	if err != nil {
		return err
	}
	aside.Accepted = true
	p.IdentityKey, p.List, p.ListVersion = identity, aside.List, list.GetVersion()
	if bytes.Equal(p.NewIdentity, identity) {
		p.NewIdentity = nil
	}
	return errors.Join(w.addDevices(p, list), w.SaveRenewal(aside), w.SavePerson(p), w.tellContact(p))
}

// checkMembers checks the identity keys that a commit names against those pinned, pins new ones, and checks that the device
// that signed it is one of the identity that it names.
func (r *room) checkMembers(commit *proto.Commit) error {
	for _, m := range commit.GetMembers() {
		if err := r.checkMember(commit, m); err != nil {
			return err
		}
		if bytes.Equal(m.GetAccount(), commit.GetAccount()) {
			if _, err := r.deviceOf(m, mustID(commit.GetDevice())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *room) checkMember(commit *proto.Commit, m *pb.Member) error {
	p, err := r.person(mustID(m.GetAccount()))
	switch {
	case err != nil:
		return err
	case p.IdentityKey == nil:
		p.IdentityKey = m.GetIdentityKey()
		return r.SavePerson(p)
	case bytes.Equal(p.IdentityKey, m.GetIdentityKey()):
		return nil
	}
	before, _ := r.reading.Member(p.Account)
	if takes := commit.GetNewIdentity().GetAccount(); bytes.Equal(takes, p.Account[:]) && mustID(commit.GetAccount()) == r.c.Account() &&
		bytes.Equal(before.GetIdentityKey(), p.IdentityKey) {
		return r.takeIdentity(p, m.GetIdentityKey()) // another device of this account decided
	}
	former, err := r.HasIdentity(p.Account, m.GetIdentityKey())
	if err != nil {
		return err
	}
	if !former {
		return &unknownDeviceError{p.Account, fmt.Errorf("it names another identity of %s: %w", p.DisplayName(), errIdentityChanged)}
	}
	return r.namesFormer(p, m.GetIdentityKey())
}

// namesFormer is for a commit from before p was reset. What the members' devices signed counts more than what the server showed
// this device first: unless this account took the new identity, that is the one to decide about.
func (r *room) namesFormer(p *local.Person, former []byte) error {
	if p.Account == r.c.Account() || r.row.Rereading {
		return nil
	}
	taken, err := r.accepted(p)
	if err != nil || taken {
		return err
	}
	if p.List != nil {
		if err := r.SaveRenewal(&local.Renewal{Account: p.Account, IdentityKey: p.IdentityKey, List: p.List}); err != nil {
			return err
		}
	}
	p.NewIdentity, p.IdentityKey, p.List, p.ListVersion = p.IdentityKey, former, nil, 0
	return errors.Join(r.SavePerson(p), r.tellContact(p))
}

// accepted says whether this account took the pinned identity of p in place of another.
func (w *work) accepted(p *local.Person) (bool, error) {
	r, err := w.RenewalOf(p.Account, p.IdentityKey)
	if errors.Is(err, local.ErrNotFound) {
		return false, nil
	}
	return err == nil && r.Accepted, err
}

// deviceOf finds the signing key of a member's device among the lists of the identity that the member has in the chain.
func (w *work) deviceOf(m *pb.Member, device proto.ID) (ed25519.PublicKey, error) {
	account := mustID(m.GetAccount())
	key, err := w.DeviceKeyOf(account, device)
	if errors.Is(err, local.ErrNotFound) {
		return nil, &unknownDeviceError{account: account}
	}
	if err == nil && !bytes.Equal(key.IdentityKey, m.GetIdentityKey()) {
		err = fmt.Errorf("its device belongs to another identity of %s", account)
	}
	if err != nil {
		return nil, err
	}
	return key.SignKey, nil
}

// ownIdentity says whether members name the identity that this account has now.
func (w *work) ownIdentity(members []*pb.Member) bool {
	for _, m := range members {
		if mustID(m.GetAccount()) == w.c.Account() {
			return w.c.list == nil || bytes.Equal(m.GetIdentityKey(), w.c.list.GetIdentityKey())
		}
	}
	return true
}

// pending says whether the other member of a conversation has not accepted this account's new identity.
func (w *work) pending(row *local.Conversation) (bool, error) {
	chain, err := restored(row.ID, row.Chain)
	return err == nil && !w.ownIdentity(chain.Members()), err
}

// held says why nothing may be sealed in a conversation: errIdentityChanged until the person decided, errIdentityPending until
// the other one did.
func (r *room) held() error {
	if !r.ownIdentity(r.chain.Members()) {
		return errIdentityPending
	}
	for _, m := range r.chain.Members() {
		p, err := r.person(mustID(m.GetAccount()))
		if err != nil {
			return err
		}
		if p.NewIdentity != nil {
			return changed(p)
		}
	}
	return nil
}

// renewed is the other member of a pair whose new identity this account has accepted and the chain does not name yet; zero if
// there is none.
func (r *room) renewed() (proto.ID, error) {
	if r.chain.Kind() != pb.ConversationKind_CONVERSATION_KIND_PAIR {
		return proto.ID{}, nil
	}
	for _, m := range r.chain.Members() {
		p, err := r.person(mustID(m.GetAccount()))
		if err != nil {
			return proto.ID{}, err
		}
		if p.Account == r.c.Account() || p.NewIdentity != nil || bytes.Equal(p.IdentityKey, m.GetIdentityKey()) {
			continue
		}
		if taken, err := r.accepted(p); err != nil || taken {
			return p.Account, err
		}
	}
	return proto.ID{}, nil
}

// settled is ErrNotReady while something about the identities of a conversation is to be decided or committed first.
func (r *room) settled() error {
	err := r.held()
	if errors.Is(err, errIdentityChanged) || errors.Is(err, errIdentityPending) {
		return errors.Join(err, ErrNotReady)
	}
	if err != nil {
		return err
	}
	renewed, err := r.renewed()
	if err == nil && !renewed.IsZero() {
		err = ErrNotReady
	}
	return err
}

// takeIdentity puts a new identity that this account accepted into the chain of its pair. What fails is tried again after a
// while.
func (cu *catchUp) takeIdentity(ctx context.Context, id proto.ID) error {
	var take bool
	err := cu.c.update(ctx, func(w *work) error {
		r, err := w.room(id)
		if err != nil || r.row.Rereading {
			return unlessNotFound(err)
		}
		renewed, err := r.renewed()
		take = !renewed.IsZero()
		return err
	})
	if err != nil || !take {
		return err
	}
	if err = cu.rekey(ctx, id); err != nil && ctx.Err() == nil {
		cu.c.logger.Warn("take new identity", "conversation", id, "error", err)
		cu.again(id, askAgain)
	}
	return nil
}

// untaken lets those conversations be fetched in which a new identity is to be put into the chain.
func (cu *catchUp) untaken(w *work, rows []*local.Conversation) error {
	for _, row := range rows {
		r, err := w.enter(row)
		if err != nil {
			return err
		}
		renewed, err := r.renewed()
		if err != nil {
			return err
		}
		if !renewed.IsZero() {
			cu.behind(row.ID, 0)
		}
	}
	return nil
}

// unlessNotReady turns ErrNotReady into nil.
func unlessNotReady(err error) error {
	if errors.Is(err, ErrNotReady) {
		return nil
	}
	return err
}
