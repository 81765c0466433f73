package relay

import (
	"context"
	"fmt"

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

// Post stores envelopes and answers for each. It returns after they are durable.
func (r *Relay) Post(ctx context.Context, caller *store.Session, p *pb.Post) (*pb.Posted, error) {
	if n := len(p.GetEnvelopes()); n == 0 || n > proto.MaxPost {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "a post has 1 to %d envelopes", proto.MaxPost)
	}
	out := &pb.Posted{}
	var (
		batch []posting
		posts []*store.Post
	)
	places := make(map[proto.ID]*access)
	for _, e := range p.GetEnvelopes() {
		result := &pb.Posted_Result{}
		out.Results = append(out.Results, result)
		post, place, err := r.prepare(ctx, caller, e, places)
		if err != nil {
			result.Error = r.public(err)
			continue
		}
		result.Id = post.ID.Bytes()
		batch, posts = append(batch, posting{post, e, place, result}), append(posts, post)
	}
	if len(posts) == 0 {
		return out, nil
	}
	if err := r.store.Posts(ctx, posts, func() { r.publishPosts(batch) }); err != nil {
		return nil, fmt.Errorf("post: %w", err)
	}
	for _, b := range batch {
		if b.Err != nil {
			b.result.Error = r.public(b.Err)
			continue
		}
		b.result.Seq, b.result.RelayMs = b.Seq, uint64(b.RelayMS) //nolint:gosec // positive
	}
	return out, nil
}

// publishPosts tells the members of what is new in a batch.
func (r *Relay) publishPosts(batch []posting) {
	for _, b := range batch {
		if b.Err != nil || b.Known {
			continue
		}
		r.publish(hearing(b.place.chain.Members(), b.Held), &pb.Frame{Kind: &pb.Frame_Events{Events: &pb.Events{Events: []*pb.Event{{
			Conversation: b.place.Public.Bytes(), Seq: b.Seq, RelayMs: uint64(b.RelayMS), Hash: b.Hash, //nolint:gosec // positive
			Kind: &pb.Event_Envelope{Envelope: b.envelope},
		}}}}})
	}
}

// prepare makes every check of an envelope that does not depend on what else is being posted.
func (r *Relay) prepare(ctx context.Context, caller *store.Session, e *pb.Envelope, places map[proto.ID]*access) (*store.Post, *access, error) {
	h, err := proto.ParseEnvelope(e)
	if err != nil {
		return nil, nil, err
	}
	if proto.IsBlank(e) {
		return nil, nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "the envelope is empty")
	}
	conversation := proto.ID(h.GetConversation())
	place, ok := places[conversation]
	if !ok {
		if place, err = r.authorise(ctx, caller, h.GetConversation()); err != nil {
			return nil, nil, err
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
