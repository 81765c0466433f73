package peer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// ErrNotReady says that this account is not in a conversation, or that its key has not come to this device yet.
var ErrNotReady = errors.New("this conversation is not ready on this device yet: it, or its key, has not arrived")

// ErrNoContact says that somebody is no contact (any more), so that nothing can be sent to them.
var ErrNoContact = errors.New("not a contact any more: ask again")

// Draft is a message to be sent.
type Draft struct {
	Conversation proto.ID
	Text         string // 1 byte to 64 KiB of UTF-8
	// ID makes sending repeatable: a draft whose ID (from proto.NewID) this device has sent already is not sent twice; Send
	// returns the message that was. Zero: a new one.
	ID proto.ID `json:",omitzero"`
}

// SendText is Send of a text.
func (c *Client) SendText(ctx context.Context, conversation proto.ID, text string) (Message, error) {
	return c.Send(ctx, Draft{Conversation: conversation, Text: text})
}

// Send puts a message into the conversation. When it returns the message is durable on this device
// and goes out by itself: to open links at once, to the relay as soon as that is reached. ErrNotReady says that this account
// is not (yet) a member, ErrNoContact that the other is no contact any more.
func (c *Client) Send(ctx context.Context, d Draft) (Message, error) {
	if err := d.check(); err != nil {
		return Message{}, err
	}
	var (
		m       *local.Message
		shown   Message
		members []proto.ID
	)
	err := c.update(ctx, func(w *work) error {
		r, err := w.roomOrNew(d.Conversation)
		if err != nil {
			return err
		}
		if err := r.mayWrite(); err != nil {
			return err
		}
		if m, err = r.sent(d); err == nil && m == nil {
			m, err = r.write(d)
		}
		if err != nil {
			return err
		}
		members = r.members()
		shown, err = r.show(m)
		return err
	})
	if err != nil {
		return Message{}, err
	}
	c.sendDirect(members, m)
	c.kick()
	return shown, nil
}

func (d *Draft) check() error {
	switch {
	case d.Conversation.IsZero():
		return ErrNotReady
	case d.Text == "":
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "the message is empty")
	case !utf8.ValidString(d.Text):
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "the message is not text in UTF-8")
	case len(d.Text) > proto.MaxText:
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "the message has %d bytes, at most %d go into one: send it in parts", len(d.Text), proto.MaxText)
	}
	return nil
}

// sent is the message that a draft became before, nil if it is new.
func (r *room) sent(d Draft) (*local.Message, error) {
	if d.ID.IsZero() {
		return nil, nil
	}
	m, err := r.Message(d.Conversation, r.c.Device(), d.ID)
	if errors.Is(err, local.ErrNotFound) {
		return nil, nil
	}
	if err == nil && m.Content.GetText().GetBody() != d.Text {
		err = proto.Errorf(pb.ErrorCode_ERROR_CODE_ID_CONFLICT, "another message of this device has this id")
	}
	return m, err
}

// write makes a message of a draft and puts it into the outbox.
func (r *room) write(d Draft) (*local.Message, error) {
	if d.ID.IsZero() {
		d.ID = proto.NewID()
	}
	r.row.Counter++
	m := &local.Message{
		Conversation: d.Conversation, Device: r.c.Device(), ID: d.ID, Account: r.c.Account(), After: r.row.ThroughSeq,
		Kind: uint32(pb.Kind_KIND_MESSAGE), Counter: r.row.Counter, TimeMS: nowMS(), Status: local.Waiting,
		Content: &pb.Content{Kind: &pb.Content_Text_{Text: &pb.Content_Text{Body: d.Text}}},
	}
	if err := r.seal(m); err != nil && !errors.Is(err, ErrNotReady) { // without a key it waits unsealed
		return nil, err
	}
	if err := errors.Join(r.SaveMessage(m), r.save()); err != nil {
		return nil, err
	}
	return m, r.tellMessage(m)
}

// mayWrite says whether this account is in the conversation, and for a pair, that the other is a contact; that counts before the
// pair's first commit has come. It holds sending while somebody's identity changed and nobody has decided.
func (r *room) mayWrite() error {
	other, err := r.pairWith(r.row.ID)
	if err != nil {
		return err
	}
	members := r.members()
	switch {
	case other != nil && other.State != pb.ContactState_CONTACT_STATE_ACCEPTED:
		return fmt.Errorf("%s: %w", other.DisplayName(), ErrNoContact)
	case other != nil && len(members) == 0:
		members = []proto.ID{other.Account, r.c.Account()}
	case !slices.Contains(members, r.c.Account()):
		return ErrNotReady
	}
	for _, account := range members {
		p, err := r.person(account)
		if err != nil {
			return err
		}
		if p.NewIdentity != nil {
			return changed(p)
		}
	}
	return nil
}

// pairWith is the other person of a pair, nil if the conversation is none that this device knows as one.
func (w *work) pairWith(id proto.ID) (*local.Person, error) {
	people, err := w.People()
	if err != nil {
		return nil, err
	}
	for _, p := range people {
		if p.Conversation == id && !id.IsZero() {
			return p, nil
		}
	}
	return nil, nil //nolint:nilnil // nobody, and that is no error
}

// mustRekey says that the epoch in force is to be replaced before anything is sealed.
func (r *room) mustRekey() bool { return r.row.NeedsEpoch || r.row.WantsEpoch }

// seal seals an own message under the epoch in force. It returns ErrNotReady when that cannot be used (yet).
func (r *room) seal(m *local.Message) error {
	if r.row.Rereading || r.mustRekey() {
		return ErrNotReady
	}
	if err := r.settled(); err != nil {
		return err
	}
	key, err := r.epochKey()
	if err != nil {
		return err
	}
	if m.Counter == 0 { // from before counters were kept
		r.row.Counter++
		m.Counter = r.row.Counter
	}
	m.Epoch = r.chain.Epoch()
	m.Envelope, err = proto.SealEnvelope(key, &pb.Header{
		Version: proto.Version, Suite: r.chain.Suite(), Conversation: r.row.ID.Bytes(), Epoch: m.Epoch, Id: m.ID.Bytes(),
		Account: m.Account.Bytes(), Device: m.Device.Bytes(), Counter: m.Counter, TimeMs: m.TimeMS, Kind: m.Kind,
	}, m.Content, r.c.profile.signKey())
	if err != nil {
		return err
	}
	hash := proto.EnvelopeHash(m.Envelope)
	m.Hash = hash[:]
	return nil
}

// Retry puts a failed message back into the outbox.
func (c *Client) Retry(ctx context.Context, m Message) error {
	defer c.kick()
	return c.update(ctx, func(w *work) error {
		r, err := w.room(m.Conversation)
		if err != nil {
			return unlessNotFound(err)
		}
		now, err := w.Message(m.Conversation, m.Device, m.ID)
		if err != nil || now.Status != local.Failed || now.Device != c.Device() {
			return unlessNotFound(err)
		}
		now.Status, now.Failure = local.Waiting, ""
		if err := w.SaveMessage(now); err != nil {
			return err
		}
		return r.tellState(now)
	})
}
