package relay

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

func notFound() error {
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "there is no such conversation")
}

// access is a conversation that the caller may act in. It may be shared: nobody changes it.
type access struct {
	*store.Conversation
	chain   *proto.Chain
	members []proto.ID // the accounts
}

func newAccess(c *store.Conversation) (*access, error) {
	chain, err := proto.RestoreChain(c.Chain)
	if err != nil {
		// Not wrapped: what is damaged here is no fault of who asks, who would take its code for a refusal for good.
		return nil, fmt.Errorf("authorise: conversation as stored: %v", err) //nolint:errorlint // on purpose
	}
	c.Chain = nil // not twice
	return &access{Conversation: c, chain: chain, members: accounts(chain.Members())}, nil
}

func accounts(members []*pb.Member) []proto.ID {
	all := make([]proto.ID, len(members))
	for i, m := range members {
		all[i] = proto.ID(m.GetAccount())
	}
	return all
}

// others are the members but one.
func (a *access) others(account proto.ID) []proto.ID {
	return slices.DeleteFunc(slices.Clone(a.members), func(m proto.ID) bool { return m == account })
}

// authorise is the one place that decides whether a caller may act in a conversation. Whoever is not a
// member learns nothing, not even whether it exists; nor do two who are no contacts any more of their pair.
// What is written is checked again in the writing transaction.
func (r *Relay) authorise(ctx context.Context, caller *store.Session, conversation []byte) (*access, error) {
	id, err := proto.IDFrom(conversation)
	if err != nil {
		return nil, err
	}
	c, err := r.store.ConversationOf(ctx, caller.AccountID, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound()
	}
	if err != nil {
		return nil, fmt.Errorf("authorise: %w", err)
	}
	a, err := newAccess(c)
	if err != nil {
		return nil, err
	}
	if _, member := a.chain.Member(caller.Account); !member {
		return nil, notFound()
	}
	return a, nil
}

// authoriseJoin lets somebody who is no member commit their own joining. To whoever does not prove to hold
// a link of the conversation, it does not exist; whoever does hears what is wrong with it.
func (r *Relay) authoriseJoin(ctx context.Context, caller *store.Session, m *pb.Commit) (*access, error) {
	id, err := proto.IDFrom(m.GetConversation())
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
	state := &pb.ChainState{}
	if err := proto.Unmarshal(c.Chain, state); err != nil {
		return nil, fmt.Errorf("authorise: %w", err)
	}
	link := holds(state, caller, m)
	if link == nil {
		return nil, notFound()
	}
	// The commit's own time is the joiner's to choose: that alone would open expired links again.
	if link.GetExpiresMs() < uint64(r.clock().UnixMilli()) {
		return nil, proto.Errorf(pb.ErrorCode_ERROR_CODE_EXPIRED, "this invitation link has expired")
	}
	return newAccess(c)
}

// holds returns the link of a conversation that vouches for the caller in a joining, nil if none does.
func holds(state *pb.ChainState, caller *store.Session, m *pb.Commit) *pb.LinkGrant {
	for _, link := range state.GetLinks() {
		if !bytes.Equal(link.GetLinkKey(), m.GetJoinByLink().GetLinkKey()) {
			continue
		}
		join, err := proto.OpenLinkJoin(link.GetLinkKey(), m.GetJoinByLink().GetLinkJoin())
		if err == nil && proto.ID(join.GetAccount()) == caller.Account && bytes.Equal(join.GetConversation(), state.GetConversation()) &&
			bytes.Equal(m.GetAccount(), caller.Account[:]) {
			return link
		}
	}
	return nil
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
