package signal_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// about makes, for every kind of frame that names a conversation, the one about conversation id by a
// member or by a stranger.
func about(id []byte, by *person) map[string]*pb.Frame {
	envelope := by.envelope(by, 1, 1, "hi").GetPost().GetEnvelopes()[0]
	h := &pb.Header{}
	must(0, gproto.Unmarshal(envelope.GetHeader(), h))
	h.Conversation = id
	envelope.Header = must(gproto.Marshal(h))
	rekey := &pb.Commit{Conversation: id, Account: by.id.Bytes(), Device: by.device.id.Bytes(), Number: 2, Epoch: 2}
	signed := must(proto.SignMessage(by.sign, proto.LabelCommit, rekey))
	return map[string]*pb.Frame{
		"post":            {Kind: &pb.Frame_Post{Post: &pb.Post{Envelopes: []*pb.Envelope{envelope}}}},
		"commit":          {Kind: &pb.Frame_Commit{Commit: &pb.CommitPost{Commit: signed}}},
		"sync":            {Kind: &pb.Frame_Sync{Sync: &pb.Sync{Conversation: id, Limit: 10}}},
		"cursor":          {Kind: &pb.Frame_Cursor{Cursor: &pb.Cursor{Conversation: id, DeliveredSeq: 1, ReadSeq: 1}}},
		"typing":          {Kind: &pb.Frame_Typing{Typing: &pb.Typing{Conversation: id}}},
		"commits_request": {Kind: &pb.Frame_CommitsRequest{CommitsRequest: &pb.CommitsRequest{Conversation: id}}},
		"grant_request":   {Kind: &pb.Frame_GrantRequest{GrantRequest: &pb.GrantRequest{Conversation: id, Epoch: 1}}},
		"grant_post": {Kind: &pb.Frame_GrantPost{GrantPost: &pb.GrantPost{Conversation: id, Epoch: 1, Commit: make([]byte, proto.HashSize), Grant: &pb.Grant{
			Account: by.id.Bytes(), Generation: 1, Enc: make([]byte, 32), Ciphertext: make([]byte, 48),
		}}}},
	}
}

// elsewhere are the kinds of frames that name no conversation.
func elsewhere() []string {
	return []string{
		"error", "ok", "hello", "welcome", "goodbye", "account_sync", "account_changes", "ice_request", "ice_servers", "set_setting",
		"posted", "committed", "page", "events", "cursor_moved", "commits", "grant_needed", "grant_added", // answers and pushes
		"find_account", "found", "ask_contact", "answer_contact", "create_invitation", "revoke_invitation", "accept_invitation",
		"get_device_lists", "lists", "set_profile", "remove_contact", "set_blocked", "set_privacy", "device_asks", "set_presence", "presences", "signal_to", "signal_from",
		"link_open", "link_proof", "signal", "direct", "direct_ack", "ping", // control channel
	}
}

// pairs are how somebody may stand to another without being their contact.
func (w *world) pairs(a *person, sa *socket) map[string]*person {
	w.t.Helper()
	all := map[string]*person{"a stranger": nil, "who asked": nil, "who was asked": nil, "who was removed": nil, "who removed": nil}
	i := 0
	for role := range all {
		i++
		p := w.register(fmt.Sprint("eve", i))
		s := p.connect(p.device)
		switch role {
		case "who asked":
			s.ok(askContact(a))
		case "who was asked":
			sa.ok(askContact(p))
		case "who was removed":
			befriend(p, a, s, sa)
			sa.ok(declineContact(p))
		case "who removed":
			befriend(p, a, s, sa)
			s.ok(declineContact(a))
		}
		all[role] = p
		_ = s.ws.Close()
		_ = s.end()
	}
	return all
}

// TestForeignConversation: whoever is not a member gets, for every request, the same bytes as for a
// conversation that does not exist, and the members hear nothing. The pair of two who are no contacts is such
// a conversation, also if they were.
func TestForeignConversation(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	kinds := (&pb.Frame{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		name := string(kinds.Get(i).Name())
		if _, named := about(conversation(a, b), a)[name]; !named && !slices.Contains(elsewhere(), name) {
			t.Errorf("%s: say here whether it names a conversation", name)
		}
	}
	roles := w.pairs(a, sa)
	sa.ok(ice())
	sb.ok(ice())
	sa.pushed, sb.pushed = nil, nil
	for role, eve := range roles {
		se := eve.connect(eve.device)
		for _, id := range [][]byte{conversation(a, b), conversation(a, eve)} {
			foreign, ghost := about(id, eve), about(proto.NewID().Bytes(), eve)
			for name := range foreign {
				t.Run(role+"/"+name, func(t *testing.T) {
					got, want := se.ask(foreign[name]), se.ask(ghost[name])
					got.Request, want.Request = 0, 0
					if results := got.GetPosted().GetResults(); len(results) == 1 {
						want.GetPosted().GetResults()[0].Id = results[0].GetId() // the caller's own
					}
					if !bytes.Equal(must(gproto.Marshal(got)), must(gproto.Marshal(want))) {
						t.Errorf("a foreign conversation gives %v, none gives %v", got, want)
					}
					code := got.GetError().GetCode()
					if results := got.GetPosted().GetResults(); len(results) == 1 {
						code = results[0].GetError().GetCode()
					}
					if code != pb.ErrorCode_ERROR_CODE_NOT_FOUND {
						t.Errorf("answered with %v", got)
					}
					unless := func(f *pb.Frame) bool { return f.GetAccountChanges() == nil && f.GetPresences() == nil }
					sa.none("anything", unless) // of what came before
					sb.none("anything", unless)
				})
			}
		}
	}
	// the same requests by a member are not answered with not_found
	for name, f := range about(conversation(a, b), a) {
		if name == "typing" {
			continue // is not answered
		}
		if e := sa.ask(f).GetError(); e.GetCode() == pb.ErrorCode_ERROR_CODE_NOT_FOUND || strings.Contains(e.GetMessage(), "does not know") {
			t.Errorf("%s: a member gets %v", name, e)
		}
	}
}

// TestForeignAccount: whoever is no contact gets, for every request that names an account or a device of it,
// the same bytes as for one that does not exist.
func TestForeignAccount(t *testing.T) {
	w := newWorld(t)
	a := w.register("anna")
	sa := a.connect(a.device)
	roles, nobody := w.pairs(a, sa), w.newPerson("nobody")
	for role, eve := range roles {
		se := eve.connect(eve.device)
		requests := map[string]func(p *person) *pb.Frame{
			"signal_to":        func(p *person) *pb.Frame { return signalTo(p, p.device, description("v=0")) },
			"get_device_lists": func(p *person) *pb.Frame { return lists(p) },
			"accept":           func(p *person) *pb.Frame { return acceptContact(p, eve.firstCommit(p, nil)) },
			"accept badly":     func(p *person) *pb.Frame { return acceptContact(p, nil) },
			"decline":          func(p *person) *pb.Frame { return declineContact(p) },
			"remove":           func(p *person) *pb.Frame { return removeContact(p) },
		}
		for name, request := range requests {
			asked := role == "who was asked" && name != "signal_to" && name != "get_device_lists"
			withdraws := role == "who asked" && (name == "decline" || name == "remove")
			if asked || withdraws {
				continue // may
			}
			got, want := se.ask(request(a)), se.ask(request(nobody))
			got.Request, want.Request = 0, 0
			if !bytes.Equal(must(gproto.Marshal(got)), must(gproto.Marshal(want))) {
				t.Errorf("%s of %s gives %v, of nobody %v", name, role, got, want)
			}
			if code := got.GetError().GetCode(); code != pb.ErrorCode_ERROR_CODE_NOT_FOUND && len(got.GetLists().GetLists()) > 0 {
				t.Errorf("%s of %s gives %v", name, role, got)
			}
			sa.none("a signal", isSignal)
		}
	}
}

// TestRevokedDevice: a device that was revoked is out of everything at once.
func TestRevokedDevice(t *testing.T) {
	w := newWorld(t)
	a, b, _, sb := w.connected()
	lost := a.addDevice()
	sl := a.connect(lost)
	a.update(a.revocation(lost.id), a.token).want(http.StatusNoContent, nil)
	sl.closed(4401)
	if _, res := w.dial(request{token: lost.token}); res.code != http.StatusUnauthorized {
		t.Errorf("its session opens a socket: %d", res.code)
	}
	for _, r := range []request{
		{method: http.MethodDelete, path: "/api/v1/session"},
		{method: http.MethodPut, path: "/api/v1/devices", body: &pb.UpdateDevices{DeviceList: a.list.Signed}},
		{method: http.MethodPut, path: "/api/v1/password", body: &pb.ChangePassword{Password: a.password()}},
	} {
		r.token = lost.token
		w.do(r).refused(http.StatusUnauthorized, pb.ErrorCode_ERROR_CODE_UNAUTHENTICATED)
	}
	// a member may not post for it either
	e := a.envelope(b, 1, 1, "hi").GetPost()
	h := &pb.Header{}
	must(0, gproto.Unmarshal(e.GetEnvelopes()[0].GetHeader(), h))
	h.Device = lost.id.Bytes()
	header := must(gproto.Marshal(h))
	e.Envelopes[0].Header = header
	e.Envelopes[0].Signature = proto.Sign(lost.sign, proto.LabelEnvelope, header, proto.CiphertextHash(e.GetEnvelopes()[0]))
	if _, code := posted(t, sb.ok(&pb.Frame{Kind: &pb.Frame_Post{Post: e}})); code != pb.ErrorCode_ERROR_CODE_BAD_SIGNATURE {
		t.Errorf("an envelope of a revoked device: %v", code)
	}
}
