package peer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const (
	postBatch   = 100              // envelopes per request
	postBytes   = 192 << 10        // of envelopes per request, well below the frame limit
	onBehalf    = 20 * time.Second // a direct message whose sender did not post it for so long is posted for them
	outboxTick  = 10 * time.Second
	retryAtMost = time.Minute
)

// ErrNotReady says that a conversation has no key on this device yet.
var ErrNotReady = errors.New("this conversation is not ready on this device yet: its key has not arrived")

// SendText puts a text into the conversation. When it returns the message is durable on this device
// and goes out by itself: to open links at once, to the relay as soon as that is reached.
func (c *Client) SendText(ctx context.Context, conversation proto.ID, text string) (Message, error) {
	switch {
	case text == "":
		return Message{}, &proto.Error{Code: pb.ErrorCode_ERROR_CODE_MALFORMED, Message: "the message is empty"}
	case len(text) > proto.MaxText:
		return Message{}, &proto.Error{
			Code:    pb.ErrorCode_ERROR_CODE_TOO_LARGE,
			Message: fmt.Sprintf("the message has %d bytes, at most %d go into one: send it in parts", len(text), proto.MaxText),
		}
	}
	content := &pb.Content{Kind: &pb.Content_Text_{Text: &pb.Content_Text{Body: text}}}
	return c.send(ctx, conversation, uint32(pb.Kind_KIND_MESSAGE), content)
}

func (c *Client) send(ctx context.Context, id proto.ID, kind uint32, content *pb.Content) (Message, error) {
	var (
		m     *local.Message
		shown Message
		out   []Event
	)
	c.mu.Lock()
	err := c.store.Update(ctx, func(tx *local.Tx) error {
		row, err := tx.Conversation(id)
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		if err := c.mayWrite(tx, row); err != nil {
			return err
		}
		row.Counter++
		m = &local.Message{
			Conversation: id, Device: c.profile.Device, ID: proto.NewID(), Account: c.profile.Account, Kind: kind, TimeMS: nowMS(),
			Content: content, Status: local.Waiting,
		}
		if err := c.sealInto(tx, row, m, row.Counter); err != nil {
			return err
		}
		if err := tx.SaveMessage(m); err != nil {
			return err
		}
		if err := tx.SaveConversation(row); err != nil {
			return err
		}
		if out, err = c.messageEvent(tx, m); err != nil {
			return err
		}
		v, err := c.view(tx, id)
		if err != nil {
			return err
		}
		shown = v.message(m)
		return nil
	})
	c.mu.Unlock()
	if err != nil {
		return Message{}, err
	}
	c.events.emit(out...)
	c.sendDirect(ctx, m.Conversation, []*pb.Envelope{m.Envelope})
	c.kick()
	return shown, nil
}

// mayWrite holds sending while somebody's identity changed and nobody has decided.
func (c *Client) mayWrite(tx *local.Tx, row *local.Conversation) error {
	chain, err := chainOf(row)
	if err != nil {
		return err
	}
	if _, ok := chain.Member(c.profile.Account); !ok {
		return ErrNotReady
	}
	for _, member := range chain.Members() {
		p, err := tx.Person(mustID(member.GetAccount()))
		if err == nil && p.NewIdentity != nil {
			return fmt.Errorf("%s: %w", p.DisplayName(), errIdentityChanged)
		}
		if err != nil && !errors.Is(err, local.ErrNotFound) {
			return err
		}
	}
	return nil
}

// sealInto seals m.Content under the epoch in force with the given counter and sets envelope and hash.
func (c *Client) sealInto(tx *local.Tx, row *local.Conversation, m *local.Message, counter uint64) error {
	chain, err := chainOf(row)
	if err != nil {
		return err
	}
	key, err := tx.EpochKey(row.ID, chain.Epoch())
	if errors.Is(err, local.ErrNotFound) {
		return ErrNotReady
	}
	if err != nil {
		return err
	}
	m.Envelope, err = proto.SealEnvelope(key, &pb.Header{
		Version: 1, Suite: chain.Suite(), Conversation: row.ID.Bytes(), Epoch: chain.Epoch(), Id: m.ID.Bytes(),
		Account: m.Account.Bytes(), Device: m.Device.Bytes(), Counter: counter, TimeMs: m.TimeMS, Kind: m.Kind,
	}, m.Content, c.profile.signKey())
	if err != nil {
		return err
	}
	hash := proto.EnvelopeHash(m.Envelope)
	m.Hash = hash[:]
	return nil
}

// outbox posts what is waiting whenever it is woken, the server is reached or some time has passed.
func (c *Client) outbox(ctx context.Context) {
	tick := time.NewTicker(outboxTick)
	defer tick.Stop()
	for {
		retry, err := c.postWaiting(ctx)
		if err != nil && !errors.Is(err, ErrOffline) && ctx.Err() == nil {
			c.logger.Warn("post", "error", err)
		}
		var again <-chan time.Time
		if retry > 0 {
			again = time.After(min(retry, retryAtMost))
		}
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-tick.C:
			if err := c.postOnBehalf(ctx); err != nil && ctx.Err() == nil {
				c.logger.Debug("post on behalf", "error", err)
			}
		case <-again:
		}
	}
}

// postWaiting posts the outbox in batches until it is empty. A positive duration asks to come back.
func (c *Client) postWaiting(ctx context.Context) (time.Duration, error) {
	var (
		after int64
		retry time.Duration
	)
	for c.session.current() != nil {
		var batch []*local.Message
		err := c.store.Update(ctx, func(tx *local.Tx) (err error) {
			batch, err = tx.Outbox(after, postBatch)
			return err
		})
		if err != nil || len(batch) == 0 {
			return retry, err
		}
		batch = fit(batch)
		results, err := c.post(ctx, batch)
		if err != nil {
			return retry, err
		}
		wait, err := c.posted(ctx, batch, results)
		if err != nil {
			return retry, err
		}
		if wait > 0 { // those stay in the outbox; go on behind them
			retry = max(retry, wait)
			after = batch[len(batch)-1].Arrival
		}
	}
	return retry, nil
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

func (c *Client) post(ctx context.Context, batch []*local.Message) ([]*pb.Posted_Result, error) {
	envelopes := make([]*pb.Envelope, len(batch))
	for i, m := range batch {
		envelopes[i] = m.Envelope
	}
	answer, err := c.session.ask(ctx, &pb.Frame{Kind: &pb.Frame_Post{Post: &pb.Post{Envelopes: envelopes}}})
	if err != nil {
		return nil, err
	}
	results := answer.GetPosted().GetResults()
	if len(results) != len(batch) {
		return nil, fmt.Errorf("post: %d results for %d messages", len(results), len(batch))
	}
	return results, nil
}

// posted records what the relay said of each message; what needs another epoch is sealed again.
func (c *Client) posted(ctx context.Context, batch []*local.Message, results []*pb.Posted_Result) (time.Duration, error) {
	var (
		retry time.Duration
		stale = make(map[proto.ID]pb.ErrorCode)
	)
	for i, r := range results {
		if r.GetError() == nil {
			if err := c.markPosted(ctx, batch[i], r); err != nil {
				return 0, err
			}
			continue
		}
		refusal := proto.FromProto(r.GetError())
		switch {
		case refusal.Code == pb.ErrorCode_ERROR_CODE_STALE_EPOCH || refusal.Code == pb.ErrorCode_ERROR_CODE_NEEDS_EPOCH:
			stale[batch[i].Conversation] = refusal.Code
		case refusal.Retryable():
			retry = max(retry, refusal.RetryAfter, backoffBase)
		default:
			if err := c.markRefused(ctx, batch[i], refusal); err != nil {
				return 0, err
			}
		}
	}
	for id, code := range stale {
		if err := c.freshEpoch(ctx, id, code); err != nil {
			c.logger.Warn("new epoch", "error", err)
			retry = max(retry, backoffBase)
			continue
		}
		if err := c.sealAgain(ctx, id); err != nil {
			return 0, err
		}
		retry = max(retry, time.Millisecond)
	}
	return retry, nil
}

// markPosted records the relay's number. The event of the same message may have come first.
func (c *Client) markPosted(ctx context.Context, m *local.Message, r *pb.Posted_Result) error {
	return c.updateMessage(ctx, m, func(m *local.Message) {
		m.Seq, m.Status, m.Envelope, m.Failure = r.GetSeq(), local.Stored, nil, ""
		if m.Path == local.PathNone {
			m.Path = local.PathRelay
		}
		fixTime(m, r.GetRelayMs())
	})
}

func (c *Client) markRefused(ctx context.Context, m *local.Message, refusal *proto.Error) error {
	return c.updateMessage(ctx, m, func(m *local.Message) {
		m.Status, m.Failure = local.Failed, refusal.Message
		if m.Acked || m.Account != c.profile.Account {
			m.Status = local.OnlyHere
		}
	})
}

// updateMessage changes a message as it is stored now and tells subscribers.
func (c *Client) updateMessage(ctx context.Context, m *local.Message, change func(*local.Message)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Event
	err := c.store.Update(ctx, func(tx *local.Tx) error {
		now, err := tx.Message(m.Conversation, m.Device, m.ID)
		if err != nil {
			return err
		}
		change(now)
		if err := tx.SaveMessage(now); err != nil {
			return err
		}
		out, err = c.stateEvent(tx, now)
		return err
	})
	if err == nil {
		c.events.emit(out...)
	}
	return err
}

// sealAgain seals every waiting message of a conversation under the epoch in force, with the same
// ids and counters.
func (c *Client) sealAgain(ctx context.Context, id proto.ID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store.Update(ctx, func(tx *local.Tx) error {
		row, err := tx.Conversation(id)
		if err != nil {
			return err
		}
		waiting, err := tx.WithStatus(id, local.Waiting)
		if err != nil {
			return err
		}
		for _, m := range waiting {
			h, err := proto.ParseHeader(m.Envelope.GetHeader())
			if err != nil {
				return fmt.Errorf("seal again: %w", err)
			}
			if err := c.sealInto(tx, row, m, h.GetCounter()); err != nil {
				return err
			}
			if err := tx.SaveMessage(m); err != nil {
				return err
			}
		}
		return nil
	})
}

// Retry puts a failed message back into the outbox.
func (c *Client) Retry(ctx context.Context, m Message) error {
	stored := &local.Message{Conversation: m.Conversation, Device: m.Device, ID: m.ID}
	err := c.updateMessage(ctx, stored, func(m *local.Message) {
		if m.Status == local.Failed && m.Envelope != nil {
			m.Status, m.Failure = local.Waiting, ""
		}
	})
	c.kick()
	return err
}

// postOnBehalf gives the relay messages that came directly and whose sender seems to have vanished
// before posting them. The relay checks the sender's signature.
func (c *Client) postOnBehalf(ctx context.Context) error {
	if c.session.current() == nil {
		return nil
	}
	var batch []*local.Message
	err := c.store.Update(ctx, func(tx *local.Tx) error {
		rows, err := tx.Conversations()
		if err != nil {
			return err
		}
		for _, row := range rows {
			direct, err := tx.WithStatus(row.ID, local.Unrelayed)
			if err != nil {
				return err
			}
			for _, m := range direct {
				if time.Since(timeOf(m.TimeMS)) > onBehalf && len(batch) < postBatch {
					batch = append(batch, m)
				}
			}
		}
		return nil
	})
	if err != nil || len(batch) == 0 {
		return err
	}
	batch = fit(batch)
	results, err := c.post(ctx, batch)
	if err != nil {
		return err
	}
	for i, r := range results {
		if r.GetError() == nil {
			err = c.markPosted(ctx, batch[i], r)
		} else if refusal := proto.FromProto(r.GetError()); !refusal.Retryable() && refusal.Code != pb.ErrorCode_ERROR_CODE_STALE_EPOCH &&
			refusal.Code != pb.ErrorCode_ERROR_CODE_NEEDS_EPOCH {
			err = c.markRefused(ctx, batch[i], refusal) // in another epoch only its sender can seal it again
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// SendTyping tells the others that the person writes, or stopped.
func (c *Client) SendTyping(conversation proto.ID, stopped bool) {
	c.session.tell(&pb.Frame{Kind: &pb.Frame_Typing{Typing: &pb.Typing{Conversation: conversation.Bytes(), Stopped: stopped}}})
}
