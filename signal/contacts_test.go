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
	"github.com/parley-chat/parley/signal"
)

func lists(people ...*person) *pb.Frame {
	q := &pb.GetDeviceLists{}
	for _, p := range people {
		q.Accounts = append(q.Accounts, p.id.Bytes())
	}
	return &pb.Frame{Kind: &pb.Frame_GetDeviceLists{GetDeviceLists: q}}
}

// strangers checks that a can do nothing to b, and sees nothing of b.
func strangers(t *testing.T, a, b *person, sa, sb *socket) {
	t.Helper()
	if _, code := posted(t, sa.ok(a.envelope(b, 1, 1, "hi"))); code != pb.ErrorCode_ERROR_CODE_NOT_FOUND {
		t.Errorf("a message to somebody who has not accepted: %v", code)
	}
	contactless(t, a, b, sa, sb)
}

// contactless checks what holds for everybody who is no contact, even if they were one.
func contactless(t *testing.T, _, b *person, sa, sb *socket) {
	t.Helper()
	sa.refused(signalTo(b, b.device, description("v=0")), pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	sb.none("signal", isSignal)
	if got := sa.ok(lists(b)).GetLists().GetLists(); len(got) != 0 {
		t.Errorf("%d device lists", len(got))
	}
	sa.none("anything", func(*pb.Frame) bool { return false })
	sa.pushed = nil
	sb.tell(&pb.Frame{Kind: &pb.Frame_SetPresence{SetPresence: &pb.SetPresence{State: pb.PresenceState_PRESENCE_STATE_AWAY}}})
	sb.ok(ice())
	sa.none("presence", isPresence)
}

// tell sends a frame that wants no answer.
func (s *socket) tell(f *pb.Frame) {
	s.t.Helper()
	s.write(must(gproto.Marshal(f)))
}

func TestContactsBeforeAcceptance(t *testing.T) {
	w := newWorld(t)
	a, b := w.register("anna"), w.register("berta")
	sa, sb := a.connect(a.device), b.connect(b.device)
	strangers(t, a, b, sa, sb)

	found := sa.ok(&pb.Frame{Kind: &pb.Frame_FindAccount{FindAccount: &pb.FindAccount{Name: "Berta"}}}).GetFound().GetContact()
	if proto.ID(found.GetProfile().GetAccount()) != b.id || found.GetProfile().GetNickname() != "" || found.GetDeviceList() != nil {
		t.Errorf("a stranger finds %v", found)
	}
	for _, name := range []string{"nobody", "anna"} {
		sa.refused(&pb.Frame{Kind: &pb.Frame_FindAccount{FindAccount: &pb.FindAccount{Name: name}}}, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	}
	sb.refused(declineContact(a), pb.ErrorCode_ERROR_CODE_NOT_FOUND) // nobody asked
	sb.refused(acceptContact(a, b.firstCommit(a, nil)), pb.ErrorCode_ERROR_CODE_NOT_FOUND)

	sa.ok(askContact(b))
	asking := sb.push("the request", func(f *pb.Frame) bool { return len(f.GetAccountChanges().GetContacts()) > 0 }).GetAccountChanges().GetContacts()[0]
	if asking.GetState() != pb.ContactState_CONTACT_STATE_ASKING || asking.GetNote() != "hello" || asking.GetProfile().GetNickname() != "Nick anna" || asking.GetDeviceList() == nil {
		t.Errorf("who is asked sees %v", asking)
	}
	strangers(t, a, b, sa, sb)
	strangers(t, b, a, sb, sa)
	sa.refused(acceptContact(b, a.firstCommit(b, nil)), pb.ErrorCode_ERROR_CODE_NOT_FOUND) // not by who asked
	sb.refused(askContact(a), pb.ErrorCode_ERROR_CODE_CONFLICT)
	sb.ok(declineContact(a))
	strangers(t, a, b, sa, sb)
	sb.refused(acceptContact(a, b.firstCommit(a, nil)), pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	sa.refused(askContact(w.newPerson("ghost")), pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	sa.refused(askContact(a), pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	long := askContact(b)
	long.GetAskContact().Note = string(bytes.Repeat([]byte("x"), proto.MaxNote+1))
	sa.refused(long, pb.ErrorCode_ERROR_CODE_TOO_LARGE)

	befriend(a, b, sa, sb)
	if _, code := posted(t, sa.ok(a.envelope(b, 1, 1, "hi"))); code != 0 {
		t.Errorf("a message to a contact: %v", code)
	}
	sb.push("the message", isEvents)
	sa.push("presence", isPresence)
}

func TestRemovedContact(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	sa.ok(signalTo(b, b.device, description("v=0")))
	sb.push("the offer", isSignal)
	if n := len(sa.ok(lists(a, b)).GetLists().GetLists()); n != 2 {
		t.Errorf("%d device lists of oneself and a contact", n)
	}
	sb.ok(declineContact(a))
	gone := sa.push("offline", func(f *pb.Frame) bool {
		p := f.GetPresences().GetPresences()
		return len(p) == 1 && p[0].GetState() == pb.PresenceState_PRESENCE_STATE_OFFLINE && proto.ID(p[0].GetAccount()) == b.id
	})
	if len(gone.GetPresences().GetPresences()[0].GetDevices()) != 0 {
		t.Errorf("who was removed sees %v", gone)
	}
	contactless(t, a, b, sa, sb)
	contactless(t, b, a, sb, sa)
	back := a.connect(a.device)
	if p := back.welcome.GetPresences(); len(p) != 0 {
		t.Errorf("who was removed is welcomed with %v", p)
	}
}

// TestBothAccept: both sides hold an invitation of the other and use it at once; one first commit stands.
func TestBothAccept(t *testing.T) {
	w := newWorld(t)
	a, b := w.register("anna"), w.register("berta")
	sa, sb := a.connect(a.device), b.connect(b.device)
	ia, ib := w.invite(a, sa, 1, time.Hour), w.invite(b, sb, 1, time.Hour)
	answers := make(chan *pb.Frame)
	go func() { answers <- sa.ask(ib.accept(a)) }()
	go func() { answers <- sb.ask(ia.accept(b)) }()
	x, y := <-answers, <-answers
	if x.GetError() == nil {
		x, y = y, x
	}
	if y.GetError() != nil || x.GetError().GetCode() != pb.ErrorCode_ERROR_CODE_CONFLICT {
		t.Fatalf("one should win: %v, %v", x, y)
	}
	page := sa.ok(&pb.Frame{Kind: &pb.Frame_Sync{Sync: &pb.Sync{Conversation: conversation(a, b), Limit: 10}}}).GetPage()
	if len(page.GetEvents()) != 1 || page.GetEvents()[0].GetCommit() == nil {
		t.Errorf("the conversation starts with %v", page.GetEvents())
	}
}

// TestSignals: what is forwarded, to whom, and how much.
func TestSignals(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	c := w.register("clara")
	sc := c.connect(c.device)
	offer := description("v=0 offer")
	sa.ok(signalTo(b, b.device, offer))
	got := sb.push("the offer", isSignal).GetSignalFrom()
	if proto.ID(got.GetAccount()) != a.id || proto.ID(got.GetDevice()) != a.device.id || !gproto.Equal(got.GetSignal(), offer) {
		t.Errorf("forwarded as %v", got)
	}
	// a device of somebody else, under the name of a contact
	sa.refused(signalTo(b, c.device, offer), pb.ErrorCode_ERROR_CODE_OFFLINE)
	sc.none("signal", isSignal)
	sa.refused(signalTo(b, newDevice(), offer), pb.ErrorCode_ERROR_CODE_OFFLINE)
	// strangers and accounts that do not exist are the same
	stranger := sa.refused(signalTo(c, c.device, offer), pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	if ghost := sa.refused(signalTo(w.newPerson("ghost"), c.device, offer), pb.ErrorCode_ERROR_CODE_NOT_FOUND); !gproto.Equal(stranger, ghost) {
		t.Errorf("a stranger gives %v, nobody %v", stranger, ghost)
	}
	for range proto.MaxCandidates {
		sa.ok(signalTo(b, b.device, candidate("x")))
	}
	sa.refused(signalTo(b, b.device, candidate("one more")), pb.ErrorCode_ERROR_CODE_RATE_LIMITED)
	n := 0
	sb.none("the last candidate", func(f *pb.Frame) bool {
		if f.GetSignalFrom().GetSignal().GetCandidate() != nil {
			n++
		}
		return f.GetSignalFrom().GetSignal().GetCandidate().GetCandidate() == "one more"
	})
	if n != proto.MaxCandidates {
		t.Errorf("%d candidates were forwarded", n)
	}
	other := candidate("y")
	other.Link = proto.NewID().Bytes()
	sa.ok(signalTo(b, b.device, other)) // another link has its own
	sa.ok(signalTo(b, b.device, offer)) // a restart begins again
	sa.ok(signalTo(b, b.device, candidate("z")))
	sa.refused(signalTo(b, b.device, &pb.Signal{Kind: offer.GetKind()}), pb.ErrorCode_ERROR_CODE_MALFORMED)
	sa.refused(signalTo(b, b.device, description(string(make([]byte, proto.MaxSDP+1)))), pb.ErrorCode_ERROR_CODE_TOO_LARGE)
	_ = sb.ws.Close()
	_ = sb.end()
	sa.push("offline", func(f *pb.Frame) bool {
		p := f.GetPresences().GetPresences()
		return len(p) == 1 && p[0].GetState() == pb.PresenceState_PRESENCE_STATE_OFFLINE
	})
	sa.refused(signalTo(b, b.device, offer), pb.ErrorCode_ERROR_CODE_OFFLINE)
}

// invited is an invitation with its secret.
type invited struct {
	secret *proto.InvitationSecret
	by     *person
}

func (w *world) invitation(p *person, uses uint32, life time.Duration) (*invited, *pb.Frame) {
	i := &invited{proto.NewInvitation(), p}
	signed := must(proto.SignMessage(p.sign, proto.LabelInvitation, &pb.Invitation{
		Code: i.secret.Code, Account: p.id.Bytes(), Device: p.device.id.Bytes(), LinkKey: i.secret.LinkKey().Public().(ed25519.PublicKey),
		ExpiresMs: uint64(w.clock.Now().Add(life).UnixMilli()), Uses: uses,
	}))
	sealed := must(i.secret.Seal(&pb.InvitationSecretPart{Account: p.id.Bytes(), IdentityKey: public(p.identity), Nickname: p.user}))
	return i, &pb.Frame{Kind: &pb.Frame_CreateInvitation{CreateInvitation: &pb.CreateInvitation{Invitation: signed, Sealed: sealed}}}
}

func (w *world) invite(p *person, s *socket, uses uint32, life time.Duration) *invited {
	w.t.Helper()
	i, f := w.invitation(p, uses, life)
	s.ok(f)
	return i
}

func (i *invited) join(p *person) *pb.Signed {
	return must(proto.SignMessage(i.secret.LinkKey(), proto.LabelLinkJoin, &pb.LinkJoin{
		Code: i.secret.Code, Account: p.id.Bytes(), IdentityKey: public(p.identity), Conversation: proto.PairID(p.id, i.by.id).Bytes(),
	}))
}

func (i *invited) accept(p *person) *pb.Frame {
	join := i.join(p)
	return &pb.Frame{Kind: &pb.Frame_AcceptInvitation{AcceptInvitation: &pb.AcceptInvitation{
		Code: i.secret.Code, LinkJoin: join, FirstCommit: p.firstCommit(i.by, join),
	}}}
}

func (i *invited) register(p *person) response {
	req := p.registration()
	req.Invitation, req.LinkJoin = i.secret.Code, i.join(p)
	req.FirstCommit = p.firstCommit(i.by, req.GetLinkJoin())
	return i.by.w.post("/api/v1/register", req)
}

func (i *invited) fetch() response {
	return i.by.w.do(request{method: http.MethodGet, path: "/api/v1/invitations/" + i.secret.Code})
}

func TestInvitation(t *testing.T) {
	w := newWorld(t, func(c *signal.Config) { c.Registration, c.Setup = signal.Invite, setupSecret })
	anna := w.newPerson("anna")
	req := anna.registration()
	req.Setup = setupSecret
	anna.opened(w.post("/api/v1/register", req))
	s := anna.connect(anna.device)
	i := w.invite(anna, s, 2, time.Hour)
	info := &pb.InvitationInfo{}
	i.fetch().want(http.StatusOK, info)
	part := must(i.secret.Open(info.GetSealed()))
	if !bytes.Equal(part.GetIdentityKey(), public(anna.identity)) || info.GetUsesLeft() != 2 || !gproto.Equal(info.GetDeviceList(), anna.list.Signed) {
		t.Errorf("the holder of the link sees %v", info)
	}
	ben := w.newPerson("") // name first
	ben.opened(i.register(ben))
	sb := ben.connect(ben.device)
	if contacts := sb.welcome.GetChanges().GetContacts(); len(contacts) != 1 || contacts[0].GetState() != pb.ContactState_CONTACT_STATE_ACCEPTED {
		t.Errorf("who joined has %v", contacts)
	}
	joined := s.push("the joiner", func(f *pb.Frame) bool { return len(f.GetAccountChanges().GetContacts()) > 0 }).GetAccountChanges()
	if joined.GetContacts()[0].GetLinkJoin() == nil || joined.GetInvitations()[0].GetUsesLeft() != 1 {
		t.Errorf("the inviter hears %v", joined)
	}
	s.refused(i.accept(anna), pb.ErrorCode_ERROR_CODE_FORBIDDEN)
	sb.refused(i.accept(ben), pb.ErrorCode_ERROR_CODE_CONFLICT)

	// "Keep this account": a name and a password later
	ben.user = "ben"
	keep := request{method: http.MethodPut, path: "/api/v1/password", token: ben.token, body: &pb.ChangePassword{User: "anna", Password: ben.password(), KeyRing: sealed()}}
	w.do(keep).refused(http.StatusConflict, pb.ErrorCode_ERROR_CODE_CONFLICT)
	keep.body = &pb.ChangePassword{User: "ben", Password: ben.password(), KeyRing: sealed()}
	w.do(keep).want(http.StatusNoContent, nil)
	ben.login()
	s.push("the name", func(f *pb.Frame) bool {
		return slices.ContainsFunc(f.GetAccountChanges().GetContacts(), func(c *pb.Contact) bool { return c.GetProfile().GetUserName() == "ben" })
	})
	w.do(keep).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED) // from now on with a ticket
}

func TestInvitationEnds(t *testing.T) {
	w := newWorld(t)
	anna, ben, carl := w.register("anna"), w.register("ben"), w.register("carl")
	s, sb, sc := anna.connect(anna.device), ben.connect(ben.device), carl.connect(carl.device)
	gone := func(i *invited, status int, code pb.ErrorCode) {
		t.Helper()
		sb.refused(i.accept(ben), code)
		i.fetch().refused(status, code)
		i.register(w.newPerson("dora")).refused(status, code)
	}
	expired := w.invite(anna, s, 1, time.Hour)
	w.clock.advance(time.Hour + time.Second)
	gone(expired, http.StatusGone, pb.ErrorCode_ERROR_CODE_EXPIRED)

	revoked := w.invite(anna, s, 1, time.Hour)
	revoke := &pb.Frame{Kind: &pb.Frame_RevokeInvitation{RevokeInvitation: &pb.RevokeInvitation{Code: revoked.secret.Code}}}
	sb.refused(gproto.CloneOf(revoke), pb.ErrorCode_ERROR_CODE_NOT_FOUND) // not by somebody else
	revoked.fetch().want(http.StatusOK, nil)
	s.ok(revoke)
	gone(revoked, http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)

	used := w.invite(anna, s, 1, time.Hour)
	sc.ok(used.accept(carl))
	gone(used, http.StatusGone, pb.ErrorCode_ERROR_CODE_USED_UP)

	gone(&invited{proto.NewInvitation(), anna}, http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND) // never made

	forged := w.invite(anna, s, 1, time.Hour)
	impostor := &invited{proto.NewInvitation(), anna} // the code without the secret
	impostor.secret.Code = forged.secret.Code
	sb.refused(impostor.accept(ben), pb.ErrorCode_ERROR_CODE_BAD_SIGNATURE)
	borrowed := forged.accept(ben)
	sc.refused(borrowed, pb.ErrorCode_ERROR_CODE_FORBIDDEN) // vouches for somebody else

	_, far := w.invitation(anna, 1, proto.MaxInvitationLife+48*time.Hour)
	s.refused(far, pb.ErrorCode_ERROR_CODE_MALFORMED)
	_, many := w.invitation(anna, proto.MaxInvitationUses+1, time.Hour)
	s.refused(many, pb.ErrorCode_ERROR_CODE_MALFORMED)
	_, foreign := w.invitation(ben, 1, time.Hour)
	s.refused(foreign, pb.ErrorCode_ERROR_CODE_FORBIDDEN)
}

// TestLastUse: two join by the last use of an invitation at once, and one of them gets in.
func TestLastUse(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	i := w.invite(anna, anna.connect(anna.device), 1, time.Hour)
	const joiners = 4
	answers := make(chan int)
	for n := range joiners {
		p := w.newPerson(fmt.Sprintf("joiner%d", n))
		go func() { answers <- i.register(p).status }()
	}
	var in, out int
	for range joiners {
		switch <-answers {
		case http.StatusOK:
			in++
		case http.StatusGone:
			out++
		}
	}
	if in != 1 || out != joiners-1 {
		t.Errorf("%d joined, %d were refused", in, out)
	}
}

// TestSupersededIsNotThere: a device that connects again is not shown twice, however long the older connection takes to go.
func TestSupersededIsNotThere(t *testing.T) {
	if n := signal.OfSuperseded(); n != 1 {
		t.Errorf("the device counts %d times", n)
	}
}

// TestPresence: contacts see devices come and go; a device that connects again does not flicker.
func TestPresence(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	second := b.addDevice()
	seen := func(state pb.PresenceState, devices int) func(*pb.Frame) bool {
		return func(f *pb.Frame) bool {
			p := f.GetPresences().GetPresences()
			return len(p) == 1 && proto.ID(p[0].GetAccount()) == b.id && p[0].GetState() == state && len(p[0].GetDevices()) == devices
		}
	}
	s2 := b.connect(second)
	sa.push("two devices", seen(pb.PresenceState_PRESENCE_STATE_ONLINE, 2))
	sb.tell(&pb.Frame{Kind: &pb.Frame_SetPresence{SetPresence: &pb.SetPresence{State: pb.PresenceState_PRESENCE_STATE_AWAY}}})
	sb.refused(&pb.Frame{Kind: &pb.Frame_SetPresence{SetPresence: &pb.SetPresence{State: pb.PresenceState_PRESENCE_STATE_OFFLINE}}}, pb.ErrorCode_ERROR_CODE_MALFORMED)
	if got := a.connect(a.device).welcome.GetPresences(); len(got) != 1 || len(got[0].GetDevices()) != 2 || got[0].GetState() != pb.PresenceState_PRESENCE_STATE_ONLINE {
		t.Errorf("welcomed with %v", got)
	}
	sa.closed(4409)
	sa = a.connect(a.device)
	_ = s2.ws.Close()
	sa.push("one device, away", seen(pb.PresenceState_PRESENCE_STATE_AWAY, 1))
	again := b.connect(b.device)
	sb.closed(4409)
	sa.push("online again", seen(pb.PresenceState_PRESENCE_STATE_ONLINE, 1))
	again.ok(ice())
	sa.none("offline", seen(pb.PresenceState_PRESENCE_STATE_OFFLINE, 0))
	_ = again.ws.Close()
	sa.push("offline", seen(pb.PresenceState_PRESENCE_STATE_OFFLINE, 0))
}
