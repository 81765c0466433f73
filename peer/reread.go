package peer

import (
	"context"
	"errors"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// A server that was restored from an older copy has lost the end of its logs, or has another one meanwhile. The relay's log
// is then read from its beginning beside what is stored. What it still has gets its number again; the rest is posted again,
// under the same ids: one's own messages by the outbox, others' on their behalf.
//
// The epoch in force may have gone back with the log: a chain that does not come to the head that this device knows is taken
// only for a pair, whose members cannot change, and nothing is sealed before a new epoch began on top of it, since the old
// one's key may be known to a device that was revoked since. Own messages are sealed again for it. Others' can be sealed only
// by their senders; until those come they are "only here".

// errLogChanged tells that a conversation is read again.
var errLogChanged = errors.New("the server's log of this conversation changed (a restored copy?): reading it again")

// beginReread takes the relay's numbers from a conversation and lets it be read from the beginning.
func (c *Client) beginReread(ctx context.Context, id proto.ID) error {
	return c.update(ctx, func(w *work) error {
		r, err := w.roomOrNew(id)
		if err != nil {
			return err
		}
		w.tell(ErrorEvent{Conversation: id, Err: errLogChanged})
		return r.beginReread()
	})
}

func (r *room) beginReread() error {
	if err := errors.Join(r.ForgetSeqs(r.row.ID, r.c.Device()), r.ForgetCursors(r.row.ID)); err != nil {
		return err
	}
	r.row.ThroughSeq, r.row.HeadSeq = 0, 0
	r.row.KnownSeq, r.row.KnownHash, r.row.SuspectSeq, r.row.SuspectHash = 0, nil, 0, nil
	r.row.Rereading, r.row.NewChain, r.row.Met = true, nil, false
	return r.SaveConversation(r.row)
}

// endReread puts what was read in force, if the conversation was being read again.
func (c *Client) endReread(ctx context.Context, id proto.ID) error {
	return c.update(ctx, func(w *work) error {
		r, err := w.room(id)
		if err != nil || !r.row.Rereading {
			return unlessNotFound(err)
		}
		back := !r.row.Met && r.chain.Epoch() > 0
		if back && r.chain.Kind() != pb.ConversationKind_CONVERSATION_KIND_PAIR {
			return errors.New("the server's log of this group ends before changes that this device knows: nothing goes on until it has them again")
		}
		r.chain, r.row.Rereading, r.row.NewChain, r.row.Met = r.reading, false, nil, false
		r.row.WantsEpoch = r.row.WantsEpoch || back
		if err := r.dropLost(); err != nil {
			return err
		}
		return r.save()
	})
}

// dropLost parts with envelopes that the relay cannot take again, because their epoch is not in force.
func (r *room) dropLost() error {
	for _, status := range []local.Status{local.Waiting, local.Unrelayed} {
		lost, err := r.WithStatus(r.row.ID, status)
		if err != nil {
			return err
		}
		for _, m := range lost {
			if !r.row.WantsEpoch && m.Epoch == r.chain.Epoch() {
				continue
			}
			if status == local.Waiting {
				m.Envelope, m.Hash, m.Epoch = nil, nil, 0 // sealed again when it is posted
			} else {
				m.Status, m.Failure = local.OnlyHere, "the server lost this message, and only its sender can give it back"
			}
			if err := r.SaveMessage(m); err != nil {
				return err
			}
			if err := r.tellState(m); err != nil {
				return err
			}
		}
	}
	return nil
}
