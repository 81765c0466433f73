package peer

import (
	"errors"
	"testing"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// renewed is the list of somebody's account after a reset: of another identity, with another device.
func renewed(t *testing.T, of *someone) (again *someone, list *proto.DeviceList) {
	t.Helper()
	again = newSomeone(t, of.profile.UserName())
	next := proto.NextDeviceList(of.list, 2)
	next.IdentityKey, next.Devices, next.AccountKey = again.list.GetIdentityKey(), again.list.GetDevices(), again.list.GetAccountKey()
	next.Generation++
	list = signList(t, again.identity, next)
	if err := list.CheckReset(of.list); err != nil {
		t.Fatal(err)
	}
	return again, list
}

// shown takes what the server shows of a person's lists, oldest first, and returns them as stored.
func (s *someone) shown(t *testing.T, account proto.ID, lists ...*proto.DeviceList) (p *local.Person) {
	t.Helper()
	s.do(t, func(w *work) (err error) {
		if p, err = w.person(account); err != nil {
			return err
		}
		signed := make([]*pb.Signed, len(lists))
		for i, l := range lists {
			signed[i] = l.Signed
		}
		if err := w.learnHistory(p, signed); err != nil && !errors.Is(err, errIdentityChanged) {
			return err
		}
		p, err = w.person(account)
		return err
	})
	return p
}

// TestUndecided: from the moment that another identity is seen until its commit is stored nothing is sealed, and nobody gets the
// key of the epoch that began before.
func TestUndecided(t *testing.T) {
	mia, ben, l := couple(t)
	before, err := mia.SendText(t.Context(), l.id, "before")
	if err != nil {
		t.Fatal(err)
	}
	again, list := renewed(t, ben)
	mia.shown(t, ben.Account(), ben.list, list)
	outbox := func() int {
		t.Helper()
		batch, rekey, err := mia.nextBatch(t.Context(), l.id)
		if err != nil || rekey {
			t.Fatal(rekey, err)
		}
		return len(batch)
	}
	sealed := func(what string) {
		t.Helper()
		if n := outbox(); n != 0 {
			t.Errorf("%s: %d messages go out, the first sealed before", what, n)
		}
		page, _, err := mia.waiting(t.Context(), l.id, ben.Account(), 0)
		if err != nil || len(page) != 0 {
			t.Errorf("%s: %d messages go over links, %v", what, len(page), err)
		}
		needed := &pb.GrantNeeded{Conversation: l.id.Bytes(), Epoch: 1, Account: ben.Account().Bytes()}
		if err := newCatchUp(mia.Client, nil).answerGrant(t.Context(), needed); err != nil { // without a connection to post it
			t.Errorf("%s: %v", what, err)
		}
	}
	sealed("before the decision")
	if _, err := (linkLists{mia.Client}).known(t.Context(), ben.Account()); !errors.Is(err, errIdentityChanged) {
		t.Errorf("a link is made: %v", err)
	}
	if _, err := mia.AcceptIdentity(t.Context(), ben.Account()); err != nil {
		t.Fatal(err)
	}
	sealed("before the commit")
	after, err := mia.SendText(t.Context(), l.id, "after")
	if err != nil || after.State != StateWaiting {
		t.Errorf("written meanwhile: %+v, %v", after, err)
	}
	var post *pb.CommitPost
	mia.in(t, l.id, func(r *room) error {
		account, err := r.renewed()
		if err != nil || account != ben.Account() {
			t.Fatalf("renewed is %v, %v", account, err)
		}
		own, err := r.member(mia.Account())
		if err != nil {
			return err
		}
		theirs, err := r.member(ben.Account())
		if err != nil {
			return err
		}
		if string(theirs.AccountKey) != string(again.list.GetAccountKey()) {
			t.Error("granted to another key than that of the new identity")
		}
		post, err = proto.TakeIdentity(mia.signer(), r.chain, account, []proto.MemberKey{own, theirs})
		return err
	})
	l.commit(post)
	mia.mustTake(t, l)
	if n := outbox(); n != 2 {
		t.Errorf("%d messages go out under the new epoch, want both", n)
	}
	mia.do(t, func(w *work) error {
		m, err := w.Message(l.id, before.Device, before.ID)
		if err == nil && m.Epoch != 2 {
			t.Errorf("what was written before is sealed under epoch %d", m.Epoch)
		}
		return err
	})

	// a lost device of the former identity, with the server's help: a key of its own for the next epoch
	mia.in(t, l.id, func(r *room) error {
		own, err := r.member(mia.Account())
		if err != nil {
			return err
		}
		theirs, err := r.member(ben.Account())
		if err != nil {
			return err
		}
		post, err = proto.Rekey(ben.signer(), r.chain, []proto.MemberKey{own, theirs}, nil)
		return err
	})
	l.commit(post)
	mia.mustTake(t, l)
	mia.in(t, l.id, func(r *room) error {
		if r.chain.Epoch() != 2 {
			t.Error("a device of the former identity began an epoch")
		}
		return nil
	})
}

// TestFormerIdentity: a list vouches for the identity before it by the hash that it names, and for no other.
func TestFormerIdentity(t *testing.T) {
	mia, ben, carol := newSomeone(t, "mia"), newSomeone(t, "ben"), newSomeone(t, "carol")
	_, list := renewed(t, ben)
	has := func(identity []byte) (has bool) {
		t.Helper()
		mia.do(t, func(w *work) (err error) {
			has, err = w.HasIdentity(ben.Account(), identity)
			return err
		})
		return has
	}
	invented := proto.NextDeviceList(ben.list, 1)
	invented.Version, invented.Previous, invented.IdentityKey = 1, nil, carol.list.GetIdentityKey()
	if p := mia.shown(t, ben.Account(), signList(t, carol.identity, invented), list); string(p.IdentityKey) != string(list.GetIdentityKey()) || p.NewIdentity != nil {
		t.Errorf("pinned %x beside %x", p.IdentityKey, p.NewIdentity)
	}
	if has(carol.list.GetIdentityKey()) {
		t.Error("an identity counts as a former one that nobody vouches for")
	}
	mia.shown(t, ben.Account(), ben.list, list)
	if !has(ben.list.GetIdentityKey()) || !has(list.GetIdentityKey()) {
		t.Error("the former identity is not known")
	}
}

// TestShownAgain: when the server shows the right list again there is nothing to decide any more.
func TestShownAgain(t *testing.T) {
	mia, ben, l := couple(t)
	_, list := renewed(t, ben)
	if p := mia.shown(t, ben.Account(), ben.list, list); p.NewIdentity == nil || string(p.IdentityKey) != string(ben.list.GetIdentityKey()) {
		t.Fatalf("pinned %x beside %x", p.IdentityKey, p.NewIdentity)
	}
	if p := mia.shown(t, ben.Account(), ben.list); p.NewIdentity != nil {
		t.Error("the other identity still waits for a decision")
	}
	if _, err := mia.SendText(t.Context(), l.id, "x"); err != nil {
		t.Error(err)
	}
	if _, err := mia.AcceptIdentity(t.Context(), ben.Account()); !proto.HasCode(err, pb.ErrorCode_ERROR_CODE_CONFLICT) {
		t.Errorf("accepted: %v", err)
	}
}
