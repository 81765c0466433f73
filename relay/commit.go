package relay

import (
	"context"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

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
		Conversation: n.Commit.GetConversation(), Seq: n.Seq, RelayMs: uint64(n.RelayMS), Hash: n.Commit.Hash[:], //nolint:gosec // positive
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
