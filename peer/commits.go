package peer

import (
	"context"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// chainOf restores the membership that verified commits gave a conversation.
func chainOf(row *local.Conversation) (*proto.Chain, error) {
	if row.Chain == nil {
		return proto.NewChain(row.ID), nil
	}
	chain, err := proto.RestoreChain(row.Chain)
	if err != nil {
		return nil, fmt.Errorf("conversation %s as stored: %w", row.ID, err)
	}
	return chain, nil
}

// storeCommit checks a commit against the chain and takes its epoch key, if this device can open it.
func (c *Client) storeCommit(tx *local.Tx, row *local.Conversation, e *pb.CommitEvent) ([]Event, error) {
	chain, err := chainOf(row)
	if err != nil {
		return nil, err
	}
	commit, err := chain.Check(e.GetCommit(), lookup(tx))
	if err != nil {
		return nil, err
	}
	if err := pinMembers(tx, commit); err != nil {
		return nil, err
	}
	before := chain.Clone()
	chain.Apply(commit)
	if row.Chain, err = chain.MarshalBinary(); err != nil {
		return nil, fmt.Errorf("conversation %s: %w", row.ID, err)
	}
	row.Kind, row.NeedsEpoch = commit.GetKind(), false
	if e.GetGrant() == nil {
		return nil, c.missGrant(tx, row, commit)
	}
	return c.takeGrant(tx, row, commit, e.GetGrant(), before)
}

// pinMembers checks the identity keys that a commit names against those pinned, and pins new ones.
func pinMembers(tx *local.Tx, commit *proto.Commit) error {
	for _, m := range commit.GetMembers() {
		account := mustID(m.GetAccount())
		p, err := tx.Person(account)
		switch {
		case errors.Is(err, local.ErrNotFound):
			p = &local.Person{Account: account, IdentityKey: m.GetIdentityKey()}
			if err := tx.SavePerson(p); err != nil {
				return err
			}
		case err != nil:
			return err
		case p.IdentityKey == nil:
			p.IdentityKey = m.GetIdentityKey()
			if err := tx.SavePerson(p); err != nil {
				return err
			}
		case string(p.IdentityKey) != string(m.GetIdentityKey()):
			return fmt.Errorf("it names another identity of %s: %w", p.DisplayName(), errIdentityChanged)
		}
	}
	return nil
}

// takeGrant opens the grant of the newest commit, and through it the epochs before that are missing.
func (c *Client) takeGrant(tx *local.Tx, row *local.Conversation, commit *proto.Commit, grant *pb.Grant, before *proto.Chain) ([]Event, error) {
	previous := before.Epoch()
	private, ok := c.profile.accountKey(grant.GetGeneration())
	if !ok {
		return nil, fmt.Errorf("the key of epoch %d is sealed to generation %d of the account key, which this device lacks", commit.GetEpoch(), grant.GetGeneration())
	}
	key, err := proto.OpenGrant(private, c.profile.Account, commit, grant)
	if err != nil {
		return nil, fmt.Errorf("grant of epoch %d: %w", commit.GetEpoch(), err)
	}
	if err := tx.SaveEpochKey(row.ID, commit.GetEpoch(), key); err != nil {
		return nil, err
	}
	if previous > 0 && commit.GetPreviousEpochKey() != nil {
		_, err := tx.EpochKey(row.ID, previous)
		if errors.Is(err, local.ErrNotFound) {
			older, err := proto.OpenPreviousEpochKey(key, commit)
			if err != nil {
				return nil, fmt.Errorf("history key of epoch %d: %w", previous, err)
			}
			if err := before.CheckEpochKey(older); err != nil { // whoever committed may have sealed another
				return nil, err
			}
			if err := tx.SaveEpochKey(row.ID, previous, older); err != nil {
				return nil, err
			}
		} else if err != nil {
			return nil, err
		}
	}
	return c.openWaiting(tx, row.ID)
}

// missGrant notes that another member has to be asked for the key; the outbox does that.
func (c *Client) missGrant(_ *local.Tx, row *local.Conversation, commit *proto.Commit) error {
	c.askGrant(row.ID, commit.GetEpoch())
	return nil
}

// askGrant asks the members of a conversation for an epoch key, without waiting.
func (c *Client) askGrant(id proto.ID, epoch uint64) {
	err := c.session.post(&pb.Frame{Kind: &pb.Frame_GrantRequest{GrantRequest: &pb.GrantRequest{
		Conversation: id.Bytes(), Epoch: epoch,
	}}}, func(err error) { c.logger.Debug("ask for a grant", "error", err) })
	if err != nil {
		c.logger.Debug("ask for a grant", "error", err)
	}
}

// openWaiting opens messages whose key has come.
func (c *Client) openWaiting(tx *local.Tx, id proto.ID) ([]Event, error) {
	sealed, err := tx.WithStatus(id, local.NoKey)
	if err != nil {
		return nil, err
	}
	var out []Event
	for _, m := range sealed {
		env := m.Envelope
		h, err := proto.ParseHeader(env.GetHeader())
		if err != nil {
			return nil, fmt.Errorf("open waiting: %w", err)
		}
		if err := c.openInto(tx, m, h, env); err != nil {
			out = append(out, ErrorEvent{Conversation: id, Err: err})
			continue
		}
		if m.Status == local.NoKey {
			continue
		}
		if err := tx.SaveMessage(m); err != nil {
			return nil, err
		}
		made, err := c.messageEvent(tx, m)
		if err != nil {
			return nil, err
		}
		out = append(out, made...)
	}
	return out, nil
}

// signer is this device as the signer of a commit.
func (c *Client) signer() proto.Signer {
	return proto.Signer{Account: c.profile.Account, Device: c.profile.Device, Key: c.profile.signKey(), TimeMS: nowMS()}
}

// member makes the entry of an account in a commit from its newest verified device list.
func member(tx *local.Tx, account proto.ID) (proto.MemberKey, error) {
	p, err := tx.Person(account)
	if err != nil {
		return proto.MemberKey{}, err
	}
	if p.NewIdentity != nil {
		return proto.MemberKey{}, fmt.Errorf("%s: %w", p.DisplayName(), errIdentityChanged)
	}
	if p.List == nil {
		return proto.MemberKey{}, &unknownDeviceError{account: account}
	}
	list, err := proto.OpenDeviceList(p.List)
	if err != nil {
		return proto.MemberKey{}, err
	}
	return proto.MemberKey{
		Account: account, IdentityKey: list.GetIdentityKey(), Generation: list.GetGeneration(), AccountKey: list.GetAccountKey(),
	}, nil
}

// firstCommit makes the first commit of the pair with account. join is the proof of an invitation,
// nil otherwise. Nothing is kept: the epoch begins when the relay has stored it and sends it back.
func (c *Client) firstCommit(ctx context.Context, account proto.ID, join *pb.Signed) (post *pb.CommitPost, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err = c.store.Update(ctx, func(tx *local.Tx) error {
		own, err := member(tx, c.profile.Account)
		if err != nil {
			return fmt.Errorf("own device list: %w", err)
		}
		theirs, err := member(tx, account)
		if err != nil {
			return err
		}
		post, err = proto.CreatePair(c.signer(), own, theirs, join)
		return err
	})
	return post, err
}

// freshEpoch brings a conversation to an epoch that can be posted under: it fetches what the relay
// has, and re-keys if that is what is wanted.
func (c *Client) freshEpoch(ctx context.Context, id proto.ID, code pb.ErrorCode) error {
	if err := c.syncConversation(ctx, id); err != nil {
		return err
	}
	if code != pb.ErrorCode_ERROR_CODE_NEEDS_EPOCH {
		return nil
	}
	return c.rekey(ctx, id)
}

// rekey commits a new epoch with grants to the newest account key of every member. Losing the race
// against another member is as good as winning it.
func (c *Client) rekey(ctx context.Context, id proto.ID) error {
	members, err := c.memberIDs(ctx, id)
	if err != nil {
		return err
	}
	for _, account := range members { // somebody's account key changed: their newest list is needed
		if err := c.fetchLists(ctx, account); err != nil {
			return err
		}
	}
	var post *pb.CommitPost
	c.mu.Lock()
	err = c.store.Update(ctx, func(tx *local.Tx) error {
		row, err := tx.Conversation(id)
		if err != nil {
			return err
		}
		chain, err := chainOf(row)
		if err != nil {
			return err
		}
		key, err := tx.EpochKey(id, chain.Epoch())
		if errors.Is(err, local.ErrNotFound) {
			return ErrNotReady
		}
		if err != nil {
			return err
		}
		keys := make([]proto.MemberKey, len(members))
		for i, account := range members {
			if keys[i], err = member(tx, account); err != nil {
				return err
			}
		}
		post, err = proto.Rekey(c.signer(), chain, keys, key)
		return err
	})
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("re-key: %w", err)
	}
	_, err = c.session.ask(ctx, &pb.Frame{Kind: &pb.Frame_Commit{Commit: post}})
	if refused, ok := proto.AsError(err); ok && refused.Code == pb.ErrorCode_ERROR_CODE_STALE_HEAD {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("re-key: %w", err)
	}
	return c.syncConversation(ctx, id)
}

func (c *Client) memberIDs(ctx context.Context, id proto.ID) (ids []proto.ID, err error) {
	err = c.store.Update(ctx, func(tx *local.Tx) error {
		row, err := tx.Conversation(id)
		if err != nil {
			return err
		}
		chain, err := chainOf(row)
		if err != nil {
			return err
		}
		for _, m := range chain.Members() {
			ids = append(ids, mustID(m.GetAccount()))
		}
		return nil
	})
	return ids, err
}

// answerGrant gives a member's device the epoch key it lacks. Only the chain says who is a member.
func (c *Client) answerGrant(ctx context.Context, needed *pb.GrantNeeded) error {
	id, err := proto.IDFrom(needed.GetConversation())
	if err != nil {
		return fmt.Errorf("grant needed: %w", err)
	}
	account, err := proto.IDFrom(needed.GetAccount())
	if err != nil {
		return fmt.Errorf("grant needed: %w", err)
	}
	var post *pb.GrantPost
	err = c.store.Update(ctx, func(tx *local.Tx) error {
		row, err := tx.Conversation(id)
		if err != nil {
			return err
		}
		chain, err := chainOf(row)
		if err != nil {
			return err
		}
		if _, ok := chain.Member(account); !ok || needed.GetEpoch() != chain.Epoch() {
			return nil // not a member, or not the epoch in force: older ones follow from it
		}
		key, err := tx.EpochKey(id, chain.Epoch())
		if errors.Is(err, local.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		to, err := member(tx, account)
		if err != nil {
			return err
		}
		grant, err := proto.GrantEpochKey(to, id, chain.Epoch(), chain.Head(), key)
		if err != nil {
			return err
		}
		post = &pb.GrantPost{Conversation: id.Bytes(), Epoch: chain.Epoch(), Commit: chain.Head(), Grant: grant}
		return nil
	})
	if err != nil || post == nil {
		return err
	}
	_, err = c.session.ask(ctx, &pb.Frame{Kind: &pb.Frame_GrantPost{GrantPost: post}})
	return err
}

// applyGrant takes an epoch key that another member's device added later.
func (c *Client) applyGrant(ctx context.Context, added *pb.GrantAdded) error {
	id, err := proto.IDFrom(added.GetConversation())
	if err != nil {
		return fmt.Errorf("grant added: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Event
	err = c.store.Update(ctx, func(tx *local.Tx) error {
		row, err := tx.Conversation(id)
		if err != nil {
			return err
		}
		chain, err := chainOf(row)
		if err != nil {
			return err
		}
		if added.GetEpoch() != chain.Epoch() {
			return nil
		}
		private, ok := c.profile.accountKey(added.GetGrant().GetGeneration())
		if !ok {
			return nil
		}
		key, err := chain.OpenGrant(private, c.profile.Account, added.GetGrant())
		if err != nil {
			return fmt.Errorf("grant added: %w", err)
		}
		if err := tx.SaveEpochKey(id, chain.Epoch(), key); err != nil {
			return err
		}
		out, err = c.openWaiting(tx, id)
		return err
	})
	if err == nil {
		c.events.emit(out...)
	}
	return err
}

// takeGenerations takes new generations of the account key that a revoking device sealed to this one.
func (c *Client) takeGenerations(grants []*pb.GenerationGrant) error {
	for _, g := range grants {
		if _, known := c.profile.accountKey(g.GetGeneration()); known || mustID(g.GetDevice()) != c.profile.Device {
			continue
		}
		private, err := proto.OpenGeneration(c.profile.SealKey, c.profile.Account, g)
		if err != nil {
			return fmt.Errorf("new account key: %w", err)
		}
		c.tokenMu.Lock()
		c.profile.AccountKeys = append(c.profile.AccountKeys, AccountKey{Generation: g.GetGeneration(), Private: private})
		err = c.profile.save()
		c.tokenMu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}
