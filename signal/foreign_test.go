package signal_test

import (
	"bytes"
	"slices"
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
		"get_device_lists", "lists", "set_profile", "set_presence", "presences", "signal_to", "signal_from",
		"link_open", "link_proof", "signal", "direct", "direct_ack", "ping", // control channel
	}
}

// TestForeignConversation: whoever is not a member gets, for every request, the same bytes as for a
// conversation that does not exist, and the members hear nothing.
func TestForeignConversation(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	eve := w.register("eve")
	se := eve.connect(eve.device)
	foreign, ghost := about(conversation(a, b), eve), about(proto.NewID().Bytes(), eve)

	kinds := (&pb.Frame{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		name := string(kinds.Get(i).Name())
		if _, named := foreign[name]; !named && !slices.Contains(elsewhere(), name) {
			t.Errorf("%s: say here whether it names a conversation", name)
		}
	}
	sa.ok(ice())
	sb.ok(ice())
	sa.pushed, sb.pushed = nil, nil
	for name := range foreign {
		t.Run(name, func(t *testing.T) {
			got, want := se.ask(foreign[name]), se.ask(ghost[name])
			got.Request, want.Request = 0, 0
			if !bytes.Equal(must(gproto.Marshal(got)), must(gproto.Marshal(want))) {
				t.Errorf("a foreign conversation gives %v, none gives %v", got, want)
			}
			code := got.GetError().GetCode()
			if results := got.GetPosted().GetResults(); len(results) == 1 {
				code = results[0].GetError().GetCode()
			}
			if code != pb.ErrorCode_ERROR_CODE_NOT_FOUND && code != pb.ErrorCode_ERROR_CODE_UNSUPPORTED {
				t.Errorf("answered with %v", got)
			}
			sa.none("anything", func(*pb.Frame) bool { return true })
			sb.none("anything", func(*pb.Frame) bool { return true })
		})
	}
	// the same requests by a member are not answered with not_found
	for name, f := range about(conversation(a, b), a) {
		if name == "typing" {
			continue // is not answered
		}
		got := sa.ask(f)
		if got.GetError().GetCode() == pb.ErrorCode_ERROR_CODE_NOT_FOUND {
			t.Errorf("%s: a member gets %v", name, got)
		}
	}
}
