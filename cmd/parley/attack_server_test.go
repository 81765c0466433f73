package main

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestWeakPasswordParameters: a server that asks for a cheap derivation, or for one without end, gets nothing that depends on
// the password.
func TestWeakPasswordParameters(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia := newVictim(t, server.url, "mia", "")
	m := newMiddle(t, server.url)
	for name, weaken := range map[string]func(*pb.PasswordParams){
		"little memory": func(p *pb.PasswordParams) { p.MemoryKib = 8 },
		"one pass":      func(p *pb.PasswordParams) { p.Time = 1 },
		"short salt":    func(p *pb.PasswordParams) { p.Salt = p.GetSalt()[:8] },
		"no salt":       func(p *pb.PasswordParams) { p.Salt = nil },
		"endless":       func(p *pb.PasswordParams) { p.Time = 1 << 30 },
		"all memory":    func(p *pb.PasswordParams) { p.MemoryKib = 1 << 31 },
		"no lanes":      func(p *pb.PasswordParams) { p.Parallelism = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			onAnswer(m, "POST /api/v1/login/params", &pb.PasswordParams{}, weaken)
			dir := t.TempDir()
			_, err := peer.Login(t.Context(), peer.Options{Dir: dir}, peer.Credentials{Server: m.url, User: "mia", Password: testPassword})
			if !proto.HasCode(err, pb.ErrorCode_ERROR_CODE_WEAK_PARAMETERS) {
				t.Errorf("logged in with %v", err)
			}
			if _, err := peer.LoadProfile(dir); !errors.Is(err, peer.ErrNoProfile) {
				t.Errorf("a profile is left: %v", err)
			}
		})
	}
	if n := m.times("POST /api/v1/login"); n != 0 {
		t.Errorf("the server got %d proofs of the password", n)
	}
	m.honest()
	dir := t.TempDir()
	if _, err := peer.Login(t.Context(), peer.Options{Dir: dir}, peer.Credentials{Server: m.url, User: "mia", Password: testPassword}); err != nil {
		t.Errorf("the honest server: %v", err)
	}
	mia.reconnect()
}

// TestOtherInviter: the server shows another person than the invitation names. The joiner makes no account.
func TestOtherInviter(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia := newVictim(t, server.url, "mia", "")
	list := firstList(t, stranger(t, server.url, "eve"))
	inv, err := mia.Invite(t.Context(), time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	m := newMiddle(t, server.url)
	code, _, _ := strings.Cut(inv.Code, ".")
	onAnswer(m, "GET /api/v1/invitations/"+code, &pb.InvitationInfo{}, func(i *pb.InvitationInfo) { i.DeviceList = list })
	join := peer.Credentials{Server: m.url, User: "ben", Password: testPassword, Invitation: inv.Code}
	if _, err := peer.Register(t.Context(), peer.Options{Dir: t.TempDir()}, join); err == nil || !strings.Contains(err.Error(), "another person") {
		t.Errorf("registered with %v", err)
	}
	forged := &pb.DeviceList{}
	if err := gproto.Unmarshal(list.GetBody(), forged); err != nil {
		t.Fatal(err)
	}
	forged.Account = mia.Account().Bytes() // her account with another identity
	identity, seed, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	forged.IdentityKey = identity
	impostor := must(proto.SignDeviceList(seed, forged))
	onAnswer(m, "GET /api/v1/invitations/"+code, &pb.InvitationInfo{}, func(i *pb.InvitationInfo) { i.DeviceList = impostor })
	if _, err := peer.Register(t.Context(), peer.Options{Dir: t.TempDir()}, join); err == nil || !strings.Contains(err.Error(), "another person") {
		t.Errorf("registered with %v", err)
	}
	other := must(proto.NewInvitation().Seal(&pb.InvitationSecretPart{Account: list.GetBody()[:16], IdentityKey: make([]byte, 32)}))
	onAnswer(m, "GET /api/v1/invitations/"+code, &pb.InvitationInfo{}, func(i *pb.InvitationInfo) { i.Sealed = other })
	if _, err := peer.Register(t.Context(), peer.Options{Dir: t.TempDir()}, join); err == nil || !strings.Contains(err.Error(), "does not open") {
		t.Errorf("registered with %v", err)
	}
	if n := m.times("POST /api/v1/register"); n != 0 {
		t.Errorf("%d accounts were asked for", n)
	}
	m.honest()
	if _, err := peer.Register(t.Context(), peer.Options{Dir: t.TempDir()}, join); err != nil {
		t.Errorf("the honest server: %v", err)
	}
}

// TestForeignDevice: the server adds a device of its own to the account's own list, or says that a contact joined by an
// invitation which did not vouch for them.
func TestForeignDevice(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	eve := stranger(t, server.url, "eve")
	socket := corrupt(mia.secondDevice(server.url, "mia"), server.url).connect()
	list := &pb.DeviceList{}
	own := listOf(t, socket, mia.Account())
	if err := gproto.Unmarshal(own.Signed.GetBody(), list); err != nil {
		t.Fatal(err)
	}
	device := &pb.DeviceKeys{Device: eve.device.Bytes(), SignKey: eve.sign.Public().(ed25519.PublicKey), SealKey: make([]byte, 32), AddedMs: 1}
	list.Devices = append(list.Devices, device)
	list.Version++
	list.Previous = own.Hash[:]
	for _, signed := range []*pb.Signed{
		{Body: must(gproto.Marshal(list)), Signature: own.Signed.GetSignature()},
		must(proto.SignMessage(eve.sign, proto.LabelDeviceList, list)),
	} {
		mia.m.push(&pb.Frame{Kind: &pb.Frame_AccountChanges{AccountChanges: &pb.AccountChanges{DeviceList: signed}}})
		mia.reports("device list")
		ben.m.push(&pb.Frame{Kind: &pb.Frame_AccountChanges{AccountChanges: &pb.AccountChanges{Contacts: []*pb.Contact{{
			Profile: &pb.Profile{Account: mia.Account().Bytes(), UserName: "mia"}, State: pb.ContactState_CONTACT_STATE_ACCEPTED, DeviceList: signed,
		}}}}})
		ben.reports("device list")
	}
	// what that device writes in mia's name is not taken
	forged := eve.envelope(conversation, 1, proto.RandomKey(), "as mia", func(h *pb.Header) { h.Account = mia.Account().Bytes() })
	ben.m.toPeer(alterEnvelopes(func(_ *pb.Event, e *pb.Envelope) { gproto.Reset(e); gproto.Merge(e, forged) }))
	mia.says(conversation, "carrier")
	ben.reports("no device list")
	ben.m.honest()
	mia.says(conversation, "after")
	ben.gets("after")
	ben.has(conversation, "hello", "after")
}

// TestMalformedServer: frames that are too large, no frames, or nonsense end the connection, and the peer comes back.
func TestMalformedServer(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	want := []string{"hello"}
	for name, send := range map[string]func(){
		"huge": func() {
			mia.m.push(&pb.Frame{Kind: &pb.Frame_Goodbye{Goodbye: &pb.Goodbye{Error: &pb.Error{Message: strings.Repeat("x", proto.MaxFrame)}}}})
		},
		"text":   func() { mia.m.raw(websocket.TextMessage, []byte("hello")) },
		"broken": func() { mia.m.raw(websocket.BinaryMessage, []byte{0xff, 0xff, 0xff}) },
	} {
		send()
		mia.await("end of the connection", func(e peer.Event) bool { c, ok := e.(peer.ConnectionEvent); return ok && !c.Online })
		mia.online()
		ben.says(conversation, "after "+name)
		mia.gets("after " + name)
		want = append(want, "after "+name)
	}
	// frames without sense that end nothing
	for _, f := range []*pb.Frame{
		{},
		{Kind: &pb.Frame_Events{Events: &pb.Events{Events: []*pb.Event{{}, {Conversation: []byte{1}}, nil}}}},
		{Kind: &pb.Frame_Events{Events: &pb.Events{Events: []*pb.Event{{Conversation: conversation.Bytes(), Seq: 1 << 63}}}}},
		{Kind: &pb.Frame_AccountChanges{AccountChanges: &pb.AccountChanges{Contacts: []*pb.Contact{{}}, Conversations: []*pb.ConversationState{{}}}}},
		{Kind: &pb.Frame_CursorMoved{CursorMoved: &pb.CursorMoved{Conversation: conversation.Bytes(), Account: ben.Account().Bytes(), DeliveredSeq: 1 << 40, ReadSeq: 1 << 40}}},
		{Kind: &pb.Frame_GrantNeeded{GrantNeeded: &pb.GrantNeeded{}}},
		{Kind: &pb.Frame_GrantAdded{GrantAdded: &pb.GrantAdded{}}},
		{Kind: &pb.Frame_Presences{Presences: &pb.Presences{Presences: []*pb.Presence{{}, {Account: []byte{1}, Devices: []*pb.Presence_Device{{}}}}}}},
		{Kind: &pb.Frame_SignalFrom{SignalFrom: &pb.SignalFrom{}}},
		{Kind: &pb.Frame_Typing{Typing: &pb.Typing{}}},
		{Request: 1 << 60, Kind: &pb.Frame_Ok{Ok: &pb.Ok{}}},
		{Kind: &pb.Frame_Welcome{Welcome: &pb.Welcome{}}},
		{Kind: &pb.Frame_Goodbye{Goodbye: &pb.Goodbye{}}},
	} {
		mia.m.push(f)
	}
	ben.says(conversation, "and after nonsense")
	mia.gets("and after nonsense")
	mia.has(conversation, append(want, "and after nonsense")...)
}

// TestSlowPeer: a peer that does not take what the server sends is cut off. Nobody else waits for it, and it has everything when
// it comes back.
func TestSlowPeer(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	other := ben.secondDevice(server.url, "ben")
	writer := corrupt(mia, server.url)
	key := writer.epochKey(conversation, 1)
	ben.m.narrow()
	ben.reconnect()
	resume := make(chan struct{})
	ben.m.toPeer(func(f *pb.Frame) []*pb.Frame {
		if f.GetEvents() != nil {
			<-resume
		}
		return []*pb.Frame{f}
	})
	text := strings.Repeat("x", proto.MaxText)
	const messages = 180 // 12 MB: more than the sockets and the server's queue hold
	socket := writer.connect()
	for range messages / 3 {
		post := &pb.Post{}
		for range 3 {
			post.Envelopes = append(post.Envelopes, writer.envelope(conversation, 1, key, text))
		}
		if results := socket.ask(&pb.Frame{Kind: &pb.Frame_Post{Post: post}}).GetPosted().GetResults(); len(results) != 3 || results[2].GetSeq() == 0 {
			t.Fatalf("posted: %v", results)
		}
		socket.pushed = nil
	}
	last, _ := socket.posts(writer.envelope(conversation, 1, key, "last"))
	other.gets("last") // who reads is not held up
	ben.m.toPeer(nil)
	close(resume)
	ben.await("end of the connection", func(e peer.Event) bool { c, ok := e.(peer.ConnectionEvent); return ok && !c.Online })
	ben.gets("last")
	all := must(ben.History(t.Context(), conversation, peer.HistoryOptions{}))
	if len(all) != messages+2 || all[len(all)-1].Seq != last {
		t.Errorf("%d messages up to %d, want %d up to %d", len(all), all[len(all)-1].Seq, messages+2, last)
	}
	for i, m := range all[1 : messages+1] {
		if m.Text != text || m.Seq != all[0].Seq+uint64(i)+1 {
			t.Fatalf("message %d is %d bytes at %d", i, len(m.Text), m.Seq)
		}
	}
}
