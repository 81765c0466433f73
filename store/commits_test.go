package store_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/store/storetest"
)

func testCommits(t *testing.T, open opener) {
	c := newClock()
	s := open(t, c)
	ctx := t.Context()
	anna, berta := storetest.Register(t, s, "anna"), storetest.Register(t, s, "berta")
	pair := storetest.Befriend(anna, berta)
	var posts []*pb.CommitPost
	c.advance(time.Second)
	for range 3 {
		posts = append(posts, pair.Rekey(anna, anna, berta))
		n := pair.Store(anna, posts[len(posts)-1])
		if n.Seq != pair.Chain.Epoch() || n.RelayMS != c.Now().UnixMilli() {
			t.Errorf("commit %d stored as number %d at %d", pair.Chain.Epoch(), n.Seq, n.RelayMS)
		}
	}
	now, err := s.Conversation(ctx, pair.Public)
	ok(t, err)
	if now.Epoch != 4 || !bytes.Equal(now.HeadCommit, pair.Chain.Head()) || now.NeedsEpoch || now.Kind != pb.ConversationKind_CONVERSATION_KIND_PAIR {
		t.Errorf("the conversation is %+v", now)
	}
	// the chain from a number on, with the reader's grants
	for from, want := range map[uint64]int{0: 4, 1: 4, 3: 2, 5: 0, 1 << 40: 0} {
		got, err := s.Commits(ctx, pair.ID, berta.Session.AccountID, from, 10)
		ok(t, err)
		equal(t, "commits", len(got), want)
	}
	got, err := s.Commits(ctx, pair.ID, berta.Session.AccountID, 2, 1)
	ok(t, err)
	if len(got) != 1 || got[0].Number != 2 || !gproto.Equal(got[0].Signed, posts[0].GetCommit()) || !gproto.Equal(got[0].Grant, grantFor(posts[0], berta)) {
		t.Errorf("read %v", got)
	}
	stranger := storetest.Register(t, s, "")
	got, err = s.Commits(ctx, pair.ID, stranger.Session.AccountID, 2, 1)
	ok(t, err)
	equal(t, "no grant for others", got[0].Grant == nil, true)
}

func grantFor(p *pb.CommitPost, who *storetest.Person) *pb.Grant {
	for _, g := range p.GetGrants() {
		if proto.ID(g.GetAccount()) == who.ID {
			return g
		}
	}
	return nil
}

// testCommitsAtOnce: of commits on the same head one wins, and only its grants are there.
func testCommitsAtOnce(t *testing.T, open opener) {
	s := open(t, newClock())
	ctx := t.Context()
	anna, berta := storetest.Register(t, s, "anna"), storetest.Register(t, s, "berta")
	pair := storetest.Befriend(anna, berta)
	const rivals = 8
	commits := make([]*store.NewCommit, rivals)
	for i := range commits {
		by := []*storetest.Person{anna, berta}[i%2]
		commits[i] = by.Prepare(pair.Chain.Clone(), pair.Rekey(by, anna, berta))
	}
	answers := make(chan error, rivals)
	for _, n := range commits {
		go func() { answers <- s.Commit(context.Background(), n) }()
	}
	won := 0
	for range commits {
		if err := <-answers; err == nil {
			won++
		} else {
			refused(t, err, codeStaleHead)
		}
	}
	equal(t, "winners", won, 1)
	now, err := s.Conversation(ctx, pair.Public)
	ok(t, err)
	stored, err := s.Commits(ctx, pair.ID, anna.Session.AccountID, 2, 10)
	ok(t, err)
	equal(t, "commits", len(stored), 1)
	for _, n := range commits {
		if bytes.Equal(n.Commit.Hash[:], now.HeadCommit) {
			equal(t, "the grant is the winner's", gproto.Equal(stored[0].Grant, grantFor(&pb.CommitPost{Grants: n.Grants}, anna)), true)
			return
		}
	}
	t.Error("the head is none of them")
}

// testCommitsChecked: what the chain cannot say, the store does.
func testCommitsChecked(t *testing.T, open opener) {
	s := open(t, newClock())
	ctx := t.Context()
	anna, berta, carla := storetest.Register(t, s, "anna"), storetest.Register(t, s, "berta"), storetest.Register(t, s, "carla")
	pair := storetest.Befriend(anna, berta)
	list := berta.List
	berta.Revocation(proto.NewID()) // signs a list that the server never sees
	refused(t, s.Commit(ctx, anna.Prepare(pair.Chain.Clone(), pair.Rekey(anna, anna, berta))), codeForbidden)
	berta.List = list
	pair.Store(anna, pair.Rekey(anna, anna, berta))

	identity := carla.Identity
	carla.Identity = storetest.NewPerson(t, s).Identity
	chain := proto.NewChain(proto.PairID(anna.ID, carla.ID))
	carla.Ask(anna)
	err := s.AcceptContact(ctx, anna.Session.AccountID, carla.Session.AccountID, anna.Prepare(chain, anna.FirstCommit(carla)))
	refused(t, err, codeForbidden)
	carla.Identity = identity
	equal(t, "nothing of it is kept", relation(t, s, anna, carla), pb.ContactState_CONTACT_STATE_ASKING)
	anna.Accept(carla)
}

func testJoin(t *testing.T, open opener) {
	s := open(t, newClock())
	ctx := t.Context()
	anna, berta, carla := storetest.Register(t, s, "anna"), storetest.Register(t, s, "berta"), storetest.Register(t, s, "carla")
	group := anna.NewGroup()
	link := storetest.NewLink(2, 1000)
	group.Store(anna, group.SetLink(anna, link, anna))
	ok(t, storetest.Posts(ctx, s, []*store.Post{anna.Post(group, anna.Text(group, "before"))}))

	late := carla.Prepare(group.Chain.Clone(), group.Join(carla, link, anna))
	n := group.Store(berta, group.Join(berta, link, anna))
	equal(t, "the joining's number", n.Seq, 4)
	refused(t, s.Commit(ctx, late), codeStaleHead)
	_, err := s.ConversationOf(ctx, carla.Session.AccountID, group.Public)
	equal(t, "who lost is not in", errors.Is(err, store.ErrNotFound), true)
	state, err := s.State(ctx, berta.Session.AccountID, berta.Session.DeviceID, group.ID)
	ok(t, err)
	if state.JoinedSeq != 4 || state.Unread != 0 || state.DeliveredSeq != 0 || len(state.Members) != 2 {
		t.Errorf("who joined sees %+v", state)
	}
	shared, err := s.ShareGroup(ctx, anna.Session.AccountID, berta.Session.AccountID)
	ok(t, err)
	equal(t, "they share a group", shared, true)
	found, _ := logged(t, s, berta, 0, store.LogConversation, group.Public[:])
	equal(t, "the joiner's devices hear of it", found, true)
	post := []*store.Post{berta.Post(group, berta.Text(group, "hi"))}
	ok(t, storetest.Posts(ctx, s, post))
	ok(t, post[0].Err)
}

func testGrants(t *testing.T, open opener) {
	s := open(t, newClock())
	ctx := t.Context()
	anna, berta, carla := storetest.Register(t, s, "anna"), storetest.Register(t, s, "berta"), storetest.Register(t, s, "carla")
	spare := berta.AddDevice()
	pair := storetest.Befriend(anna, berta)
	grant := func(generation uint32, fill byte) *pb.Grant {
		return &pb.Grant{Account: berta.ID.Bytes(), Generation: generation, Enc: bytes.Repeat([]byte{fill}, 32), Ciphertext: bytes.Repeat([]byte{fill}, 48)}
	}
	told := make(chan bool, 10)
	add := func(change func(*store.NewGrant)) error {
		n := store.NewGrant{
			Conversation: pair.ID, Epoch: pair.Chain.Epoch(), Commit: pair.Chain.Head(), Poster: anna.Session.AccountID, Account: berta.Session.AccountID,
			Grant: grant(1, 1), Stored: func() { told <- true },
		}
		change(&n)
		return s.AddGrant(ctx, n)
	}
	stored := func() *pb.Grant {
		t.Helper()
		all, err := s.Commits(ctx, pair.ID, berta.Session.AccountID, pair.Chain.Epoch(), 1)
		ok(t, err)
		return all[0].Grant
	}
	first := stored()
	for name, c := range map[string]struct {
		change func(*store.NewGrant)
		code   pb.ErrorCode
	}{
		"another epoch":           {func(n *store.NewGrant) { n.Epoch++ }, codeStaleHead},
		"another commit":          {func(n *store.NewGrant) { n.Commit = make([]byte, 32) }, codeStaleHead},
		"no such generation":      {func(n *store.NewGrant) { n.Grant = grant(2, 1) }, codeForbidden},
		"by who is no member":     {func(n *store.NewGrant) { n.Poster = carla.Session.AccountID }, codeNotFound},
		"for who is no member":    {func(n *store.NewGrant) { n.Account = carla.Session.AccountID }, codeNotFound},
		"in another conversation": {func(n *store.NewGrant) { n.Conversation++ }, codeNotFound},
	} {
		t.Run(name, func(t *testing.T) { refused(t, add(c.change), c.code) })
	}
	ok(t, add(func(*store.NewGrant) {}))
	equal(t, "a grant of the same generation changes nothing", gproto.Equal(stored(), first), true)
	ok(t, add(func(n *store.NewGrant) { n.Replace = true }))
	equal(t, "one that was asked for takes its place", gproto.Equal(stored(), grant(1, 1)), true)
	ok(t, add(func(n *store.NewGrant) { n.Poster, n.Grant = berta.Session.AccountID, grant(1, 2) }))
	equal(t, "one by the account's own device does", gproto.Equal(stored(), grant(1, 2)), true)
	berta.Revoke(spare)
	ok(t, add(func(n *store.NewGrant) { n.Grant = grant(2, 3) }))
	equal(t, "one of a higher generation does", gproto.Equal(stored(), grant(2, 3)), true)
	ok(t, add(func(n *store.NewGrant) { n.Replace, n.Grant = true, grant(1, 4) }))
	equal(t, "one of a lower generation does not", gproto.Equal(stored(), grant(2, 3)), true)
	ok(t, s.Close())
	equal(t, "told of those that were kept", len(told), 3)
}
