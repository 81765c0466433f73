package peer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Invitation is a link that makes somebody a contact.
type Invitation struct {
	Code    string // CODE.SECRET, for the command line
	URL     string // for a browser
	Expires time.Time
	Uses    uint32
}

// Invite makes an invitation to this account.
func (c *Client) Invite(ctx context.Context, life time.Duration, uses uint32) (Invitation, error) {
	if life <= 0 || life > proto.MaxInvitationLife || uses == 0 || uses > proto.MaxInvitationUses {
		return Invitation{}, fmt.Errorf("an invitation lasts up to %d days and takes 1 to %d people",
			int(proto.MaxInvitationLife.Hours()/24), proto.MaxInvitationUses)
	}
	secret := proto.NewInvitation()
	linkKey := secret.LinkKey()
	var nickname string
	var identity []byte
	err := c.update(ctx, func(w *work) error {
		self, err := w.Person(c.Account())
		if err != nil {
			return err
		}
		nickname, identity = self.DisplayName(), self.IdentityKey
		return nil
	})
	if err != nil {
		return Invitation{}, fmt.Errorf("own profile: %w", err)
	}
	expires := time.Now().Add(life)
	signed, err := proto.SignMessage(c.profile.signKey(), proto.LabelInvitation, &pb.Invitation{
		Code: secret.Code, Account: c.Account().Bytes(), Device: c.Device().Bytes(),
		LinkKey: publicKey(linkKey), ExpiresMs: uint64(expires.UnixMilli()), Uses: uses,
	})
	if err != nil {
		return Invitation{}, err
	}
	sealed, err := secret.Seal(&pb.InvitationSecretPart{Account: c.Account().Bytes(), IdentityKey: identity, Nickname: nickname})
	if err != nil {
		return Invitation{}, err
	}
	err = c.request(ctx, &pb.Frame{Kind: &pb.Frame_CreateInvitation{CreateInvitation: &pb.CreateInvitation{Invitation: signed, Sealed: sealed}}})
	if err != nil {
		return Invitation{}, err
	}
	return Invitation{Code: secret.String(), URL: c.rest.base + secret.Path(), Expires: expires, Uses: uses}, nil
}

// OwnInvitation is an invitation of this account as the server counts it. Its secret is only with whom it was made for.
type OwnInvitation struct {
	Code     string // without the secret
	Expires  time.Time
	Uses     uint32
	UsesLeft uint32
	Revoked  bool
	Came     []Contact // who is a contact by it
}

// Open says whether it can still be used.
func (i OwnInvitation) Open() bool {
	return !i.Revoked && i.UsesLeft > 0 && time.Now().Before(i.Expires)
}

// Invitations returns the account's own invitations, those first that expire last.
func (c *Client) Invitations(ctx context.Context) (all []OwnInvitation, err error) {
	contacts, err := c.Contacts(ctx)
	if err != nil {
		return nil, err
	}
	err = c.update(ctx, func(w *work) error {
		stored, err := w.Invitations()
		if err != nil {
			return err
		}
		for _, i := range stored {
			body := &pb.Invitation{}
			if err := proto.Unmarshal(i.Body, body); err != nil {
				return fmt.Errorf("invitation as stored: %w", err)
			}
			own := OwnInvitation{Code: i.Code, Expires: timeOf(body.GetExpiresMs()), Uses: body.GetUses(), UsesLeft: i.UsesLeft, Revoked: i.Revoked}
			for _, contact := range contacts {
				if contact.Invitation == i.Code {
					own.Came = append(own.Came, contact)
				}
			}
			all = append(all, own)
		}
		return nil
	})
	slices.SortStableFunc(all, func(a, b OwnInvitation) int { return b.Expires.Compare(a.Expires) })
	return all, err
}

// RevokeInvitation ends an own invitation, named by its code, CODE.SECRET or link. Who came by it stays.
func (c *Client) RevokeInvitation(ctx context.Context, text string) error {
	code := strings.TrimSpace(text)
	if whole, err := proto.ParseInvitation(code); err == nil {
		code = whole.Code
	}
	if err := proto.CheckInvitationCode(code); err != nil {
		return err
	}
	return c.request(ctx, &pb.Frame{Kind: &pb.Frame_RevokeInvitation{RevokeInvitation: &pb.RevokeInvitation{Code: code}}})
}

// keepInvitation remembers an own invitation whose signature is of one of the own devices.
func (w *work) keepInvitation(state *pb.InvitationState) error {
	inv, err := w.openInvitation(w.c.Account(), state.GetInvitation())
	if err != nil {
		return err
	}
	return w.SaveInvitation(&local.Invitation{
		Code: inv.GetCode(), Body: state.GetInvitation().GetBody(), UsesLeft: state.GetUsesLeft(), Revoked: state.GetRevoked(),
	})
}

// openInvitation verifies an invitation's signature by a device of the account.
func (w *work) openInvitation(account proto.ID, signed *pb.Signed) (*pb.Invitation, error) {
	inv := &pb.Invitation{}
	if err := proto.Unmarshal(signed.GetBody(), inv); err != nil { // read to learn whose key to verify with
		return nil, fmt.Errorf("invitation: %w", err)
	}
	if !bytes.Equal(inv.GetAccount(), account.Bytes()) {
		return nil, errors.New("invitation: it is somebody else's")
	}
	key, err := w.deviceKey(account, mustID(inv.GetDevice()))
	if err != nil {
		return nil, fmt.Errorf("invitation: %w", err)
	}
	if err := proto.Verify(key, proto.LabelInvitation, signed.GetSignature(), signed.GetBody()); err != nil {
		return nil, fmt.Errorf("invitation: %w", err)
	}
	return inv, nil
}

// identityByInvitation returns the identity key that whoever held the secret of an own invitation vouched for.
func (w *work) identityByInvitation(account proto.ID, signed *pb.Signed) ([]byte, error) {
	join := &pb.LinkJoin{}
	if err := proto.Unmarshal(signed.GetBody(), join); err != nil {
		return nil, fmt.Errorf("joined by invitation: %w", err)
	}
	known, err := w.Invitation(join.GetCode())
	if errors.Is(err, local.ErrNotFound) {
		return nil, nil // not an invitation of this account: seen first like anybody else
	}
	if err != nil {
		return nil, err
	}
	inv := &pb.Invitation{}
	if err := proto.Unmarshal(known.Body, inv); err != nil {
		return nil, fmt.Errorf("joined by invitation: %w", err)
	}
	join, err = proto.OpenLinkJoin(inv.GetLinkKey(), signed)
	if err != nil {
		return nil, fmt.Errorf("joined by invitation: %w", err)
	}
	if !bytes.Equal(join.GetAccount(), account.Bytes()) {
		return nil, errors.New("joined by invitation: it vouches for somebody else")
	}
	return join.GetIdentityKey(), nil
}

// inviter is what an opened invitation tells of whom it leads to.
type inviter struct {
	code   string
	key    ed25519.PrivateKey // the link key
	person *local.Person
	list   *proto.DeviceList
}

// openInviter fetches an invitation and opens it with its secret.
func openInviter(ctx context.Context, r *rest, text string) (*inviter, error) {
	secret, err := proto.ParseInvitation(text)
	if err != nil {
		return nil, err
	}
	var info pb.InvitationInfo
	if err := r.call(ctx, http.MethodGet, "/api/v1/invitations/"+secret.Code, nil, &info); err != nil {
		return nil, err
	}
	part, err := secret.Open(info.GetSealed())
	if err != nil {
		return nil, fmt.Errorf("this invitation does not open: it was cut off, or it belongs to another server: %w", err)
	}
	list, err := proto.OpenDeviceList(info.GetDeviceList())
	if err != nil {
		return nil, fmt.Errorf("the inviter's devices: %w", err)
	}
	if !bytes.Equal(list.GetIdentityKey(), part.GetIdentityKey()) || !bytes.Equal(list.GetAccount(), part.GetAccount()) {
		return nil, errors.New("the server shows another person than the invitation names: do not use it, and tell who sent it to you")
	}
	account, err := proto.IDFrom(part.GetAccount())
	if err != nil {
		return nil, fmt.Errorf("invitation: %w", err)
	}
	return &inviter{
		code: secret.Code, key: secret.LinkKey(), list: list,
		person: &local.Person{Account: account, Nickname: part.GetNickname(), IdentityKey: part.GetIdentityKey()},
	}, nil
}

// join vouches for an identity with the invitation's link key.
func (i *inviter) join(account proto.ID, identity []byte) (*pb.Signed, error) {
	return proto.SignMessage(i.key, proto.LabelLinkJoin, &pb.LinkJoin{
		Code: i.code, Account: account.Bytes(), IdentityKey: identity, Conversation: proto.PairID(account, i.person.Account).Bytes(),
	})
}

// useInvitation puts into a registration what an invitation needs. A setup secret needs nothing else.
func useInvitation(ctx context.Context, r *rest, req *pb.RegisterRequest, p *Profile, identity ed25519.PrivateKey, text string) error {
	if secret, ok := proto.ParseSetup(text); ok {
		req.Setup = secret
		return nil
	}
	inv, err := openInviter(ctx, r, text)
	if err != nil {
		return err
	}
	public := identity.Public().(ed25519.PublicKey) //nolint:forcetypeassert // by definition
	if req.LinkJoin, err = inv.join(p.Account(), public); err != nil {
		return err
	}
	list, err := proto.OpenDeviceList(req.GetDeviceList())
	if err != nil {
		return err
	}
	req.Invitation = inv.code
	req.FirstCommit, err = proto.CreatePair(
		proto.Signer{Account: p.Account(), Device: p.Device(), Key: p.signKey(), TimeMS: nowMS()},
		memberKey(p.Account(), list), memberKey(inv.person.Account, inv.list), req.GetLinkJoin())
	if err != nil {
		return err
	}
	p.keys.Pinned = append(p.keys.Pinned, pinnedIdentity{Account: inv.person.Account, IdentityKey: inv.person.IdentityKey})
	return nil
}

func memberKey(account proto.ID, list *proto.DeviceList) proto.MemberKey {
	return proto.MemberKey{
		Account: account, IdentityKey: list.GetIdentityKey(), Generation: list.GetGeneration(), AccountKey: list.GetAccountKey(),
	}
}

// AcceptInvitation makes the inviter a contact of this account.
func (c *Client) AcceptInvitation(ctx context.Context, text string) (Contact, error) {
	inv, err := openInviter(ctx, c.rest, text)
	if err != nil {
		return Contact{}, err
	}
	account := inv.person.Account
	if account == c.Account() {
		return Contact{}, errors.New("this is your own invitation: send it to somebody else")
	}
	var identity []byte
	err = c.update(ctx, func(w *work) error {
		self, err := w.Person(c.Account())
		if err != nil {
			return err
		}
		identity = self.IdentityKey
		p, err := w.Person(account)
		if errors.Is(err, local.ErrNotFound) {
			p = inv.person
		} else if err != nil {
			return err
		}
		return w.learnList(p, inv.list.Signed)
	})
	if err != nil {
		return Contact{}, err
	}
	join, err := inv.join(c.Account(), identity)
	if err != nil {
		return Contact{}, err
	}
	first, err := c.firstCommit(ctx, account, join)
	if err != nil {
		return Contact{}, err
	}
	err = c.request(ctx, &pb.Frame{Kind: &pb.Frame_AcceptInvitation{AcceptInvitation: &pb.AcceptInvitation{
		Code: inv.code, LinkJoin: join, FirstCommit: first,
	}}})
	if err != nil {
		return Contact{}, err
	}
	return c.contactByID(ctx, account)
}
