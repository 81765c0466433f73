package signal_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/signal"
)

func (p *person) delete(token, ticket string) response {
	return p.w.do(request{method: http.MethodPost, path: "/api/v1/account/delete", token: token, body: &pb.DeleteAccount{Ticket: ticket}})
}

// TestDeleteAccount: everything of an account ends at once, contacts hear of it, and what was theirs together stays with
// them alone.
func TestDeleteAccount(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	asked, stranger := w.register("carla"), w.register("dora")
	sc := asked.connect(asked.device)
	sa.ok(askContact(asked))
	other := a.addDevice()
	so := a.connect(other)
	posted(t, sa.ok(a.envelope(b, 1, 1, "hi")))
	code := &pb.Recovery{AuthSecret: proto.RandomKey(), WrappedMaster: sealed()}
	a.setRecovery(a.token, &pb.SetRecovery{Ticket: a.login().GetTicket(), Recovery: code}).want(http.StatusNoContent, nil)
	a.setAvatar(pngOf(8)).want(http.StatusNoContent, nil)
	i := w.invite(a, sa, 2, time.Hour)
	link, ticket := a.deviceLink(), a.login().GetTicket()

	a.delete("", a.login().GetTicket()).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	a.delete(a.token, "").refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	a.delete(a.token, b.login().GetTicket()).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	sb.clear()
	sc.clear()
	a.delete(a.token, a.login().GetTicket()).want(http.StatusNoContent, nil)
	sa.closed(4401)
	so.closed(4401)

	for who, s := range map[string]*socket{"a contact": sb, "who was asked": sc} {
		c := contactOf(s.push("the deletion", func(f *pb.Frame) bool { return contactOf(f.GetAccountChanges(), a) != nil }).GetAccountChanges(), a)
		if c.GetState() != pb.ContactState_CONTACT_STATE_NONE || c.GetProfile().GetDeletedMs() != uint64(w.clock.Now().UnixMilli()) || c.GetProfile().GetNickname() != "" || c.GetProfile().GetUserName() != "" {
			t.Errorf("%s hears %v", who, c)
		}
	}
	if p := sb.push("that they are gone", isPresence).GetPresences().GetPresences()[0]; p.GetState() != pb.PresenceState_PRESENCE_STATE_OFFLINE {
		t.Errorf("presence: %v", p)
	}
	for name, f := range about(conversation(a, b), b) {
		got := sb.ask(f)
		answer := got.GetError().GetCode()
		if results := got.GetPosted().GetResults(); len(results) == 1 {
			answer = results[0].GetError().GetCode()
		}
		if answer != pb.ErrorCode_ERROR_CODE_NOT_FOUND {
			t.Errorf("%s in the pair: %v", name, got)
		}
	}
	ss := stranger.connect(stranger.device)
	for name, f := range map[string]*pb.Frame{
		"ask": askContact(a), "block": setBlocked(a, true), "find": {Kind: &pb.Frame_FindAccount{FindAccount: &pb.FindAccount{Name: "anna"}}},
		"signal": signalTo(a, a.device, description("v=0")), "accept": acceptContact(a, stranger.firstCommit(a, nil)), "use an invitation of": i.accept(stranger),
	} {
		if got := ss.ask(f); got.GetError().GetCode() != pb.ErrorCode_ERROR_CODE_NOT_FOUND {
			t.Errorf("%s the deleted account: %v", name, got)
		}
	}
	if c := contactOf(b.connect(b.device).welcome.GetChanges(), a); c.GetProfile().GetDeletedMs() == 0 {
		t.Errorf("a contact who comes back hears %v", c)
	}
	for name, got := range map[string]response{
		"a session": a.delete(a.token, ""), "a log-in": w.do(a.loginRequest(a.auth)), "a recovery": w.do(a.recoveryRequest(code.GetAuthSecret())),
		"a signature": a.signIn(a.device), "a ticket": w.do(request{method: http.MethodPut, path: "/api/v1/devices", body: &pb.UpdateDevices{Ticket: ticket, DeviceList: a.list.Signed}}),
	} {
		if got.status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	w.askByLink(link.GetCode(), sealed()).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	b.avatar(a, pngOf(8)).refused(http.StatusNotFound, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	again := w.register("anna") // the name is free
	if found := ss.ok(&pb.Frame{Kind: &pb.Frame_FindAccount{FindAccount: &pb.FindAccount{Name: "anna"}}}).GetFound().GetContact(); proto.ID(found.GetProfile().GetAccount()) != again.id {
		t.Errorf("found %v", found)
	}
	if strings.Contains(w.logs.String(), "level=ERROR") {
		t.Errorf("logged: %s", w.logs)
	}
}

// TestDeleteNameOnly: an account without a password needs no ticket.
func TestDeleteNameOnly(t *testing.T) {
	w := newWorld(t)
	a := w.register("anna")
	i, guest := w.invite(a, a.connect(a.device), 1, time.Hour), w.newPerson("")
	guest.opened(i.register(guest))
	guest.delete(guest.token, "").want(http.StatusNoContent, nil)
	guest.delete(guest.token, "").refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
}

// TestLastAdministrator: stays as long as others are there; then the server is as new.
func TestLastAdministrator(t *testing.T) {
	w := newWorld(t, func(c *signal.Config) { c.Setup = setupSecret })
	a := w.administrator("anna")
	b := w.register("berta")
	a.delete(a.token, a.login().GetTicket()).refused(http.StatusConflict, pb.ErrorCode_ERROR_CODE_CONFLICT)
	a.connect(a.device)
	b.delete(b.token, b.login().GetTicket()).want(http.StatusNoContent, nil)
	if w.info().GetSetup() {
		t.Error("set up is offered while somebody is there")
	}
	a.delete(a.token, a.login().GetTicket()).want(http.StatusNoContent, nil)
	if !w.info().GetSetup() {
		t.Error("the empty server does not ask to be set up")
	}
}

// administrator makes the first account.
func (w *world) administrator(user string) *person {
	w.t.Helper()
	p := w.newPerson(user)
	req := p.registration()
	req.Setup = setupSecret
	p.opened(w.post("/api/v1/register", req))
	return p
}
