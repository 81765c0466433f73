package relay

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

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
