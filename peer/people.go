package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Contact is a person as a program sees them.
type Contact struct {
	Account      proto.ID
	UserName     string
	Nickname     string
	State        string // asked (by us), asking (they do), accepted, none
	Note         string
	Conversation proto.ID // zero until accepted
	Since        time.Time
	Unread       uint64
	Online       bool
	// IdentityChanged holds sending until the person decided.
	IdentityChanged bool
}

// AmbiguousError says that a name fits several people.
type AmbiguousError struct {
	Name       string
	Candidates []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q may be any of: %s", e.Name, strings.Join(e.Candidates, ", "))
}

// ErrNoSuchName says that a name fits nobody this profile knows.
var ErrNoSuchName = errors.New("nobody of that name")

func contactState(s pb.ContactState) string {
	switch s {
	case pb.ContactState_CONTACT_STATE_ASKED:
		return "asked"
	case pb.ContactState_CONTACT_STATE_ASKING:
		return "asking"
	case pb.ContactState_CONTACT_STATE_ACCEPTED:
		return "accepted"
	case pb.ContactState_CONTACT_STATE_NONE, pb.ContactState_CONTACT_STATE_UNSPECIFIED:
	}
	return "none"
}

func (c *Client) contact(tx *local.Tx, p *local.Person) (Contact, error) {
	contact := Contact{
		Account: p.Account, UserName: p.UserName, Nickname: p.Nickname, State: contactState(p.State), Note: p.Note,
		Conversation: p.Conversation, Since: timeOf(p.SinceMS), IdentityChanged: p.NewIdentity != nil,
	}
	if seen, ok := c.presence[p.Account]; ok {
		contact.Online = seen.GetState() >= pb.PresenceState_PRESENCE_STATE_AWAY
	}
	if p.Conversation.IsZero() {
		return contact, nil
	}
	conversation, err := tx.Conversation(p.Conversation)
	if errors.Is(err, local.ErrNotFound) {
		return contact, nil
	}
	if err == nil {
		contact.Unread = conversation.Unread
	}
	return contact, err
}

func timeOf(ms uint64) time.Time { return time.UnixMilli(int64(min(ms, 1<<52))).UTC() } //nolint:gosec // capped

// Contacts returns everybody who is or wants to be a contact.
func (c *Client) Contacts(ctx context.Context) ([]Contact, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Contact
	err := c.store.Update(ctx, func(tx *local.Tx) error {
		people, err := tx.People()
		if err != nil {
			return err
		}
		for _, p := range people {
			if p.Account == c.profile.Account || p.State <= pb.ContactState_CONTACT_STATE_NONE {
				continue
			}
			contact, err := c.contact(tx, p)
			if err != nil {
				return err
			}
			all = append(all, contact)
		}
		return nil
	})
	return all, err
}

// Resolve finds the one contact or asker that a name means: a user name first, then a nickname if
// only one has it. It returns ErrNoSuchName or an *AmbiguousError.
func (c *Client) Resolve(ctx context.Context, name string) (Contact, error) {
	contacts, err := c.Contacts(ctx)
	if err != nil {
		return Contact{}, err
	}
	folded, foldErr := proto.FoldUserName(name)
	var byNickname []Contact
	for _, contact := range contacts {
		if contact.Account.String() == name {
			return contact, nil
		}
		if theirs, err := proto.FoldUserName(contact.UserName); foldErr == nil && err == nil && theirs == folded {
			return contact, nil
		}
		if strings.EqualFold(contact.Nickname, name) {
			byNickname = append(byNickname, contact)
		}
	}
	switch len(byNickname) {
	case 0:
		return Contact{}, fmt.Errorf("%w: %q", ErrNoSuchName, name)
	case 1:
		return byNickname[0], nil
	}
	ambiguous := &AmbiguousError{Name: name}
	for _, contact := range byNickname {
		who := contact.UserName
		if who == "" {
			who = contact.Account.String()
		}
		ambiguous.Candidates = append(ambiguous.Candidates, fmt.Sprintf("%s (%s)", who, contact.Nickname))
	}
	return Contact{}, ambiguous
}

// Ask asks the account with this exact user name to become a contact. If they asked already, this accepts.
func (c *Client) Ask(ctx context.Context, userName, note string) (Contact, error) {
	answer, err := c.session.ask(ctx, &pb.Frame{Kind: &pb.Frame_FindAccount{FindAccount: &pb.FindAccount{Name: userName}}})
	if err != nil {
		return Contact{}, err
	}
	found := answer.GetFound().GetContact()
	account, err := proto.IDFrom(found.GetProfile().GetAccount())
	if err != nil {
		return Contact{}, fmt.Errorf("find %q: %w", userName, err)
	}
	if found.GetState() == pb.ContactState_CONTACT_STATE_ASKING {
		if err := c.applyContacts(ctx, []*pb.Contact{found}); err != nil {
			return Contact{}, err
		}
		return c.Accept(ctx, account)
	}
	err = c.change(ctx, &pb.Frame{Kind: &pb.Frame_AskContact{AskContact: &pb.AskContact{Account: account.Bytes(), Note: note}}})
	if err != nil {
		return Contact{}, err
	}
	return c.contactByID(ctx, account)
}

// Accept makes somebody who asked a contact: it creates the first epoch of the pair.
func (c *Client) Accept(ctx context.Context, account proto.ID) (Contact, error) {
	first, err := c.firstCommit(ctx, account, nil)
	if err != nil {
		return Contact{}, err
	}
	err = c.change(ctx, &pb.Frame{Kind: &pb.Frame_AnswerContact{AnswerContact: &pb.AnswerContact{
		Account: account.Bytes(), Accept: true, FirstCommit: first,
	}}})
	if err != nil {
		return Contact{}, err
	}
	return c.contactByID(ctx, account)
}

// Decline refuses somebody who asked.
func (c *Client) Decline(ctx context.Context, account proto.ID) error {
	return c.change(ctx, &pb.Frame{Kind: &pb.Frame_AnswerContact{AnswerContact: &pb.AnswerContact{Account: account.Bytes()}}})
}

func (c *Client) contactByID(ctx context.Context, account proto.ID) (contact Contact, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err = c.store.Update(ctx, func(tx *local.Tx) error {
		p, err := tx.Person(account)
		if err != nil {
			return err
		}
		contact, err = c.contact(tx, p)
		return err
	})
	return contact, err
}

// change sends a request whose answer is what it changed in the account, and applies that.
func (c *Client) change(ctx context.Context, f *pb.Frame) error {
	answer, err := c.session.ask(ctx, f)
	if err != nil {
		return err
	}
	return c.applyChanges(ctx, answer.GetAccountChanges())
}

// applyChanges stores a page of account changes, then the pages after it.
func (c *Client) applyChanges(ctx context.Context, changes *pb.AccountChanges) error {
	for changes != nil {
		if err := c.applyContacts(ctx, changes.GetContacts()); err != nil {
			return err
		}
		if err := c.applyOwn(ctx, changes); err != nil {
			return err
		}
		for _, state := range changes.GetConversations() {
			if err := c.applyState(ctx, state); err != nil {
				return err
			}
		}
		if err := c.setAccountVersion(ctx, changes.GetVersion()); err != nil {
			return err
		}
		if !changes.GetMore() {
			return nil
		}
		answer, err := c.session.ask(ctx, &pb.Frame{Kind: &pb.Frame_AccountSync{AccountSync: &pb.AccountSync{After: changes.GetVersion()}}})
		if err != nil {
			return err
		}
		changes = answer.GetAccountChanges()
	}
	return nil
}

// applyContacts stores people, pins their identities and reads their device lists.
func (c *Client) applyContacts(ctx context.Context, contacts []*pb.Contact) error {
	if len(contacts) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var events []Event
	err := c.store.Update(ctx, func(tx *local.Tx) error {
		for _, from := range contacts {
			p, err := c.applyContact(tx, from)
			if err != nil {
				events = append(events, ErrorEvent{Err: err})
				continue
			}
			contact, err := c.contact(tx, p)
			if err != nil {
				return err
			}
			events = append(events, ContactEvent{Contact: contact})
		}
		return nil
	})
	if err == nil {
		c.events.emit(events...)
	}
	return err
}

func (c *Client) applyContact(tx *local.Tx, from *pb.Contact) (*local.Person, error) {
	account, err := proto.IDFrom(from.GetProfile().GetAccount())
	if err != nil {
		return nil, fmt.Errorf("contact: %w", err)
	}
	p, err := tx.Person(account)
	if errors.Is(err, local.ErrNotFound) {
		p = &local.Person{Account: account}
	} else if err != nil {
		return nil, err
	}
	p.UserName, p.Nickname = from.GetProfile().GetUserName(), from.GetProfile().GetNickname()
	p.State, p.Note, p.SinceMS = from.GetState(), from.GetNote(), from.GetSinceMs()
	if from.GetState() == pb.ContactState_CONTACT_STATE_ACCEPTED {
		p.Conversation = proto.PairID(c.profile.Account, account)
	}
	if from.GetLinkJoin() != nil && p.IdentityKey == nil {
		if p.IdentityKey, err = c.identityByInvitation(tx, account, from.GetLinkJoin()); err != nil {
			return nil, err
		}
	}
	if from.GetDeviceList() != nil {
		if err := learnList(tx, p, from.GetDeviceList()); err != nil {
			return nil, err
		}
	}
	return p, tx.SavePerson(p)
}

// errIdentityChanged says that somebody's identity key is not the one pinned.
var errIdentityChanged = errors.New("their identity changed: compare safety numbers before you go on")

// learnList verifies a device list against what is pinned and known of p, and remembers it. p is
// changed but not saved. An older list than known is refused: it could bring a revoked device back.
func learnList(tx *local.Tx, p *local.Person, signed *pb.Signed) error {
	list, err := proto.OpenDeviceList(signed)
	if err != nil {
		return fmt.Errorf("device list of %s: %w", p.DisplayName(), err)
	}
	if !bytes.Equal(list.GetAccount(), p.Account.Bytes()) {
		return fmt.Errorf("device list of %s: it is somebody else's", p.DisplayName())
	}
	switch {
	case p.IdentityKey == nil:
		p.IdentityKey = list.GetIdentityKey()
	case !bytes.Equal(p.IdentityKey, list.GetIdentityKey()):
		p.NewIdentity = list.GetIdentityKey()
		return errors.Join(fmt.Errorf("%s: %w", p.DisplayName(), errIdentityChanged), tx.SavePerson(p))
	}
	if p.List != nil {
		known, err := proto.OpenDeviceList(p.List)
		if err != nil {
			return fmt.Errorf("device list of %s as stored: %w", p.DisplayName(), err)
		}
		switch {
		case list.GetVersion() < known.GetVersion():
			return fmt.Errorf("device list of %s: version %d is older than %d", p.DisplayName(), list.GetVersion(), known.GetVersion())
		case list.GetVersion() == known.GetVersion() && list.Hash != known.Hash:
			return fmt.Errorf("device list of %s: two different ones of version %d", p.DisplayName(), list.GetVersion())
		case list.GetVersion() == known.GetVersion()+1:
			if err := list.CheckSuccessor(known); err != nil {
				return fmt.Errorf("device list of %s: %w", p.DisplayName(), err)
			}
		}
	}
	for _, d := range list.GetDevices() {
		device, err := proto.IDFrom(d.GetDevice())
		if err != nil {
			return fmt.Errorf("device list of %s: %w", p.DisplayName(), err)
		}
		if err := tx.AddDeviceKey(local.DeviceKey{Account: p.Account, Device: device, SignKey: d.GetSignKey(), SealKey: d.GetSealKey()}); err != nil {
			return err
		}
	}
	p.ListVersion, p.List = list.GetVersion(), signed
	return nil
}
