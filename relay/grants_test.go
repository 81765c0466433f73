package relay_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store/storetest"
)

func grantPost(c *storetest.Conversation, to *storetest.Person, fill byte) *pb.GrantPost {
	return &pb.GrantPost{Conversation: c.Public.Bytes(), Epoch: c.Chain.Epoch(), Commit: c.Chain.Head(), Grant: &pb.Grant{
		Account: to.ID.Bytes(), Generation: to.List.GetGeneration(), Enc: bytes.Repeat([]byte{fill}, 32), Ciphertext: bytes.Repeat([]byte{fill}, 48),
	}}
}

// TestRequestGrant: everybody who may have the key is asked, once in a while, and only for the epoch in force.
func TestRequestGrant(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	second, stranger := b.AddDevice(), w.register()
	asking := w.listen(b, b.Device)
	asked := []*sink{w.listen(a, a.Device), w.listen(b, second)}
	outside := w.listen(stranger, stranger.Device)
	request := func(epoch uint64) error {
		return w.relay.RequestGrant(t.Context(), b.Session, &pb.GrantRequest{Conversation: pair.Public.Bytes(), Epoch: epoch})
	}
	w.ok(request(1))
	for i, s := range asked {
		got := s.next().GetGrantNeeded()
		if proto.ID(got.GetConversation()) != pair.Public || got.GetEpoch() != 1 || proto.ID(got.GetAccount()) != b.ID {
			t.Errorf("sink %d is asked for %v", i, got)
		}
	}
	w.ok(request(1)) // too soon: nobody is asked again
	w.refused(request(0), malformed)
	w.refused(request(2), malformed)
	w.silent(append(asked, asking, outside)...)
	w.clock.advance(time.Minute)
	w.ok(request(1))
	for _, s := range asked {
		if s.next().GetGrantNeeded() == nil {
			t.Error("nobody is asked again after a while")
		}
	}
	w.commit(a, pair, pair.Rekey(a, a, b))
	for _, s := range append(asked, asking) {
		s.event()
	}
	w.clock.advance(time.Minute)
	w.ok(request(1)) // of an older epoch
	w.silent(append(asked, asking, outside)...)
}

// TestAddGrant: a grant that helps is kept and goes to the devices of the account that it is for.
func TestAddGrant(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	second := b.AddDevice()
	grantee := []*sink{w.listen(b, b.Device), w.listen(b, second)}
	others := w.listen(a, a.Device)
	ctx := t.Context()
	stored := func() *pb.Grant {
		t.Helper()
		commits, err := w.relay.Commits(ctx, b.Session, &pb.CommitsRequest{Conversation: pair.Public.Bytes(), FromNumber: pair.Chain.Epoch()})
		w.ok(err)
		return commits.GetCommits()[0].GetGrant()
	}
	is := func(p *pb.GrantPost) {
		t.Helper()
		for i, s := range grantee {
			got := s.next().GetGrantAdded()
			if !same(got.GetGrant(), p.GetGrant()) || got.GetEpoch() != p.GetEpoch() || !bytes.Equal(got.GetCommit(), p.GetCommit()) || !bytes.Equal(got.GetConversation(), p.GetConversation()) {
				t.Errorf("sink %d is told of %v", i, got)
			}
		}
		if !same(stored(), p.GetGrant()) {
			t.Errorf("stored is %v", stored())
		}
	}
	first := stored()
	w.ok(w.relay.AddGrant(ctx, a.Session, grantPost(pair, b, 1))) // nobody asked
	w.silent(append(grantee, others)...)
	if !same(stored(), first) {
		t.Error("a grant that nobody asked for took the place of the commit's")
	}
	// one that was asked for, since the commit's did not open
	w.ok(w.relay.RequestGrant(ctx, second.Session, &pb.GrantRequest{Conversation: pair.Public.Bytes(), Epoch: 1}))
	others.next()
	grantee[0].next()
	w.ok(w.relay.AddGrant(ctx, a.Session, grantPost(pair, b, 2)))
	is(grantPost(pair, b, 2))
	w.ok(w.relay.AddGrant(ctx, a.Session, grantPost(pair, b, 3))) // one answer is enough
	w.silent(append(grantee, others)...)
	// one by a device of the account itself
	w.ok(w.relay.AddGrant(ctx, b.Session, grantPost(pair, b, 4)))
	is(grantPost(pair, b, 4))
	// one to a newer account key
	b.Revoke(b.AddDevice())
	w.ok(w.relay.AddGrant(ctx, a.Session, grantPost(pair, b, 5)))
	is(grantPost(pair, b, 5))
}

func TestAddGrantRefuses(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	stranger := w.register()
	b.Revoke(b.AddDevice())
	w.commit(a, pair, pair.Rekey(a, a, b)) // to generation 2
	for name, c := range map[string]struct {
		change func(*pb.GrantPost)
		code   pb.ErrorCode
	}{
		"for who is no member": {func(p *pb.GrantPost) { p.Grant.Account = stranger.ID.Bytes() }, forbidden},
		"for nobody":           {func(p *pb.GrantPost) { p.Grant = nil }, malformed},
		"too short":            {func(p *pb.GrantPost) { p.Grant.Ciphertext = p.Grant.GetCiphertext()[1:] }, malformed},
		"an older epoch":       {func(p *pb.GrantPost) { p.Epoch-- }, staleHead},
		"another commit":       {func(p *pb.GrantPost) { p.Commit = make([]byte, 32) }, staleHead},
		"a generation before":  {func(p *pb.GrantPost) { p.Grant.Generation-- }, forbidden},
		"a generation to come": {func(p *pb.GrantPost) { p.Grant.Generation++ }, forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			p := grantPost(pair, b, 1)
			c.change(p)
			w.refused(w.relay.AddGrant(t.Context(), a.Session, p), c.code)
		})
	}
}
