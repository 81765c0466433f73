package peer

import (
	"context"
	"errors"
	"fmt"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/peer/link"
	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// keyProfile and keyPrivacy are kept as the server sent them.
const (
	keyProfile = "profile"
	keyPrivacy = "privacy"
)

// Self is this account as its own devices see it.
type Self struct {
	Account  proto.ID
	Server   string // base URL
	UserName string // empty for a name-only account
	Nickname string
	Avatar   []byte // SHA-256 of the picture, nil without one
	Admin    bool   // of the server
	Recovery bool   // there is a recovery code
	// Keeper says that this device alone holds the account's identity, since there is no password.
	Keeper bool
	Privacy
}

// NameOnly says that the account has no user name and password: who loses its devices loses it.
func (s *Self) NameOnly() bool { return s.UserName == "" }

// Name is what others see.
func (s *Self) Name() string {
	if s.Nickname != "" {
		return s.Nickname
	}
	return s.UserName
}

// Privacy is what an account does not show. The first three work both ways: who hides something does not see it of others.
type Privacy struct {
	HidePresence bool // online, away and last seen
	HideRead     bool // read marks
	HideTyping   bool
	HideAddress  bool // links go through the server alone
}

// Self returns the account as this device knows it.
func (c *Client) Self(ctx context.Context) (self Self, err error) {
	hide, err := c.HideAddress(ctx)
	if err != nil {
		return self, err
	}
	err = c.update(ctx, func(w *work) error {
		profile, err := w.ownProfile()
		if err != nil {
			return err
		}
		privacy, err := w.privacy()
		self = Self{
			Account: c.Account(), Server: c.rest.base, UserName: profile.GetUserName(), Nickname: profile.GetNickname(), Avatar: profile.GetAvatar(),
			Admin: profile.GetAdmin(), Recovery: profile.GetRecovery(), Keeper: c.profile.keys.Identity != nil,
			Privacy: Privacy{
				HidePresence: privacy.GetHidePresence(), HideRead: privacy.GetHideRead(), HideTyping: privacy.GetHideTyping(), HideAddress: hide,
			},
		}
		return err
	})
	return self, err
}

func (w *work) ownProfile() (*pb.Profile, error) {
	profile := &pb.Profile{}
	return profile, w.stored(keyProfile, profile)
}

func (w *work) privacy() (*pb.Privacy, error) {
	privacy := &pb.Privacy{}
	return privacy, w.stored(keyPrivacy, privacy)
}

// stored reads a message of the small key-value table; a missing one stays empty.
func (w *work) stored(key string, m gproto.Message) error {
	b, err := w.Get(key)
	if err != nil || b == nil {
		return err
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%s as stored: %w", key, err)
	}
	return nil
}

func (w *work) keep(key string, m gproto.Message) error {
	b, err := gproto.Marshal(m)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return w.Set(key, append([]byte{}, b...))
}

// takeProfile keeps what the server tells of the account itself.
func (w *work) takeProfile(self *local.Person, p *pb.Profile) error {
	self.UserName, self.Nickname, self.Avatar = p.GetUserName(), p.GetNickname(), p.GetAvatar()
	if err := w.keep(keyProfile, p); err != nil {
		return err
	}
	keys := &w.c.profile.keys
	if p.GetUserName() == "" || keys.UserName == p.GetUserName() {
		return nil
	}
	keys.UserName = p.GetUserName()
	return w.c.profile.save()
}

// takePrivacy keeps what the account does not show. Links tell who is there, so they end with the showing of presence.
func (w *work) takePrivacy(p *pb.Privacy) error {
	if p.GetHidePresence() {
		w.then(func() { w.c.closeLinks(func(l *link.Link) bool { return l.Account() != w.c.Account() }) })
	}
	return w.keep(keyPrivacy, p)
}

// SetPrivacy changes what this account does not show, on all its devices.
func (c *Client) SetPrivacy(ctx context.Context, p Privacy) error {
	now, err := c.HideAddress(ctx)
	if err != nil {
		return err
	}
	if now != p.HideAddress {
		if err := c.SetHideAddress(ctx, p.HideAddress); err != nil {
			return err
		}
	}
	return c.request(ctx, &pb.Frame{Kind: &pb.Frame_SetPrivacy{SetPrivacy: &pb.SetPrivacy{Privacy: &pb.Privacy{
		HidePresence: p.HidePresence, HideRead: p.HideRead, HideTyping: p.HideTyping,
	}}}})
}

// hidesTyping is for what comes over links; the relay holds the rest to it.
func (c *Client) hidesTyping(ctx context.Context) bool {
	hides := true
	err := c.update(ctx, func(w *work) error {
		p, err := w.privacy()
		hides = p.GetHideTyping()
		return err
	})
	return err != nil || hides
}

// SetOwnNickname changes the name that contacts see.
func (c *Client) SetOwnNickname(ctx context.Context, nickname string) error {
	if _, err := c.session.ask(ctx, &pb.Frame{Kind: &pb.Frame_SetProfile{SetProfile: &pb.SetProfile{Nickname: nickname}}}); err != nil {
		return err
	}
	return c.refresh(ctx)
}

// refresh returns when everything that had changed in the account is applied here.
func (c *Client) refresh(ctx context.Context) error {
	version, err := c.accountVersion(ctx)
	if err != nil {
		return err
	}
	return c.request(ctx, &pb.Frame{Kind: &pb.Frame_AccountSync{AccountSync: &pb.AccountSync{After: version}}})
}

// SetPresence tells contacts that the person is away, or back. It holds over connections until it is called again.
func (c *Client) SetPresence(away bool) {
	c.mu.Lock()
	c.away = away
	c.mu.Unlock()
	c.session.tell(presenceFrame(away))
}

func presenceFrame(away bool) *pb.Frame {
	state := pb.PresenceState_PRESENCE_STATE_ONLINE
	if away {
		state = pb.PresenceState_PRESENCE_STATE_AWAY
	}
	return &pb.Frame{Kind: &pb.Frame_SetPresence{SetPresence: &pb.SetPresence{State: state}}}
}

// Remove ends a contact on both sides; what was written stays on the devices that have it. It also takes a request back.
func (c *Client) Remove(ctx context.Context, person proto.ID) error {
	return c.request(ctx, &pb.Frame{Kind: &pb.Frame_RemoveContact{RemoveContact: &pb.RemoveContact{Account: person.Bytes()}}})
}

// SetBlocked blocks somebody or lets them in again. To somebody blocked this account looks offline, and what they write waits
// at the relay until they are let in again.
func (c *Client) SetBlocked(ctx context.Context, person proto.ID, blocked bool) (Contact, error) {
	if person == c.Account() {
		return Contact{}, errors.New("this is your own account")
	}
	err := c.request(ctx, &pb.Frame{Kind: &pb.Frame_SetBlocked{SetBlocked: &pb.SetBlocked{Account: person.Bytes(), Blocked: blocked}}})
	if err != nil {
		return Contact{}, err
	}
	return c.contactByID(ctx, person)
}

// Find looks somebody up by the exact user name, among all of the server. It tells nobody.
func (c *Client) Find(ctx context.Context, userName string) (proto.ID, error) {
	found, err := c.find(ctx, userName)
	if err != nil {
		return proto.ID{}, err
	}
	return proto.IDFrom(found.GetProfile().GetAccount())
}

func (c *Client) find(ctx context.Context, userName string) (*pb.Contact, error) {
	answer, err := c.session.ask(ctx, &pb.Frame{Kind: &pb.Frame_FindAccount{FindAccount: &pb.FindAccount{Name: userName}}})
	if proto.HasCode(err, pb.ErrorCode_ERROR_CODE_NOT_FOUND) {
		return nil, fmt.Errorf("%w on this server: %q", ErrNoSuchName, userName)
	}
	if err != nil {
		return nil, err
	}
	return answer.GetFound().GetContact(), nil
}
