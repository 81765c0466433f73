package main

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"fmt"
	"slices"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// listOf reads an account's newest device list, as the server has it.
func listOf(t *testing.T, s *rogueSocket, account proto.ID) *proto.DeviceList {
	t.Helper()
	lists := s.ask(&pb.Frame{Kind: &pb.Frame_GetDeviceLists{GetDeviceLists: &pb.GetDeviceLists{Accounts: [][]byte{account.Bytes()}}}}).GetLists().GetLists()
	if len(lists) == 0 {
		t.Fatal("no device list")
	}
	return must(proto.OpenDeviceList(lists[len(lists)-1]))
}

// joins makes an invitation of mia's and lets somebody register with it through a middle that does what attack says, then
// returns them. They are online, and may have been told of something wrong.
func joins(t *testing.T, server string, mia *victim, user string, attack func(*middle)) *victim {
	t.Helper()
	inv, err := mia.Invite(t.Context(), time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{t: t, m: newMiddle(t, server), dir: t.TempDir()}
	attack(v.m)
	_, err = peer.Register(t.Context(), peer.Options{Dir: v.dir}, peer.Credentials{
		Server: v.m.url, User: user, Password: testPassword, Invitation: inv.Code,
	})
	if err != nil {
		t.Fatal(err)
	}
	v.open()
	return v
}

// TestServerGrant: the server puts a key of its own into a grant, in the commit and later. The peer uses it for nothing, and
// takes the right one when that comes.
func TestServerGrant(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia := newVictim(t, server.url, "mia", "")
	own := proto.RandomKey()
	var forge func(commit *pb.Signed) *pb.Grant
	ben := joins(t, server.url, mia, "ben", func(m *middle) {
		m.toPeer(func(f *pb.Frame) []*pb.Frame {
			if list := f.GetWelcome().GetChanges().GetDeviceList(); list != nil && forge == nil { // now it knows whom to seal to
				opened := must(proto.OpenDeviceList(list))
				forge = func(commit *pb.Signed) *pb.Grant {
					body := &pb.Commit{}
					if err := gproto.Unmarshal(commit.GetBody(), body); err != nil {
						t.Error(err)
					}
					hash := proto.CommitHash(commit.GetBody())
					return must(proto.GrantEpochKey(asMember(opened), proto.ID(body.GetConversation()), body.GetEpoch(), hash[:], own))
				}
			}
			for _, e := range events(f) {
				if commit := e.GetCommit(); commit.GetGrant() != nil && forge != nil {
					commit.Grant = forge(commit.GetCommit())
				}
			}
			return []*pb.Frame{f}
		})
	})
	conversation := proto.PairID(mia.Account(), ben.Account())
	ben.reports("the key is not the one that the commit of epoch 1 names")
	posted := make(chan *pb.Envelope, 10)
	ben.m.toServer(func(f *pb.Frame) []*pb.Frame {
		for _, e := range f.GetPost().GetEnvelopes() {
			posted <- e
		}
		return []*pb.Frame{f}
	})
	waiting, err := ben.SendText(t.Context(), conversation, "written without a key")
	if err != nil || waiting.State != peer.StateWaiting {
		t.Errorf("a text is %s without the key of the commit: %v", waiting.State, err)
	}
	// the same key as an answer to its asking
	ben.m.push(&pb.Frame{Kind: &pb.Frame_GrantAdded{GrantAdded: &pb.GrantAdded{
		Conversation: conversation.Bytes(), Epoch: 1, Grant: &pb.Grant{Account: ben.Account().Bytes(), Generation: 1, Enc: make([]byte, 32), Ciphertext: make([]byte, 48)},
	}}})
	ben.reports("grant added")
	ben.m.toPeer(nil)
	ben.reconnect()
	mia.gets("written without a key") // it asked mia for the right one meanwhile
	if _, err := proto.OpenEnvelope(own, <-posted); err == nil {
		t.Error("it was sealed under the server's key")
	}
	mia.says(conversation, "with the right key")
	ben.gets("with the right key")
	ben.has(conversation, "written without a key", "with the right key")
	mia.has(conversation, "written without a key", "with the right key")
}

// TestGhostMember: the server adds a member to a commit, or makes one itself. The peer refuses both, and its conversations go
// on when the right ones come.
func TestGhostMember(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	ghost := stranger(t, server.url, "ghost")
	list := must(proto.OpenDeviceList(firstList(t, ghost)))
	member := func(commit *pb.Signed) *pb.Commit {
		body := &pb.Commit{}
		if err := gproto.Unmarshal(commit.GetBody(), body); err != nil {
			t.Error(err)
		}
		body.Members = append(body.Members, &pb.Member{
			Account: ghost.account.Bytes(), IdentityKey: list.GetIdentityKey(), Role: pb.Role_ROLE_MEMBER, Generation: 1,
		})
		slices.SortFunc(body.GetMembers(), func(a, b *pb.Member) int { return bytes.Compare(a.GetAccount(), b.GetAccount()) })
		return body
	}
	mia := newVictim(t, server.url, "mia", "")
	for i, c := range []struct {
		name, report string
		commit       func(*pb.Signed) *pb.Signed
	}{
		{"added to a commit", "signature", func(s *pb.Signed) *pb.Signed {
			return &pb.Signed{Body: must(gproto.Marshal(member(s))), Signature: s.GetSignature()}
		}},
		{"signed by the ghost as itself", "two members", func(s *pb.Signed) *pb.Signed {
			body := member(s)
			body.Account, body.Device = ghost.account.Bytes(), ghost.device.Bytes()
			return must(proto.SignMessage(ghost.sign, proto.LabelCommit, body))
		}},
		{"signed by the ghost as the member", "signature", func(s *pb.Signed) *pb.Signed {
			return must(proto.SignMessage(ghost.sign, proto.LabelCommit, member(s)))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ben := joins(t, server.url, mia, fmt.Sprintf("ben%d", i), func(m *middle) {
				alter := alterCommits(func(e *pb.CommitEvent) { e.Commit = c.commit(e.GetCommit()) })
				m.toPeer(func(f *pb.Frame) []*pb.Frame { // and vouches for the ghost
					if lists := f.GetLists(); lists != nil && len(lists.GetLists()) == 0 {
						lists.Lists = []*pb.Signed{list.Signed}
					}
					return alter(f)
				})
			})
			conversation := proto.PairID(mia.Account(), ben.Account())
			ben.reports(c.report)
			ben.m.toServer(func(f *pb.Frame) []*pb.Frame {
				if f.GetPost() != nil {
					t.Error("it writes into a conversation with a ghost")
				}
				return []*pb.Frame{f}
			})
			if m := must(ben.SendText(t.Context(), conversation, "who reads this?")); m.State != peer.StateWaiting {
				t.Errorf("%s in a conversation with a ghost", m.State)
			}
			ben.m.honest()
			ben.reconnect()
			mia.gets("who reads this?")
			mia.says(conversation, "only you")
			ben.gets("only you")
			ben.says(conversation, "only me")
			mia.gets("only me")
		})
	}
}

// TestServerCommit: the server begins a new epoch of a running conversation itself, with a key of its own, under the name of
// either member. The peer refuses it and goes on in the epoch that it knows.
func TestServerCommit(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	reader := corrupt(ben.secondDevice(server.url, "ben"), server.url).connect() // what it reads the server has anyway
	page := reader.ask(&pb.Frame{Kind: &pb.Frame_Sync{Sync: &pb.Sync{Conversation: conversation.Bytes(), Limit: 10}}}).GetPage()
	chain := proto.NewChain(conversation)
	first := must(chain.Check(page.GetEvents()[0].GetCommit().GetCommit(), func(proto.ID, proto.ID) (ed25519.PublicKey, error) {
		list := listOf(t, reader, ben.Account())
		return list.GetDevices()[0].GetSignKey(), nil
	}))
	chain.Apply(first)
	members := []proto.MemberKey{asMember(listOf(t, reader, mia.Account())), asMember(listOf(t, reader, ben.Account()))}
	_, own, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	seq := page.GetHeadSeq()
	shown := []string{"hello"}
	for _, as := range []*victim{mia, ben} {
		signer := proto.Signer{Account: as.Account(), Device: as.Device(), Key: own, TimeMS: 1}
		post := must(proto.Rekey(signer, chain, members, nil))
		for _, v := range []*victim{mia, ben} {
			event := &pb.CommitEvent{Commit: post.GetCommit()}
			for _, g := range post.GetGrants() {
				if proto.ID(g.GetAccount()) == v.Account() {
					event.Grant = g
				}
			}
			v.m.push(&pb.Frame{Kind: &pb.Frame_Events{Events: &pb.Events{Events: []*pb.Event{{
				Conversation: conversation.Bytes(), Seq: seq + 1, RelayMs: 1, Kind: &pb.Event_Commit{Commit: event},
			}}}}})
			v.reports("signature")
		}
		text := fmt.Sprintf("after commit %d", seq)
		mia.m.hangUp() // the number is another message's: the log is read again
		ben.m.hangUp()
		ben.says(conversation, text)
		shown = append(shown, text)
		mia.gets(text)
		mia.has(conversation, shown...)
		seq++
	}
	mia.says(conversation, "and back")
	ben.gets("and back")
}

// firstList is a stranger's own device list.
func firstList(t *testing.T, r *rogue) *pb.Signed {
	t.Helper()
	return listOf(t, r.connect(), r.account).Signed
}

// TestGrantForAGhost: the server says that somebody lacks the key. Only members get it, sealed to the key that their identity
// signed.
func TestGrantForAGhost(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	ghost := stranger(t, server.url, "ghost")
	grants := make(chan *pb.GrantPost, 10)
	mia.m.toServer(func(f *pb.Frame) []*pb.Frame {
		if g := f.GetGrantPost(); g != nil {
			grants <- g
		}
		return []*pb.Frame{f}
	})
	// the server also shows ben with an account key of its own
	fake := must(ecdh.X25519().GenerateKey(nil))
	mia.m.toPeer(func(f *pb.Frame) []*pb.Frame {
		if lists := f.GetLists(); lists != nil {
			for i, signed := range lists.GetLists() {
				l := &pb.DeviceList{}
				if err := gproto.Unmarshal(signed.GetBody(), l); err != nil {
					t.Error(err)
				}
				l.AccountKey = fake.PublicKey().Bytes()
				lists.Lists[i] = &pb.Signed{Body: must(gproto.Marshal(l)), Signature: signed.GetSignature()}
			}
		}
		return []*pb.Frame{f}
	})
	for _, account := range []proto.ID{ghost.account, ben.Account()} {
		mia.m.push(&pb.Frame{Kind: &pb.Frame_GrantNeeded{GrantNeeded: &pb.GrantNeeded{Conversation: conversation.Bytes(), Epoch: 1, Account: account.Bytes()}}})
	}
	select {
	case g := <-grants:
		if proto.ID(g.GetGrant().GetAccount()) != ben.Account() {
			t.Errorf("a grant for %x", g.GetGrant().GetAccount())
		}
		commit := g.GetCommit()
		info := proto.Tuple(proto.LabelGrant, conversation[:], proto.U64(1), commit, ben.Account().Bytes(), proto.U32(1))
		if _, err := proto.OpenFrom(fake.Bytes(), g.GetGrant().GetEnc(), info, g.GetGrant().GetCiphertext()); err == nil {
			t.Error("the grant opens with the server's key")
		}
	case <-time.After(patience):
		t.Fatal("no grant for a member")
	}
	mia.m.honest()
	mia.says(conversation, "after") // everything before it on this connection was handled
	ben.gets("after")
	if len(grants) > 0 {
		t.Errorf("another grant: %v", <-grants)
	}
}

// TestSwappedIdentity: the server shows a contact with another identity, which has signed everything properly. Sending is held
// and the old messages stay; it goes on when the right one is shown.
func TestSwappedIdentity(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	swap := func(signed *pb.Signed) *pb.Signed {
		l := &pb.DeviceList{}
		if err := gproto.Unmarshal(signed.GetBody(), l); err != nil {
			t.Error(err)
		}
		public, identity, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Error(err)
		}
		l.IdentityKey, l.Version, l.Previous = public, 1, nil
		l.AccountKey = must(ecdh.X25519().GenerateKey(nil)).PublicKey().Bytes()
		return must(proto.SignDeviceList(identity, l))
	}
	mia.m.toPeer(func(f *pb.Frame) []*pb.Frame {
		for _, contact := range append(f.GetAccountChanges().GetContacts(), f.GetWelcome().GetChanges().GetContacts()...) {
			if contact.GetDeviceList() != nil {
				contact.DeviceList = swap(contact.GetDeviceList())
			}
		}
		return []*pb.Frame{f}
	})
	second := ben.secondDevice(server.url, "ben") // a new list of ben's, which mia hears of
	mia.reports("identity changed")
	if _, err := mia.SendText(t.Context(), conversation, "to whom?"); err == nil {
		t.Error("it writes to somebody whose identity changed")
	}
	contacts := must(mia.Contacts(t.Context()))
	if len(contacts) != 1 || !contacts[0].IdentityChanged {
		t.Errorf("contacts: %+v", contacts)
	}
	mia.has(conversation, "hello")
	_ = second
}

// TestWithheldRevocation: a device of ben's is revoked; the server shows mia an older list again. She stays with the newer one,
// and the revoked device cannot speak to her.
func TestWithheldRevocation(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	lost := ben.secondDevice(server.url, "ben")
	ben.says(conversation, "two devices now")
	mia.gets("two devices now")
	lost.says(conversation, "from the device that will be lost")
	mia.gets("from the device that will be lost")
	thief := corrupt(lost, server.url)
	key := thief.epochKey(conversation, 1)

	old := listOf(t, thief.connect(), ben.Account()) // with the device in it
	after := thief.revoke("ben", thief.device)
	if after.GetVersion() != old.GetVersion()+1 {
		t.Fatalf("version %d after %d", after.GetVersion(), old.GetVersion())
	}
	mia.says(conversation, "what does it hear?") // commits a new epoch first, without the revoked device
	ben.gets("what does it hear?")

	// the taken-over server shows the old list again, in every way there is
	replay := func(contacts []*pb.Contact) {
		for _, contact := range contacts {
			if proto.ID(contact.GetProfile().GetAccount()) == ben.Account() {
				contact.DeviceList = old.Signed
			}
		}
	}
	mia.m.toPeer(func(f *pb.Frame) []*pb.Frame {
		replay(f.GetAccountChanges().GetContacts())
		replay(f.GetWelcome().GetChanges().GetContacts())
		if f.GetLists() != nil {
			f.GetLists().Lists = []*pb.Signed{old.Signed}
		}
		return []*pb.Frame{f}
	})
	mia.m.push(&pb.Frame{Kind: &pb.Frame_AccountChanges{AccountChanges: &pb.AccountChanges{Contacts: []*pb.Contact{{
		Profile: &pb.Profile{Account: ben.Account().Bytes(), UserName: "ben", Nickname: "ben"}, State: pb.ContactState_CONTACT_STATE_ACCEPTED,
		DeviceList: old.Signed, Conversation: conversation.Bytes(),
	}}}}})
	mia.reports("older")

	// and delivers what the thief seals under the key it still has, in the place of the next message
	stolen := thief.envelope(conversation, 1, key, "let us meet at the old place")
	mia.m.toPeer(alterEnvelopes(func(_ *pb.Event, e *pb.Envelope) { gproto.Reset(e); gproto.Merge(e, stolen) }))
	ben.says(conversation, "carrier")
	mia.reports("epoch")
	mia.m.honest()
	ben.says(conversation, "after")
	mia.gets("after")
	mia.has(conversation, "hello", "two devices now", "from the device that will be lost", "what does it hear?", "after")
}
