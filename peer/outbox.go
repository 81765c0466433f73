package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const (
	postBatch  = proto.MaxPost    // envelopes per request
	postBytes  = 192 << 10        // of envelopes per request, well below the frame limit
	onBehalf   = 10 * time.Second // a direct message whose sender did not post it for so long is posted for them
	outboxTick = 5 * time.Second
	mostEpochs = 3 // new epochs that one go follows before it waits a little
)

// outbox posts what is waiting whenever it is woken, the server is reached or some time has passed.
type outbox struct {
	c       *Client
	over    *catchUp              // the connection that trouble is about
	trouble map[proto.ID]*trouble // conversations that the relay refused for now
}

func (c *Client) outbox(ctx context.Context) {
	o := &outbox{c: c, trouble: make(map[proto.ID]*trouble)}
	tick := time.NewTicker(outboxTick)
	defer tick.Stop()
	for ctx.Err() == nil {
		again := time.NewTimer(o.postAll(ctx))
		select {
		case <-ctx.Done():
		case <-c.wake:
		case <-again.C:
		case <-tick.C:
			o.postOnBehalf(ctx)
			c.reportGaps(ctx)
		}
		again.Stop()
	}
}

// postAll posts what waits in conversations that are in step with the relay, and says when to come back.
func (o *outbox) postAll(ctx context.Context) time.Duration {
	wait := time.Hour
	cu := o.c.attending()
	if cu == nil {
		return wait
	}
	if cu != o.over {
		o.over = cu
		clear(o.trouble)
	}
	var ids []proto.ID
	err := o.c.update(ctx, func(w *work) (err error) {
		ids, err = w.WaitingIn()
		return err
	})
	if err != nil && ctx.Err() == nil {
		o.c.logger.Warn("read outbox", "error", err)
		return backoffBase
	}
	for _, id := range ids {
		if t := o.trouble[id]; t != nil && time.Until(t.notBefore) > 0 {
			wait = min(wait, time.Until(t.notBefore))
			continue
		}
		if !cu.want(id) {
			continue // whoever fetches it wakes the outbox
		}
		if err := o.post(ctx, cu, id); err != nil {
			wait = min(wait, o.troubled(id, err))
			continue
		}
		delete(o.trouble, id)
	}
	return wait
}

// troubled notes that a conversation cannot be posted now and returns how long to leave it.
func (o *outbox) troubled(id proto.ID, err error) time.Duration {
	if errors.Is(err, ErrOffline) || o.c.run.Err() != nil {
		return time.Hour // the next connection wakes the outbox
	}
	o.c.logger.Warn("post", "conversation", id, "error", err)
	t := o.trouble[id]
	if t == nil {
		t = &trouble{}
		o.trouble[id] = t
	}
	pause := backoff(t.tries)
	if refused, ok := proto.AsError(err); ok {
		pause = max(pause, refused.RetryAfter)
	}
	t.tries++
	t.notBefore = time.Now().Add(pause)
	return pause
}

// post posts what waits in a conversation until nothing is left.
func (o *outbox) post(ctx context.Context, cu *catchUp, id proto.ID) error {
	for epochs := 0; ; {
		batch, rekey, err := o.c.nextBatch(ctx, id)
		if err != nil || len(batch) == 0 && !rekey {
			return err
		}
		stale := false
		if !rekey {
			if stale, err = o.c.postBatch(ctx, cu, id, batch); err != nil {
				return err
			}
		}
		if !rekey && !stale {
			continue
		}
		if epochs++; epochs > mostEpochs {
			return errors.New("the epoch in force keeps changing")
		}
		if rekey {
			err = cu.rekey(ctx, id)
		} else {
			err = cu.sync(ctx, id)
		}
		if err != nil {
			return err
		}
	}
}

// nextBatch is the beginning of a conversation's outbox, sealed under the epoch in force; or rekey says that a new one has to
// begin first. Without the epoch's key it is empty.
func (c *Client) nextBatch(ctx context.Context, id proto.ID) (batch []*local.Message, rekey bool, err error) {
	err = c.update(ctx, func(w *work) error {
		r, err := w.room(id)
		if err != nil {
			return err
		}
		if batch, err = w.Outbox(id, 0, postBatch); err != nil || len(batch) == 0 {
			return err
		}
		if err := r.settled(); err != nil { // whoever decides or commits wakes the outbox
			batch = nil
			return unlessNotReady(err)
		}
		if rekey = r.mustRekey() && !r.row.Rereading; rekey {
			return nil
		}
		for _, m := range batch {
			if m.Envelope != nil && m.Epoch == r.chain.Epoch() {
				continue
			}
			err := r.seal(m)
			if errors.Is(err, ErrNotReady) {
				batch = nil
				return nil
			}
			if err == nil {
				err = w.SaveMessage(m)
			}
			if err != nil {
				return err
			}
		}
		batch = fit(batch)
		return r.save()
	})
	return batch, rekey, err
}

// fit cuts a batch to what goes into one frame.
func fit(batch []*local.Message) []*local.Message {
	size := 0
	for i, m := range batch {
		size += len(m.Envelope.GetHeader()) + len(m.Envelope.GetCiphertext()) + 128
		if size > postBytes && i > 0 {
			return batch[:i]
		}
	}
	return batch
}

// postBatch posts messages of one conversation and records what the relay said of each. stale says that some need another
// epoch.
func (c *Client) postBatch(ctx context.Context, cu *catchUp, id proto.ID, batch []*local.Message) (stale bool, err error) {
	envelopes := make([]*pb.Envelope, len(batch))
	for i, m := range batch {
		envelopes[i] = m.Envelope
	}
	answer, err := cu.conn.ask(ctx, &pb.Frame{Kind: &pb.Frame_Post{Post: &pb.Post{Envelopes: envelopes}}})
	if err != nil {
		return false, err
	}
	results := answer.GetPosted().GetResults()
	if len(results) != len(batch) {
		return false, fmt.Errorf("post: %d results for %d messages", len(results), len(batch))
	}
	p := &posting{batch: batch, results: results}
	if err := c.record(ctx, id, p); err != nil {
		return false, err
	}
	if p.conflict { // the relay has another envelope of that id: if it was sealed by its sender for another epoch, it comes now
		if err := cu.sync(ctx, id); err != nil {
			return false, err
		}
		p.synced = true
		if err := c.record(ctx, id, p); err != nil {
			return false, err
		}
	}
	if p.later != nil {
		return false, p.later
	}
	return p.stale, nil
}

// posting is a batch with what the relay said of it, and what follows from that.
type posting struct {
	batch    []*local.Message
	results  []*pb.Posted_Result
	synced   bool // after the answer
	conflict bool
	stale    bool
	later    error // some may be posted later
}

// record notes the relay's numbers and refusals, of messages that are still what was posted: the relay's copy may have come
// first.
func (c *Client) record(ctx context.Context, id proto.ID, p *posting) error {
	return c.update(ctx, func(w *work) error {
		r, err := w.room(id)
		if err != nil {
			return err
		}
		for i, result := range p.results {
			now, err := w.Message(id, p.batch[i].Device, p.batch[i].ID)
			if err != nil {
				return err
			}
			if now.Status != local.Waiting && now.Status != local.Unrelayed || !bytes.Equal(now.Hash, p.batch[i].Hash) || !p.apply(r, now, result) {
				continue
			}
			if err := w.SaveMessage(now); err != nil {
				return err
			}
			if err := r.tellState(now); err != nil {
				return err
			}
		}
		return r.save()
	})
}

// apply changes a message by what the relay said of it; false says that it stays as it is.
func (p *posting) apply(r *room, m *local.Message, result *pb.Posted_Result) bool {
	if result.GetError() == nil {
		m.Seq, m.Status, m.Failure = result.GetSeq(), local.Stored, ""
		if m.Path == local.PathNone {
			m.Path = local.PathRelay
		}
		settleTime(m, result.GetRelayMs())
		return true
	}
	refusal := proto.FromProto(result.GetError())
	switch {
	case refusal.Code == pb.ErrorCode_ERROR_CODE_STALE_EPOCH:
		p.stale = true
		return false
	case refusal.Code == pb.ErrorCode_ERROR_CODE_NEEDS_EPOCH:
		p.stale, r.row.NeedsEpoch = true, true
		return false
	case refusal.Code == pb.ErrorCode_ERROR_CODE_ID_CONFLICT && !p.synced:
		p.conflict = true
		return false
	case refusal.Retryable():
		p.later = refusal
		return false
	}
	m.Status, m.Failure = local.Failed, refusal.Message
	if m.Acked || m.Account != r.c.Account() {
		m.Status = local.OnlyHere
	}
	return true
}

// postOnBehalf gives the relay messages of others that have no number and whose sender seems to have vanished before posting
// them. The relay checks the sender's signature.
func (o *outbox) postOnBehalf(ctx context.Context) {
	cu := o.c.attending()
	if cu == nil {
		return
	}
	var ids []proto.ID
	err := o.c.update(ctx, func(w *work) (err error) {
		ids, err = w.UnrelayedIn()
		return err
	})
	for _, id := range ids {
		for err == nil && cu.want(id) {
			var batch []*local.Message
			if batch, err = o.c.vanished(ctx, id); err != nil || len(batch) == 0 {
				break
			}
			var stale bool
			if stale, err = o.c.postBatch(ctx, cu, id, batch); stale {
				cu.behind(id, 0) // in another epoch only its sender can seal it again
			}
		}
	}
	if err != nil && ctx.Err() == nil {
		o.c.logger.Debug("post on behalf", "error", err)
	}
}

// vanished are messages of others that can be posted on their behalf.
func (c *Client) vanished(ctx context.Context, id proto.ID) (batch []*local.Message, err error) {
	before := time.Now().Add(-onBehalf).UnixMilli()
	err = c.update(ctx, func(w *work) error {
		r, err := w.room(id)
		if err != nil || r.row.Rereading || r.mustRekey() {
			return err
		}
		if err := r.settled(); err != nil {
			return unlessNotReady(err)
		}
		batch, err = w.Unrelayed(id, r.chain.Epoch(), uint64(max(before, 0)), postBatch)
		batch = fit(batch)
		return err
	})
	return batch, err
}
