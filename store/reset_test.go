package store_test

import (
	"errors"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/store/storetest"
)

// testReset: a new identity takes the account's place, with its contacts and without anything that was secret.
func testReset(t *testing.T, open opener) {
	clock := newClock()
	s, ctx := open(t, clock), t.Context()
	anna, berta := storetest.Register(t, s, "anna"), storetest.Register(t, s, "berta")
	pair := storetest.Befriend(anna, berta)
	id := anna.Session.AccountID
	phone := anna.AddDevice()
	recovery := &store.Recovery{AuthSalt: []byte("salt"), AuthHash: []byte("hash"), Master: storetest.Sealed()}
	ok(t, s.SetRecovery(ctx, id, recovery))
	ok(t, s.SetSetting(ctx, id, "links", []byte("sealed")))
	ok(t, s.AddDeviceLink(ctx, id, "link", clock.Now().Add(time.Hour)))
	ok(t, s.CreateInvitation(ctx, store.Invitation{AccountID: id, Code: "code", Signed: anna.List.Signed, Sealed: []byte("x"), Uses: 1, ExpiresMS: 1 << 60}))
	before, err := s.AccountByName(ctx, "anna")
	ok(t, err)
	seen := version(t, s, berta)

	code := store.ResetCode{AuthSalt: []byte("salt"), AuthHash: []byte("the code"), ExpiresMS: clock.Now().Add(time.Hour).UnixMilli()}
	ok(t, s.SetResetCode(ctx, anna.ID, code))
	equal(t, "a code alone changes nothing", version(t, s, berta), seen)
	r, again := anna.Renewal([]byte("another code"))
	_, err = s.ResetAccount(ctx, r)
	equal(t, "another code", errors.Is(err, store.ErrNotFound), true)
	r.CodeHash, r.Previous = code.AuthHash, 1
	_, err = s.ResetAccount(ctx, r)
	refused(t, err, codeStaleList)
	_, err = s.SessionByToken(ctx, phone.Token)
	ok(t, err)
	r.Previous = anna.List.GetVersion()
	ended, err := s.ResetAccount(ctx, r)
	ok(t, err)
	equal(t, "devices that ended", len(ended), 2)

	for _, token := range [][]byte{anna.Token, phone.Token} {
		_, err := s.SessionByToken(ctx, token)
		equal(t, "a session of before", errors.Is(err, store.ErrNotFound), true)
	}
	_, err = s.Device(ctx, anna.Device.ID)
	equal(t, "a device of before", errors.Is(err, store.ErrNotFound), true)
	session, err := s.SessionByToken(ctx, again.Token)
	ok(t, err)
	equal(t, "whose session", session.AccountID, id)
	after, err := s.AccountByName(ctx, "anna")
	ok(t, err)
	if after.Recovery != nil || after.Reset != nil || string(after.AuthHash) == string(before.AuthHash) || gproto.Equal(after.KeyRing, before.KeyRing) ||
		string(after.IdentityKey) == string(before.IdentityKey) || after.FirstGeneration != 2 || after.Nickname != before.Nickname {
		t.Errorf("the account is %+v", after)
	}
	for what, err := range map[string]error{
		"a setting": second(s.Setting(ctx, id, "links")), "a device link": second(s.AskByLink(ctx, "link", nil)), "an invitation": second(s.Invitation(ctx, "code")),
	} {
		equal(t, what+" of before", errors.Is(err, store.ErrNotFound), true)
	}
	contact, err := s.Contact(ctx, berta.Session.AccountID, id)
	ok(t, err)
	equal(t, "they are contacts", contact.State, pb.ContactState_CONTACT_STATE_ACCEPTED)
	equal(t, "contacts hear of it", version(t, s, berta) > seen, true)
	waits, err := s.Conversation(ctx, pair.Public)
	ok(t, err)
	equal(t, "the pair needs an epoch", waits.NeedsEpoch, true)
	_, err = s.ResetAccount(ctx, r)
	equal(t, "the code works once", errors.Is(err, store.ErrNotFound), true)

	former, err := s.FormerKeys(ctx, id)
	ok(t, err)
	if len(former) != 1 || !gproto.Equal(former[0].KeyRing, before.KeyRing) || string(former[0].Recovery.AuthHash) != "hash" || !gproto.Equal(former[0].Recovery.Master, recovery.Master) {
		t.Errorf("former keys %+v", former)
	}
}

// version is how far an account's log has come.
func version(t *testing.T, s *store.Store, p *storetest.Person) uint64 {
	t.Helper()
	a, err := s.Account(t.Context(), p.ID)
	ok(t, err)
	return a.Version
}

// testResetCodes: the newest code counts, until it expires.
func testResetCodes(t *testing.T, open opener) {
	clock := newClock()
	s, ctx := open(t, clock), t.Context()
	anna, guest := storetest.Register(t, s, "anna"), storetest.Register(t, s, "")
	refused(t, s.SetResetCode(ctx, guest.ID, store.ResetCode{}), codeConflict)
	equal(t, "nobody", errors.Is(s.SetResetCode(ctx, proto.NewID(), store.ResetCode{}), store.ErrNotFound), true)
	for _, hash := range []string{"first", "second"} {
		ok(t, s.SetResetCode(ctx, anna.ID, store.ResetCode{AuthSalt: []byte("s"), AuthHash: []byte(hash), ExpiresMS: clock.Now().Add(time.Hour).UnixMilli()}))
	}
	r, _ := anna.Renewal([]byte("first"))
	_, err := s.ResetAccount(ctx, r)
	equal(t, "the code before", errors.Is(err, store.ErrNotFound), true)
	clock.advance(time.Hour)
	a, err := s.AccountByName(ctx, "anna")
	ok(t, err)
	equal(t, "it has expired", a.Reset == nil, true)
	r.CodeHash = []byte("second")
	_, err = s.ResetAccount(ctx, r)
	equal(t, "an expired code", errors.Is(err, store.ErrNotFound), true)
	_, err = s.SessionByToken(ctx, anna.Token)
	ok(t, err)
}
