package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// clockSkew is how far in milliseconds a sender's time may be from the relay's before the relay's is shown.
const clockSkew = 5 * 60 * 1000

// storeEvents verifies events and stores them and the advanced cursor in one transaction. An event that does not verify is
// reported and passed over: it never becomes a message. A signing device that no list names fails with
// *unknownDeviceError, so that the lists can be fetched, unless its account is in fetched: then the event is passed over too.
func (c *Client) storeEvents(ctx context.Context, id proto.ID, events []*pb.Event, through uint64, fetched map[proto.ID]bool) error {
	return c.update(ctx, func(w *work) error {
		r, err := w.roomOrNew(id)
		if err != nil {
			return err
		}
		return r.storeEvents(events, through, fetched)
	})
}

func (r *room) storeEvents(events []*pb.Event, through uint64, fetched map[proto.ID]bool) error {
	last := r.row.ThroughSeq
	for _, e := range events {
		if e.GetSeq() <= last {
			continue
		}
		last = e.GetSeq()
		err := r.storeEvent(e)
		var unknown *unknownDeviceError
		if broken(err) || errors.As(err, &unknown) && !fetched[unknown.account] {
			return err
		}
		if err != nil {
			r.c.logger.Warn("event refused", "conversation", r.row.ID, "seq", e.GetSeq(), "error", err)
			r.tell(ErrorEvent{Conversation: r.row.ID, Err: fmt.Errorf("event %d: %w", e.GetSeq(), err)})
		}
		r.row.KnownSeq, r.row.KnownHash = e.GetSeq(), hashOf(e)
		if err != nil && r.row.SuspectSeq == 0 {
			r.row.SuspectSeq, r.row.SuspectHash = r.row.KnownSeq, r.row.KnownHash
		}
	}
	r.row.ThroughSeq = max(r.row.ThroughSeq, through)
	r.row.HeadSeq = max(r.row.HeadSeq, through)
	return r.save()
}

// hashOf is what the relay keeps of an event as its hash.
func hashOf(e *pb.Event) []byte {
	switch kind := e.GetKind().(type) {
	case *pb.Event_Commit:
		hash := proto.CommitHash(kind.Commit.GetCommit().GetBody())
		return hash[:]
	case *pb.Event_Envelope:
		hash := proto.EnvelopeHash(kind.Envelope)
		return hash[:]
	}
	return e.GetHash()
}

func (r *room) storeEvent(e *pb.Event) error {
	switch kind := e.GetKind().(type) {
	case *pb.Event_Commit:
		return r.storeCommit(kind.Commit)
	case *pb.Event_Envelope:
		return r.storeEnvelope(kind.Envelope, e.GetSeq(), e.GetRelayMs())
	}
	return errors.New("it is of a kind that needs a newer Parley")
}

// verify checks everything about an envelope that needs no key of its epoch.
func (r *room) verify(chain *proto.Chain, env *pb.Envelope) (*pb.Header, error) {
	h, err := proto.ParseHeader(env.GetHeader())
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(h.GetConversation(), r.row.ID.Bytes()) {
		return nil, errors.New("it belongs to another conversation")
	}
	account, device := mustID(h.GetAccount()), mustID(h.GetDevice())
	if _, ok := chain.Member(r.c.Account()); !ok { // a stranger and the server could make up a conversation
		return nil, errors.New("this account is not a member of its conversation")
	}
	sender, ok := chain.Member(account)
	if !ok {
		return nil, fmt.Errorf("its sender %s is not a member", account)
	}
	key, err := r.deviceOf(sender, device)
	if err != nil {
		return nil, err
	}
	return h, proto.VerifyEnvelope(env, key)
}

// storeEnvelope stores the relay's copy of a message. It wins over a direct copy that differs: its sender sealed that again
// for a new epoch, or it says something else, and then it is marked.
func (r *room) storeEnvelope(env *pb.Envelope, seq, relayMS uint64) error {
	h, err := r.verify(r.reading, env)
	if err != nil {
		return err
	}
	if h.GetEpoch() != r.reading.Epoch() {
		return fmt.Errorf("it is sealed under epoch %d at a number where %d is in force", h.GetEpoch(), r.reading.Epoch())
	}
	m, err := r.Message(r.row.ID, mustID(h.GetDevice()), mustID(h.GetId()))
	if errors.Is(err, local.ErrNotFound) {
		m, err = r.newMessage(h), nil
	}
	if err != nil {
		return err
	}
	if m.Seq != 0 && m.Seq != seq {
		return fmt.Errorf("a message with its id stands at number %d already", m.Seq)
	}
	known, before, kind := m.Arrival != 0, m.Content, m.Kind
	if hash := proto.EnvelopeHash(env); before != nil && bytes.Equal(m.Hash, hash[:]) {
		m.Status, m.Envelope, m.Epoch = local.Stored, env, h.GetEpoch()
	} else {
		if err := r.open(m, h, env); err != nil {
			return err
		}
		m.Altered = before != nil && m.Content != nil && (kind != m.Kind || !gproto.Equal(before, m.Content))
	}
	m.Seq, m.Failure = seq, ""
	if m.Path == local.PathNone {
		m.Path = local.PathRelay
	}
	settleTime(m, relayMS)
	if m.Device == r.c.Device() {
		r.row.Counter = max(r.row.Counter, m.Counter) // a profile restored from an older copy goes on behind what it had sent
	}
	if err := r.SaveMessage(m); err != nil {
		return err
	}
	if known {
		return r.tellState(m)
	}
	return r.tellMessage(m)
}

// newMessage is a message that this device did not have.
func (r *room) newMessage(h *pb.Header) *local.Message {
	return &local.Message{
		Conversation: r.row.ID, Device: mustID(h.GetDevice()), ID: mustID(h.GetId()), Account: mustID(h.GetAccount()),
		After: r.row.ThroughSeq, Kind: h.GetKind(), Counter: h.GetCounter(), TimeMS: h.GetTimeMs(),
	}
}

// settleTime shows the relay's time instead of a sender's that is far from it. It happens once: a message that is posted
// again, because the relay lost it, keeps its time.
func settleTime(m *local.Message, relayMS uint64) {
	if !m.Timed && relayMS != 0 && max(m.TimeMS, relayMS)-min(m.TimeMS, relayMS) > clockSkew {
		m.TimeMS = relayMS
	}
	m.Timed = m.Timed || relayMS != 0
}

// open puts an envelope into a message and opens what it seals, as far as this device can.
func (r *room) open(m *local.Message, h *pb.Header, env *pb.Envelope) error {
	var (
		content *pb.Content
		status  = local.Stored
	)
	key, err := r.EpochKey(m.Conversation, h.GetEpoch())
	switch {
	case proto.IsBlank(env) && len(env.GetCiphertextHash()) > 0:
		status = local.Blanked
	case errors.Is(err, local.ErrNotFound):
		status = local.NoKey
	case err != nil:
		return err
	default:
		if content, err = proto.OpenEnvelope(key, env); err != nil {
			return fmt.Errorf("open: %w", err)
		}
	}
	hash := proto.EnvelopeHash(env)
	m.Hash, m.Envelope, m.Epoch, m.Counter, m.Kind = hash[:], env, h.GetEpoch(), h.GetCounter(), h.GetKind()
	m.Content, m.Status = content, status
	return nil
}

// openWaiting opens messages whose key has come.
func (r *room) openWaiting() error {
	sealed, err := r.WithStatus(r.row.ID, local.NoKey)
	if err != nil {
		return err
	}
	for _, m := range sealed {
		h, err := proto.ParseHeader(m.Envelope.GetHeader())
		if err == nil {
			err = r.open(m, h, m.Envelope)
		}
		switch {
		case broken(err):
			return err
		case err != nil:
			r.tell(ErrorEvent{Conversation: r.row.ID, Err: err})
			continue
		case m.Status == local.NoKey:
			continue
		case m.Seq == 0:
			m.Status = local.Unrelayed
		}
		if err := r.SaveMessage(m); err != nil {
			return err
		}
		if err := r.tellMessage(m); err != nil {
			return err
		}
	}
	return nil
}
