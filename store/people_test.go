package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/store/storetest"
)

func testRecovery(t *testing.T, open opener) {
	s, ctx := open(t, newClock()), t.Context()
	anna := storetest.Register(t, s, "anna")
	code := func() *store.Recovery {
		t.Helper()
		a, err := s.AccountByName(ctx, "anna")
		ok(t, err)
		return a.Recovery
	}
	equal(t, "no code at first", code() == nil, true)
	want := &store.Recovery{AuthSalt: []byte("salt"), AuthHash: []byte("hash"), Master: storetest.Sealed()}
	ok(t, s.SetRecovery(ctx, anna.Session.AccountID, want))
	if got := code(); string(got.AuthSalt) != "salt" || string(got.AuthHash) != "hash" || !gproto.Equal(got.Master, want.Master) {
		t.Errorf("stored %v", got)
	}
	ok(t, s.SetRecovery(ctx, anna.Session.AccountID, nil))
	equal(t, "taken away", code() == nil, true)
}

func testDeviceLinks(t *testing.T, open opener) {
	clock := newClock()
	s, ctx := open(t, clock), t.Context()
	anna, berta := storetest.Register(t, s, "anna"), storetest.Register(t, s, "berta")
	expires := clock.Now().Add(time.Minute)
	for i := range store.MaxDeviceLinks {
		ok(t, s.AddDeviceLink(ctx, anna.Session.AccountID, fmt.Sprint("code", i), expires))
	}
	refused(t, s.AddDeviceLink(ctx, anna.Session.AccountID, "more", expires), codeTooLarge)
	ok(t, s.AddDeviceLink(ctx, berta.Session.AccountID, "berta's", expires))
	whose, err := s.AskByLink(ctx, "code0", []byte("ask"))
	ok(t, err)
	equal(t, "whose link", whose, anna.ID)
	_, err = s.AskByLink(ctx, "code0", []byte("another"))
	refused(t, err, codeUsedUp)
	asks, err := s.DeviceAsks(ctx, anna.Session.AccountID)
	ok(t, err)
	if len(asks) != 1 || asks[0].Code != "code0" || string(asks[0].Ask) != "ask" {
		t.Errorf("asks %v", asks)
	}
	d := storetest.NewDevice()
	u := anna.Addition(d)
	for _, code := range []string{"code1", "berta's", "nothing"} { // nobody asked, another's, none
		u.Link = code
		_, err = s.UpdateDevices(ctx, u)
		refused(t, err, codeNotFound)
	}
	u.Link = "code0"
	ended, err := s.UpdateDevices(ctx, u)
	ok(t, err)
	equal(t, "devices that ended", len(ended), 0)
	_, err = s.SessionByToken(ctx, d.Token)
	equal(t, "it has no session", errors.Is(err, store.ErrNotFound), true)
	_, err = s.Device(ctx, d.ID)
	ok(t, err)
	clock.advance(time.Minute)
	_, err = s.AskByLink(ctx, "code1", []byte("late"))
	equal(t, "an expired code", errors.Is(err, store.ErrNotFound), true)
	ok(t, s.AddDeviceLink(ctx, anna.Session.AccountID, "more", clock.Now().Add(time.Minute)))
}

func testTouch(t *testing.T, open opener) {
	clock := newClock()
	s, ctx := open(t, clock), t.Context()
	anna := storetest.Register(t, s, "anna")
	state := func() (uint64, string) {
		t.Helper()
		d, err := s.DeviceState(ctx, anna.Session.AccountID, anna.Device.ID)
		ok(t, err)
		return d.GetLastUsedMs(), d.GetLastAddress()
	}
	start := clock.Now()
	old := *anna.Session
	ok(t, s.Touch(ctx, anna.Session, "192.0.2.1"))
	clock.advance(store.TouchEvery - time.Millisecond)
	ok(t, s.Touch(ctx, anna.Session, "192.0.2.2"))
	ok(t, s.Touch(ctx, &old, "192.0.2.3")) // as another connection knows it
	if at, from := state(); at != uint64(start.UnixMilli()) || from != "192.0.2.1" {
		t.Errorf("within a minute: %d %s", at, from)
	}
	clock.advance(time.Millisecond)
	ok(t, s.Touch(ctx, anna.Session, "192.0.2.2"))
	if at, from := state(); at != uint64(clock.Now().UnixMilli()) || from != "192.0.2.2" {
		t.Errorf("after a minute: %d %s", at, from)
	}
}

func testBlocks(t *testing.T, open opener) {
	s, ctx := open(t, newClock()), t.Context()
	anna, berta := storetest.Register(t, s, "anna"), storetest.Register(t, s, "berta")
	a, b := anna.Session.AccountID, berta.Session.AccountID
	pair := storetest.Befriend(anna, berta)
	block := func(by, who int64, on, want bool) {
		t.Helper()
		changed, err := s.SetBlocked(ctx, by, who, on)
		ok(t, err)
		equal(t, "changed", changed, want)
	}
	head := func(account int64) uint64 {
		t.Helper()
		state, err := s.State(ctx, account, 0, pair.ID)
		ok(t, err)
		rows, err := s.Page(ctx, pair.ID, account, 0, 0, false, 100)
		ok(t, err)
		back, err := s.Page(ctx, pair.ID, account, 0, 0, true, 100)
		ok(t, err)
		equal(t, "rows", len(rows), int(state.HeadSeq))
		equal(t, "rows backward", len(back), int(state.HeadSeq))
		return state.HeadSeq
	}
	block(a, b, false, false)
	block(a, b, true, true)
	block(a, b, true, false)
	p := post(t, s, berta, pair, berta.Text(pair, "while blocked"))[0]
	ok(t, p.Err)
	if len(p.Held) != 1 || p.Held[0] != anna.ID {
		t.Errorf("held from %v", p.Held)
	}
	equal(t, "the blocker's head", head(a), 1)
	equal(t, "the other's head", head(b), 2)
	mine := post(t, s, anna, pair, anna.Text(pair, "hi"))[0]
	refused(t, mine.Err, codeForbidden)
	var moved []store.Progress
	ok(t, s.MoveCursor(ctx, pair.ID, a, anna.Session.DeviceID, 2, 2, func(p store.Progress) { moved = append(moved, p) }))
	ok(t, s.MoveCursor(ctx, pair.ID, b, berta.Session.DeviceID, 2, 2, func(p store.Progress) { moved = append(moved, p) }))
	settle(t, s)
	want := []store.Progress{{DeliveredSeq: 1, ReadSeq: 1, Delivered: true, Hidden: true}, {DeliveredSeq: 2, ReadSeq: 2, Delivered: true, Hidden: true}}
	if len(moved) > 2 || len(moved) > 0 && moved[len(moved)-1] != want[1] {
		t.Errorf("moved %v", moved)
	}
	for account, sees := range map[int64][2]uint64{a: {1, 1}, b: {2, 1}} { // the own one, the other
		state, err := s.State(ctx, account, 0, pair.ID)
		ok(t, err)
		for _, m := range state.Members {
			own := (m.Account == anna.ID) == (account == a)
			if w := map[bool]uint64{true: sees[0], false: 0}[own]; own && m.ReadSeq < w || !own && m.ReadSeq > 1 {
				t.Errorf("account %d sees %s at %d", account, m.Account, m.ReadSeq)
			}
		}
	}
	seen, err := s.SeenPeers(ctx, b)
	ok(t, err)
	if len(seen) != 1 || !seen[0].Blocks || seen[0].SeenMS == 0 {
		t.Errorf("the other sees %v", seen)
	}
	refused(t, s.AskContact(ctx, a, b, ""), codeForbidden)
	block(b, a, true, true)
	block(a, b, false, true)
	equal(t, "the head of who let the other in", head(a), 2)
	block(b, a, false, true)
	ok(t, post(t, s, anna, pair, anna.Text(pair, "hi"))[0].Err)
	equal(t, "both go on", head(a)+head(b), 6)
}

// settle waits until everything that is stored was told of.
func settle(t *testing.T, s *store.Store) {
	t.Helper()
	done := make(chan struct{})
	ok(t, s.InOperation(t.Context(), func(o store.Operation) error { o.After(func() { close(done) }); return nil }))
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("nothing is told")
	}
}

func testPrivacy(t *testing.T, open opener) {
	s, ctx := open(t, newClock()), t.Context()
	anna, berta := storetest.Register(t, s, "anna"), storetest.Register(t, s, "berta")
	a, b := anna.Session.AccountID, berta.Session.AccountID
	pair := storetest.Befriend(anna, berta)
	count := func(ids []proto.ID, err error) int {
		t.Helper()
		ok(t, err)
		return len(ids)
	}
	for _, hides := range []int64{0, a, b} {
		want := 1
		if hides != 0 {
			want = 0
			ok(t, s.SetPrivacy(ctx, hides, &pb.Privacy{HidePresence: true, HideRead: true, HideTyping: true}))
		}
		for _, account := range []int64{a, b} {
			equal(t, "presence", count(s.PresencePeers(ctx, account)), want)
			equal(t, "typing", count(s.TypingPeers(ctx, pair.ID, account)), want)
			equal(t, "read", count(s.ReadPeers(ctx, pair.ID, account)), want)
			hidden, err := s.Hidden(ctx, a, b)
			ok(t, err)
			equal(t, "hidden", hidden, want == 0)
		}
		if hides != 0 {
			ok(t, s.SetPrivacy(ctx, hides, &pb.Privacy{}))
		}
	}
}

func testAvatars(t *testing.T, open opener) {
	s, ctx := open(t, newClock()), t.Context()
	anna := storetest.Register(t, s, "anna")
	hash := func() []byte {
		a, err := s.Account(ctx, anna.ID)
		ok(t, err)
		return a.Avatar
	}
	for _, image := range []string{"one", "two"} {
		for _, fresh := range []bool{true, false} {
			changed, err := s.SetAvatar(ctx, anna.Session.AccountID, "image/png", []byte(image))
			ok(t, err)
			equal(t, "changed", changed, fresh)
		}
		kind, got, err := s.Avatar(ctx, anna.ID, hash())
		ok(t, err)
		equal(t, "the image", kind+" "+string(got), "image/png "+image)
	}
	was := hash()
	_, err := s.SetAvatar(ctx, anna.Session.AccountID, "", nil)
	ok(t, err)
	_, _, err = s.Avatar(ctx, anna.ID, was)
	equal(t, "it is gone", errors.Is(err, store.ErrNotFound) && hash() == nil, true)
}

func testAdministration(t *testing.T, open opener) {
	s, ctx := open(t, newClock()), t.Context()
	anna := storetest.Register(t, s, "anna")
	berta := storetest.Register(t, s, "")
	users, err := s.AdminUsers(ctx, "NN", "")
	ok(t, err)
	equal(t, "found", len(users.GetUsers()), 1)
	users, err = s.AdminUsers(ctx, "", "")
	ok(t, err)
	equal(t, "all", len(users.GetUsers()), 2)
	devices, err := s.Suspend(ctx, anna.ID, true)
	ok(t, err)
	equal(t, "devices", len(devices), 1)
	_, err = s.SessionByToken(ctx, anna.Token)
	equal(t, "no session is left", errors.Is(err, store.ErrNotFound), true)
	stats, err := s.AdminStats(ctx)
	ok(t, err)
	equal(t, "suspended", stats.GetSuspended(), 1)
	equal(t, "the database has a size", stats.GetDatabaseBytes() > 0, true)
	_, err = s.Suspend(ctx, anna.ID, false)
	ok(t, err)
	_, err = s.Suspend(ctx, proto.NewID(), true)
	equal(t, "nobody", errors.Is(err, store.ErrNotFound), true)
	ok(t, s.SetServerSettings(ctx, store.ServerSettings{Name: "Home"}))
	ok(t, s.SetServerSettings(ctx, store.ServerSettings{Registration: "closed"}))
	set, err := s.ServerSettings(ctx)
	ok(t, err)
	equal(t, "settings", set, store.ServerSettings{Name: "Home", Registration: "closed"})
	_, err = s.DeleteAccount(ctx, berta.Session.AccountID)
	ok(t, err)
	n, err := s.AccountCount(ctx)
	ok(t, err)
	equal(t, "accounts", n, 1)
}
