package peer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/parley-chat/parley/peer/link"
	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Contact is a person as a program sees them.
type Contact struct {
	Account      proto.ID
	UserName     string
	Nickname     string   // that they gave themselves
	LocalName    string   `json:",omitempty"` // that this account gave them; only its devices see it
	State        string   // asked (by us), asking (they do), accepted, none
	Note         string   // of the request
	Conversation proto.ID `json:",omitzero"` // zero until accepted
	Since        time.Time
	Unread       uint64 // messages of theirs behind the read mark
	Online       bool
	Away         bool      `json:",omitempty"` // online, but not looking
	LastSeen     time.Time `json:",omitzero"`  // while offline; zero if they do not show it
	Blocked      bool      `json:",omitempty"` // by this account
	HideAddress  bool      `json:",omitempty"` // links to them go through the server alone
	Safety       Safety    // whether their safety number was compared
	Invitation   string    `json:",omitempty"` // code of the own invitation that they came by
	Avatar       []byte    `json:",omitempty"` // SHA-256 of their picture
	Deleted      bool      `json:",omitempty"` // the account does not exist any more
	// IdentityChanged holds sending until the person decided: see Client.AcceptIdentity.
	IdentityChanged bool
	// IdentityPending says that they have not accepted the new identity of this account yet: what is written to them waits.
	IdentityPending bool `json:",omitempty"`
}

// States of a Contact.
const (
	ContactAsked    = "asked"  // by this account
	ContactAsking   = "asking" // this account
	ContactAccepted = "accepted"
	ContactNone     = "none" // declined, withdrawn or removed
)

// Name is what a contact is called: the name that this account gave them, else their nickname, else their user name.
func (c Contact) Name() string {
	if c.LocalName != "" {
		return c.LocalName
	}
	if c.Nickname != "" {
		return c.Nickname
	}
	return c.UserName
}

// AmbiguousError says that a name fits several people.
type AmbiguousError struct {
	Name       string
	Candidates []string // each as it may be asked for without doubt
}

// Error lists the candidates.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q may be any of: %s", e.Name, strings.Join(e.Candidates, ", "))
}

// ErrNoSuchName says that a name fits nobody this profile knows.
var ErrNoSuchName = errors.New("nobody of that name")

func contactState(s pb.ContactState) string {
	switch s {
	case pb.ContactState_CONTACT_STATE_ASKED:
		return ContactAsked
	case pb.ContactState_CONTACT_STATE_ASKING:
		return ContactAsking
	case pb.ContactState_CONTACT_STATE_ACCEPTED:
		return ContactAccepted
	case pb.ContactState_CONTACT_STATE_NONE, pb.ContactState_CONTACT_STATE_UNSPECIFIED:
	}
	return ContactNone
}

func (w *work) contact(p *local.Person) (Contact, error) {
	contact := Contact{
		Account: p.Account, UserName: p.UserName, Nickname: p.Nickname, State: contactState(p.State), Note: p.Note,
		Conversation: p.Conversation, Since: timeOf(p.SinceMS), IdentityChanged: p.NewIdentity != nil,
		LocalName: p.Setting.GetNickname(), Blocked: p.Blocked, HideAddress: p.Setting.GetHideAddress() || p.SealedSetting, Safety: safetyOf(p),
		Invitation: p.Invitation, Avatar: p.Avatar, Deleted: p.DeletedMS != 0,
	}
	if seen, ok := w.c.presence[p.Account]; ok {
		contact.Online = seen.GetState() >= pb.PresenceState_PRESENCE_STATE_AWAY
		contact.Away = seen.GetState() == pb.PresenceState_PRESENCE_STATE_AWAY
		if !contact.Online && seen.GetLastSeenMs() != 0 {
			contact.LastSeen = timeOf(seen.GetLastSeenMs())
		}
	}
	if p.Conversation.IsZero() {
		return contact, nil
	}
	row, err := w.Conversation(p.Conversation)
	if errors.Is(err, local.ErrNotFound) {
		return contact, nil
	}
	if err == nil {
		contact.IdentityPending, err = w.pending(row)
	}
	if err == nil {
		contact.Unread, err = w.Unread(row.ID, w.c.Account(), row.ReadSeq, countsBelow)
	}
	return contact, err
}

func timeOf(ms uint64) time.Time { return time.UnixMilli(int64(min(ms, 1<<52))).UTC() }

// Contacts returns everybody who is or wants to be a contact, or is blocked.
func (c *Client) Contacts(ctx context.Context) (all []Contact, err error) {
	err = c.update(ctx, func(w *work) error {
		people, err := w.People()
		if err != nil {
			return err
		}
		for _, p := range people {
			if p.Account == c.Account() || p.State <= pb.ContactState_CONTACT_STATE_NONE && !p.Blocked {
				continue
			}
			contact, err := w.contact(p)
			if err != nil {
				return err
			}
			all = append(all, contact)
		}
		return nil
	})
	return all, err
}

// Resolve finds the one contact, asker or blocked person that a name means: a user name first, then a name that this account
// gave or a nickname if only one has it. Somebody who asks takes no contact's name away. It returns ErrNoSuchName or an *AmbiguousError.
func (c *Client) Resolve(ctx context.Context, name string) (Contact, error) {
	contacts, err := c.Contacts(ctx)
	if err != nil {
		return Contact{}, err
	}
	for _, contact := range contacts {
		if contact.Account.String() == name {
			return contact, nil
		}
	}
	accepted, others := byName(contacts, name, true), byName(contacts, name, false)
	found := accepted
	if len(accepted) == 0 {
		found = others
	}
	switch len(found) {
	case 0:
		return Contact{}, fmt.Errorf("%w: %q", ErrNoSuchName, name)
	case 1:
		return found[0], nil
	}
	ambiguous := &AmbiguousError{Name: name}
	for _, contact := range found {
		who := contact.UserName
		if who == "" {
			who = contact.Account.String()
		}
		ambiguous.Candidates = append(ambiguous.Candidates, fmt.Sprintf("%s (%s)", who, contact.Name()))
	}
	return Contact{}, ambiguous
}

// byName returns the contact with a user name, or those with a nickname, among those accepted or among the others.
func byName(contacts []Contact, name string, accepted bool) (found []Contact) {
	folded, foldErr := proto.FoldUserName(name)
	for _, contact := range contacts {
		if (contact.State == ContactAccepted) != accepted {
			continue
		}
		if theirs, err := proto.FoldUserName(contact.UserName); foldErr == nil && err == nil && theirs == folded {
			return []Contact{contact}
		}
		if strings.EqualFold(contact.Nickname, name) || contact.LocalName != "" && strings.EqualFold(contact.LocalName, name) {
			found = append(found, contact)
		}
	}
	return found
}

// Ask asks the account with this exact user name to become a contact. If they asked already, this accepts.
func (c *Client) Ask(ctx context.Context, userName, note string) (Contact, error) {
	found, err := c.find(ctx, userName)
	if err != nil {
		return Contact{}, err
	}
	account, err := proto.IDFrom(found.GetProfile().GetAccount())
	if err != nil {
		return Contact{}, fmt.Errorf("find %q: %w", userName, err)
	}
	if found.GetState() == pb.ContactState_CONTACT_STATE_ASKING || found.GetState() == pb.ContactState_CONTACT_STATE_ACCEPTED {
		if err := c.applyContacts(ctx, []*pb.Contact{found}); err != nil {
			return Contact{}, err
		}
		return c.Accept(ctx, account)
	}
	err = c.request(ctx, &pb.Frame{Kind: &pb.Frame_AskContact{AskContact: &pb.AskContact{Account: account.Bytes(), Note: note}}})
	if err != nil {
		return Contact{}, err
	}
	return c.contactByID(ctx, account)
}

// Accept makes somebody who asked a contact: it creates the first epoch of the pair. A contact stays one.
func (c *Client) Accept(ctx context.Context, account proto.ID) (Contact, error) {
	if known, err := c.contactByID(ctx, account); err == nil && known.State == ContactAccepted {
		return known, nil
	}
	first, err := c.firstCommit(ctx, account, nil)
	if err != nil {
		return Contact{}, err
	}
	err = c.request(ctx, &pb.Frame{Kind: &pb.Frame_AnswerContact{AnswerContact: &pb.AnswerContact{
		Account: account.Bytes(), Accept: true, FirstCommit: first,
	}}})
	if err != nil {
		return Contact{}, err
	}
	return c.contactByID(ctx, account)
}

// Decline refuses somebody who asked, or withdraws what this account asked. It removes nobody who is a contact.
func (c *Client) Decline(ctx context.Context, account proto.ID) error {
	if known, err := c.contactByID(ctx, account); err == nil && known.State == ContactAccepted {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "%s is a contact already: there is nothing to decline", known.Name())
	}
	return c.request(ctx, &pb.Frame{Kind: &pb.Frame_AnswerContact{AnswerContact: &pb.AnswerContact{Account: account.Bytes()}}})
}

func (c *Client) contactByID(ctx context.Context, account proto.ID) (contact Contact, err error) {
	err = c.update(ctx, func(w *work) error {
		p, err := w.Person(account)
		if err != nil {
			return err
		}
		contact, err = w.contact(p)
		return err
	})
	return contact, err
}

// request sends a request whose answer is what it changed in the account, and returns when that is applied.
func (c *Client) request(ctx context.Context, f *pb.Frame) error {
	conn := c.session.current()
	if conn == nil {
		return ErrOffline
	}
	return conn.askInOrder(ctx, f)
}

// applyContacts stores people, pins their identities and reads their device lists.
func (c *Client) applyContacts(ctx context.Context, contacts []*pb.Contact) error {
	if len(contacts) == 0 {
		return nil
	}
	return c.update(ctx, func(w *work) error {
		for _, from := range contacts {
			p, err := w.applyContact(from)
			if broken(err) {
				return err
			}
			if err != nil {
				w.tell(ErrorEvent{Err: err})
			}
			if p == nil {
				continue
			}
			contact, err := w.contact(p)
			if err != nil {
				return err
			}
			w.tell(ContactEvent{Contact: contact})
		}
		return nil
	})
}

// applyContact returns the person as stored, with an error too if only the device list was refused.
func (w *work) applyContact(from *pb.Contact) (*local.Person, error) {
	account, err := proto.IDFrom(from.GetProfile().GetAccount())
	if err != nil {
		return nil, fmt.Errorf("contact: %w", err)
	}
	p, err := w.person(account)
	if err != nil {
		return nil, err
	}
	takeNames(p, from.GetProfile())
	p.State, p.Note, p.SinceMS = from.GetState(), from.GetNote(), from.GetSinceMs()
	p.Blocked, p.Avatar, p.Invitation, p.DeletedMS = from.GetBlocked(), from.GetProfile().GetAvatar(), from.GetInvitation(), from.GetProfile().GetDeletedMs()
	if p.Blocked || p.State != pb.ContactState_CONTACT_STATE_ACCEPTED {
		w.then(func() { w.c.closeLinks(func(l *link.Link) bool { return l.Account() == account }) })
	}
	if from.GetState() == pb.ContactState_CONTACT_STATE_ACCEPTED {
		p.Conversation = proto.PairID(w.c.Account(), account)
	}
	if from.GetLinkJoin() != nil && p.IdentityKey == nil {
		if p.IdentityKey, err = w.identityByInvitation(account, from.GetLinkJoin()); err != nil {
			return nil, err
		}
	}
	if err := w.SavePerson(p); err != nil || from.GetDeviceList() == nil {
		return p, err
	}
	if err := w.learnList(p, from.GetDeviceList()); err != nil {
		return p, err
	}
	return p, w.inForceAgain(p)
}

// takeNames takes the names that a profile shows. One that shows none, of somebody who is no contact any more or was deleted,
// takes away none: what they wrote is still theirs.
func takeNames(p *local.Person, profile *pb.Profile) {
	if profile.GetDeletedMs() == 0 {
		p.UserName = profile.GetUserName()
	}
	if profile.GetNickname() != "" {
		p.Nickname = profile.GetNickname()
	}
}
