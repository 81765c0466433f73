package peer

import (
	"bytes"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestTwoPaths is one message on both paths, in either order: shown once, and numbered in the end.
func TestTwoPaths(t *testing.T) {
	mia, ben, l := couple(t)
	first, second := mia.writes(t, l.id, "first"), mia.writes(t, l.id, "second")
	for range 2 {
		if !ben.gets(t, mia, first) {
			t.Error("a direct message, or its repetition, was refused")
		}
	}
	if got := ben.shows(t, l.id); got != "first?" {
		t.Errorf("directly: %s", got)
	}
	l.post(second) // the relay has them in another order
	l.post(first)
	ben.mustTake(t, l)
	if !ben.gets(t, mia, second) {
		t.Error("a direct copy of what came by relay was refused")
	}
	if got := ben.shows(t, l.id); got != "second|first" {
		t.Errorf("in the end: %s", got)
	}
	events := take(ben.events)
	if n := told[MessageEvent](events); n != 2 {
		t.Errorf("%d messages were told of", n)
	}
	mia.mustTake(t, l)
	if got := mia.shows(t, l.id); got != "second|first" {
		t.Errorf("the sender shows: %s", got)
	}
}

// TestDirectStandsAtTheEnd keeps what has no number behind what has one, in order of arrival, until its number comes.
func TestDirectStandsAtTheEnd(t *testing.T) {
	mia, ben, l := couple(t)
	a, b, c := mia.writes(t, l.id, "a"), mia.writes(t, l.id, "b"), mia.writes(t, l.id, "c")
	own := ben.writes(t, l.id, "own")
	for _, env := range []*pb.Envelope{b, a} {
		ben.gets(t, mia, env)
	}
	l.post(c)
	ben.mustTake(t, l)
	if got := ben.shows(t, l.id); got != "c|own?|b?|a?" {
		t.Errorf("shows %s", got)
	}
	l.post(a)
	l.post(own)
	l.post(b)
	ben.mustTake(t, l)
	if got := ben.shows(t, l.id); got != "c|a|own|b" {
		t.Errorf("shows %s", got)
	}
}

// TestAlteredDirect is a sender who says one thing over the link and another to the relay: the relay's copy, which all have,
// takes the place of the direct one, and that is shown.
func TestAlteredDirect(t *testing.T) {
	mia, ben, l := couple(t)
	id := proto.NewID()
	forge := func(text string) (env *pb.Envelope) {
		mia.in(t, l.id, func(r *room) error {
			m := &local.Message{
				Conversation: l.id, Device: mia.Device(), ID: id, Account: mia.Account(), Kind: 1, Counter: 1, TimeMS: nowMS(),
				Content: &pb.Content{Kind: &pb.Content_Text_{Text: &pb.Content_Text{Body: text}}},
			}
			defer func() { env = m.Envelope }()
			return r.seal(m)
		})
		return env
	}
	if !ben.gets(t, mia, forge("to you")) {
		t.Fatal("refused")
	}
	if ben.gets(t, mia, forge("to you, again")) {
		t.Error("another direct message took the id")
	}
	l.post(forge("to all"))
	ben.mustTake(t, l)
	if got := ben.shows(t, l.id); got != "to all!" {
		t.Errorf("shows %s", got)
	}
}

// TestSealedAgain is a message that was sent directly under one epoch and posted under the next: one message, not an altered
// one.
func TestSealedAgain(t *testing.T) {
	mia, ben, l := couple(t)
	before := mia.writes(t, l.id, "hello")
	if !ben.gets(t, mia, before) {
		t.Fatal("refused")
	}
	l.commit(ben.rekeyed(t, l.id))
	mia.mustTake(t, l)
	ben.mustTake(t, l)
	batch, rekey, err := mia.nextBatch(t.Context(), l.id)
	if err != nil || rekey || len(batch) != 1 || batch[0].Epoch != 2 {
		t.Fatalf("outbox: %+v, %v, %v", batch, rekey, err)
	}
	after := batch[0].Envelope
	if bytes.Equal(after.GetHeader(), before.GetHeader()) || batch[0].Counter != 1 {
		t.Errorf("not sealed again under its id and counter: %d", batch[0].Counter)
	}
	if !ben.gets(t, mia, after) {
		t.Error("the direct copy of the new epoch was refused: nobody could post it if its sender vanished now")
	}
	if got := ben.envelope(t, Message{Conversation: l.id, Device: mia.Device(), ID: batch[0].ID}); !bytes.Equal(got.GetHeader(), after.GetHeader()) {
		t.Error("what is kept to be posted on behalf is of the old epoch")
	}
	l.post(after)
	ben.mustTake(t, l)
	if got := ben.shows(t, l.id); got != "hello" {
		t.Errorf("shows %s", got)
	}
	if n := told[MessageEvent](take(ben.events)); n != 1 {
		t.Errorf("told of %d messages", n)
	}
}

// TestDirectOfAnOldEpoch is refused, and so is one of a conversation that wants a new epoch: the relay decides.
func TestDirectOfAnOldEpoch(t *testing.T) {
	mia, ben, l := couple(t)
	old := mia.writes(t, l.id, "old")
	l.commit(mia.rekeyed(t, l.id))
	ben.mustTake(t, l)
	if ben.gets(t, mia, old) {
		t.Error("taken under an epoch that is over")
	}
	mia.mustTake(t, l)
	ben.in(t, l.id, func(r *room) error {
		r.row.NeedsEpoch = true
		return r.save()
	})
	if ben.gets(t, mia, mia.writes(t, l.id, "new")) {
		t.Error("taken although a device was revoked")
	}
}

// TestForeignSender is a link over which somebody else's message comes, and a message of somebody who is not a member.
func TestForeignSender(t *testing.T) {
	mia, ben, l := couple(t)
	eve := newSomeone(t, "eve")
	ben.learn(t, eve)
	if ben.gets(t, eve, mia.writes(t, l.id, "from mia")) {
		t.Error("mia's message was taken from eve's link")
	}
	eve.learn(t, ben)
	other := &log{id: proto.PairID(eve.Account(), ben.Account())}
	first, err := eve.firstCommit(t.Context(), ben.Account(), nil)
	if err != nil {
		t.Fatal(err)
	}
	other.commit(first)
	eve.mustTake(t, other)
	foreign := eve.writes(t, other.id, "into another conversation")
	l.post(foreign)
	l.post(mia.writes(t, l.id, "after it"))
	ben.mustTake(t, l)
	if got := ben.shows(t, l.id); got != "after it" {
		t.Errorf("shows %s", got)
	}
	if n := told[ErrorEvent](take(ben.events)); n != 1 {
		t.Errorf("told of %d errors", n)
	}
}

// TestUnknownDevice passes over what a device signed that no list names, once its lists were fetched, and goes on behind it.
func TestUnknownDevice(t *testing.T) {
	mia, ben, l := couple(t)
	stranger := newSomeone(t, "mia") // another device that says it is mia's
	forged := mia.writes(t, l.id, "forged")
	h, err := proto.ParseHeader(forged.GetHeader())
	if err != nil {
		t.Fatal(err)
	}
	h.Device = stranger.Device().Bytes()
	var key []byte
	mia.in(t, l.id, func(r *room) (err error) {
		key, err = r.epochKey()
		return err
	})
	forged, err = proto.SealEnvelope(key, h, &pb.Content{Kind: &pb.Content_Text_{Text: &pb.Content_Text{Body: "forged"}}}, stranger.profile.signKey())
	if err != nil {
		t.Fatal(err)
	}
	l.post(forged)
	l.post(mia.writes(t, l.id, "real"))
	var unknown *unknownDeviceError
	if err := ben.takes(t, l); !errors.As(err, &unknown) || unknown.account != mia.Account() {
		t.Fatalf("without asking for its lists: %v", err)
	}
	if got := ben.shows(t, l.id); got != "" {
		t.Errorf("half a page was stored: %s", got)
	}
	err = ben.storeEvents(t.Context(), l.id, l.events, uint64(len(l.events)), map[proto.ID]bool{mia.Account(): true})
	if err != nil {
		t.Fatal(err)
	}
	if got := ben.shows(t, l.id); got != "real" {
		t.Errorf("shows %s", got)
	}
}

// TestStoreTrouble is a local store that fails while events are stored: they are not passed over like events that do not
// verify, but come again.
func TestStoreTrouble(t *testing.T) {
	mia, ben, l := couple(t)
	direct := mia.writes(t, l.id, "direct")
	l.post(mia.writes(t, l.id, "by relay"))
	db, err := sql.Open("sqlite", "file:"+filepath.Join(ben.cfg.Dir, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	exec := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TRIGGER full BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'disk full'); END")
	if err := ben.takes(t, l); err == nil {
		t.Error("stored, or passed over")
	}
	if items, err := ben.takeDirect(t.Context(), mia.Account(), mia.Device(), local.PathDirect, []*pb.Envelope{direct}); err == nil {
		t.Errorf("acknowledged, or refused for good: %v", items)
	}
	exec("DROP TRIGGER full")
	ben.mustTake(t, l)
	if got := ben.shows(t, l.id); !ben.gets(t, mia, direct) || got != "by relay" {
		t.Errorf("shows %s", got)
	}
}

// TestRemovedDevice keeps messages of a device verifiable that had left its account's list before this device knew it.
func TestRemovedDevice(t *testing.T) {
	mia, ben, l := couple(t)
	env := mia.writes(t, l.id, "from the old phone")
	l.post(env)
	phone := newSomeone(t, "mia") // her next device; the list without the old one
	keys, err := phone.profile.deviceKeys(2)
	if err != nil {
		t.Fatal(err)
	}
	old := mia.list
	next := proto.NextDeviceList(old, 2)
	next.Devices, next.Generation, next.AccountKey = []*pb.DeviceKeys{keys}, 2, phone.list.GetAccountKey()
	newer := signList(t, mia.identity, next)

	late := newSomeone(t, "ben") // another device of ben's that never saw the first list
	late.profile.keys.Account, late.profile.keys.AccountKeys = ben.Account(), ben.profile.keys.AccountKeys
	late.learn(t, ben)
	mia.list = newer
	late.learn(t, mia)
	var unknown *unknownDeviceError
	if err := late.takes(t, l); !errors.As(err, &unknown) {
		t.Fatalf("err %v", err)
	}
	take(late.events)
	late.do(t, func(w *work) error {
		p, err := w.person(mia.Account())
		if err != nil {
			return err
		}
		if err := w.learnHistory(p, []*pb.Signed{old.Signed, newer.Signed}); err != nil {
			t.Errorf("all versions, oldest first: %v", err)
		}
		if p.ListVersion != 2 {
			t.Errorf("version %d is in force", p.ListVersion)
		}
		return nil
	})
	late.mustTake(t, l)
	if got := late.shows(t, l.id); got != "from the old phone" {
		t.Errorf("shows %s", got)
	}
	if n := told[ErrorEvent](take(late.events)); n != 0 {
		t.Errorf("told of %d errors", n)
	}
}

// TestCounters is a profile that was restored from an older copy: it goes on behind the counters that the relay's log shows.
func TestCounters(t *testing.T) {
	mia, _, l := couple(t)
	env := mia.writes(t, l.id, "sent by the profile before it was restored")
	h, err := proto.ParseHeader(env.GetHeader())
	if err != nil || h.GetCounter() != 1 {
		t.Fatalf("counter %d, %v", h.GetCounter(), err)
	}
	l.post(env)
	mia.in(t, l.id, func(r *room) error {
		r.row.Counter = 0
		return r.save()
	})
	mia.mustTake(t, l)
	if h, err := proto.ParseHeader(mia.writes(t, l.id, "next").GetHeader()); err != nil || h.GetCounter() != 2 {
		t.Errorf("counter %d, %v", h.GetCounter(), err)
	}
}
