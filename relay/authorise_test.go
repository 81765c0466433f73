package relay_test

import (
	"errors"
	"testing"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/store/storetest"
)

// requests are all requests that name a conversation, by a person who believes to be in it. Each returns the
// error that the caller sees.
func (w *world) requests() map[string]func(by, with *storetest.Person, c *storetest.Conversation) error {
	ctx := w.t.Context()
	grant := func(to *storetest.Person) *pb.Grant {
		return &pb.Grant{Account: to.ID.Bytes(), Generation: 1, Enc: make([]byte, 32), Ciphertext: make([]byte, 48)}
	}
	r := w.relay
	return map[string]func(by, with *storetest.Person, c *storetest.Conversation) error{
		"post": func(by, _ *storetest.Person, c *storetest.Conversation) error {
			if e := w.post(by.Session, by.Text(c, "hi"))[0].GetError(); e != nil {
				return proto.FromProto(e)
			}
			return nil
		},
		"commit": func(by, with *storetest.Person, c *storetest.Conversation) error {
			p := c.Rekey(by, by, with)
			_, err := r.Commit(ctx, by.Session, p)
			if err == nil {
				c.Chain.Apply(storetest.Must(c.Chain.CheckPost(p, storetest.Lookup(w.t, w.store))))
			}
			return err
		},
		"sync": func(by, _ *storetest.Person, c *storetest.Conversation) error {
			_, err := r.Sync(ctx, by.Session, &pb.Sync{Conversation: c.Public.Bytes(), Limit: 10})
			return err
		},
		"sync backward": func(by, _ *storetest.Person, c *storetest.Conversation) error {
			_, err := r.Sync(ctx, by.Session, &pb.Sync{Conversation: c.Public.Bytes(), Backward: true, KnownSeq: 1})
			return err
		},
		"commits": func(by, _ *storetest.Person, c *storetest.Conversation) error {
			_, err := r.Commits(ctx, by.Session, &pb.CommitsRequest{Conversation: c.Public.Bytes()})
			return err
		},
		"grant request": func(by, _ *storetest.Person, c *storetest.Conversation) error {
			return r.RequestGrant(ctx, by.Session, &pb.GrantRequest{Conversation: c.Public.Bytes(), Epoch: c.Chain.Epoch()})
		},
		"grant": func(by, with *storetest.Person, c *storetest.Conversation) error {
			return r.AddGrant(ctx, by.Session, &pb.GrantPost{Conversation: c.Public.Bytes(), Epoch: c.Chain.Epoch(), Commit: c.Chain.Head(), Grant: grant(with)})
		},
		"cursor": func(by, _ *storetest.Person, c *storetest.Conversation) error {
			return r.MoveCursor(ctx, by.Session, &pb.Cursor{Conversation: c.Public.Bytes(), DeliveredSeq: 1, ReadSeq: 1})
		},
		"typing": func(by, _ *storetest.Person, c *storetest.Conversation) error {
			return r.Typing(ctx, by.Session, &pb.Typing{Conversation: c.Public.Bytes()})
		},
		"state": func(by, _ *storetest.Person, c *storetest.Conversation) error {
			_, err := r.State(ctx, by.Session, c.Public)
			return err
		},
	}
}

// visible is an error as its caller sees it.
func visible(err error) string {
	if known, ok := proto.AsError(err); ok {
		return known.ToProto().String()
	}
	return "not for the caller: " + err.Error()
}

// TestAuthorisation: every request of every role. Who may not gets what a conversation that does not exist
// gives, to the letter, and nobody hears of it.
func TestAuthorisation(t *testing.T) {
	w := newWorld(t)
	owner, member, group, _ := w.group()
	a, b, pair := w.pair()
	gone, left, closed := w.pair()
	left.Remove(gone)
	asked, asking := w.register(), w.register()
	asked.Ask(a)
	b.Ask(asking)
	stranger := w.register()
	ghost := &storetest.Conversation{ID: 1 << 20, Public: proto.NewID(), Chain: pair.Chain}
	sinks := []*sink{w.listen(owner, owner.Device), w.listen(member, member.Device), w.listen(a, a.Device), w.listen(b, b.Device), w.listen(left, left.Device)}

	for name, request := range w.requests() {
		t.Run(name, func(t *testing.T) {
			want := visible(notAllowed(t, request(stranger, a, ghost)))
			for who, c := range map[string]struct {
				by, with *storetest.Person
				c        *storetest.Conversation
			}{
				"a stranger of a group":               {stranger, owner, group},
				"a stranger of a pair":                {stranger, a, pair},
				"a stranger of one's own pair":        {stranger, a, &storetest.Conversation{Public: proto.PairID(stranger.ID, a.ID), Chain: pair.Chain}},
				"who asked, of their pair":            {asked, a, &storetest.Conversation{Public: proto.PairID(asked.ID, a.ID), Chain: pair.Chain}},
				"who was asked, of their pair":        {asking, b, &storetest.Conversation{Public: proto.PairID(asking.ID, b.ID), Chain: pair.Chain}},
				"who asked, of another pair":          {asked, a, pair},
				"a contact, of a group":               {a, owner, group},
				"a member of a group, of a pair":      {member, a, pair},
				"who was removed":                     {gone, left, closed},
				"who removed":                         {left, gone, closed},
				"a member of a pair, of a closed one": {a, gone, closed},
			} {
				if got := visible(notAllowed(t, request(c.by, c.with, c.c))); got != want {
					t.Errorf("%s gets %s, a conversation that does not exist gives %s", who, got, want)
				}
			}
		})
	}
	w.silent(sinks...)
	for name, request := range w.requests() {
		for who, err := range map[string]error{
			"the owner": request(owner, member, group), "a member": request(member, owner, group), "one of a pair": request(a, b, pair), "the other": request(b, a, pair),
		} {
			if err != nil {
				t.Errorf("%s by %s: %v", name, who, err)
			}
		}
	}
}

func notAllowed(t *testing.T, err error) error {
	t.Helper()
	if !proto.HasCode(err, notFound) {
		t.Fatalf("got %v", err)
	}
	return err
}

// TestMalformedIDs: ids of any length are refused, never believed.
func TestMalformedIDs(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	ctx := t.Context()
	for _, id := range [][]byte{nil, {1}, make([]byte, proto.IDSize), make([]byte, 17)} {
		_, err := w.relay.Sync(ctx, a.Session, &pb.Sync{Conversation: id})
		w.refused(err, malformed)
		w.refused(w.relay.Typing(ctx, a.Session, &pb.Typing{Conversation: id}), malformed)
		for name, change := range map[string]func(*pb.Commit){
			"conversation": func(m *pb.Commit) { m.Conversation = id },
			"account":      func(m *pb.Commit) { m.Account = id },
			"device":       func(m *pb.Commit) { m.Device = id },
			"member":       func(m *pb.Commit) { m.Members[0].Account = id },
			"previous":     func(m *pb.Commit) { m.Previous = id },
		} {
			m := &pb.Commit{}
			w.ok(proto.Unmarshal(pair.Rekey(a, a, b).GetCommit().GetBody(), m))
			change(m)
			signed := storetest.Must(proto.SignMessage(a.Sign, proto.LabelCommit, m))
			if _, err := w.relay.Commit(ctx, a.Session, &pb.CommitPost{Commit: signed}); !isProtocol(err) {
				t.Errorf("%s of %d bytes: %v", name, len(id), err)
			}
		}
		for name, change := range map[string]func(*pb.Header){
			"conversation": func(h *pb.Header) { h.Conversation = id },
			"account":      func(h *pb.Header) { h.Account = id },
			"device":       func(h *pb.Header) { h.Device = id },
			"id":           func(h *pb.Header) { h.Id = id },
			"replaces": func(h *pb.Header) {
				h.Kind = uint32(pb.Kind_KIND_DELETE)
				h.Replaces = &pb.MessageRef{Device: id, Id: id}
			},
		} {
			h := &pb.Header{}
			e := a.Text(pair, "hi")
			w.ok(proto.Unmarshal(e.GetHeader(), h))
			change(h)
			if got := w.post(a.Session, signedAs(a, h))[0].GetError(); got == nil || got.GetCode() == pb.ErrorCode_ERROR_CODE_INTERNAL {
				t.Errorf("%s of %d bytes: %v", name, len(id), got)
			}
		}
		g := &pb.Grant{Account: id, Generation: 1, Enc: make([]byte, 32), Ciphertext: make([]byte, 48)}
		w.refused(w.relay.AddGrant(ctx, a.Session, &pb.GrantPost{Conversation: pair.Public.Bytes(), Epoch: 1, Commit: pair.Chain.Head(), Grant: g}), malformed)
	}
}

func isProtocol(err error) bool {
	known, ok := proto.AsError(err)
	return ok && known.Code != pb.ErrorCode_ERROR_CODE_INTERNAL && !errors.Is(err, store.ErrNotFound)
}
