package relay

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// posting is an envelope on its way: what is stored, and who hears of it.
type posting struct {
	*store.Post
	envelope *pb.Envelope
	place    *access
	result   *pb.Posted_Result
}

// Post hands envelopes to the store. answer is called once with what became of each, after those that were taken are
// durable; it must not wait for anything. A caller's posts are answered in the order in which they were made.
func (r *Relay) Post(ctx context.Context, caller *store.Session, p *pb.Post, answer func(*pb.Posted, error)) {
	var (
		out     = &pb.Posted{}
		batch   []posting
		posts   []*store.Post
		refused error
	)
	if n := len(p.GetEnvelopes()); n == 0 || n > proto.MaxPost {
		refused = proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "a post has 1 to %d envelopes", proto.MaxPost)
		p = nil // to the store all the same, for the order of answers
	}
	for _, e := range p.GetEnvelopes() {
		result := &pb.Posted_Result{}
		out.Results = append(out.Results, result)
		post, place, err := r.prepare(ctx, caller, e)
		if err != nil {
			result.Error = r.public(err)
			continue
		}
		result.Id = post.ID.Bytes()
		batch, posts = append(batch, posting{post, e, place, result}), append(posts, post)
	}
	err := r.store.Posts(ctx, posts, func(err error) {
		if err = cmp.Or(refused, err); err != nil {
			answer(nil, fmt.Errorf("post: %w", err))
			return
		}
		r.settle(batch)
		answer(out, nil)
	})
	if err != nil {
		answer(nil, fmt.Errorf("post: %w", err))
	}
}

// settle fills in what became of a batch and tells the members what is new.
func (r *Relay) settle(batch []posting) {
	var fresh []posting
	for _, b := range batch {
		if b.Err != nil {
			b.result.Error = r.public(b.Err)
			continue
		}
		b.result.Seq, b.result.RelayMs = b.Seq, uint64(b.RelayMS) //nolint:gosec // positive
		if !b.Known {
			fresh = append(fresh, b)
		}
	}
	for len(fresh) > 0 {
		n := together(fresh)
		events := make([]*pb.Event, n)
		for i, b := range fresh[:n] {
			events[i] = &pb.Event{
				Conversation: b.place.Public.Bytes(), Seq: b.Seq, RelayMs: uint64(b.RelayMS), Hash: b.Hash, //nolint:gosec // positive
				Kind: &pb.Event_Envelope{Envelope: b.envelope},
			}
		}
		r.publish(&pb.Frame{Kind: &pb.Frame_Events{Events: &pb.Events{Events: events}}}, hearing(fresh[0].place.members, fresh[0].Held)...)
		fresh = fresh[n:]
	}
}

// together says how many of some postings, at least one, go into one frame: of one conversation, for the same members, not
// too large.
func together(batch []posting) int {
	size := 0
	for i, b := range batch {
		size += len(b.Header) + len(b.Ciphertext) + eventOverhead
		if i > 0 && (b.Conversation != batch[0].Conversation || !slices.Equal(b.Held, batch[0].Held) || size > proto.MaxPageBytes) {
			return i
		}
	}
	return len(batch)
}

// eventOverhead is more than an event adds to header and ciphertext: ids, hash, signature, numbers.
const eventOverhead = 256

// prepare makes every check of an envelope that does not depend on what else is being posted.
func (r *Relay) prepare(ctx context.Context, caller *store.Session, e *pb.Envelope) (*store.Post, *access, error) {
	h, err := proto.ParseEnvelope(e)
	if err != nil {
		return nil, nil, err
	}
	place, err := r.place(ctx, caller, h)
	if err != nil {
		return nil, nil, err
	}
	sum := proto.CiphertextHash(e)
	hash := proto.Hash(proto.LabelEnvelopeHash, e.GetHeader(), sum)
	post := &store.Post{
		Conversation: place.ID, Account: caller.AccountID, Device: caller.DeviceID, ID: proto.ID(h.GetId()), Epoch: h.GetEpoch(),
		Counter: h.GetCounter(), Kind: h.GetKind(), Counts: h.GetKind() < 64, Header: e.GetHeader(), Ciphertext: e.GetCiphertext(),
		CiphertextHash: sum, Signature: e.GetSignature(), Hash: hash[:], ReplacesDevice: h.GetReplaces().GetDevice(),
		ReplacesID: h.GetReplaces().GetId(),
	}
	account, device := proto.ID(h.GetAccount()), proto.ID(h.GetDevice())
	if account == caller.Account && device == caller.Device {
		return post, place, nil
	}
	// A recipient posts for a sender who vanished: then the signature decides.
	post.Behalf = true
	key, err := r.lookup(ctx)(account, device)
	if err != nil {
		return nil, nil, err
	}
	if err := proto.VerifyEnvelope(e, key); err != nil {
		return nil, nil, err
	}
	if post.Account, err = r.store.AccountID(ctx, account); err != nil {
		return nil, nil, fmt.Errorf("post: %w", err)
	}
	post.Device, err = r.store.DeviceID(ctx, device)
	return post, place, err
}
