package proto

import (
	"crypto/ed25519"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// worldWithGroup is a world whose group has a link of two uses and, when joined, Bob in it.
func worldWithGroup(t *testing.T, joined bool) *world {
	t.Helper()
	v := readVectors(t)
	w := newWorld(t)
	buildGroup(t, w, &vectors{}) // for the link's key
	n := 2
	if joined {
		n = 3
	}
	w.group = v.chain(t, negativeVector{Chain: "group", After: n})
	return w
}

// commitBy makes a commit of the group.
func (w *world) commitBy(t *testing.T, by *person, timeMS uint64, m *pb.Commit, members ...*person) *pb.Signed {
	t.Helper()
	keys := make([]MemberKey, 0, len(members))
	for _, p := range members {
		keys = append(keys, member(p, 1))
	}
	p, err := post(by.signer(timeMS), w.group.next(m), keys, w.roles, nil)
	must(t, err)
	return p.GetCommit()
}

func (w *world) applyGroup(t *testing.T, s *pb.Signed) {
	t.Helper()
	c, err := w.group.Check(s, w.device)
	must(t, err)
	w.group.Apply(c)
}

func TestLinkIsUsedUp(t *testing.T) {
	t.Parallel()
	w := worldWithGroup(t, true)
	w.applyGroup(t, w.commitBy(t, w.carol, epochMS+9000, w.joining(t, w.carol), w.alice, w.bob, w.carol))
	s := w.commitBy(t, w.mallory, epochMS+9001, w.joining(t, w.mallory), w.alice, w.bob, w.carol, w.mallory)
	if _, err := w.group.Check(s, w.device); !HasCode(err, usedUp) {
		t.Errorf("a third joiner through a link of two uses: %v", err)
	}
	// The same link with new uses works again.
	w.applyGroup(t, w.commitBy(t, w.alice, epochMS+9002, setLink(publicOf(w.groupLink), 1, epochMS+1_000_000), w.alice, w.bob, w.carol))
	w.applyGroup(t, w.commitBy(t, w.mallory, epochMS+9003, w.joining(t, w.mallory), w.alice, w.bob, w.carol, w.mallory))
}

func TestRevokedLinkDoesNotWork(t *testing.T) {
	t.Parallel()
	w := worldWithGroup(t, false)
	revoke := setLink(publicOf(w.groupLink), 0, 0)
	revoke.GetSetLink().Revoke = true
	w.applyGroup(t, w.commitBy(t, w.alice, epochMS+9000, revoke, w.alice))
	s := w.commitBy(t, w.bob, epochMS+9001, w.joining(t, w.bob), w.alice, w.bob)
	if _, err := w.group.Check(s, w.device); !HasCode(err, forbidden) {
		t.Error(err)
	}
}

func TestLinkWithApprovalIsNotEnough(t *testing.T) {
	t.Parallel()
	w := worldWithGroup(t, false)
	link := setLink(publicOf(w.groupLink), 1, epochMS+1_000_000)
	link.GetSetLink().Link.Approval = true
	w.applyGroup(t, w.commitBy(t, w.alice, epochMS+9000, link, w.alice))
	s := w.commitBy(t, w.bob, epochMS+9001, w.joining(t, w.bob), w.alice, w.bob)
	if _, err := w.group.Check(s, w.device); !HasCode(err, forbidden) {
		t.Error(err)
	}
}

func TestLinksAreBounded(t *testing.T) {
	t.Parallel()
	w := worldWithGroup(t, false)
	for range MaxChainLinks - 1 {
		w.applyGroup(t, w.commitBy(t, w.alice, epochMS+9000, setLink(RandomKey(), 1, epochMS+1_000_000), w.alice))
	}
	s := w.commitBy(t, w.alice, epochMS+9000, setLink(RandomKey(), 1, epochMS+1_000_000), w.alice)
	if _, err := w.group.Check(s, w.device); !HasCode(err, tooLarge) {
		t.Errorf("one link too many: %v", err)
	}
	w.applyGroup(t, w.commitBy(t, w.alice, epochMS+9000, setLink(publicOf(w.groupLink), 5, epochMS+1_000_000), w.alice))
}

func TestJoinerMayRaiseGenerationsOnly(t *testing.T) {
	t.Parallel()
	w := worldWithGroup(t, false)
	p, err := post(w.bob.signer(epochMS+9000), w.group.next(w.joining(t, w.bob)), []MemberKey{member(w.alice, 2), member(w.bob, 1)}, w.roles, nil)
	must(t, err)
	w.applyGroup(t, p.GetCommit())
	if m, ok := w.group.Member(ID(w.alice.Account)); !ok || m.GetGeneration() != 2 || m.GetRole() != pb.Role_ROLE_OWNER {
		t.Errorf("Alice is %v", m)
	}
}

func TestCheckChangesNothing(t *testing.T) {
	t.Parallel()
	w := worldWithGroup(t, true)
	before, err := w.group.MarshalBinary()
	must(t, err)
	for _, s := range []*pb.Signed{
		w.commitBy(t, w.carol, epochMS+9000, w.joining(t, w.carol), w.alice, w.bob, w.carol),
		w.commitBy(t, w.alice, epochMS+9000, setLink(publicOf(w.groupLink), 1, epochMS+1_000_000), w.alice, w.bob),
	} {
		c, err := w.group.Check(s, w.device)
		must(t, err)
		clone := w.group.Clone()
		clone.Apply(c)
		if clone.Epoch() != w.group.Epoch()+1 {
			t.Error("the clone did not move on")
		}
	}
	after, err := w.group.MarshalBinary()
	must(t, err)
	same(t, "chain", after, before)
}

// TestChainSurvivesItsStore: a restored chain takes and refuses the same.
func TestChainSurvivesItsStore(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	for _, from := range []chainVector{v.Pair, v.Group} {
		c := NewChain(ID(from.Conversation))
		for _, commit := range from.Commits {
			b, err := c.MarshalBinary()
			must(t, err)
			if c, err = RestoreChain(b); err != nil {
				t.Fatal(err)
			}
			if c.Conversation() != ID(from.Conversation) {
				t.Fatal("the chain is of another conversation")
			}
			checkCommitVector(t, v, c, commit)
		}
		if !proto.Equal(c.state, v.chain(t, negativeVector{Chain: chainName(v, from), After: len(from.Commits)}).state) {
			t.Error("the restored chain differs")
		}
	}
	for _, b := range [][]byte{nil, {0xff}, {0x0a, 1, 1}} {
		if _, err := RestoreChain(b); !HasCode(err, malformed) {
			t.Errorf("restored %x: %v", b, err)
		}
	}
}

func chainName(v *vectors, c chainVector) string {
	if c.About == v.Group.About {
		return "group"
	}
	return "pair"
}

func TestChainTells(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	c := v.chain(t, negativeVector{Chain: "pair"})
	if c.Epoch() != 0 || c.Head() != nil || c.Kind() != pb.ConversationKind_CONVERSATION_KIND_UNSPECIFIED || len(c.Members()) != 0 {
		t.Error("an empty chain is not empty")
	}
	c = v.chain(t, negativeVector{Chain: "pair", After: 2})
	if c.Epoch() != 2 || c.Kind() != pb.ConversationKind_CONVERSATION_KIND_PAIR || c.Suite() != Suite {
		t.Errorf("epoch %d, kind %v, suite %d", c.Epoch(), c.Kind(), c.Suite())
	}
	same(t, "head", c.Head(), v.Pair.Commits[1].Hash)
	if _, ok := c.Member(ID(v.People[3].Account)); ok {
		t.Error("Mallory is a member")
	}
	if m, ok := c.Member(ID(v.People[0].Account)); !ok || m.GetGeneration() != 2 {
		t.Errorf("Alice is %v", m)
	}
	g := v.Pair.Commits[1].Grants[0]
	key, err := c.OpenGrant(g.PrivateKey, ID(g.Account), decode(t, g.Grant, &pb.Grant{}))
	must(t, err)
	same(t, "key", key, v.Pair.Commits[1].EpochKey)
	if err := c.CheckEpochKey(v.Pair.Commits[0].EpochKey); !HasCode(err, badSignature) {
		t.Errorf("the key of another epoch: %v", err)
	}
	if err := c.CheckEpochKey([]byte{1}); !HasCode(err, malformed) {
		t.Errorf("a short key: %v", err)
	}
}

func TestLookupErrorsComeBack(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	want := errors.New("the store is away")
	_, err := v.chain(t, negativeVector{Chain: "pair"}).Check(signedOf(t, v.Pair.Commits[0].Signed), func(ID, ID) (ed25519.PublicKey, error) { return nil, want })
	if !errors.Is(err, want) {
		t.Error(err)
	}
}
