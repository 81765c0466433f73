package peer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// unknownDeviceError says whose device lists are needed before an event can be checked.
type unknownDeviceError struct{ account proto.ID }

func (e *unknownDeviceError) Error() string {
	return fmt.Sprintf("no device list of account %s that names the signing device", e.account)
}

// clockSkew is how far a sender's time may be from the relay's before the relay's is shown.
const clockSkew = 5 * 60 * 1000

// storeEvents verifies events and stores them and the advanced cursor in one transaction. An event
// that does not verify is reported and passed over: it never becomes a message.
func (c *Client) storeEvents(ctx context.Context, id proto.ID, events []*pb.Event, through uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Event
	err := c.store.Update(ctx, func(tx *local.Tx) error {
		out = nil
		row, err := conversation(tx, id)
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.GetSeq() <= row.ThroughSeq {
				continue
			}
			made, err := c.storeEvent(tx, row, e)
			var unknown *unknownDeviceError
			if errors.As(err, &unknown) && !c.fetched(unknown.account, id, e.GetSeq()) {
				return err
			}
			if err != nil {
				c.logger.Warn("event refused", "conversation", id, "seq", e.GetSeq(), "error", err)
				out = append(out, ErrorEvent{Conversation: id, Err: fmt.Errorf("event %d: %w", e.GetSeq(), err)})
			}
			out = append(out, made...)
		}
		row.ThroughSeq = max(row.ThroughSeq, through)
		row.HeadSeq = max(row.HeadSeq, through)
		return tx.SaveConversation(row)
	})
	if err == nil {
		c.events.emit(out...)
	}
	return err
}

// fetched says whether the lists of an account were already fetched for this event, and remembers it:
// a device that no list names must not hold up the conversation.
func (c *Client) fetched(account, conversation proto.ID, seq uint64) bool {
	key := fetchKey{account, conversation, seq}
	if c.fetches[key] {
		delete(c.fetches, key)
		return true
	}
	if c.fetches == nil {
		c.fetches = make(map[fetchKey]bool)
	}
	c.fetches[key] = true
	return false
}

type fetchKey struct {
	account, conversation proto.ID
	seq                   uint64
}

func (c *Client) storeEvent(tx *local.Tx, row *local.Conversation, e *pb.Event) ([]Event, error) {
	switch kind := e.GetKind().(type) {
	case *pb.Event_Commit:
		return c.storeCommit(tx, row, kind.Commit)
	case *pb.Event_Envelope:
		return c.storeEnvelope(tx, row, kind.Envelope, e.GetSeq(), e.GetRelayMs())
	}
	return nil, errors.New("it is of a kind that needs a newer Parley")
}

// lookup finds a device's signing key among all lists ever verified.
func lookup(tx *local.Tx) func(account, device proto.ID) (ed25519.PublicKey, error) {
	return func(account, device proto.ID) (ed25519.PublicKey, error) {
		key, err := tx.DeviceKeyOf(account, device)
		if errors.Is(err, local.ErrNotFound) {
			return nil, &unknownDeviceError{account: account}
		}
		if err != nil {
			return nil, err
		}
		return key.SignKey, nil
	}
}

// verify checks everything about an envelope that needs no key of its epoch.
func verify(tx *local.Tx, row *local.Conversation, env *pb.Envelope) (*pb.Header, error) {
	h, err := proto.ParseHeader(env.GetHeader())
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(h.GetConversation(), row.ID.Bytes()) {
		return nil, errors.New("it belongs to another conversation")
	}
	chain, err := chainOf(row)
	if err != nil {
		return nil, err
	}
	account, device := mustID(h.GetAccount()), mustID(h.GetDevice())
	if _, ok := chain.Member(account); !ok {
		return nil, fmt.Errorf("its sender %s is not a member", account)
	}
	key, err := lookup(tx)(account, device)
	if err != nil {
		return nil, err
	}
	return h, proto.VerifyEnvelope(env, key)
}

// mustID reads an id whose length ParseHeader has checked.
func mustID(b []byte) proto.ID {
	id, _ := proto.IDFrom(b)
	return id
}

// storeEnvelope stores the relay's copy of a message. It wins over a direct copy that differs.
func (c *Client) storeEnvelope(tx *local.Tx, row *local.Conversation, env *pb.Envelope, seq, relayMS uint64) ([]Event, error) {
	h, err := verify(tx, row, env)
	if err != nil {
		return nil, err
	}
	chain, err := chainOf(row)
	if err != nil {
		return nil, err
	}
	if h.GetEpoch() != chain.Epoch() {
		return nil, fmt.Errorf("it is sealed under epoch %d at a number where %d is in force", h.GetEpoch(), chain.Epoch())
	}
	hash := proto.EnvelopeHash(env)
	m, err := tx.Message(row.ID, mustID(h.GetDevice()), mustID(h.GetId()))
	switch {
	case errors.Is(err, local.ErrNotFound):
		m = newMessage(row.ID, h)
		m.Path = local.PathRelay
	case err != nil:
		return nil, err
	case bytes.Equal(m.Hash, hash[:]) && m.Content != nil:
		m.Seq, m.Envelope = seq, nil
		m.Status, m.Failure = local.Stored, ""
		if m.Path == local.PathNone {
			m.Path = local.PathRelay
		}
		fixTime(m, relayMS)
		if err := tx.SaveMessage(m); err != nil {
			return nil, err
		}
		return c.stateEvent(tx, m)
	}
	known := m.Arrival != 0
	m.Seq, m.Hash, m.Kind, m.TimeMS, m.Failure = seq, hash[:], h.GetKind(), h.GetTimeMs(), ""
	fixTime(m, relayMS)
	if m.Path == local.PathNone {
		m.Path = local.PathRelay
	}
	if err := c.openInto(tx, m, h, env); err != nil {
		return nil, err
	}
	if err := tx.SaveMessage(m); err != nil {
		return nil, err
	}
	if known {
		return c.stateEvent(tx, m)
	}
	return c.messageEvent(tx, m)
}

func newMessage(conversation proto.ID, h *pb.Header) *local.Message {
	return &local.Message{
		Conversation: conversation, Device: mustID(h.GetDevice()), ID: mustID(h.GetId()), Account: mustID(h.GetAccount()),
		Kind: h.GetKind(), TimeMS: h.GetTimeMs(),
	}
}

func fixTime(m *local.Message, relayMS uint64) {
	if relayMS != 0 && max(m.TimeMS, relayMS)-min(m.TimeMS, relayMS) > clockSkew {
		m.TimeMS = relayMS
	}
}

// openInto opens what the envelope seals, as far as this device can.
func (c *Client) openInto(tx *local.Tx, m *local.Message, h *pb.Header, env *pb.Envelope) error {
	m.Content, m.Envelope = nil, nil
	if len(env.GetCiphertext()) == 0 && len(env.GetCiphertextHash()) > 0 {
		m.Status = local.Blanked
		return nil
	}
	key, err := tx.EpochKey(m.Conversation, h.GetEpoch())
	if errors.Is(err, local.ErrNotFound) {
		m.Status, m.Envelope = local.NoKey, env
		return nil
	}
	if err != nil {
		return err
	}
	content, err := proto.OpenEnvelope(key, env)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	m.Content, m.Status = content, local.Stored
	return nil
}

// takeDirect stores envelopes that came over a link and says for each whether it is stored now.
func (c *Client) takeDirect(ctx context.Context, account, device proto.ID, path local.Path, envelopes []*pb.Envelope) ([]*pb.DirectAck_Item, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var (
		items []*pb.DirectAck_Item
		out   []Event
	)
	err := c.store.Update(ctx, func(tx *local.Tx) error {
		items, out = nil, nil
		for _, env := range envelopes {
			h, err := proto.ParseHeader(env.GetHeader())
			if err != nil {
				return fmt.Errorf("direct message: %w", err)
			}
			item := &pb.DirectAck_Item{Conversation: h.GetConversation(), Message: &pb.MessageRef{Device: h.GetDevice(), Id: h.GetId()}}
			made, err := c.storeDirect(tx, account, device, path, h, env)
			if err != nil {
				c.logger.Debug("direct message refused", "error", err)
				item.Refused = true
			}
			items, out = append(items, item), append(out, made...)
		}
		return nil
	})
	if err == nil {
		c.events.emit(out...)
	}
	return items, err
}

// storeDirect makes the same checks as storeEnvelope, and those that only a link needs: it must come
// from its own sender, in the newest epoch that the relay has confirmed to this device.
func (c *Client) storeDirect(tx *local.Tx, account, device proto.ID, path local.Path, h *pb.Header, env *pb.Envelope) ([]Event, error) {
	if mustID(h.GetAccount()) != account || mustID(h.GetDevice()) != device {
		return nil, errors.New("it was not written by the device at the other end")
	}
	row, err := tx.Conversation(mustID(h.GetConversation()))
	if err != nil {
		return nil, err
	}
	if _, err := verify(tx, row, env); err != nil {
		return nil, err
	}
	chain, err := chainOf(row)
	if err != nil {
		return nil, err
	}
	if h.GetEpoch() != chain.Epoch() || row.NeedsEpoch {
		return nil, errors.New("it is not in the newest epoch known")
	}
	hash := proto.EnvelopeHash(env)
	known, err := tx.Message(row.ID, device, mustID(h.GetId()))
	if err == nil {
		if bytes.Equal(known.Hash, hash[:]) {
			return nil, nil
		}
		return nil, errors.New("another message has its id")
	}
	if !errors.Is(err, local.ErrNotFound) {
		return nil, err
	}
	m := newMessage(row.ID, h)
	m.Hash, m.Path = hash[:], path
	fixTime(m, nowMS())
	if err := c.openInto(tx, m, h, env); err != nil {
		return nil, err
	}
	if m.Content == nil {
		return nil, errors.New("its key is missing")
	}
	m.Status, m.Envelope = local.Unrelayed, env
	if err := tx.SaveMessage(m); err != nil {
		return nil, err
	}
	return c.messageEvent(tx, m)
}

// applyTyping and the other live hints change nothing that is stored.
func (c *Client) applyTyping(t *pb.Typing) {
	conversation, err1 := proto.IDFrom(t.GetConversation())
	account, err2 := proto.IDFrom(t.GetAccount())
	if err1 == nil && err2 == nil {
		c.events.emit(TypingEvent{Conversation: conversation, Account: account, Stopped: t.GetStopped()})
	}
}
