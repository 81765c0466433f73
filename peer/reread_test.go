package peer

import (
	"bytes"
	"slices"
	"testing"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// reread lets somebody read a log from its beginning, as sync does when the relay's is another one than theirs.
func (s *someone) reread(t *testing.T, l *log) {
	t.Helper()
	if err := s.beginReread(t.Context(), l.id); err != nil {
		t.Fatal(err)
	}
	s.mustTake(t, l)
	if err := s.endReread(t.Context(), l.id); err != nil {
		t.Fatal(err)
	}
}

// outboxOf is what somebody would post, and whether they want a new epoch first.
func (s *someone) outboxOf(t *testing.T, id proto.ID) ([]*local.Message, bool) {
	t.Helper()
	batch, rekey, err := s.nextBatch(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return batch, rekey
}

// behalf is what somebody would post for others.
func (s *someone) behalf(t *testing.T, id proto.ID) (batch []*local.Message) {
	t.Helper()
	s.in(t, id, func(r *room) (err error) {
		batch, err = r.Unrelayed(id, r.chain.Epoch(), nowMS()+1, 100)
		return err
	})
	return batch
}

// TestOlderCopy is a server that lost the end of a conversation: what it lost is posted again, the same envelopes.
func TestOlderCopy(t *testing.T) {
	mia, ben, l := couple(t)
	a, b, c := mia.writes(t, l.id, "a"), ben.writes(t, l.id, "b"), mia.writes(t, l.id, "c")
	for _, env := range []*pb.Envelope{a, b, c} {
		l.post(env)
	}
	mia.mustTake(t, l)
	ben.mustTake(t, l)
	older := l.cut(2)
	for s, want := range map[*someone]string{mia: "a|c?|b?", ben: "a|b?|c?"} { // in order of arrival
		s.reread(t, older)
		if got := s.shows(t, l.id); got != want {
			t.Errorf("%s shows %s", s.profile.UserName(), got)
		}
	}
	batch, rekey := mia.outboxOf(t, l.id)
	if rekey || len(batch) != 1 || !bytes.Equal(batch[0].Envelope.GetHeader(), c.GetHeader()) {
		t.Errorf("mia posts %+v again, new epoch: %v", batch, rekey)
	}
	if batch = ben.behalf(t, l.id); len(batch) != 1 || !bytes.Equal(batch[0].Envelope.GetHeader(), c.GetHeader()) {
		t.Errorf("ben posts %+v for mia", batch)
	}
	older.post(c)
	older.post(b)
	for _, s := range []*someone{mia, ben} {
		s.mustTake(t, older)
		if got := s.shows(t, l.id); got != "a|c|b" {
			t.Errorf("%s shows %s in the end", s.profile.UserName(), got)
		}
		if batch, _ := s.outboxOf(t, l.id); len(batch) != 0 || len(s.behalf(t, l.id)) != 0 {
			t.Errorf("%s still wants to post", s.profile.UserName())
		}
	}
}

// TestInterruptedReread is one that stops halfway, with the process: nothing is posted or sealed before it is through.
func TestInterruptedReread(t *testing.T) {
	mia, _, l := couple(t)
	l.post(mia.writes(t, l.id, "a"))
	l.post(mia.writes(t, l.id, "b"))
	mia.mustTake(t, l)
	if err := mia.beginReread(t.Context(), l.id); err != nil {
		t.Fatal(err)
	}
	mia.mustTake(t, l.cut(2))
	if env := mia.writes(t, l.id, "meanwhile"); env != nil {
		t.Error("sealed under an epoch that may not be in force any more")
	}
	if batch, rekey := mia.outboxOf(t, l.id); len(batch) != 0 || rekey {
		t.Errorf("posts %+v, new epoch %v", batch, rekey)
	}
	mia.mustTake(t, l)
	if err := mia.endReread(t.Context(), l.id); err != nil {
		t.Fatal(err)
	}
	if batch, rekey := mia.outboxOf(t, l.id); len(batch) != 1 || rekey || batch[0].Content.GetText().GetBody() != "meanwhile" {
		t.Errorf("posts %+v, new epoch %v", batch, rekey)
	}
	if got := mia.shows(t, l.id); got != "a|b|meanwhile?" {
		t.Errorf("shows %s", got)
	}
}

// TestLostEpoch is a server that lost a commit: the old epoch's key may be known to whom the new one was to keep out, so
// nothing is sealed under it; a new epoch begins, and everybody posts their own messages of the lost one again.
func TestLostEpoch(t *testing.T) {
	mia, ben, l := couple(t)
	l.post(mia.writes(t, l.id, "kept"))
	old := l.cut(len(l.events))
	l.commit(ben.rekeyed(t, l.id))
	mia.mustTake(t, l)
	ben.mustTake(t, l)
	l.post(mia.writes(t, l.id, "mine"))
	l.post(ben.writes(t, l.id, "theirs"))
	mia.mustTake(t, l)
	ben.mustTake(t, l)

	mia.reread(t, old)
	if env := mia.writes(t, l.id, "new"); env != nil {
		t.Error("sealed under the epoch that came back")
	}
	if batch, rekey := mia.outboxOf(t, l.id); !rekey {
		t.Errorf("posts %+v without a new epoch", batch)
	}
	if got := mia.shows(t, l.id); got != "kept|theirs? only-here|mine?|new?" {
		t.Errorf("mia shows %s", got)
	}
	old.commit(mia.rekeyed(t, l.id))
	mia.mustTake(t, old)
	batch, rekey := mia.outboxOf(t, l.id)
	if rekey || len(batch) != 2 || batch[0].Epoch != 2 || batch[0].Content.GetText().GetBody() != "mine" || batch[0].Counter != 2 {
		t.Fatalf("posts %+v, new epoch %v", batch, rekey)
	}
	for _, m := range batch {
		old.post(m.Envelope)
	}
	ben.reread(t, old) // his chain was another one of the same length
	if batch, rekey = ben.outboxOf(t, l.id); !rekey {
		t.Errorf("ben posts %+v in an epoch that he did not know, without a new one", batch)
	}
	old.commit(ben.rekeyed(t, l.id))
	ben.mustTake(t, old)
	batch, rekey = ben.outboxOf(t, l.id)
	if rekey || len(batch) != 1 || batch[0].Epoch != 3 || batch[0].Content.GetText().GetBody() != "theirs" {
		t.Fatalf("ben posts %+v, new epoch %v", batch, rekey)
	}
	old.post(batch[0].Envelope)
	for _, s := range []*someone{mia, ben} {
		s.mustTake(t, old)
		if got := s.shows(t, l.id); got != "kept|mine|new|theirs" {
			t.Errorf("%s shows %s in the end", s.profile.UserName(), got)
		}
	}
}

// TestLostCommitInGroup never goes back: members that were removed would be back.
func TestLostCommitInGroup(t *testing.T) {
	mia, _, l := couple(t)
	mia.in(t, l.id, func(r *room) error { // there are no groups yet: a pair that says it is one
		state := &pb.ChainState{}
		if err := proto.Unmarshal(r.row.Chain, state); err != nil {
			return err
		}
		state.Kind, state.Head = pb.ConversationKind_CONVERSATION_KIND_GROUP, make([]byte, proto.HashSize)
		chain, err := marshalState(state)
		if err != nil {
			return err
		}
		r.row.Chain = chain
		return r.SaveConversation(r.row)
	})
	if err := mia.beginReread(t.Context(), l.id); err != nil {
		t.Fatal(err)
	}
	mia.mustTake(t, l)
	if err := mia.endReread(t.Context(), l.id); err == nil {
		t.Error("another chain was put in force")
	}
	if env := mia.writes(t, l.id, "x"); env != nil {
		t.Error("sealed")
	}
}

// TestRefusedEvent remembers what was refused first, to find out whether the relay has something else there by now: then the
// log is read again, and the message that was kept from this device is there.
func TestRefusedEvent(t *testing.T) {
	mia, ben, l := couple(t)
	l.post(mia.writes(t, l.id, "a"))
	altered := l.cut(2)
	env := mia.writes(t, l.id, "b")
	l.post(env)
	altered.post(&pb.Envelope{Header: env.GetHeader(), Ciphertext: append([]byte(nil), env.GetCiphertext()...), Signature: env.GetSignature()})
	altered.events[2].GetEnvelope().GetCiphertext()[0] ^= 1
	next := mia.writes(t, l.id, "c")
	l.post(next)
	altered.post(next)
	ben.mustTake(t, altered)
	if got := ben.shows(t, l.id); got != "a|c" {
		t.Errorf("shows %s", got)
	}
	cu := newCatchUp(ben.Client, nil)
	if err := cu.suspect(t.Context()); err != nil || !slices.Equal(cu.due, []proto.ID{l.id}) {
		t.Errorf("to be compared: %v, %v", cu.due, err)
	}
	request, err := cu.position(t.Context(), l.id)
	refused := proto.EnvelopeHash(altered.events[2].GetEnvelope())
	if err != nil || request.GetAfter() != 4 || request.GetKnownSeq() != 3 || !bytes.Equal(request.GetKnownHash(), refused[:]) {
		t.Errorf("asks with %v, %v", request, err)
	}
	whole := proto.EnvelopeHash(next)
	if request, err = cu.position(t.Context(), l.id); err != nil || request.GetKnownSeq() != 4 || !bytes.Equal(request.GetKnownHash(), whole[:]) {
		t.Errorf("asks a second time with %v, %v", request, err)
	}
	ben.reread(t, l)
	if got := ben.shows(t, l.id); got != "a|b|c" {
		t.Errorf("shows %s", got)
	}
	request, err = newCatchUp(ben.Client, nil).position(t.Context(), l.id)
	if err != nil || request.GetKnownSeq() != 4 || !bytes.Equal(request.GetKnownHash(), whole[:]) {
		t.Errorf("then asks with %v, %v", request, err)
	}
}
