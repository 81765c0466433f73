package proto

import (
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestLargestCommitFitsAFrame: 500 members re-keyed at once, each with a grant.
func TestLargestCommitFitsAFrame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := NewChain(NewID())
	c.state.Kind, c.state.Suite, c.state.Number, c.state.Head = pb.ConversationKind_CONVERSATION_KIND_GROUP, Suite, 7, RandomKey()
	keys := []MemberKey{member(w.alice, 1)}
	for len(keys) < MaxMembers {
		m := member(w.bob, 1)
		m.Account = NewID()
		keys = append(keys, m)
	}
	for _, k := range keys {
		c.state.Members = append(c.state.Members, &pb.Member{Account: k.Account.Bytes(), IdentityKey: k.IdentityKey, Role: pb.Role_ROLE_MEMBER, Generation: 1})
	}
	sortMembers(&pb.Commit{Members: c.state.GetMembers()})
	p, err := Rekey(w.alice.signer(epochMS), c, keys, RandomKey())
	must(t, err)
	if _, err := c.CheckPost(p, w.device); err != nil {
		t.Fatal(err)
	}
	if n := proto.Size(&pb.Frame{Kind: &pb.Frame_Commit{Commit: p}}); n > MaxFrame {
		t.Errorf("the frame has %d bytes", n)
	}
	keys = append(keys, member(w.carol, 1))
	if p, err = Rekey(w.alice.signer(epochMS), c, keys, RandomKey()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CheckPost(p, w.device); !HasCode(err, malformed) {
		t.Errorf("501 members: %v", err)
	}
}

func TestCommitsDrawNewKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hashes := map[string]bool{}
	for range 2 {
		p, err := CreatePair(w.alice.signer(epochMS), member(w.alice, 1), member(w.bob, 1), nil)
		must(t, err)
		c, err := NewChain(PairID(ID(w.alice.Account), ID(w.bob.Account))).CheckPost(p, w.device)
		must(t, err)
		hashes[string(c.GetEpochKeyHash())] = true
	}
	if len(hashes) != 2 {
		t.Error("two commits have the same epoch key")
	}
}

// TestWrongPreviousKeyShows: a member seals another key as the previous one; whoever has the commit
// before finds out.
func TestWrongPreviousKeyShows(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	w := newWorld(t)
	before := v.chain(t, negativeVector{Chain: "pair", After: 1})
	first, err := NewChain(before.Conversation()).Check(signedOf(t, v.Pair.Commits[0].Signed), v.lookup)
	must(t, err)
	p, err := Rekey(w.bob.signer(epochMS+5000), before, []MemberKey{member(w.alice, 1), member(w.bob, 1)}, seeded("a lie"))
	must(t, err)
	c, err := before.CheckPost(p, w.device)
	must(t, err)
	key, err := OpenGrant(w.alice.AccountPrivate, ID(w.alice.Account), c, grantOf(p, w.alice))
	must(t, err)
	older, err := OpenPreviousEpochKey(key, c)
	must(t, err)
	if err := first.CheckEpochKey(older); !HasCode(err, badSignature) {
		t.Errorf("the key of epoch 1 is %x: %v", older, err)
	}
	if _, err := OpenPreviousEpochKey(RandomKey(), c); !HasCode(err, malformed) {
		t.Errorf("opened with another key: %v", err)
	}
	if _, err := OpenPreviousEpochKey(v.Pair.Commits[0].EpochKey, first); !HasCode(err, malformed) {
		t.Errorf("the first commit has a key before it: %v", err)
	}
}

func grantOf(p *pb.CommitPost, to *person) *pb.Grant {
	for _, g := range p.GetGrants() {
		if string(g.GetAccount()) == string(to.Account) {
			return g
		}
	}
	return nil
}
