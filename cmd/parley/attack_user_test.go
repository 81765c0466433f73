package main

import (
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// untouchedBy checks that nothing of an account's reached the peer: everything it was told of until now.
func (v *victim) untouchedBy(account proto.ID) {
	v.t.Helper()
	for {
		var from proto.ID
		select {
		case e := <-v.sub.C:
			switch e := e.(type) {
			case peer.MessageEvent:
				from = e.FromID
			case peer.TypingEvent:
				from = e.Account
			case peer.PresenceEvent:
				from = e.Account
			case peer.ReceiptEvent:
				from = e.Account
			case peer.LinkEvent:
				from = e.Account
			}
			if from == account {
				v.t.Errorf("the peer was told %#v", e)
			}
		default:
			return
		}
	}
}

// TestStranger: somebody who was not accepted, with a program of their own, tries everything there is before and after asking.
func TestStranger(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url, withLinks)
	eve := stranger(t, server.url, "eve")
	socket := eve.connect()
	pair := proto.PairID(eve.account, mia.Account())
	id := mia.Account()
	ask := func(f *pb.Frame) pb.ErrorCode { return socket.ask(f).GetError().GetCode() }
	for _, state := range []string{"unknown", "asking"} {
		t.Run(state, func(t *testing.T) {
			for name, in := range map[string]proto.ID{"their conversation": conversation, "a pair with mia": pair, "none": proto.NewID()} {
				if _, code := socket.posts(eve.envelope(in, 1, proto.RandomKey(), "hello stranger")); code != pb.ErrorCode_ERROR_CODE_NOT_FOUND {
					t.Errorf("posted into %s: %v", name, code)
				}
				for what, f := range map[string]*pb.Frame{
					"read":   {Kind: &pb.Frame_Sync{Sync: &pb.Sync{Conversation: in.Bytes(), Limit: 10}}},
					"chain":  {Kind: &pb.Frame_CommitsRequest{CommitsRequest: &pb.CommitsRequest{Conversation: in.Bytes()}}},
					"cursor": {Kind: &pb.Frame_Cursor{Cursor: &pb.Cursor{Conversation: in.Bytes(), DeliveredSeq: 1, ReadSeq: 1}}},
					"key":    {Kind: &pb.Frame_GrantRequest{GrantRequest: &pb.GrantRequest{Conversation: in.Bytes(), Epoch: 1}}},
				} {
					if code := ask(f); code != pb.ErrorCode_ERROR_CODE_NOT_FOUND {
						t.Errorf("%s of %s: %v", what, name, code)
					}
				}
				socket.tell(&pb.Frame{Kind: &pb.Frame_Typing{Typing: &pb.Typing{Conversation: in.Bytes()}}})
			}
			own := listOf(t, socket, eve.account)
			theirs := asMember(own) // mia's keys are not to be had: eve uses her own in their place
			theirs.Account = id
			commit := must(proto.CreatePair(eve.signer(), asMember(own), theirs, nil))
			if code := ask(&pb.Frame{Kind: &pb.Frame_Commit{Commit: commit}}); code == 0 {
				t.Error("began a conversation with mia")
			}
			if code := ask(&pb.Frame{Kind: &pb.Frame_AnswerContact{AnswerContact: &pb.AnswerContact{Account: id.Bytes(), Accept: true, FirstCommit: commit}}}); code == 0 {
				t.Error("accepted herself")
			}
			signal := &pb.Signal{Link: proto.NewID().Bytes(), Kind: &pb.Signal_Candidate{Candidate: &pb.Candidate{Candidate: "candidate:1 1 udp 1 127.0.0.1 9 typ host"}}}
			to := &pb.SignalTo{Account: id.Bytes(), Device: mia.Device().Bytes(), Signal: signal}
			if code := ask(&pb.Frame{Kind: &pb.Frame_SignalTo{SignalTo: to}}); code == 0 {
				t.Error("signalled")
			}
			lists := socket.ask(&pb.Frame{Kind: &pb.Frame_GetDeviceLists{GetDeviceLists: &pb.GetDeviceLists{Accounts: [][]byte{id.Bytes()}}}})
			if n := len(lists.GetLists().GetLists()); n != 0 {
				t.Errorf("read %d device lists", n)
			}
			for _, f := range socket.pushed {
				if f.GetPresences() != nil || f.GetEvents() != nil || f.GetCursorMoved() != nil || f.GetTyping() != nil || f.GetSignalFrom() != nil {
					t.Errorf("the stranger was told %v", f)
				}
			}
		})
		if state == "unknown" {
			if code := ask(&pb.Frame{Kind: &pb.Frame_AskContact{AskContact: &pb.AskContact{Account: id.Bytes(), Note: "let me in"}}}); code != 0 {
				t.Fatal(code)
			}
			mia.await("request", func(e peer.Event) bool {
				c, ok := e.(peer.ContactEvent)
				return ok && c.Account == eve.account && c.State == peer.ContactAsking
			})
		}
	}
	ben.says(conversation, "between us")
	mia.gets("between us")
	mia.untouchedBy(eve.account)
	mia.has(conversation, "hello", "between us")
	if got := texts(t, mia.Client, pair); got != "" {
		t.Errorf("in the pair with the stranger: %q", got)
	}
}

// TestForeignConversation: a stranger and the taken-over server together put a conversation into a peer's hands in which its
// account is no member. Nothing of it is shown.
func TestForeignConversation(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	eve := stranger(t, server.url, "eve")
	list := must(proto.OpenDeviceList(firstList(t, eve)))
	group := proto.NewID()
	body := &pb.Commit{
		Version: proto.Version, Suite: proto.Suite, Conversation: group.Bytes(), Kind: pb.ConversationKind_CONVERSATION_KIND_GROUP, Number: 1, Epoch: 1,
		Account: eve.account.Bytes(), Device: eve.device.Bytes(), TimeMs: 1, Change: &pb.Commit_Create_{Create: &pb.Commit_Create{}},
		Members: []*pb.Member{{Account: eve.account.Bytes(), IdentityKey: list.GetIdentityKey(), Role: pb.Role_ROLE_OWNER, Generation: 1}},
	}
	key := proto.RandomKey()
	hash := proto.Hash(proto.LabelEpochKey, group[:], proto.U64(1), key)
	body.EpochKeyHash = hash[:]
	signed := must(proto.SignMessage(eve.sign, proto.LabelCommit, body))
	head := proto.CommitHash(signed.GetBody())
	miaKey := asMember(listOf(t, corrupt(mia.secondDevice(server.url, "mia"), server.url).connect(), mia.Account()))
	grant := must(proto.GrantEpochKey(miaKey, group, 1, head[:], key))
	events := []*pb.Event{
		{Conversation: group.Bytes(), Seq: 1, RelayMs: 1, Kind: &pb.Event_Commit{Commit: &pb.CommitEvent{Commit: signed, Grant: grant}}},
		{Conversation: group.Bytes(), Seq: 2, RelayMs: 1, Kind: &pb.Event_Envelope{Envelope: eve.envelope(group, 1, key, "from nowhere")}},
	}
	mia.m.toPeer(func(f *pb.Frame) []*pb.Frame { // the server vouches for eve …
		if f.GetLists() != nil && len(f.GetLists().GetLists()) == 0 {
			f.GetLists().Lists = []*pb.Signed{list.Signed}
		}
		return []*pb.Frame{f}
	})
	mia.m.toServer(func(f *pb.Frame) []*pb.Frame { // … and answers for the conversation that it made up
		answer := &pb.Frame{Request: f.GetRequest()}
		switch {
		case string(f.GetSync().GetConversation()) == string(group[:]):
			answer.Kind = &pb.Frame_Page{Page: &pb.Page{Conversation: group.Bytes(), Events: events, ThroughSeq: 2, HeadSeq: 2}}
		case string(f.GetCursor().GetConversation()) == string(group[:]), string(f.GetGrantRequest().GetConversation()) == string(group[:]):
			answer.Kind = &pb.Frame_Ok{Ok: &pb.Ok{}}
		default:
			return []*pb.Frame{f}
		}
		mia.m.push(answer)
		return nil
	})
	mia.m.push(&pb.Frame{Kind: &pb.Frame_Events{Events: &pb.Events{Events: events}}})
	mia.reports("this account is not a member")
	if got := texts(t, mia.Client, group); got != "" {
		t.Errorf("it shows %q in a conversation that is not mia's", got)
	}
	mia.m.honest()
	ben.says(conversation, "after")
	mia.gets("after")
	mia.untouchedBy(eve.account)
}

// TestAnswerAfterPushes: what an answer says was true after what was pushed before it, however long that takes to handle.
func TestAnswerAfterPushes(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, _, conversation := victims(t, server.url)
	zoe := newVictim(t, server.url, "zoe", "")
	inv, err := zoe.Invite(t.Context(), time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	mia.m.toPeer(func(f *pb.Frame) []*pb.Frame {
		changes := f.GetAccountChanges()
		if f.GetRequest() == 0 || len(changes.GetContacts()) == 0 {
			return []*pb.Frame{f}
		}
		var out []*pb.Frame
		for range 300 {
			out = append(out, &pb.Frame{Kind: &pb.Frame_Typing{Typing: &pb.Typing{Conversation: conversation.Bytes(), Account: zoe.Account().Bytes()}}})
		}
		before := gproto.CloneOf(changes.GetContacts()[0])
		before.State = pb.ContactState_CONTACT_STATE_NONE
		out = append(out, &pb.Frame{Kind: &pb.Frame_AccountChanges{AccountChanges: &pb.AccountChanges{Contacts: []*pb.Contact{before}}}})
		return append(out, f)
	})
	contact, err := mia.AcceptInvitation(t.Context(), inv.Code)
	if err != nil || contact.State != peer.ContactAccepted {
		t.Errorf("accepted an invitation: %s, %v", contact.State, err)
	}
	eventually(t, "zoe may write", func() bool {
		_, err := zoe.SendText(t.Context(), proto.PairID(mia.Account(), zoe.Account()), "hello")
		return err == nil
	})
	mia.gets("hello")
	if contact, err = mia.Resolve(t.Context(), "zoe"); err != nil || contact.State != peer.ContactAccepted {
		t.Errorf("afterwards: %s, %v", contact.State, err)
	}
}
