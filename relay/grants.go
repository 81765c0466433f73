package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

const (
	askAgain = 10 * time.Second // until members are asked again for the same account
	maxAsked = 10_000           // accounts that may be waiting for an answer
)

// RequestGrant asks the members' devices, and the caller's others, for the key of the epoch in force. Keys
// of older epochs follow from it, so nobody is asked for those.
func (r *Relay) RequestGrant(ctx context.Context, caller *store.Session, q *pb.GrantRequest) error {
	a, err := r.authorise(ctx, caller, q.GetConversation())
	if err != nil {
		return err
	}
	if q.GetEpoch() == 0 || q.GetEpoch() > a.Epoch {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "there is no epoch %d yet", q.GetEpoch())
	}
	if q.GetEpoch() < a.Epoch {
		return nil
	}
	held, err := r.holders(ctx, a)
	if err != nil {
		return err
	}
	ask, err := r.asked.add(asking{a.ID, caller.AccountID}, r.clock())
	if err != nil || !ask {
		return err
	}
	needed := &pb.Frame{Kind: &pb.Frame_GrantNeeded{GrantNeeded: &pb.GrantNeeded{
		Conversation: q.GetConversation(), Epoch: q.GetEpoch(), Account: caller.Account.Bytes(),
	}}}
	if slices.Contains(held, caller.Account) { // whom they block does not hear that they are there
		r.bus.Publish(needed, caller.Device, caller.Account)
		return nil
	}
	r.bus.Publish(needed, caller.Device, hearing(a.members, held)...)
	return nil
}

// AddGrant stores a grant that a member's device made for a member and tells that one's devices. It changes
// nothing if a grant as good is there. The relay cannot see whether a grant opens: its receiver can.
func (r *Relay) AddGrant(ctx context.Context, caller *store.Session, p *pb.GrantPost) error {
	a, err := r.authorise(ctx, caller, p.GetConversation())
	if err != nil {
		return err
	}
	if err := proto.CheckGrant(p.GetGrant()); err != nil {
		return err
	}
	to := proto.ID(p.GetGrant().GetAccount())
	member, ok := a.chain.Member(to)
	if !ok {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_FORBIDDEN, "a grant is for a member")
	}
	if p.GetGrant().GetGeneration() < member.GetGeneration() {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_FORBIDDEN, "the commit grants to a newer generation of the member's account key")
	}
	held, err := r.holders(ctx, a)
	if err != nil {
		return err
	}
	if slices.Contains(held, caller.Account) && to != caller.Account {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_FORBIDDEN, "you blocked them: let them in again first")
	}
	account, err := r.store.AccountID(ctx, to)
	if err != nil {
		return fmt.Errorf("add grant: %w", err)
	}
	who := asking{a.ID, account}
	err = r.store.AddGrant(ctx, store.NewGrant{
		Conversation: a.ID, Epoch: p.GetEpoch(), Commit: p.GetCommit(), Poster: caller.AccountID, Account: account, Grant: p.GetGrant(),
		Replace: r.asked.open(who),
		Stored: func() {
			r.asked.answered(who)
			if slices.Contains(held, to) && to != caller.Account {
				return
			}
			r.publish(&pb.Frame{Kind: &pb.Frame_GrantAdded{GrantAdded: &pb.GrantAdded{
				Conversation: p.GetConversation(), Epoch: p.GetEpoch(), Commit: p.GetCommit(), Grant: p.GetGrant(),
			}}}, to)
		},
	})
	if errors.Is(err, store.ErrNotFound) {
		return notFound()
	}
	if err != nil {
		return fmt.Errorf("add grant: %w", err)
	}
	return nil
}

// asking is an account that lacks the key of a conversation.
type asking struct{ conversation, account int64 }

// asked remembers who asked for a key, so that members are not asked all the time and one answer may take
// the place of the grant that was of no use.
type asked struct {
	mu  sync.Mutex
	who map[asking]ask
}

type ask struct {
	at   time.Time
	open bool // not answered yet
}

func newAsked() *asked { return &asked{who: make(map[asking]ask)} }

// add notes a request and says whether to pass it on. It fails with rate_limited when too many wait.
func (n *asked) add(a asking, now time.Time) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before, known := n.who[a]
	if known && now.Sub(before.at) < askAgain {
		return false, nil
	}
	if !known && len(n.who) >= maxAsked {
		for other, was := range n.who {
			if now.Sub(was.at) >= askAgain {
				delete(n.who, other)
			}
		}
		if len(n.who) >= maxAsked {
			return false, &proto.Error{Code: pb.ErrorCode_ERROR_CODE_RATE_LIMITED, Message: "many devices ask for keys at the moment", RetryAfter: askAgain}
		}
	}
	n.who[a] = ask{now, true}
	return true, nil
}

func (n *asked) open(a asking) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.who[a].open
}

func (n *asked) answered(a asking) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if was, ok := n.who[a]; ok {
		n.who[a] = ask{was.at, false}
	}
}
