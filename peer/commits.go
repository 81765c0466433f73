package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// storeCommit checks a commit against the chain and takes its epoch key, if this device can open it.
func (r *room) storeCommit(e *pb.CommitEvent) error {
	commit, err := r.reading.Check(e.GetCommit(), r.deviceKey)
	if err != nil {
		return err
	}
	if err := r.checkMembers(commit); err != nil {
		return err
	}
	before := r.reading.Clone()
	r.reading.Apply(commit)
	r.row.Kind = commit.GetKind()
	if r.row.Rereading {
		r.row.Met = r.row.Met || bytes.Equal(commit.Hash[:], r.chain.Head())
	} else {
		r.row.NeedsEpoch, r.row.WantsEpoch = false, false
	}
	if e.GetGrant() == nil {
		return nil // whoever attends to the connection asks for it
	}
	return r.takeGrant(commit, e.GetGrant(), before)
}

// takeGrant opens the grant of the newest commit, and through it the key of the epoch before if that is missing.
func (r *room) takeGrant(commit *proto.Commit, grant *pb.Grant, before *proto.Chain) error {
	private, ok := r.c.profile.accountKey(grant.GetGeneration())
	if !ok && !r.ownIdentity(commit.GetMembers()) {
		return nil // from before this account was reset: the recovery code of then opens it
	}
	if !ok {
		return fmt.Errorf("the key of epoch %d is sealed to generation %d of the account key, which this device lacks", commit.GetEpoch(), grant.GetGeneration())
	}
	key, err := proto.OpenGrant(private, r.c.Account(), commit, grant)
	if err != nil {
		return fmt.Errorf("grant of epoch %d: %w", commit.GetEpoch(), err)
	}
	if err := r.SaveEpochKey(r.row.ID, commit.GetEpoch(), key); err != nil {
		return err
	}
	if err := r.takePrevious(commit, key, before); err != nil {
		return err
	}
	return r.openWaiting()
}

// takePrevious gets the key of the epoch before a commit out of it, if it is missing here.
func (r *room) takePrevious(commit *proto.Commit, key []byte, before *proto.Chain) error {
	if before.Epoch() == 0 || commit.GetPreviousEpochKey() == nil {
		return nil
	}
	_, err := r.EpochKey(r.row.ID, before.Epoch())
	if !errors.Is(err, local.ErrNotFound) {
		return err
	}
	older, err := proto.OpenPreviousEpochKey(key, commit)
	if err != nil {
		return fmt.Errorf("history key of epoch %d: %w", before.Epoch(), err)
	}
	if err := before.CheckEpochKey(older); err != nil { // whoever committed may have sealed another
		return err
	}
	return r.SaveEpochKey(r.row.ID, before.Epoch(), older)
}

// epochKey is the key of the epoch in force, or ErrNotReady. A key that the chain does not name (of an epoch that the relay
// lost and somebody began anew) counts as none.
func (r *room) epochKey() ([]byte, error) {
	key, err := r.EpochKey(r.row.ID, r.chain.Epoch())
	switch {
	case errors.Is(err, local.ErrNotFound):
		return nil, ErrNotReady
	case err != nil:
		return nil, err
	case r.chain.CheckEpochKey(key) != nil:
		return nil, ErrNotReady
	}
	return key, nil
}

// lacksKey says whether this account is a member, and this device without the key of the epoch in force.
func (r *room) lacksKey() (bool, error) {
	_, err := r.epochKey()
	if errors.Is(err, ErrNotReady) {
		return r.isMember(r.c.Account()) && r.ownIdentity(r.chain.Members()), nil
	}
	return false, err
}

// signer is this device as the signer of a commit.
func (c *Client) signer() proto.Signer {
	return proto.Signer{Account: c.Account(), Device: c.Device(), Key: c.profile.signKey(), TimeMS: nowMS()}
}

// member makes the entry of an account in a commit from its newest verified device list.
func (w *work) member(account proto.ID) (proto.MemberKey, error) {
	p, err := w.Person(account)
	if err != nil {
		return proto.MemberKey{}, err
	}
	if p.NewIdentity != nil {
		return proto.MemberKey{}, changed(p)
	}
	if p.List == nil {
		return proto.MemberKey{}, &unknownDeviceError{account: account}
	}
	list, err := proto.OpenDeviceList(p.List)
	if err != nil {
		return proto.MemberKey{}, err
	}
	return memberKey(account, list), nil
}

// firstCommit makes the first commit of the pair with account. join is the proof of an invitation,
// nil otherwise. Nothing is kept: the epoch begins when the relay has stored it and sends it back.
func (c *Client) firstCommit(ctx context.Context, account proto.ID, join *pb.Signed) (post *pb.CommitPost, err error) {
	err = c.update(ctx, func(w *work) error {
		own, err := w.member(c.Account())
		if err != nil {
			return fmt.Errorf("own device list: %w", err)
		}
		theirs, err := w.member(account)
		if err != nil {
			return err
		}
		post, err = proto.CreatePair(c.signer(), own, theirs, join)
		return err
	})
	return post, err
}

// NewEpoch gives a conversation a new key, for what is written from now on. It happens by itself when a member's device was
// revoked.
func (c *Client) NewEpoch(ctx context.Context, conversation proto.ID) error {
	cu := c.attending()
	if cu == nil {
		return ErrOffline
	}
	return cu.rekey(ctx, conversation)
}

// rekey commits a new epoch with grants to the newest account key of every member, and reads it back. Losing the race
// against another member is as good as winning it.
func (cu *catchUp) rekey(ctx context.Context, id proto.ID) error {
	members, err := cu.c.memberIDs(ctx, id)
	if err != nil {
		return fmt.Errorf("re-key: %w", err)
	}
	for _, account := range members { // somebody's account key changed: their newest list is needed
		if err := cu.c.fetchLists(ctx, cu.conn.ask, account); err != nil {
			return fmt.Errorf("re-key: %w", err)
		}
	}
	var post *pb.CommitPost
	err = cu.c.update(ctx, func(w *work) error {
		r, err := w.room(id)
		if err != nil {
			return err
		}
		if err := r.held(); err != nil {
			return err
		}
		keys := make([]proto.MemberKey, len(members))
		for i, account := range members {
			if keys[i], err = w.member(account); err != nil {
				return err
			}
		}
		if renewed, err := r.renewed(); err != nil || !renewed.IsZero() {
			if err == nil {
				post, err = proto.TakeIdentity(cu.c.signer(), r.chain, renewed, keys)
			}
			return err
		}
		key, err := r.epochKey()
		if err != nil {
			return err
		}
		post, err = proto.Rekey(cu.c.signer(), r.chain, keys, key)
		return err
	})
	if err == nil {
		_, err = cu.conn.ask(ctx, &pb.Frame{Kind: &pb.Frame_Commit{Commit: post}})
	}
	if err != nil && !proto.HasCode(err, pb.ErrorCode_ERROR_CODE_STALE_HEAD) {
		return fmt.Errorf("re-key: %w", err)
	}
	return cu.sync(ctx, id)
}

func (c *Client) memberIDs(ctx context.Context, id proto.ID) (ids []proto.ID, err error) {
	err = c.update(ctx, func(w *work) error {
		r, err := w.room(id)
		if err == nil {
			ids = r.members()
		}
		return err
	})
	return ids, err
}

// answerGrant gives a member's device the epoch key it lacks. Only the chain says who is a member.
func (cu *catchUp) answerGrant(ctx context.Context, needed *pb.GrantNeeded) error {
	id, err := proto.IDFrom(needed.GetConversation())
	if err != nil {
		return fmt.Errorf("grant needed: %w", err)
	}
	account, err := proto.IDFrom(needed.GetAccount())
	if err != nil {
		return fmt.Errorf("grant needed: %w", err)
	}
	var post *pb.GrantPost
	err = cu.c.update(ctx, func(w *work) error {
		r, err := w.room(id)
		if err != nil {
			return err
		}
		if !r.isMember(account) || needed.GetEpoch() != r.chain.Epoch() {
			return nil // not a member, or not the epoch in force: older ones follow from it
		}
		key, err := r.epochKey()
		if errors.Is(err, ErrNotReady) {
			return nil
		}
		if err != nil {
			return err
		}
		to, err := w.member(account)
		if errors.Is(err, errIdentityChanged) {
			return nil // nobody has decided
		}
		if err != nil {
			return err
		}
		if m, _ := r.chain.Member(account); !bytes.Equal(m.GetIdentityKey(), to.IdentityKey) {
			return nil // this epoch is from before they were reset
		}
		grant, err := proto.GrantEpochKey(to, id, r.chain.Epoch(), r.chain.Head(), key)
		post = &pb.GrantPost{Conversation: id.Bytes(), Epoch: r.chain.Epoch(), Commit: r.chain.Head(), Grant: grant}
		return err
	})
	if err != nil || post == nil {
		return err
	}
	return cu.conn.post(&pb.Frame{Kind: &pb.Frame_GrantPost{GrantPost: post}}, func(err error) {
		cu.c.logger.Debug("post a grant", "error", err)
	})
}

// applyGrant takes an epoch key that another member's device added later.
func (c *Client) applyGrant(ctx context.Context, added *pb.GrantAdded) error {
	id, err := proto.IDFrom(added.GetConversation())
	if err != nil {
		return fmt.Errorf("grant added: %w", err)
	}
	defer c.kick() // what was written without the key may go now
	return c.update(ctx, func(w *work) error {
		r, err := w.room(id)
		if err != nil {
			return err
		}
		private, ok := c.profile.accountKey(added.GetGrant().GetGeneration())
		if added.GetEpoch() != r.chain.Epoch() || !ok {
			return nil
		}
		key, err := r.chain.OpenGrant(private, c.Account(), added.GetGrant())
		if err != nil {
			return fmt.Errorf("grant added: %w", err)
		}
		if err := w.SaveEpochKey(id, r.chain.Epoch(), key); err != nil {
			return err
		}
		return r.openWaiting()
	})
}

// takeGenerations takes new generations of the account key that a revoking device sealed to this one.
func (c *Client) takeGenerations(ctx context.Context, grants []*pb.GenerationGrant) error {
	taken, err := c.openGenerations(grants)
	if err != nil || !taken {
		return err
	}
	return c.openSettings(ctx)
}

func (c *Client) openGenerations(grants []*pb.GenerationGrant) (taken bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range grants {
		if _, known := c.profile.accountKey(g.GetGeneration()); known || mustID(g.GetDevice()) != c.Device() {
			continue
		}
		private, err := proto.OpenGeneration(c.profile.keys.SealKey, c.Account(), g)
		if err != nil {
			return taken, fmt.Errorf("new account key: %w", err)
		}
		c.profile.addAccountKey(accountKey{Generation: g.GetGeneration(), Private: private})
		if err := c.profile.save(); err != nil {
			return taken, err
		}
		taken = true
	}
	return taken, nil
}
