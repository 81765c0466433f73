package relay

import (
	"context"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

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
