package relay_test

import (
	"context"
	"testing"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store/storetest"
)

// TestCommitRace: of two commits on one head one wins; the other hears that it is late.
func TestCommitRace(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	posts := []*pb.CommitPost{pair.Rekey(a, a, b), pair.Rekey(b, a, b)}
	answers := make(chan error, 2)
	for i, who := range []*storetest.Person{a, b} {
		go func() {
			_, err := w.relay.Commit(context.Background(), who.Session, posts[i])
			answers <- err
		}()
	}
	x, y := <-answers, <-answers
	if x == nil {
		x, y = y, x
	}
	w.ok(y)
	w.refused(x, staleHead)
}

// TestCommitRefuses: a commit is its signer's, whole and of a size.
func TestCommitRefuses(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	_, _, other := w.pair()
	ctx := t.Context()
	_, err := w.relay.Commit(ctx, b.Session, pair.Rekey(a, a, b))
	w.refused(err, forbidden) // signed by somebody else
	p := pair.Rekey(a, a, b)
	p.Grants = p.GetGrants()[:1]
	_, err = w.relay.Commit(ctx, a.Session, p)
	w.refused(err, malformed)
	p = pair.Rekey(a, a, b)
	p.Commit.Signature[0] ^= 1
	_, err = w.relay.Commit(ctx, a.Session, p)
	w.refused(err, badSignature)
	ghost := w.register()
	_, err = w.relay.Commit(ctx, a.Session, pair.Rekey(a, a, b, ghost)) // a member who was not there
	w.refused(err, forbidden)
	p = pair.Rekey(a, a, b)
	large := make([]byte, 64<<10)
	body := append(p.GetCommit().GetBody(), 0xfa, 0x3f, 0x80, 0x80, 0x04) // an unknown field 1023 of 64 KiB
	body = append(body, large...)
	p.Commit = &pb.Signed{Body: body, Signature: proto.Sign(a.Sign, proto.LabelCommit, body)}
	_, err = w.relay.Commit(ctx, a.Session, p)
	w.refused(err, tooLarge)
	_, err = w.relay.Commit(ctx, a.Session, other.Rekey(a, a, b))
	w.refused(err, notFound)
	w.commit(a, pair, pair.Rekey(a, a, b)) // nothing of the above had an effect
}

// TestJoinByLink: who holds a link joins, is told, and reads and writes from then on.
func TestJoinByLink(t *testing.T) {
	w := newWorld(t)
	owner, member, group, link := w.group()
	joiner := w.register()
	other := w.listen(owner, owner.Device)
	own := w.listen(joiner, joiner.Device)
	late := w.register()
	lateCommit := group.Join(late, link, owner, member)
	got := w.commit(joiner, group, group.Join(joiner, link, owner, member))
	if e := other.event(); e.GetSeq() != got.GetSeq() || proto.ID(e.GetCommit().GetGrant().GetAccount()) != owner.ID {
		t.Errorf("the owner is told of %v", e)
	}
	if f := own.next(); f.GetAccountSync() == nil {
		t.Errorf("the joiner is told of %v, not that the account changed", f)
	}
	if e := own.event(); e.GetSeq() != got.GetSeq() || proto.ID(e.GetCommit().GetGrant().GetAccount()) != joiner.ID {
		t.Errorf("the joiner is told of %v", e)
	}
	commits, err := w.relay.Commits(t.Context(), joiner.Session, &pb.CommitsRequest{Conversation: group.Public.Bytes()})
	w.ok(err)
	if n := len(commits.GetCommits()); n != 4 || commits.GetMore() {
		t.Errorf("the chain has %d commits for the joiner", n)
	}
	w.posted(joiner.Session, joiner.Text(group, "hi"))
	_, err = w.relay.Commit(t.Context(), late.Session, lateCommit)
	w.refused(err, staleHead) // who holds a link hears why
	w.commit(late, group, group.Join(late, link, owner, member, joiner))
}

// TestJoinRefuses: without a link that counts the group does not exist; with one the relay says what is wrong.
func TestJoinRefuses(t *testing.T) {
	w := newWorld(t)
	owner, member, group, link := w.group()
	stranger, friend := w.register(), w.register()
	ghost := &storetest.Conversation{Public: proto.NewID(), Chain: group.Chain}
	ctx := t.Context()
	join := func(by *storetest.Person, p *pb.CommitPost) error {
		_, err := w.relay.Commit(ctx, by.Session, p)
		return err
	}
	expires := uint64(w.clock.Now().Add(time.Minute).UnixMilli())
	revoked, short := storetest.NewLink(5, expires), storetest.NewLink(1, expires)
	w.commit(owner, group, group.SetLink(owner, revoked, owner, member))
	w.commit(owner, group, group.RevokeLink(owner, revoked, owner, member))
	w.commit(owner, group, group.SetLink(owner, short, owner, member))
	_, _, second, secondLink := w.group()
	borrowed := group.Join(friend, link, owner, member) // vouches for friend
	watch := w.listen(owner, owner.Device)

	want := visible(join(stranger, ghost.Join(stranger, link, owner, member)))
	for name, p := range map[string]*pb.CommitPost{
		"a link of one's own":          group.Join(stranger, storetest.NewLink(5, expires), owner, member),
		"a revoked link":               group.Join(stranger, revoked, owner, member),
		"another group's link":         group.Join(stranger, secondLink, owner, member),
		"another group's, over there":  second.Join(stranger, link, owner, member),
		"somebody else's joining":      borrowed,
		"no joining at all":            group.Rekey(stranger, owner, member),
		"making it anew":               group.Change(stranger, &pb.Commit{Kind: pb.ConversationKind_CONVERSATION_KIND_GROUP, Change: &pb.Commit_Create_{Create: &pb.Commit_Create{}}}, stranger),
		"a link whose key is not used": swapLink(group, stranger, link, owner, member),
		"what vouches for another":     swapJoin(group, stranger, link, borrowed, owner, member),
	} {
		if got := visible(notAllowed(t, join(stranger, p))); got != want {
			t.Errorf("%s gives %s, a group that does not exist %s", name, got, want)
		}
	}
	w.refused(join(friend, group.Join(friend, link, owner)), forbidden)                   // drops a member
	w.refused(join(friend, group.Join(friend, link, owner, member, stranger)), forbidden) // brings another
	w.refused(join(member, group.Join(member, link, owner)), forbidden)                   // is one already
	w.clock.advance(2 * time.Minute)
	w.refused(join(friend, group.Join(friend, short, owner, member)), expired) // although the commit is dated before
	w.silent(watch)

	group.TimeMS = uint64(w.clock.Now().UnixMilli())
	once := storetest.NewLink(1, group.TimeMS+60_000)
	w.commit(owner, group, group.SetLink(owner, once, owner, member))
	w.commit(friend, group, group.Join(friend, once, owner, member))
	w.refused(join(stranger, group.Join(stranger, once, owner, member, friend)), usedUp)
}

// swapLink is a joining that names a link of the group but is vouched for by a key of the joiner's own.
func swapLink(c *storetest.Conversation, by *storetest.Person, link *storetest.Link, members ...*storetest.Person) *pb.CommitPost {
	p := c.Join(by, storetest.NewLink(5, link.Expires), members...)
	m := &pb.Commit{}
	if err := proto.Unmarshal(p.GetCommit().GetBody(), m); err != nil {
		panic(err)
	}
	m.GetJoinByLink().LinkKey = link.Public()
	p.Commit = storetest.Must(proto.SignMessage(by.Sign, proto.LabelCommit, m))
	return p
}

// swapJoin is a joining with what a link's holder signed for somebody else.
func swapJoin(c *storetest.Conversation, by *storetest.Person, link *storetest.Link, other *pb.CommitPost, members ...*storetest.Person) *pb.CommitPost {
	theirs, m := &pb.Commit{}, &pb.Commit{}
	p := c.Join(by, link, members...)
	if proto.Unmarshal(other.GetCommit().GetBody(), theirs) != nil || proto.Unmarshal(p.GetCommit().GetBody(), m) != nil {
		panic("a commit does not parse")
	}
	m.GetJoinByLink().LinkJoin = theirs.GetJoinByLink().GetLinkJoin()
	p.Commit = storetest.Must(proto.SignMessage(by.Sign, proto.LabelCommit, m))
	return p
}
