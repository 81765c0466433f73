package signal_test

import (
	"crypto/ed25519"
	"testing"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestGrants: a device that lacks a key asks, another member's device answers, and the key comes and opens.
func TestGrants(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	second := b.connect(b.addDevice())
	id := conversation(a, b)
	commits := sb.ok(&pb.Frame{Kind: &pb.Frame_CommitsRequest{CommitsRequest: &pb.CommitsRequest{Conversation: id, FromNumber: 1}}}).GetCommits()
	if len(commits.GetCommits()) != 1 || commits.GetMore() || proto.ID(commits.GetCommits()[0].GetGrant().GetAccount()) != b.id {
		t.Fatalf("the chain: %v", commits)
	}
	chain := proto.NewChain(proto.ID(id))
	commit := must(chain.Check(commits.GetCommits()[0].GetCommit(), func(_, _ proto.ID) (ed25519.PublicKey, error) { return public(b.sign), nil }))
	chain.Apply(commit)
	key := must(proto.OpenGrant(b.key.Bytes(), b.id, commit, commits.GetCommits()[0].GetGrant()))

	request := &pb.Frame{Kind: &pb.Frame_GrantRequest{GrantRequest: &pb.GrantRequest{Conversation: id, Epoch: 1}}}
	sb.ok(request)
	isNeeded := func(f *pb.Frame) bool { return f.GetGrantNeeded() != nil }
	isAdded := func(f *pb.Frame) bool { return f.GetGrantAdded() != nil }
	needed := sa.push("the question", isNeeded).GetGrantNeeded()
	second.push("the question", isNeeded)
	sb.none("the own question", isNeeded)
	if proto.ID(needed.GetAccount()) != b.id || needed.GetEpoch() != 1 {
		t.Errorf("asked for %v", needed)
	}
	grant := must(proto.GrantEpochKey(b.member(), chain.Conversation(), 1, chain.Head(), key))
	sa.ok(&pb.Frame{Kind: &pb.Frame_GrantPost{GrantPost: &pb.GrantPost{Conversation: id, Epoch: 1, Commit: chain.Head(), Grant: grant}}})
	for _, s := range []*socket{sb, second} {
		added := s.push("the key", isAdded).GetGrantAdded()
		if got, err := chain.OpenGrant(b.key.Bytes(), b.id, added.GetGrant()); err != nil || string(got) != string(key) {
			t.Errorf("the grant that was added does not open: %v", err)
		}
	}
	sa.none("somebody else's key", isAdded)
	again := sb.ok(&pb.Frame{Kind: &pb.Frame_CommitsRequest{CommitsRequest: &pb.CommitsRequest{Conversation: id}}}).GetCommits()
	if !gproto.Equal(again.GetCommits()[0].GetGrant(), grant) {
		t.Error("the grant was not kept")
	}
}

// TestPairAgain: a contact who was removed and accepted anew goes on with the conversation there was.
func TestPairAgain(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	sa.ok(a.envelope(b, 1, 1, "before"))
	sb.push("the message", isEvents)
	sb.ok(declineContact(a))
	if _, code := posted(t, sa.ok(a.envelope(b, 1, 2, "while"))); code != pb.ErrorCode_ERROR_CODE_NOT_FOUND {
		t.Errorf("a removed contact posts: %v", code)
	}
	if behind := a.connect(a.device).welcome.GetBehind(); len(behind) != 0 {
		t.Errorf("who was removed is welcomed with %v", behind)
	}
	sa = a.connect(a.device)
	sb.ok(askContact(a))
	changes := sa.ok(acceptContact(b, a.firstCommit(b, nil))).GetAccountChanges()
	if n := len(changes.GetConversations()); n != 1 || !changes.GetConversations()[0].GetNeedsEpoch() || changes.GetConversations()[0].GetHeadSeq() != 2 {
		t.Errorf("who accepts is told of %v", changes.GetConversations())
	}
	sb.push("the conversation", func(f *pb.Frame) bool { return len(f.GetAccountChanges().GetConversations()) > 0 })
	if _, code := posted(t, sa.ok(a.envelope(b, 1, 3, "after"))); code != pb.ErrorCode_ERROR_CODE_NEEDS_EPOCH {
		t.Errorf("the first message after it: %v", code)
	}
	page := sb.ok(&pb.Frame{Kind: &pb.Frame_Sync{Sync: &pb.Sync{Conversation: conversation(a, b), Limit: 10}}}).GetPage()
	if len(page.GetEvents()) != 2 {
		t.Errorf("the history has %d events", len(page.GetEvents()))
	}
}
