package store_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/store/storetest"
)

func testCursors(t *testing.T, open opener) {
	_, s, anna, berta, pair := pairOf(t, open)
	ctx := t.Context()
	second := berta.AddDevice()
	post(t, s, anna, pair, anna.Text(pair, "one"), anna.Text(pair, "two"), anna.Text(pair, "three")) // numbers 2 to 4
	var told []store.Progress
	move := func(device *storetest.Device, delivered, read uint64) {
		t.Helper()
		ok(t, s.MoveCursor(ctx, pair.ID, berta.Session.AccountID, device.Session.DeviceID, delivered, read, func(p store.Progress) { told = append(told, p) }))
	}
	is := func(device *storetest.Device, delivered, memberDelivered, read, unread uint64) {
		t.Helper()
		got, err := s.State(ctx, berta.Session.AccountID, device.Session.DeviceID, pair.ID)
		ok(t, err)
		var member store.Member
		for _, m := range got.Members {
			if m.Account == berta.ID {
				member = m
			}
		}
		if got.DeliveredSeq != delivered || member.DeliveredSeq != memberDelivered || got.ReadSeq != read || member.ReadSeq != read || got.Unread != unread {
			t.Errorf("state %+v, member %+v", got, member)
		}
	}
	is(berta.Device, 0, 0, 1, 3)
	move(berta.Device, 3, 0)
	is(berta.Device, 3, 3, 1, 3)
	move(berta.Device, 2, 2) // back: only reading moves
	is(berta.Device, 3, 3, 2, 2)
	move(second, 2, 0) // behind the first: tells nobody
	is(second, 2, 3, 2, 2)
	move(second, 99, 99) // not beyond the head
	is(second, 4, 4, 4, 0)
	is(berta.Device, 3, 4, 4, 0)
	move(berta.Device, 4, 4)
	is(berta.Device, 4, 4, 4, 0)
	refused(t, s.MoveCursor(ctx, pair.ID+1, berta.Session.AccountID, berta.Session.DeviceID, 1, 1, nil), codeNotFound)
	stranger := storetest.Register(t, s, "")
	refused(t, s.MoveCursor(ctx, pair.ID, stranger.Session.AccountID, stranger.Session.DeviceID, 1, 1, nil), codeNotFound)
	ok(t, s.Close())
	want := []store.Progress{{DeliveredSeq: 3, ReadSeq: 1, Unread: 3, Delivered: true}, {DeliveredSeq: 3, ReadSeq: 2, Unread: 2}, {DeliveredSeq: 4, ReadSeq: 4, Delivered: true}}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

// testUnread compares counts with a model that remembers every message.
func testUnread(t *testing.T, open opener) {
	s := open(t, newClock())
	rapid.Check(t, func(rt *rapid.T) {
		people := []*storetest.Person{storetest.Register(t, s, ""), storetest.Register(t, s, "")}
		pair := storetest.Befriend(people[0], people[1])
		m := &unreadModel{t: t, s: s, people: people, pair: pair, read: []uint64{1, 1}, log: []written{{}}}
		rt.Repeat(map[string]func(*rapid.T){
			"post": func(rt *rapid.T) {
				kinds := []pb.Kind{pb.Kind_KIND_MESSAGE, pb.Kind_KIND_MESSAGE, pb.Kind_KIND_REACTION, pb.Kind_KIND_EDIT}
				m.post(rapid.IntRange(0, 1).Draw(rt, "by"), rapid.SliceOfN(rapid.SampledFrom(kinds), 1, 5).Draw(rt, "kinds"))
			},
			"read": func(rt *rapid.T) {
				m.move(rapid.IntRange(0, 1).Draw(rt, "who"), rapid.Uint64Range(0, uint64(len(m.log)+2)).Draw(rt, "up to"))
			},
			"commit": func(rt *rapid.T) { m.commit(rapid.IntRange(0, 1).Draw(rt, "by")) },
			"":       func(*rapid.T) { m.check() },
		})
	})
}

type written struct {
	by     int
	counts bool
}

type unreadModel struct {
	t      *testing.T
	s      *store.Store
	people []*storetest.Person
	pair   *storetest.Conversation
	read   []uint64
	log    []written // number n stands at n-1
}

func (m *unreadModel) post(by int, kinds []pb.Kind) {
	who := m.people[by]
	var all []*pb.Envelope
	for _, kind := range kinds {
		h := who.Header(m.pair, kind)
		if kind != pb.Kind_KIND_MESSAGE {
			h.Replaces = &pb.MessageRef{Device: who.Device.ID.Bytes(), Id: proto.NewID().Bytes()}
		}
		all = append(all, who.Envelope(h, "x"))
	}
	for i, p := range post(m.t, m.s, who, m.pair, all...) {
		ok(m.t, p.Err)
		m.log = append(m.log, written{by, kinds[i] < 64})
	}
}

func (m *unreadModel) move(who int, read uint64) {
	p := m.people[who]
	ok(m.t, m.s.MoveCursor(m.t.Context(), m.pair.ID, p.Session.AccountID, p.Session.DeviceID, 0, read, nil))
	m.read[who] = max(m.read[who], min(read, uint64(len(m.log))))
}

func (m *unreadModel) commit(by int) {
	m.pair.Store(m.people[by], m.pair.Rekey(m.people[by], m.people...))
	m.log = append(m.log, written{by: by})
}

func (m *unreadModel) check() {
	for who, p := range m.people {
		var want uint64
		for i, w := range m.log {
			if uint64(i+1) > m.read[who] && w.counts && w.by != who {
				want++
			}
		}
		got, err := m.s.State(m.t.Context(), p.Session.AccountID, p.Session.DeviceID, m.pair.ID)
		ok(m.t, err)
		if got.Unread != want || got.HeadSeq != uint64(len(m.log)) || got.ReadSeq != m.read[who] {
			m.t.Fatalf("person %d: unread %d, want %d; head %d of %d; read %d", who, got.Unread, want, got.HeadSeq, len(m.log), got.ReadSeq)
		}
	}
}

// testStates: all conversations of an account come in pages, those of others do not.
func testStates(t *testing.T, open opener) {
	s := open(t, newClock())
	ctx := t.Context()
	anna := storetest.Register(t, s, "anna")
	want := make(map[proto.ID]*storetest.Conversation)
	for range 7 {
		friend := storetest.Register(t, s, "")
		pair := storetest.Befriend(anna, friend)
		post(t, s, friend, pair, friend.Text(pair, "hi"))
		want[pair.Public] = pair
	}
	storetest.Befriend(storetest.Register(t, s, ""), storetest.Register(t, s, ""))
	got := make(map[proto.ID]store.State)
	after := int64(0)
	for {
		page, err := s.States(ctx, anna.Session.AccountID, anna.Session.DeviceID, after, 3)
		ok(t, err)
		for _, c := range page {
			got[c.Public], after = c, c.ID
		}
		if len(page) < 3 {
			break
		}
	}
	equal(t, "conversations", len(got), len(want))
	for id, pair := range want {
		c := got[id]
		if c.ID != pair.ID || c.HeadSeq != 2 || c.Unread != 1 || c.Epoch != 1 || string(c.HeadCommit) != string(pair.Chain.Head()) || len(c.Members) != 2 || c.NeedsEpoch {
			t.Errorf("state %+v", c)
		}
	}
}
