package signal_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func removeContact(p *person) *pb.Frame {
	return &pb.Frame{Kind: &pb.Frame_RemoveContact{RemoveContact: &pb.RemoveContact{Account: p.id.Bytes()}}}
}

func setBlocked(p *person, blocked bool) *pb.Frame {
	return &pb.Frame{Kind: &pb.Frame_SetBlocked{SetBlocked: &pb.SetBlocked{Account: p.id.Bytes(), Blocked: blocked}}}
}

// contactOf is how an account's changes show somebody.
func contactOf(changes *pb.AccountChanges, p *person) *pb.Contact {
	for _, c := range changes.GetContacts() {
		if bytes.Equal(c.GetProfile().GetAccount(), p.id[:]) {
			return c
		}
	}
	return nil
}

// changes asks for something and returns the changes that show its effect, with the answer or pushed just before.
func (s *socket) changes(f *pb.Frame, is func(*pb.AccountChanges) bool) *pb.AccountChanges {
	s.t.Helper()
	if changes := s.ok(f).GetAccountChanges(); is(changes) {
		return changes
	}
	return s.push("the effect", func(f *pb.Frame) bool { return is(f.GetAccountChanges()) }).GetAccountChanges()
}

// shown asks for something and returns how somebody is shown then: blocked or not.
func (s *socket) shown(f *pb.Frame, p *person, blocked bool) *pb.Contact {
	s.t.Helper()
	return contactOf(s.changes(f, func(c *pb.AccountChanges) bool {
		shown := contactOf(c, p)
		return shown != nil && shown.GetBlocked() == blocked
	}), p)
}

// stateOf is how a page shows the conversation of two.
func (s *socket) stateOf(id []byte) *pb.Page {
	s.t.Helper()
	return s.ok(&pb.Frame{Kind: &pb.Frame_Sync{Sync: &pb.Sync{Conversation: id, Limit: 100}}}).GetPage()
}

func (s *socket) moveCursor(id []byte, seq uint64) {
	s.t.Helper()
	s.ok(&pb.Frame{Kind: &pb.Frame_Cursor{Cursor: &pb.Cursor{Conversation: id, DeliveredSeq: seq, ReadSeq: seq}}})
}

func typing(id []byte) *pb.Frame {
	return &pb.Frame{Kind: &pb.Frame_Typing{Typing: &pb.Typing{Conversation: id}}}
}

// send sends a frame that is not answered.
func (s *socket) send(f *pb.Frame) {
	s.t.Helper()
	s.write(must(gproto.Marshal(f)))
}

// clear forgets what was pushed until now.
func (s *socket) clear() {
	s.t.Helper()
	s.ok(ice())
	s.pushed = nil
}

func isAnything(f *pb.Frame) bool { return f.GetKind() != nil }

// TestRemoveContact: either side ends a contact for both; a stranger is no contact.
func TestRemoveContact(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	stranger := w.register("carla")
	sa.clear()
	sb.clear()
	sa.refused(removeContact(stranger), pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	if c := contactOf(sa.ok(removeContact(b)).GetAccountChanges(), b); c.GetState() != pb.ContactState_CONTACT_STATE_NONE || c.GetDeviceList() != nil {
		t.Errorf("removed: %v", c)
	}
	sb.push("the removal", func(f *pb.Frame) bool {
		return contactOf(f.GetAccountChanges(), a).GetState() == pb.ContactState_CONTACT_STATE_NONE
	})
	for _, s := range []*socket{sa, sb} {
		p := s.push("who went", isPresence).GetPresences().GetPresences()[0]
		if p.GetState() != pb.PresenceState_PRESENCE_STATE_OFFLINE || p.GetLastSeenMs() != 0 || len(p.GetDevices()) > 0 {
			t.Errorf("presence of the other: %v", p)
		}
	}
	sb.refused(signalTo(a, a.device, description("v=0")), pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	sa.refused(removeContact(b), pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	sa.ok(askContact(b)) // a request is withdrawn alike
	sa.ok(removeContact(b))
	sb.refused(acceptContact(a, b.firstCommit(a, nil)), pb.ErrorCode_ERROR_CODE_NOT_FOUND)
}

// TestBlockedLooksOffline: to somebody blocked everything is as with a contact who went offline at that moment,
// byte for byte; the blocker hears nothing.
func TestBlockedLooksOffline(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	c := w.register("carla")
	sc := c.connect(c.device)
	befriend(c, b, sc, sb)
	pairs := map[*person][]byte{a: conversation(a, b), c: conversation(c, b)}
	for p, s := range map[*person]*socket{a: sa, c: sc} {
		posted(t, sb.ok(b.envelope(p, 1, 1, "before")))
		s.moveCursor(pairs[p], 2)
		sb.moveCursor(pairs[p], 1)
	}
	sa.clear()
	sb.clear()
	sa.ok(setBlocked(b, true))
	_ = sc.ws.Close()
	_ = sc.end()

	gone := map[string]*pb.Presence{}
	for len(gone) < 2 {
		p := sb.push("who went", isPresence).GetPresences().GetPresences()[0]
		gone[string(p.GetAccount())] = p
	}
	if x, y := gone[string(a.id[:])], gone[string(c.id[:])]; x.GetState() != y.GetState() || x.GetLastSeenMs() != y.GetLastSeenMs() || len(x.GetDevices()) != len(y.GetDevices()) {
		t.Errorf("who blocks goes as %v, who is offline as %v", x, y)
	}
	sa.push("oneself, not there for the other", isPresence)
	sa.clear()

	// what b does: each request about a and about c
	requests := map[string]func(p *person) *pb.Frame{
		"signal": func(p *person) *pb.Frame { return signalTo(p, p.device, description("v=0")) },
		"candidates": func(p *person) *pb.Frame {
			return signalTo(p, p.device, candidate("x"))
		},
		"signal nowhere": func(p *person) *pb.Frame { return signalTo(p, newDevice(), description("v=0")) },
		"ask":            askContact,
		"accept":         func(p *person) *pb.Frame { return acceptContact(p, b.firstCommit(p, nil)) },
		"cursor": func(p *person) *pb.Frame {
			return &pb.Frame{Kind: &pb.Frame_Cursor{Cursor: &pb.Cursor{Conversation: pairs[p], ReadSeq: 2}}}
		},
		"post":    func(p *person) *pb.Frame { return b.envelope(p, 1, 2, "while blocked") },
		"grant":   func(p *person) *pb.Frame { return about(pairs[p], b)["grant_request"] },
		"grants":  func(p *person) *pb.Frame { return about(pairs[p], b)["grant_post"] },
		"commits": func(p *person) *pb.Frame { return about(pairs[p], b)["commit"] },
		"find": func(p *person) *pb.Frame {
			return &pb.Frame{Kind: &pb.Frame_FindAccount{FindAccount: &pb.FindAccount{Name: p.user}}}
		},
	}
	for name, request := range requests {
		x, y := sb.ask(request(a)), sb.ask(request(c))
		x.Request, y.Request = 0, 0
		if results := x.GetPosted().GetResults(); len(results) > 0 {
			y.GetPosted().GetResults()[0].Id = results[0].GetId() // the caller's own
		}
		if f := x.GetFound(); f != nil { // who they are
			f.Contact.Profile, f.Contact.DeviceList, f.Contact.Conversation = nil, nil, nil
			y.GetFound().Contact.Profile, y.GetFound().Contact.DeviceList, y.GetFound().Contact.Conversation = nil, nil, nil
		}
		if !bytes.Equal(must(gproto.Marshal(x)), must(gproto.Marshal(y))) {
			t.Errorf("%s: of who blocks %v, of who is offline %v", name, x, y)
		}
		sb.send(typing(pairs[a]))
	}
	x, y := sb.stateOf(pairs[a]), sb.stateOf(pairs[c])
	if len(x.GetEvents()) != len(y.GetEvents()) || x.GetHeadSeq() != 3 || y.GetHeadSeq() != 3 || fmt.Sprint(cursorsOf(x, a)) != fmt.Sprint(cursorsOf(y, c)) {
		t.Errorf("the conversation with who blocks: %v, with who is offline: %v", x, y)
	}
	seen := b.connect(b.device).welcome.GetPresences()
	if len(seen) != 2 || seen[0].GetLastSeenMs() != uint64(w.clock.Now().UnixMilli()) || seen[1].GetLastSeenMs() != seen[0].GetLastSeenMs() || len(seen[0].GetDevices())+len(seen[1].GetDevices()) > 0 {
		t.Errorf("who is blocked sees %v", seen)
	}
	w.clock.advance(time.Hour) // who blocks is there all the time, and not seen
	w.do(request{method: http.MethodPost, path: "/api/v1/devices/links", token: a.token}).want(http.StatusOK, nil)
	if later := b.connect(b.device).welcome.GetPresences(); !slices.EqualFunc(later, seen, func(x, y *pb.Presence) bool { return gproto.Equal(x, y) }) {
		t.Errorf("an hour later %v", later)
	}
	sa.none("anything", isAnything)
}

// cursorsOf are how far a page shows somebody.
func cursorsOf(page *pb.Page, p *person) [2]uint64 {
	for _, m := range page.GetState().GetMembers() {
		if bytes.Equal(m.GetAccount(), p.id[:]) {
			return [2]uint64{m.GetDeliveredSeq(), m.GetReadSeq()}
		}
	}
	return [2]uint64{}
}

// TestBlockerSeesNothing: the conversation stands still for the blocker, until the other one is let in again.
func TestBlockerSeesNothing(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	pair := conversation(a, b)
	posted(t, sb.ok(b.envelope(a, 1, 1, "before")))
	sa.moveCursor(pair, 1)
	if c := sa.shown(setBlocked(b, true), b, true); !c.GetBlocked() || c.GetState() != pb.ContactState_CONTACT_STATE_ACCEPTED {
		t.Errorf("blocked: %v", c)
	}
	sa.ok(setBlocked(b, true)) // again
	before := sa.stateOf(pair)
	sa.clear()
	sb.clear()

	posted(t, sb.ok(b.envelope(a, 1, 2, "while blocked")))
	sb.moveCursor(pair, 3)
	chain := proto.NewChain(proto.PairID(a.id, b.id))
	first := sb.stateOf(pair).GetEvents()[0].GetCommit()
	chain.Apply(must(chain.Check(first.GetCommit(), func(_, _ proto.ID) (ed25519.PublicKey, error) { return public(b.sign), nil })))
	sb.ok(&pb.Frame{Kind: &pb.Frame_Commit{Commit: rekeyBy(b, a, chain)}})
	sa.none("anything", isAnything)

	after := sa.stateOf(pair)
	if !gproto.Equal(before, after) {
		t.Errorf("the conversation went on: %v, before %v", after, before)
	}
	commits := sa.ok(&pb.Frame{Kind: &pb.Frame_CommitsRequest{CommitsRequest: &pb.CommitsRequest{Conversation: pair}}}).GetCommits()
	if len(commits.GetCommits()) != 1 {
		t.Errorf("%d commits", len(commits.GetCommits()))
	}
	fresh := a.connect(a.device)
	if got := fresh.welcome.GetBehind(); len(got) != 1 || !gproto.Equal(got[0], before.GetState()) || len(fresh.welcome.GetPresences()) > 0 {
		t.Errorf("when they come back: %v %v", got, fresh.welcome.GetPresences())
	}
	sa = fresh
	backward := sa.ok(&pb.Frame{Kind: &pb.Frame_Sync{Sync: &pb.Sync{Conversation: pair, Backward: true, Limit: 100}}}).GetPage()
	if len(backward.GetEvents()) != 2 {
		t.Errorf("backward: %d events", len(backward.GetEvents()))
	}

	// the blocker does nothing there either
	sb.clear()
	for name, f := range map[string]*pb.Frame{"ask": askContact(b), "commit": {Kind: &pb.Frame_Commit{Commit: rekeyBy(a, b, chain)}}} {
		if e := sa.ask(f).GetError(); e.GetCode() != pb.ErrorCode_ERROR_CODE_FORBIDDEN {
			t.Errorf("%s by the blocker: %v", name, e)
		}
	}
	if _, code := posted(t, sa.ok(a.envelope(b, 1, 1, "hi"))); code != pb.ErrorCode_ERROR_CODE_FORBIDDEN {
		t.Errorf("a post by the blocker: %v", code)
	}
	sa.moveCursor(pair, 4)
	sa.send(typing(pair))
	sa.refused(signalTo(b, b.device, description("v=0")), pb.ErrorCode_ERROR_CODE_OFFLINE)
	sa.ok(about(pair, a)["grant_request"])
	sa.ok(ice())
	sb.none("anything", isAnything)
	if got := cursorsOf(sb.stateOf(pair), a); got != [2]uint64{1, 1} {
		t.Errorf("the blocker is shown at %v", got)
	}

	changes := sa.changes(setBlocked(b, false), func(c *pb.AccountChanges) bool { return contactOf(c, b) != nil })
	if c := contactOf(changes, b); c.GetBlocked() || len(changes.GetConversations()) != 1 || changes.GetConversations()[0].GetHeadSeq() != 4 || changes.GetConversations()[0].GetEpoch() != 2 {
		t.Errorf("let in again: %v", changes)
	}
	if got := sa.stateOf(pair); len(got.GetEvents()) != 4 || got.GetState().GetUnread() != 1 {
		t.Errorf("what waited: %v", got)
	}
	for _, s := range []*socket{sa, sb} {
		if p := s.push("who is there", isPresence).GetPresences().GetPresences()[0]; p.GetState() != pb.PresenceState_PRESENCE_STATE_ONLINE {
			t.Errorf("presence: %v", p)
		}
	}
	sb.ok(signalTo(a, a.device, description("v=0")))
	sb.ok(b.envelope(a, 2, 3, "after"))
	sa.push("a message", isEvents)
}

func rekeyBy(p, with *person, chain *proto.Chain) *pb.CommitPost {
	return must(proto.Rekey(proto.Signer{Account: p.id, Device: p.device.id, Key: p.sign, TimeMS: 2}, chain, []proto.MemberKey{p.member(), with.member()}, nil))
}

// TestBlockedRequest: a request of somebody blocked waits until they are let in; to them it is as any other.
func TestBlockedRequest(t *testing.T) {
	w := newWorld(t)
	a, b := w.register("anna"), w.register("berta")
	sa, sb := a.connect(a.device), b.connect(b.device)
	sa.ok(setBlocked(b, true))
	sa.clear()
	if c := contactOf(sb.ok(askContact(a)).GetAccountChanges(), a); c.GetState() != pb.ContactState_CONTACT_STATE_ASKED {
		t.Errorf("the blocked one asked: %v", c)
	}
	sa.none("anything", isAnything)
	sa = a.connect(a.device)
	if c := contactOf(sa.welcome.GetChanges(), b); c.GetState() != pb.ContactState_CONTACT_STATE_NONE || c.GetNote() != "" || c.GetDeviceList() != nil || !c.GetBlocked() {
		t.Errorf("the blocker sees %v", c)
	}
	sa.refused(acceptContact(b, a.firstCommit(b, nil)), pb.ErrorCode_ERROR_CODE_FORBIDDEN)
	if c := sa.shown(setBlocked(b, false), b, false); c.GetState() != pb.ContactState_CONTACT_STATE_ASKING || c.GetNote() != "hello" {
		t.Errorf("let in again: %v", c)
	}
	sa.ok(acceptContact(b, a.firstCommit(b, nil)))
}

// TestBlockedInvitation: somebody blocked may use an invitation of the blocker, as everybody; what they write waits.
func TestBlockedInvitation(t *testing.T) {
	w := newWorld(t)
	a, b := w.register("anna"), w.register("berta")
	sa, sb := a.connect(a.device), b.connect(b.device)
	i := w.invite(a, sa, 2, time.Hour)
	sa.ok(setBlocked(b, true))
	sa.clear()
	c := sb.shown(i.accept(b), a, false)
	if c.GetState() != pb.ContactState_CONTACT_STATE_ACCEPTED || c.GetBlocked() || c.GetInvitation() != "" {
		t.Errorf("the blocked one sees %v", c)
	}
	sb.push("the first commit", isEvents)
	posted(t, sb.ok(b.envelope(a, 1, 1, "hi")))
	sa.none("an event", isEvents)
	sa.none("a presence", isPresence)
	if sb.refused(signalTo(a, a.device, description("v=0")), pb.ErrorCode_ERROR_CODE_OFFLINE); sa.stateOf(conversation(a, b)).GetHeadSeq() != 1 {
		t.Error("the conversation goes on for the blocker")
	}
	if c := sa.shown(setBlocked(b, false), b, false); c.GetInvitation() != i.secret.Code {
		t.Errorf("let in again: %v", c)
	}
	if got := sa.stateOf(conversation(a, b)).GetHeadSeq(); got != 2 {
		t.Errorf("the head is %d", got)
	}
	j := w.invite(b, sb, 1, time.Hour) // and the blocker uses none of theirs
	sa.ok(removeContact(b))
	sa.ok(setBlocked(b, true))
	sa.refused(j.accept(a), pb.ErrorCode_ERROR_CODE_FORBIDDEN)
}

// TestBlockMutual: two who block each other are let in one by one.
func TestBlockMutual(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	pair := conversation(a, b)
	sa.ok(setBlocked(b, true))
	sb.ok(setBlocked(a, true))
	if _, code := posted(t, sb.ok(b.envelope(a, 1, 1, "hi"))); code != pb.ErrorCode_ERROR_CODE_FORBIDDEN {
		t.Errorf("a post: %v", code)
	}
	sb.ok(setBlocked(a, false))
	posted(t, sb.ok(b.envelope(a, 1, 1, "hi")))
	sb.refused(signalTo(a, a.device, description("v=0")), pb.ErrorCode_ERROR_CODE_OFFLINE)
	if got := sa.stateOf(pair).GetHeadSeq(); got != 1 {
		t.Errorf("the one who still blocks sees %d", got)
	}
	sa.ok(setBlocked(b, false))
	if got := sa.stateOf(pair).GetHeadSeq(); got != 2 {
		t.Errorf("afterwards %d", got)
	}
	nobody := w.newPerson("nobody")
	sa.refused(setBlocked(nobody, true), pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	sa.refused(setBlocked(a, true), pb.ErrorCode_ERROR_CODE_NOT_FOUND)
}
