package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/store/storetest"
)

// relation is how a sees b.
func relation(t *testing.T, s *store.Store, a, b *storetest.Person) pb.ContactState {
	t.Helper()
	c, err := s.Contact(t.Context(), a.Session.AccountID, b.Session.AccountID)
	ok(t, err)
	return c.State
}

// logged says whether an account's log has an entry after a version, and the newest version.
func logged(t *testing.T, s *store.Store, p *storetest.Person, after uint64, kind int, ref []byte) (bool, uint64) {
	t.Helper()
	log, err := s.Log(t.Context(), p.Session.AccountID, after, 1000)
	ok(t, err)
	found, version := false, after
	for _, e := range log {
		found = found || e.Kind == kind && string(e.Ref) == string(ref)
		version = e.Version
	}
	return found, version
}

func testContacts(t *testing.T, open opener) {
	s := open(t, newClock())
	ctx := t.Context()
	anna, berta := storetest.Register(t, s, "anna"), storetest.Register(t, s, "berta")
	a, b := anna.Session.AccountID, berta.Session.AccountID
	equal(t, "strangers", relation(t, s, anna, berta), pb.ContactState_CONTACT_STATE_NONE)
	refused(t, s.DeclineContact(ctx, b, a), codeNotFound) // nobody asked
	first := func(p, with *storetest.Person) *store.NewCommit {
		return p.Prepare(proto.NewChain(proto.PairID(p.ID, with.ID)), p.FirstCommit(with))
	}
	refused(t, s.AcceptContact(ctx, b, a, first(berta, anna)), codeNotFound)

	ok(t, s.AskContact(ctx, a, b, "hello"))
	ok(t, s.AskContact(ctx, a, b, "again"))
	equal(t, "who asked", relation(t, s, anna, berta), pb.ContactState_CONTACT_STATE_ASKED)
	asking, err := s.Contact(ctx, b, a)
	ok(t, err)
	if asking.State != pb.ContactState_CONTACT_STATE_ASKING || asking.Note != "again" || asking.SinceMS == 0 {
		t.Errorf("who was asked sees %+v", asking)
	}
	refused(t, s.AskContact(ctx, b, a, "me too"), codeConflict)
	refused(t, s.AcceptContact(ctx, a, b, first(anna, berta)), codeNotFound) // not by who asked
	_, err = s.Conversation(ctx, proto.PairID(anna.ID, berta.ID))
	equal(t, "no conversation before it is accepted", errors.Is(err, store.ErrNotFound), true)

	// who was asked sees the asking one's keys, and hears when they change
	_, version := logged(t, s, berta, 0, store.LogContact, anna.ID[:])
	anna.AddDevice()
	found, version := logged(t, s, berta, version, store.LogContact, anna.ID[:])
	equal(t, "the asked one hears of a new device", found, true)
	watchers, err := s.Watchers(ctx, a)
	ok(t, err)
	equal(t, "the asked one watches", slices.Contains(watchers, berta.ID), true)

	pair := berta.Accept(anna)
	for _, p := range [][2]*storetest.Person{{anna, berta}, {berta, anna}} {
		equal(t, "contacts", relation(t, s, p[0], p[1]), pb.ContactState_CONTACT_STATE_ACCEPTED)
		peers, err := s.PresencePeers(ctx, p[0].Session.AccountID)
		ok(t, err)
		if !slices.Equal(peers, []proto.ID{p[1].ID}) {
			t.Errorf("peers %v", peers)
		}
		_, err = s.ConversationOf(ctx, p[0].Session.AccountID, pair.Public)
		ok(t, err)
	}
	found, _ = logged(t, s, berta, version, store.LogConversation, pair.Public[:])
	equal(t, "the conversation is in the log", found, true)
	refused(t, s.AskContact(ctx, a, b, ""), codeConflict)
	refused(t, s.AcceptContact(ctx, b, a, first(berta, anna)), codeNotFound) // a second time
	shared, err := s.ShareGroup(ctx, a, b)
	ok(t, err)
	equal(t, "a pair is no group", shared, false)
}

func testAskedBounded(t *testing.T, open opener) {
	s := open(t, newClock())
	anna := storetest.Register(t, s, "anna")
	var last *storetest.Person
	for range store.MaxAsked {
		last = storetest.Register(t, s, "")
		anna.Ask(last)
	}
	one := storetest.Register(t, s, "")
	refused(t, s.AskContact(t.Context(), anna.Session.AccountID, one.Session.AccountID, ""), codeTooLarge)
	anna.Ask(last) // again
	anna.Remove(last)
	anna.Ask(one)
}

// testClosedPairs: who removes a contact closes their conversation for both; accepting anew goes on with it.
func testClosedPairs(t *testing.T, open opener) {
	s := open(t, newClock())
	ctx := t.Context()
	anna, berta := storetest.Register(t, s, "anna"), storetest.Register(t, s, "berta")
	a, b := anna.Session.AccountID, berta.Session.AccountID
	pair := storetest.Befriend(anna, berta)
	before := []*store.Post{anna.Post(pair, anna.Text(pair, "one")), berta.Post(pair, berta.Text(pair, "two"))}
	ok(t, storetest.Posts(ctx, s, before))
	rekey := anna.Prepare(pair.Chain.Clone(), pair.Rekey(anna, anna, berta)) // authorised before, arrives after

	berta.Remove(anna)
	for _, p := range []*storetest.Person{anna, berta} {
		post := []*store.Post{p.Post(pair, p.Text(pair, "three"))}
		ok(t, storetest.Posts(ctx, s, post))
		refused(t, post[0].Err, codeNotFound)
		_, err := s.ConversationOf(ctx, p.Session.AccountID, pair.Public)
		equal(t, "a closed pair", errors.Is(err, store.ErrNotFound), true)
		refused(t, s.MoveCursor(ctx, pair.ID, p.Session.AccountID, p.Session.DeviceID, 2, 2, nil), codeNotFound)
		states, err := s.States(ctx, p.Session.AccountID, p.Session.DeviceID, 0, 10)
		ok(t, err)
		equal(t, "states", len(states), 0)
	}
	refused(t, s.Commit(ctx, rekey), codeNotFound)
	refused(t, s.AddGrant(ctx, store.NewGrant{
		Conversation: pair.ID, Epoch: 1, Commit: pair.Chain.Head(), Poster: a, Account: b, Replace: true, Grant: rekey.Grants[0],
	}), codeNotFound)

	berta.Ask(anna)
	_, version := logged(t, s, anna, 0, 0, nil)
	again := anna.Accept(berta) // offers another first commit
	equal(t, "the conversation", again.ID, pair.ID)
	equal(t, "its head", string(again.Chain.Head()), string(pair.Chain.Head()))
	found, _ := logged(t, s, anna, version, store.LogConversation, pair.Public[:])
	equal(t, "devices hear of it", found, true)
	page, err := s.Page(ctx, pair.ID, a, 0, 0, false, 10)
	ok(t, err)
	equal(t, "its events", len(page), 3)
	post := []*store.Post{anna.Post(pair, anna.Text(pair, "four"))}
	ok(t, storetest.Posts(ctx, s, post))
	refused(t, post[0].Err, codeNeedsEpoch)
	again.Store(anna, again.Rekey(anna, anna, berta))
	post = []*store.Post{anna.Post(again, anna.Text(again, "four"))}
	ok(t, storetest.Posts(ctx, s, post))
	ok(t, post[0].Err)
	equal(t, "its number", post[0].Seq, 5)
}

// invitation stores an invitation.
func invitation(t *testing.T, s *store.Store, by *storetest.Person, code string, uses uint32, expires time.Time) error {
	t.Helper()
	return s.CreateInvitation(t.Context(), store.Invitation{
		AccountID: by.Session.AccountID, Code: code, Sealed: []byte("sealed"), Signed: &pb.Signed{Body: []byte("body"), Signature: []byte("signature")},
		Uses: uses, ExpiresMS: expires.UnixMilli(),
	})
}

// join is the use of an invitation.
func join(by, inviter *storetest.Person, code string) *store.Join {
	return &store.Join{
		Code: code, Proof: &pb.Signed{Body: []byte("join of " + by.ID.String()), Signature: []byte("signature")},
		First: by.Prepare(proto.NewChain(proto.PairID(by.ID, inviter.ID)), by.FirstCommit(inviter)),
	}
}

func testInvitations(t *testing.T, open opener) {
	c := newClock()
	s := open(t, c)
	ctx := t.Context()
	anna := storetest.Register(t, s, "anna")
	use := func(p *storetest.Person, code string) error {
		return s.UseInvitation(ctx, p.Session.AccountID, join(p, anna, code))
	}
	ok(t, invitation(t, s, anna, "two", 2, c.Now().Add(time.Hour)))
	refused(t, invitation(t, s, anna, "two", 2, c.Now().Add(time.Hour)), codeConflict)
	one, two, three := storetest.Register(t, s, ""), storetest.Register(t, s, ""), storetest.Register(t, s, "")
	ok(t, use(one, "two"))
	refused(t, use(one, "two"), codeConflict) // a contact already, takes no use
	contact, err := s.Contact(ctx, anna.Session.AccountID, one.Session.AccountID)
	ok(t, err)
	equal(t, "how they came", string(contact.Join.GetBody()), "join of "+one.ID.String())
	inv, err := s.Invitation(ctx, "two")
	ok(t, err)
	equal(t, "uses left", inv.UsesLeft, 1)
	equal(t, "as it was signed", gproto.Equal(inv.Signed, &pb.Signed{Body: []byte("body"), Signature: []byte("signature")}), true)
	ok(t, use(two, "two"))
	refused(t, use(three, "two"), codeUsedUp)
	equal(t, "who came too late", relation(t, s, three, anna), pb.ContactState_CONTACT_STATE_NONE)
	refused(t, use(three, "none"), codeNotFound)

	ok(t, invitation(t, s, anna, "late", 1, c.Now().Add(time.Hour)))
	ok(t, invitation(t, s, anna, "revoked", 1, c.Now().Add(time.Hour)))
	refused(t, s.RevokeInvitation(ctx, one.Session.AccountID, "revoked"), codeNotFound) // somebody else's
	ok(t, s.RevokeInvitation(ctx, anna.Session.AccountID, "revoked"))
	refused(t, s.RevokeInvitation(ctx, anna.Session.AccountID, "revoked"), codeNotFound)
	refused(t, use(three, "revoked"), codeNotFound)
	c.advance(time.Hour + time.Millisecond)
	refused(t, use(three, "late"), codeExpired)

	// a contact who was removed may come back by the same invitation
	ok(t, invitation(t, s, anna, "again", 2, c.Now().Add(time.Hour)))
	ok(t, use(three, "again"))
	anna.Remove(three)
	ok(t, use(three, "again"))

	for i := range store.MaxInvitations {
		ok(t, invitation(t, s, one, fmt.Sprint("code", i), 1, c.Now().Add(time.Hour)))
	}
	refused(t, invitation(t, s, one, "more", 1, c.Now().Add(time.Hour)), codeTooLarge)
	ok(t, s.RevokeInvitation(ctx, one.Session.AccountID, "code7"))
	ok(t, invitation(t, s, one, "more", 1, c.Now().Add(time.Hour)))
}

// testInvitationsAtOnce: however many come while it is revoked, no more get in than the invitation says, and
// each of them is a contact with a conversation.
func testInvitationsAtOnce(t *testing.T, open opener) {
	c := newClock()
	s := open(t, c)
	anna := storetest.Register(t, s, "anna")
	const people, uses = 12, 5
	ok(t, invitation(t, s, anna, "five", uses, c.Now().Add(time.Hour)))
	joiners := make([]*storetest.Person, people)
	joins := make([]*store.Join, people)
	for i := range joiners {
		joiners[i] = storetest.Register(t, s, "")
		joins[i] = join(joiners[i], anna, "five")
	}
	answers := make(chan error)
	for i, p := range joiners {
		go func() { answers <- s.UseInvitation(context.Background(), p.Session.AccountID, joins[i]) }()
	}
	go func() { answers <- s.RevokeInvitation(context.Background(), anna.Session.AccountID, "five") }()
	for range people + 1 {
		if err := <-answers; err != nil && !proto.HasCode(err, codeUsedUp) && !proto.HasCode(err, codeNotFound) {
			t.Error(err)
		}
	}
	in := 0
	for _, p := range joiners {
		_, err := s.Conversation(t.Context(), proto.PairID(p.ID, anna.ID))
		contact := relation(t, s, p, anna) == pb.ContactState_CONTACT_STATE_ACCEPTED
		if contact != (err == nil) {
			t.Errorf("a contact: %v, their conversation: %v", contact, err)
		}
		if contact {
			in++
		}
	}
	inv, err := s.Invitation(t.Context(), "five")
	ok(t, err)
	if in > uses || in != uses-int(inv.UsesLeft) || !inv.Revoked {
		t.Errorf("%d came in, %d uses are left, revoked: %v", in, inv.UsesLeft, inv.Revoked)
	}
}
