package relay_test

import (
	"testing"

	"github.com/parley-chat/parley/proto"
	"github.com/parley-chat/parley/store/storetest"
)

// TestReset: after one of a pair was reset nobody commits and posts but by taking the new identity, and that opens the pair.
func TestReset(t *testing.T) {
	w := newWorld(t)
	a, b := storetest.Register(t, w.store, "anna"), storetest.Register(t, w.store, "berta")
	pair := storetest.Befriend(a, b)
	w.posted(a.Session, a.Text(pair, "before"))
	again := a.Reset()
	ctx := t.Context()
	old := storetest.Lookup(t, w.store)
	if _, err := old(a.ID, a.Device.ID); err == nil {
		t.Error("a device of before is known still")
	}
	for _, who := range []*storetest.Person{again, b} {
		if got := w.post(who.Session, who.Text(pair, "while"))[0]; got.GetError().GetCode() != needsEpoch {
			t.Errorf("a message while it waits: %v", got)
		}
	}
	_, err := w.relay.Commit(ctx, again.Session, pair.Rekey(again, again, b)) // the new identity in a re-key
	w.refused(err, forbidden)
	former := *a
	former.Device = again.Device // the new device in the name of the former identity
	_, err = w.relay.Commit(ctx, again.Session, pair.Rekey(&former, &former, b))
	w.refused(err, forbidden)
	_, err = w.relay.Commit(ctx, b.Session, pair.Rekey(b, a, b)) // as if nothing had happened
	w.refused(err, forbidden)
	_, invented := a.Renewal(nil)
	_, err = w.relay.Commit(ctx, b.Session, pair.TakeIdentity(b, invented)) // another identity than the one in force
	w.refused(err, forbidden)
	_, err = w.relay.Commit(ctx, again.Session, storetest.Must(proto.TakeIdentity(again.Signer(), pair.Chain, a.ID, []proto.MemberKey{again.MemberKey(), b.MemberKey()})))
	// its own
	w.refused(err, forbidden)

	w.commit(b, pair, pair.TakeIdentity(b, again))
	w.posted(b.Session, b.Text(pair, "after"))
	w.posted(again.Session, again.Text(pair, "after"))
	w.commit(again, pair, pair.Rekey(again, again, b))
}
