package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/store/storetest"
)

func testAccounts(t *testing.T, open opener) {
	s := open(t, newClock())
	ctx := t.Context()
	anna := storetest.Register(t, s, "anna")
	for _, read := range []func() (*store.Account, error){
		func() (*store.Account, error) { return s.Account(ctx, anna.ID) },
		func() (*store.Account, error) { return s.AccountByName(ctx, "anna") },
	} {
		a, err := read()
		ok(t, err)
		if a.Public != anna.ID || a.UserName != "anna" || a.Nickname != "Nick anna" || a.Admin || a.ListVersion != 1 || a.Params.GetMemoryKib() == 0 ||
			a.Master == nil || a.KeyRing == nil || !bytes.Equal(a.IdentityKey, anna.List.GetIdentityKey()) {
			t.Errorf("read %+v", a)
		}
	}
	_, err := s.AccountByName(ctx, "nobody")
	equal(t, "an unknown name", errors.Is(err, store.ErrNotFound), true)
	_, err = s.Account(ctx, proto.NewID())
	equal(t, "an unknown account", errors.Is(err, store.ErrNotFound), true)

	refused(t, s.CreateAccount(ctx, storetest.NewPerson(t, s).Account("anna")), codeConflict) // the name is taken
	refused(t, s.CreateAccount(ctx, anna.Account("other")), codeConflict)                     // the account is there
	one, two := storetest.Register(t, s, ""), storetest.Register(t, s, "")                    // names are not needed
	named, err := s.Account(ctx, one.ID)
	ok(t, err)
	if named.UserName != "" || named.Params != nil || two.Session.AccountID == one.Session.AccountID {
		t.Errorf("without a name: %+v", named)
	}
	n, err := s.AccountCount(ctx)
	ok(t, err)
	equal(t, "accounts", n, 3) // what failed left nothing

	ok(t, s.SetNickname(ctx, anna.Session.AccountID, "Anna B."))
	a, err := s.Account(ctx, anna.ID)
	ok(t, err)
	equal(t, "the nickname", a.Nickname, "Anna B.")
}

func testPasswords(t *testing.T, open opener) {
	s := open(t, newClock())
	ctx := t.Context()
	anna, quick := storetest.Register(t, s, "anna"), storetest.Register(t, s, "")
	other := anna.AddDevice()
	next := storetest.Password("next")
	ended, err := s.SetPassword(ctx, anna.Session.AccountID, next, anna.Token)
	ok(t, err)
	if !slices.Equal(ended, []proto.ID{other.ID}) {
		t.Errorf("the sessions of %v ended, want those of %v", ended, other.ID)
	}
	a, err := s.Account(ctx, anna.ID)
	ok(t, err)
	if !bytes.Equal(a.AuthHash, next.AuthHash) || !bytes.Equal(a.AuthSalt, next.AuthSalt) || !gproto.Equal(a.Master, next.Master) {
		t.Error("the password is not the new one")
	}
	_, err = s.SessionByToken(ctx, anna.Token)
	ok(t, err)
	_, err = s.SessionByToken(ctx, other.Token)
	equal(t, "another session", errors.Is(err, store.ErrNotFound), true)

	refused(t, s.KeepAccount(ctx, quick.Session.AccountID, "anna", "anna", next, storetest.Sealed()), codeConflict)
	ok(t, s.KeepAccount(ctx, quick.Session.AccountID, "Quick", "quick", next, storetest.Sealed()))
	refused(t, s.KeepAccount(ctx, quick.Session.AccountID, "slow", "slow", next, storetest.Sealed()), codeConflict)
	kept, err := s.AccountByName(ctx, "quick")
	ok(t, err)
	if kept.Public != quick.ID || kept.UserName != "Quick" || kept.Params == nil || kept.KeyRing == nil {
		t.Errorf("kept as %+v", kept)
	}
}

// testSetup: of several who use the set-up link at once, one becomes the administrator.
func testSetup(t *testing.T, open opener) {
	s := open(t, newClock())
	answers := make(chan error)
	for i := range 4 {
		n := storetest.NewPerson(t, s).Account(fmt.Sprint("admin", i))
		n.Admin, n.Setup = true, true
		go func() { answers <- s.CreateAccount(context.Background(), n) }()
	}
	won := 0
	for range 4 {
		if err := <-answers; err == nil {
			won++
		} else {
			refused(t, err, codeUsedUp)
		}
	}
	equal(t, "administrators", won, 1)
}

func testSessions(t *testing.T, open opener) {
	c := newClock()
	s := open(t, c)
	ctx := t.Context()
	anna := storetest.Register(t, s, "anna")
	if got := anna.Session; got.Account != anna.ID || got.Device != anna.Device.ID || got.AccountID == 0 || got.DeviceID == 0 || got.Admin {
		t.Errorf("session %+v", got)
	}
	gone := func(token []byte) bool {
		t.Helper()
		_, err := s.SessionByToken(ctx, token)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		return err != nil
	}
	equal(t, "an unknown token", gone([]byte("unknown")), true)
	ok(t, s.OpenSession(ctx, anna.Session.DeviceID, []byte("short"), c.Now().Add(time.Hour)))
	equal(t, "a new session", gone([]byte("short")), false)
	c.advance(time.Hour)
	equal(t, "an expired session", gone([]byte("short")), true)

	for i := range 40 { // a device that logs in all the time keeps the newest
		c.advance(time.Second)
		ok(t, s.OpenSession(ctx, anna.Session.DeviceID, fmt.Append(nil, "token ", i), c.Now().Add(time.Hour)))
	}
	live := 0
	for i := range 40 {
		if !gone(fmt.Append(nil, "token ", i)) {
			live++
		}
	}
	equal(t, "sessions of a device", live, 16)
	equal(t, "the newest session", gone([]byte("token 39")), false)

	other := anna.AddDevice()
	ok(t, s.EndDevice(ctx, anna.Session.AccountID, anna.Session.DeviceID, anna.Device.ID))
	equal(t, "a session of an ended device", gone([]byte("token 39")), true)
	equal(t, "a session of another device", gone(other.Token), false)
	_, err := s.Device(ctx, anna.Device.ID)
	equal(t, "an ended device", errors.Is(err, store.ErrNotFound), true)
	state, err := s.DeviceState(ctx, anna.Session.AccountID, anna.Device.ID)
	ok(t, err)
	equal(t, "its state", state.GetEnded(), true)
}

func testTickets(t *testing.T, open opener) {
	c := newClock()
	s := open(t, c)
	ctx := t.Context()
	add := func(name string, purpose int) {
		t.Helper()
		ok(t, s.AddTicket(ctx, purpose, []byte(name), 7, 8, c.Now().Add(time.Minute)))
	}
	take := func(name string, purpose int) bool {
		t.Helper()
		account, device, err := s.TakeTicket(ctx, purpose, []byte(name))
		if errors.Is(err, store.ErrNotFound) {
			return false
		}
		ok(t, err)
		return account == 7 && device == 8
	}
	add("one", store.TicketLogin)
	equal(t, "for another purpose", take("one", store.TicketChallenge), false)
	equal(t, "for its purpose", take("one", store.TicketLogin), true)
	equal(t, "a second time", take("one", store.TicketLogin), false)
	add("two", store.TicketLogin)
	c.advance(time.Minute)
	equal(t, "too late", take("two", store.TicketLogin), false)
}

func testDeviceLists(t *testing.T, open opener) {
	s := open(t, newClock())
	ctx := t.Context()
	anna := storetest.Register(t, s, "anna")
	before := anna.List
	first := anna.Addition(storetest.NewDevice())
	anna.List = before
	late := anna.Addition(storetest.NewDevice()) // follows on the same list
	_, err := s.UpdateDevices(ctx, first)
	ok(t, err)
	_, err = s.UpdateDevices(ctx, late)
	refused(t, err, codeStaleList)
	anna.List = first.List
	lists, err := s.DeviceLists(ctx, anna.Session.AccountID, 1<<20)
	ok(t, err)
	if len(lists) != 2 || !gproto.Equal(lists[0], before.Signed) || !gproto.Equal(lists[1], first.List.Signed) {
		t.Errorf("%d lists", len(lists))
	}
	lists, err = s.DeviceLists(ctx, anna.Session.AccountID, len(lists[1].GetBody())+len(lists[1].GetSignature()))
	ok(t, err)
	if len(lists) != 1 || !gproto.Equal(lists[0], first.List.Signed) {
		t.Errorf("%d lists where one has room", len(lists))
	}
	inForce, err := s.DeviceList(ctx, anna.Session.AccountID)
	ok(t, err)
	equal(t, "the list in force is the newest", gproto.Equal(inForce, first.List.Signed), true)
	_, err = s.Device(ctx, proto.ID(late.Added.GetDevice()))
	equal(t, "the device of the list that lost", errors.Is(err, store.ErrNotFound), true)
}

// testGenerations: revoking a device ends it, keeps the grants of the new account key for the others, and
// makes conversations need a new epoch.
func testGenerations(t *testing.T, open opener) {
	s := open(t, newClock())
	ctx := t.Context()
	anna, berta := storetest.Register(t, s, "anna"), storetest.Register(t, s, "berta")
	pair := storetest.Befriend(anna, berta)
	lost := anna.AddDevice()
	ended, err := s.UpdateDevices(ctx, anna.Revocation(lost.ID))
	ok(t, err)
	if !slices.Equal(ended, []proto.ID{lost.ID}) {
		t.Errorf("ended: %v", ended)
	}
	_, err = s.SessionByToken(ctx, lost.Token)
	equal(t, "its session", errors.Is(err, store.ErrNotFound), true)
	grants, err := s.GenerationGrants(ctx, anna.Session.DeviceID, anna.Device.ID)
	ok(t, err)
	if len(grants) != 1 || grants[0].GetGeneration() != 2 {
		t.Errorf("grants %v", grants)
	}
	c, err := s.Conversation(ctx, pair.Public)
	ok(t, err)
	equal(t, "the pair needs a new epoch", c.NeedsEpoch, true)

	newest := anna.List
	anna.List = anna.Lists()[0]
	pair.Store(berta, pair.Rekey(berta, anna, berta)) // by somebody who has not heard of the new key
	c, err = s.Conversation(ctx, pair.Public)
	ok(t, err)
	equal(t, "after a new epoch for the old key it still does", c.NeedsEpoch, true)
	anna.List = newest
	pair.Store(berta, pair.Rekey(berta, anna, berta))
	c, err = s.Conversation(ctx, pair.Public)
	ok(t, err)
	equal(t, "after a new epoch for the new key it still does", c.NeedsEpoch, false)
}

func testSettings(t *testing.T, open opener) {
	s := open(t, newClock())
	ctx := t.Context()
	anna, berta := storetest.Register(t, s, "anna"), storetest.Register(t, s, "berta")
	for i := range store.MaxSettings {
		ok(t, s.SetSetting(ctx, anna.Session.AccountID, fmt.Sprint("key ", i), []byte("value")))
	}
	refused(t, s.SetSetting(ctx, anna.Session.AccountID, "one more", nil), codeTooLarge)
	ok(t, s.SetSetting(ctx, anna.Session.AccountID, "key 3", nil))
	got, err := s.Setting(ctx, anna.Session.AccountID, "key 3")
	ok(t, err)
	equal(t, "an emptied setting", len(got.GetValue()), 0)
	large := make([]byte, proto.MaxSettingValue)
	for i := range store.MaxSettingBytes/len(large) - 1 { // the others have some bytes too
		ok(t, s.SetSetting(ctx, anna.Session.AccountID, fmt.Sprint("key ", i), large))
	}
	refused(t, s.SetSetting(ctx, anna.Session.AccountID, "key 1000", large), codeTooLarge)
	ok(t, s.SetSetting(ctx, anna.Session.AccountID, "key 4", large))
	_, err = s.Setting(ctx, berta.Session.AccountID, "key 3")
	equal(t, "somebody else's setting", errors.Is(err, store.ErrNotFound), true)
}

// testAccountLog: an object that changes again stands at the end and once; pages are read by version.
func testAccountLog(t *testing.T, open opener) {
	s := open(t, newClock())
	ctx := t.Context()
	anna := storetest.Register(t, s, "anna")
	for _, key := range []string{"a", "b", "c", "a"} {
		ok(t, s.SetSetting(ctx, anna.Session.AccountID, key, []byte("x")))
	}
	var (
		all   []store.LogEntry
		after uint64
	)
	for {
		page, err := s.Log(ctx, anna.Session.AccountID, after, 2)
		ok(t, err)
		if len(page) == 0 {
			break
		}
		all = append(all, page...)
		after = page[len(page)-1].Version
	}
	var refs []string
	for i, e := range all {
		if i > 0 && e.Version <= all[i-1].Version {
			t.Errorf("version %d after %d", e.Version, all[i-1].Version)
		}
		if e.Kind == store.LogSetting {
			refs = append(refs, string(e.Ref))
		}
	}
	if !slices.Equal(refs, []string{"b", "c", "a"}) {
		t.Errorf("settings changed in the order %v", refs)
	}
	a, err := s.Account(ctx, anna.ID)
	ok(t, err)
	equal(t, "the account's version", a.Version, after)
}
