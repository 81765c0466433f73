package relay_test

import (
	"fmt"
	"sync"
	"testing"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store/storetest"
)

// signedAs signs a header by a person's device, whatever stands in it.
func signedAs(p *storetest.Person, h *pb.Header) *pb.Envelope {
	e := &pb.Envelope{Header: storetest.Must(gproto.Marshal(h)), Ciphertext: make([]byte, 64)}
	e.Signature = proto.Sign(p.Sign, proto.LabelEnvelope, e.GetHeader(), proto.CiphertextHash(e))
	return e
}

// TestFanOut: every device of every member hears of a post, once, as it is stored; nobody else does.
func TestFanOut(t *testing.T) {
	w := newWorld(t)
	owner, member, group, _ := w.group()
	second := owner.AddDevice()
	stranger := w.register()
	outside := w.listen(stranger, stranger.Device)
	sinks := []*sink{w.listen(owner, owner.Device), w.listen(owner, second), w.listen(member, member.Device)}
	e := owner.Text(group, "hi")
	got := w.posted(owner.Session, e)
	if got.GetSeq() != 4 || got.GetRelayMs() == 0 {
		t.Fatalf("posted as %v", got)
	}
	hash := proto.EnvelopeHash(e)
	want := &pb.Event{
		Conversation: group.Public.Bytes(), Seq: got.GetSeq(), RelayMs: got.GetRelayMs(), Hash: hash[:], Kind: &pb.Event_Envelope{Envelope: e},
	}
	for i, s := range sinks {
		if event := s.event(); !same(event, want) {
			t.Errorf("sink %d got %v", i, event)
		}
	}
	page, err := w.relay.Sync(t.Context(), member.Session, &pb.Sync{Conversation: group.Public.Bytes(), After: 3, Limit: 10})
	w.ok(err)
	if len(page.GetEvents()) != 1 || !same(page.GetEvents()[0], want) {
		t.Errorf("stored as %v", page.GetEvents())
	}
	w.posted(owner.Session, e) // again: nobody is told again
	w.silent(append(sinks, outside)...)
}

// TestPushedCommit: members are told of a commit as it is stored, each with the own grant and no other.
func TestPushedCommit(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	people := []*storetest.Person{a, b}
	sinks := []*sink{w.listen(a, a.Device), w.listen(b, b.Device)}
	p := pair.Rekey(a, a, b)
	got := w.commit(a, pair, p)
	for i, who := range people {
		page, err := w.relay.Sync(t.Context(), who.Session, &pb.Sync{Conversation: pair.Public.Bytes(), After: 1, Limit: 10})
		w.ok(err)
		event := sinks[i].event()
		if len(page.GetEvents()) != 1 || !same(event, page.GetEvents()[0]) {
			t.Errorf("told of %v, stored as %v", event, page.GetEvents())
		}
		if event.GetSeq() != got.GetSeq() || proto.ID(event.GetCommit().GetGrant().GetAccount()) != who.ID || !same(event.GetCommit().GetCommit(), p.GetCommit()) {
			t.Errorf("told of %v", event)
		}
	}
}

// TestSlowSink: a connection that has no room keeps nobody else from hearing.
func TestSlowSink(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	slow := w.listen(b, b.AddDevice())
	slow.full = true
	quick := w.listen(b, b.Device)
	for i := range 20 {
		w.posted(a.Session, a.Text(pair, fmt.Sprint(i)))
	}
	for i := range uint64(20) {
		if got := quick.event().GetSeq(); got != i+2 {
			t.Fatalf("number %d came, want %d", got, i+2)
		}
	}
}

// TestOrder: whoever posts and commits at the same time, numbers come in order to everybody.
func TestOrder(t *testing.T) {
	w := newWorld(t)
	owner, member, group, _ := w.group()
	s := w.listen(member, member.Device)
	const posters, each = 4, 20
	var all sync.WaitGroup
	for i := range posters {
		who := []*storetest.Person{owner, member}[i%2]
		device := who.AddDevice()
		all.Go(func() {
			for range each {
				e := device.Envelope(who.HeaderBy(device, group, pb.Kind_KIND_MESSAGE), "x")
				if _, err := w.tryPost(device.Session, e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	w.commit(owner, group, group.Rekey(owner, owner, member))
	for i := range uint64(posters*each + 1) {
		if got := s.event().GetSeq(); got != i+4 {
			t.Fatalf("number %d came, want %d", got, i+4)
		}
	}
}

// TestOnBehalf: a member may post what another member's device has signed, and nothing else in its name.
func TestOnBehalf(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	sent := a.Text(pair, "from a, who vanished")
	got := w.posted(b.Session, sent)
	page, err := w.relay.Sync(t.Context(), b.Session, &pb.Sync{Conversation: pair.Public.Bytes(), After: 1, Limit: 10})
	w.ok(err)
	if len(page.GetEvents()) != 1 || !same(page.GetEvents()[0].GetEnvelope(), sent) || page.GetState().GetUnread() != 1 {
		t.Errorf("stored as %v, unread %d", page.GetEvents(), page.GetState().GetUnread())
	}
	if again := w.posted(a.Session, sent); again.GetSeq() != got.GetSeq() || again.GetRelayMs() != got.GetRelayMs() {
		t.Errorf("the sender gets %v, its helper got %v", again, got)
	}

	outsider, third := w.register(), w.register()
	storetest.Befriend(b, outsider)
	header := func(change func(*pb.Header)) *pb.Header {
		h := a.Header(pair, pb.Kind_KIND_DELETE)
		h.Replaces = &pb.MessageRef{Device: b.Device.ID.Bytes(), Id: proto.NewID().Bytes()}
		h.Nonce = make([]byte, proto.NonceSize)
		change(h)
		return h
	}
	whole := signedAs(a, header(func(*pb.Header) {}))
	altered := func(change func(*pb.Header)) *pb.Envelope {
		e, h := gproto.CloneOf(whole), &pb.Header{}
		w.ok(proto.Unmarshal(e.GetHeader(), h))
		change(h)
		e.Header = storetest.Must(gproto.Marshal(h))
		return e
	}
	flipped := gproto.CloneOf(whole)
	flipped.Ciphertext[7] ^= 1
	ended := a.AddDevice()
	endedEnvelope := ended.Envelope(a.HeaderBy(ended, pair, pb.Kind_KIND_MESSAGE), "by a device that was signed out")
	w.ok(w.store.EndDevice(t.Context(), a.Session.AccountID, ended.Session.DeviceID, ended.ID))
	for name, c := range map[string]struct {
		by   *storetest.Person
		e    *pb.Envelope
		code pb.ErrorCode
	}{
		"signed by who posts it":       {b, signedAs(b, header(func(*pb.Header) {})), badSignature},
		"another kind":                 {b, altered(func(h *pb.Header) { h.Kind = uint32(pb.Kind_KIND_REACTION) }), badSignature},
		"another replaces":             {b, altered(func(h *pb.Header) { h.Replaces.Id = proto.NewID().Bytes() }), badSignature},
		"another id":                   {b, altered(func(h *pb.Header) { h.Id = proto.NewID().Bytes() }), badSignature},
		"another counter":              {b, altered(func(h *pb.Header) { h.Counter++ }), badSignature},
		"another ciphertext":           {b, flipped, badSignature},
		"the name of who posts it":     {b, altered(func(h *pb.Header) { h.Account = b.ID.Bytes() }), badSignature},
		"a device of who posts it":     {b, signedAs(a, header(func(h *pb.Header) { h.Device = b.Device.ID.Bytes() })), badSignature},
		"a device that does not exist": {b, signedAs(a, header(func(h *pb.Header) { h.Device = proto.NewID().Bytes() })), badSignature},
		"a device that was signed out": {b, endedEnvelope, badSignature},
		"somebody who is no member":    {b, signedAs(third, header(func(h *pb.Header) { h.Account, h.Device = third.ID.Bytes(), third.Device.ID.Bytes() })), notFound},
		"by somebody who is no member": {outsider, whole, notFound},
		"as it was signed":             {b, whole, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := w.post(c.by.Session, c.e)[0].GetError().GetCode(); got != c.code {
				t.Errorf("got %v, want %v", got, c.code)
			}
		})
	}
}

// TestForgedSender: a device cannot post as another one, not even of its own account, without its key.
func TestForgedSender(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	second := a.AddDevice()
	for name, h := range map[string]*pb.Header{
		"another account":    b.Header(pair, pb.Kind_KIND_MESSAGE),
		"one's other device": a.HeaderBy(second, pair, pb.Kind_KIND_MESSAGE),
	} {
		h.Nonce = make([]byte, proto.NonceSize)
		if got := w.post(a.Session, signedAs(a, h))[0].GetError().GetCode(); got != badSignature {
			t.Errorf("%s: %v", name, got)
		}
	}
	w.posted(a.Session, second.Envelope(a.HeaderBy(second, pair, pb.Kind_KIND_MESSAGE), "signed by the other device"))
}

// TestSquattedID: an id is a device's own. Whoever uses it first keeps nobody else from using it.
func TestSquattedID(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	h := a.Header(pair, pb.Kind_KIND_MESSAGE)
	squat := b.Header(pair, pb.Kind_KIND_MESSAGE)
	squat.Id = h.GetId()
	w.posted(b.Session, b.Envelope(squat, "first"))
	first := w.posted(a.Session, a.Envelope(h, "the one whose id it is"))
	if got := w.post(a.Session, a.Envelope(h, "another"))[0].GetError().GetCode(); got != idConflict {
		t.Errorf("another envelope under the id: %v", got)
	}
	if first.GetSeq() != 3 {
		t.Errorf("stored as %v", first)
	}
}

// TestPostBounds: what a post may hold.
func TestPostBounds(t *testing.T) {
	w := newWorld(t)
	a, b, pair := w.pair()
	_, _, foreign := w.pair()
	for _, n := range []int{0, proto.MaxPost + 1} {
		_, err := w.tryPost(a.Session, make([]*pb.Envelope, n)...)
		w.refused(err, tooLarge)
	}
	good := a.Text(pair, "good")
	got := w.post(a.Session, nil, &pb.Envelope{}, proto.Blank(a.Text(pair, "blank")), a.Text(foreign, "foreign"), good, b.Text(pair, "on behalf"))
	for i, code := range []pb.ErrorCode{malformed, malformed, malformed, notFound, 0, 0} {
		if got[i].GetError().GetCode() != code {
			t.Errorf("envelope %d: %v, want %v", i, got[i], code)
		}
	}
	if got[4].GetSeq() != 2 || got[5].GetSeq() != 3 {
		t.Errorf("the good ones are %v and %v", got[4], got[5])
	}
	full := make([]*pb.Envelope, proto.MaxPost)
	for i := range full {
		full[i] = a.Text(pair, "x")
	}
	for i, r := range w.post(a.Session, full...) {
		if r.GetSeq() != uint64(i+4) {
			t.Fatalf("envelope %d of a full post: %v", i, r)
		}
	}
}
