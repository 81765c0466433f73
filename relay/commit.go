package relay

import (
	"bytes"
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
	return r.prepared(proto.NewChain(proto.PairID(a, b)), p, keys)
}

func (r *Relay) prepared(chain *proto.Chain, p *pb.CommitPost, keys proto.Lookup) (*store.NewCommit, error) {
	if len(p.GetCommit().GetBody()) > maxCommit {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "a commit has at most %d bytes", maxCommit)
	}
	commit, err := chain.CheckPost(p, keys)
	if err != nil {
		return nil, err
	}
	chain.Apply(commit)
	state, err := chain.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	n := &store.NewCommit{Commit: commit, Chain: state, Grants: p.GetGrants()}
	n.Stored = func() { r.publishCommit(n, chain.Members()) }
	return n, nil
}

// maxCommit bounds a commit's body in bytes: 500 members take half of it.
const maxCommit = 64 << 10

// Commit stores a later commit of a conversation: a member's, or the joining of somebody who has a link.
func (r *Relay) Commit(ctx context.Context, caller *store.Session, p *pb.CommitPost) (*pb.Committed, error) {
	m := &pb.Commit{}
	if err := proto.Unmarshal(p.GetCommit().GetBody(), m); err != nil {
		return nil, err
	}
	a, err := r.authorise(ctx, caller, m.GetConversation())
	if m.GetJoinByLink() != nil && proto.HasCode(err, pb.ErrorCode_ERROR_CODE_NOT_FOUND) {
		a, err = r.authoriseJoin(ctx, caller, m)
	}
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(m.GetDevice(), caller.Device[:]) {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_FORBIDDEN, "a commit is posted by the device that signed it")
	}
	if err := r.mayChange(ctx, a, caller.Account); err != nil {
		return nil, err
	}
	n, err := r.prepared(a.chain, p, r.lookup(ctx))
	if err != nil {
		return nil, err
	}
	if err := r.store.Commit(ctx, n); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return &pb.Committed{Seq: n.Seq, Hash: n.Commit.Hash[:]}, nil
}

// publishCommit tells the resulting members of a commit; each grant goes to its own account only.
func (r *Relay) publishCommit(n *store.NewCommit, members []*pb.Member) {
	grants := make(map[string]*pb.Grant, len(n.Grants))
	for _, g := range n.Grants {
		grants[string(g.GetAccount())] = g
	}
	if n.Commit.GetJoinByLink() != nil { // the joiner's devices do not know the conversation yet
		r.publish(&pb.Frame{Kind: &pb.Frame_AccountSync{AccountSync: &pb.AccountSync{}}}, proto.ID(n.Commit.GetAccount()))
	}
	for _, to := range hearing(accounts(members), n.Held) {
		r.publish(&pb.Frame{Kind: &pb.Frame_Events{Events: &pb.Events{Events: []*pb.Event{{
			Conversation: n.Commit.GetConversation(), Seq: n.Seq, RelayMs: uint64(n.RelayMS), Hash: n.Commit.Hash[:], //nolint:gosec // positive
			Kind: &pb.Event_Commit{Commit: &pb.CommitEvent{Commit: n.Commit.Signed, Grant: grants[string(to[:])]}},
		}}}}}, to)
	}
}
