package peer

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Safety is what a person knows of somebody's identity.
type Safety struct {
	State    string    // not-compared, compared, changed
	Compared time.Time `json:",omitzero"` // when the safety number was, of the identity in use
}

// States of a Safety.
const (
	SafetyNotCompared = "not-compared"
	SafetyCompared    = "compared"
	SafetyChanged     = "changed" // another identity was seen: nothing is sent before the person decides
)

// safetyOf compares what is pinned with what was compared, which may have been on another device.
func safetyOf(p *local.Person) Safety {
	switch {
	case p.NewIdentity != nil:
		return Safety{State: SafetyChanged}
	case p.IdentityKey != nil && bytes.Equal(p.Setting.GetComparedKey(), p.IdentityKey):
		return Safety{State: SafetyCompared, Compared: timeOf(p.Setting.GetComparedMs())}
	}
	return Safety{State: SafetyNotCompared}
}

// SafetyNumber is what two people compare, aloud or by the QR code, to know that nobody stands between them.
type SafetyNumber struct {
	Number string // twelve groups of four digits
	QR     string // what its QR code says
	Safety
}

// ErrNoIdentity says that no identity of somebody is known yet: they have not accepted.
var ErrNoIdentity = errors.New("there is no safety number before they are a contact")

// SafetyNumber returns the number of this account and another. When that one's identity changed it is the number of the new
// identity: the one that they read to each other now.
func (c *Client) SafetyNumber(ctx context.Context, person proto.ID) (SafetyNumber, error) {
	number, _, err := c.safetyNumber(ctx, person)
	return number, err
}

// safetyNumber also returns the identity key that the number is of.
func (c *Client) safetyNumber(ctx context.Context, person proto.ID) (number SafetyNumber, key []byte, err error) {
	err = c.update(ctx, func(w *work) error {
		self, err := w.Person(c.Account())
		if err != nil {
			return err
		}
		p, err := w.person(person)
		if err != nil {
			return err
		}
		if key = p.IdentityKey; p.NewIdentity != nil {
			key = p.NewIdentity
		}
		if key == nil || self.IdentityKey == nil {
			return ErrNoIdentity
		}
		number.Number, err = proto.SafetyNumber(proto.SafetyEnd{Account: c.Account(), IdentityKey: self.IdentityKey}, proto.SafetyEnd{Account: person, IdentityKey: key})
		number.QR, number.Safety = proto.SafetyText(number.Number), safetyOf(p)
		return err
	})
	return number, key, err
}

// errCompareChanged says that comparing alone does not decide.
var errCompareChanged = errors.New("their identity changed: the new one has to be accepted before it can be marked as compared")

// SetCompared notes on all devices of the account that the safety number was compared and is right, or takes that back. number
// is what was compared: it fails if the identity has changed since that was shown.
func (c *Client) SetCompared(ctx context.Context, person proto.ID, number string, compared bool) (Contact, error) {
	now, key, err := c.safetyNumber(ctx, person)
	switch {
	case err != nil:
		return Contact{}, err
	case compared && now.State == SafetyChanged:
		return Contact{}, errCompareChanged
	case compared && now.Number != number:
		return Contact{}, proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "this is not their safety number (any more): compare the one that is shown now")
	}
	return c.notePerson(ctx, person, func(s *pb.PersonSetting) error {
		s.ComparedKey, s.ComparedMs = nil, 0
		if compared {
			s.ComparedKey, s.ComparedMs = key, nowMS()
		}
		return nil
	})
}
