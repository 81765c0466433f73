// Package relay holds conversations: it takes commits and sealed envelopes, numbers them, stores them
// through package store before it acknowledges, and tells the members' connections. It never opens an
// envelope. Who calls is settled before (store.Session); what they may do is decided in authorise.
package relay

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/relay/bus"
	"github.com/parley-chat/parley/store"
)

// Config is what a Relay needs.
type Config struct {
	Store  *store.Store
	Bus    bus.Bus
	Logger *slog.Logger
}

// Relay serves conversations. Its methods are safe for concurrent use.
type Relay struct {
	store  *store.Store
	bus    bus.Bus
	logger *slog.Logger
}

// New makes a relay.
func New(cfg Config) *Relay { return &Relay{store: cfg.Store, bus: cfg.Bus, logger: cfg.Logger} }

func notFound() error {
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "there is no such conversation")
}

// access is a conversation that the caller may act in.
type access struct {
	*store.Conversation
	chain *proto.Chain
}

// authorise is the one place that decides whether a caller may act in a conversation. Whoever is not a
// member learns nothing, not even whether it exists.
func (r *Relay) authorise(ctx context.Context, caller *store.Session, conversation []byte) (*access, error) {
	id, err := proto.IDFrom(conversation)
	if err != nil {
		return nil, err
	}
	c, err := r.store.Conversation(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound()
	}
	if err != nil {
		return nil, fmt.Errorf("authorise: %w", err)
	}
	chain, err := proto.RestoreChain(c.Chain)
	if err != nil {
		return nil, fmt.Errorf("authorise: %w", err)
	}
	if _, member := chain.Member(caller.Account); !member {
		return nil, notFound()
	}
	return &access{Conversation: c, chain: chain}, nil
}

// lookup finds the signing key of a device that has not ended.
func (r *Relay) lookup(ctx context.Context) proto.Lookup {
	return func(account, device proto.ID) (ed25519.PublicKey, error) {
		d, err := r.store.Device(ctx, device)
		if errors.Is(err, store.ErrNotFound) {
			return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_BAD_SIGNATURE, "the signing device is not known or was signed out")
		}
		if err != nil {
			return nil, fmt.Errorf("look up device: %w", err)
		}
		id, err := r.store.AccountID(ctx, account)
		if err != nil || id != d.AccountID {
			return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_BAD_SIGNATURE, "the signing device belongs to another account")
		}
		return d.SignKey, nil
	}
}

// Post stores envelopes and answers for each. It returns after they are durable.
func (r *Relay) Post(ctx context.Context, caller *store.Session, p *pb.Post) (*pb.Posted, error) {
	if n := len(p.GetEnvelopes()); n == 0 || n > proto.MaxPost {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "a post has 1 to %d envelopes", proto.MaxPost)
	}
	out := &pb.Posted{}
	var (
		posts []*store.Post
		index []int
	)
	places := make(map[proto.ID]*access)
	for i, e := range p.GetEnvelopes() {
		result := &pb.Posted_Result{}
		out.Results = append(out.Results, result)
		post, err := r.prepare(ctx, caller, e, places)
		if err != nil {
			result.Error = r.public(err)
			continue
		}
		result.Id = post.ID.Bytes()
		posts, index = append(posts, post), append(index, i)
	}
	if len(posts) == 0 {
		return out, nil
	}
	if err := r.store.Posts(ctx, posts); err != nil {
		return nil, fmt.Errorf("post: %w", err)
	}
	for i, post := range posts {
		result := out.GetResults()[index[i]]
		if post.Err != nil {
			result.Error = r.public(post.Err)
			continue
		}
		result.Seq, result.RelayMs = post.Seq, uint64(post.RelayMS) //nolint:gosec // positive
		if post.Known {
			continue
		}
		e := p.GetEnvelopes()[index[i]]
		h := &pb.Header{}
		if err := proto.Unmarshal(e.GetHeader(), h); err != nil {
			continue
		}
		r.publishEvent(places[proto.ID(h.GetConversation())], &pb.Event{
			Conversation: h.GetConversation(), Seq: post.Seq, RelayMs: uint64(post.RelayMS), Hash: post.Hash, //nolint:gosec // positive
			Kind: &pb.Event_Envelope{Envelope: e},
		}, nil)
	}
	return out, nil
}

// public turns an error into what the caller may see.
func (r *Relay) public(err error) *pb.Error {
	if known, ok := proto.AsError(err); ok {
		return known.ToProto()
	}
	r.logger.Error("relay", "error", err)
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_INTERNAL, "the server failed: try again").ToProto()
}

// prepare makes every check of an envelope that does not depend on what else is being posted.
func (r *Relay) prepare(ctx context.Context, caller *store.Session, e *pb.Envelope, places map[proto.ID]*access) (*store.Post, error) {
	h, err := proto.ParseEnvelope(e)
	if err != nil {
		return nil, err
	}
	if proto.IsBlank(e) {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "the envelope is empty")
	}
	conversation := proto.ID(h.GetConversation())
	place, ok := places[conversation]
	if !ok {
		if place, err = r.authorise(ctx, caller, h.GetConversation()); err != nil {
			return nil, err
		}
		places[conversation] = place
	}
	hash := proto.EnvelopeHash(e)
	post := &store.Post{
		Conversation: place.ID, Account: caller.AccountID, Device: caller.DeviceID, ID: proto.ID(h.GetId()), Epoch: h.GetEpoch(),
		Counter: h.GetCounter(), Kind: h.GetKind(), Counts: h.GetKind() < 64, Header: e.GetHeader(), Ciphertext: e.GetCiphertext(),
		CiphertextHash: proto.CiphertextHash(e), Signature: e.GetSignature(), Hash: hash[:], ReplacesDevice: h.GetReplaces().GetDevice(),
		ReplacesID: h.GetReplaces().GetId(),
	}
	account, device := proto.ID(h.GetAccount()), proto.ID(h.GetDevice())
	if account == caller.Account && device == caller.Device {
		return post, nil
	}
	// A recipient posts for a sender who vanished: then the signature decides.
	key, err := r.lookup(ctx)(account, device)
	if err != nil {
		return nil, err
	}
	if err := proto.VerifyEnvelope(e, key); err != nil {
		return nil, err
	}
	if post.Account, err = r.store.AccountID(ctx, account); err != nil {
		return nil, fmt.Errorf("post: %w", err)
	}
	post.Device, err = r.store.DeviceID(ctx, device)
	return post, err
}

// publishEvent tells every member's connections of a new number; grants go to their own account only.
func (r *Relay) publishEvent(a *access, e *pb.Event, grants []*pb.Grant) {
	for _, m := range a.chain.Members() {
		account := proto.ID(m.GetAccount())
		mine := e
		if commit := e.GetCommit(); commit != nil {
			mine = gproto.CloneOf(e)
			for _, g := range grants {
				if proto.ID(g.GetAccount()) == account {
					mine.GetCommit().Grant = g
				}
			}
		}
		r.bus.Publish(account, &pb.Frame{Kind: &pb.Frame_Events{Events: &pb.Events{Events: []*pb.Event{mine}}}}, nil)
	}
}

// PrepareFirst checks the first commit of a pair, for signal to store it with what it belongs to.
// keys finds the signer's key where it is not stored yet; nil uses the stored devices.
func (r *Relay) PrepareFirst(ctx context.Context, a, b proto.ID, p *pb.CommitPost, keys proto.Lookup) (*store.NewCommit, error) {
	if keys == nil {
		keys = r.lookup(ctx)
	}
	chain := proto.NewChain(proto.PairID(a, b))
	return prepared(chain, p, keys)
}

func prepared(chain *proto.Chain, p *pb.CommitPost, keys proto.Lookup) (*store.NewCommit, error) {
	commit, err := chain.CheckPost(p, keys)
	if err != nil {
		return nil, err
	}
	chain.Apply(commit)
	state, err := chain.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return &store.NewCommit{Commit: commit, Chain: state, Grants: p.GetGrants()}, nil
}

// Committed tells the members of a commit that was stored.
func (r *Relay) Committed(n *store.NewCommit) {
	chain, err := proto.RestoreChain(n.Chain)
	if err != nil {
		return
	}
	r.publishEvent(&access{chain: chain}, &pb.Event{
		Conversation: n.Commit.GetConversation(), Seq: n.Seq, RelayMs: uint64(time.Now().UnixMilli()), Hash: n.Commit.Hash[:], //nolint:gosec // positive
		Kind: &pb.Event_Commit{Commit: &pb.CommitEvent{Commit: n.Commit.Signed}},
	}, n.Grants)
}

// Commit stores a later commit of a conversation.
func (r *Relay) Commit(ctx context.Context, caller *store.Session, p *pb.CommitPost) (*pb.Committed, error) {
	m := &pb.Commit{}
	if err := proto.Unmarshal(p.GetCommit().GetBody(), m); err != nil {
		return nil, err
	}
	a, err := r.authorise(ctx, caller, m.GetConversation())
	if err != nil {
		return nil, err
	}
	if proto.ID(m.GetDevice()) != caller.Device {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_FORBIDDEN, "a commit is posted by the device that signed it")
	}
	n, err := prepared(a.chain, p, r.lookup(ctx))
	if err != nil {
		return nil, err
	}
	if err := r.store.Commit(ctx, n); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	r.Committed(n)
	return &pb.Committed{Seq: n.Seq, Hash: n.Commit.Hash[:]}, nil
}

// Sync reads a page.
func (r *Relay) Sync(ctx context.Context, caller *store.Session, q *pb.Sync) (*pb.Page, error) {
	a, err := r.authorise(ctx, caller, q.GetConversation())
	if err != nil {
		return nil, err
	}
	page := &pb.Page{Conversation: q.GetConversation()}
	if page.HeadSeq, err = r.store.Head(ctx, a.ID); err != nil {
		return nil, fmt.Errorf("sync: %w", err)
	}
	if q.GetKnownSeq() > 0 {
		hash, err := r.store.HashAt(ctx, a.ID, q.GetKnownSeq())
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("sync: %w", err)
		}
		if string(hash) != string(q.GetKnownHash()) {
			page.Diverged = true
			return page, nil
		}
	}
	limit := min(max(int(q.GetLimit()), 1), proto.MaxPage)
	rows, err := r.store.Page(ctx, a.ID, q.GetAfter(), q.GetBefore(), q.GetBackward(), limit)
	if err != nil {
		return nil, fmt.Errorf("sync: %w", err)
	}
	if err := r.fill(ctx, caller, a, page, rows, q.GetBackward()); err != nil {
		return nil, err
	}
	if len(page.GetEvents()) == 0 && !q.GetBackward() {
		page.ThroughSeq = max(page.GetHeadSeq(), q.GetAfter())
	}
	page.State, err = r.state(ctx, caller, a.Conversation)
	return page, err
}

// fill puts rows into a page up to its size limit, from the side that was asked for.
func (r *Relay) fill(ctx context.Context, caller *store.Session, a *access, page *pb.Page, rows []store.Row, backward bool) error {
	size := 0
	events := make([]*pb.Event, 0, len(rows))
	for i := range rows {
		row := rows[i]
		if backward {
			row = rows[len(rows)-1-i]
		}
		e := &pb.Event{Conversation: page.GetConversation(), Seq: row.Seq, RelayMs: uint64(row.RelayMS), Hash: row.Hash} //nolint:gosec // positive
		if row.Commit {
			grant, err := r.store.Grant(ctx, a.ID, row.Number, caller.AccountID, caller.Account)
			if err != nil {
				return fmt.Errorf("sync: %w", err)
			}
			e.Kind = &pb.Event_Commit{Commit: &pb.CommitEvent{Commit: row.BodySigned, Grant: grant}}
		} else {
			e.Kind = &pb.Event_Envelope{Envelope: row.Envelope}
		}
		size += gproto.Size(e)
		if size > proto.MaxPageBytes && len(events) > 0 {
			break
		}
		events = append(events, e)
		if !backward {
			page.ThroughSeq = row.Seq
		}
	}
	if backward {
		for i, j := 0, len(events)-1; i < j; i, j = i+1, j-1 {
			events[i], events[j] = events[j], events[i]
		}
	}
	page.Events = events
	return nil
}

// state is what the caller's device is told of a conversation.
func (r *Relay) state(ctx context.Context, caller *store.Session, c *store.Conversation) (*pb.ConversationState, error) {
	s := &pb.ConversationState{Conversation: c.Public.Bytes(), Kind: c.Kind, Epoch: c.Epoch, HeadCommit: c.HeadCommit, NeedsEpoch: c.NeedsEpoch}
	var err error
	if s.HeadSeq, err = r.store.Head(ctx, c.ID); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	members, err := r.store.Members(ctx, c.ID)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	for _, m := range members {
		s.Members = append(s.Members, &pb.MemberState{Account: m.Account.Bytes(), DeliveredSeq: m.DeliveredSeq, ReadSeq: m.ReadSeq})
		if m.Account == caller.Account {
			s.ReadSeq, s.JoinedSeq = m.ReadSeq, m.JoinedSeq
		}
	}
	if s.DeliveredSeq, err = r.store.DeliveredTo(ctx, caller.DeviceID, c.ID); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	s.Unread, err = r.store.Unread(ctx, c.ID, caller.AccountID, s.GetReadSeq())
	return s, err
}

// State is what the caller's device is told of one of its conversations.
func (r *Relay) State(ctx context.Context, caller *store.Session, conversation proto.ID) (*pb.ConversationState, error) {
	a, err := r.authorise(ctx, caller, conversation[:])
	if err != nil {
		return nil, err
	}
	return r.state(ctx, caller, a.Conversation)
}

// Behind returns the conversations with something that the caller's device has not acknowledged.
func (r *Relay) Behind(ctx context.Context, caller *store.Session) ([]*pb.ConversationState, error) {
	ids, err := r.store.ConversationsOf(ctx, caller.AccountID)
	if err != nil {
		return nil, fmt.Errorf("states: %w", err)
	}
	var all []*pb.ConversationState
	for _, id := range ids {
		c, err := r.store.Conversation(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("states: %w", err)
		}
		s, err := r.state(ctx, caller, c)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// MoveCursor notes how far the caller's device and account are, and tells the members.
func (r *Relay) MoveCursor(ctx context.Context, caller *store.Session, q *pb.Cursor) error {
	a, err := r.authorise(ctx, caller, q.GetConversation())
	if err != nil {
		return err
	}
	m, err := r.store.MoveCursor(ctx, a.ID, caller.AccountID, caller.DeviceID, q.GetDeliveredSeq(), q.GetReadSeq())
	if err != nil {
		return fmt.Errorf("cursor: %w", err)
	}
	moved := &pb.CursorMoved{Conversation: q.GetConversation(), Account: caller.Account.Bytes(), DeliveredSeq: m.DeliveredSeq, ReadSeq: m.ReadSeq}
	for _, member := range a.chain.Members() {
		account := proto.ID(member.GetAccount())
		mine := moved
		if account == caller.Account {
			mine = gproto.CloneOf(moved)
			if mine.Unread, err = r.store.Unread(ctx, a.ID, caller.AccountID, m.ReadSeq); err != nil {
				return fmt.Errorf("cursor: %w", err)
			}
		}
		r.bus.Publish(account, &pb.Frame{Kind: &pb.Frame_CursorMoved{CursorMoved: mine}}, nil)
	}
	return nil
}

// Typing tells the other members.
func (r *Relay) Typing(ctx context.Context, caller *store.Session, t *pb.Typing) error {
	a, err := r.authorise(ctx, caller, t.GetConversation())
	if err != nil {
		return err
	}
	f := &pb.Frame{Kind: &pb.Frame_Typing{Typing: &pb.Typing{Conversation: t.GetConversation(), Account: caller.Account.Bytes(), Stopped: t.GetStopped()}}}
	for _, m := range a.chain.Members() {
		if account := proto.ID(m.GetAccount()); account != caller.Account {
			r.bus.Publish(account, f, nil)
		}
	}
	return nil
}
