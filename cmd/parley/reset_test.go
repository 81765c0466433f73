package main

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// administered is a server with an administrator.
type administered struct {
	t     *testing.T
	url   string
	token string // of the administrator
}

func startAdministered(t *testing.T) *administered {
	t.Helper()
	out := &logBuffer{}
	a := &administered{t: t, url: startLogged(t, t.TempDir(), out)}
	var setup []byte
	eventually(t, "the server prints its set-up secret", func() bool {
		setup = regexp.MustCompile(`setup\.[a-z2-7]+`).Find(out.bytes())
		return setup != nil
	})
	dir := t.TempDir()
	_, err := peer.Register(t.Context(), peer.Options{Dir: dir}, peer.Credentials{Server: a.url, User: "admin", Password: testPassword, Invitation: string(setup)})
	if err != nil {
		t.Fatal(err)
	}
	a.token = newRogue(t, a.url, dir).token
	return a
}

// restAs makes a REST request with a session's token.
func restAs(t *testing.T, token, method, url string, in, out gproto.Message) {
	t.Helper()
	var body io.Reader = http.NoBody
	if in != nil {
		body = bytes.NewReader(must(protojson.Marshal(in)))
	}
	request := must(http.NewRequestWithContext(t.Context(), method, url, body))
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= http.StatusBadRequest {
		t.Fatalf("%s %s: %d %s, %v", method, url, response.StatusCode, b, err)
	}
	if out != nil {
		if err := protojson.Unmarshal(b, out); err != nil {
			t.Fatal(err)
		}
	}
}

// resetCode has the administrator let somebody start again.
func (a *administered) resetCode(account proto.ID) string {
	a.t.Helper()
	out := &pb.AdminReset{}
	restAs(a.t, a.token, http.MethodPost, a.url+"/api/v1/admin/users/"+account.String()+"/reset", nil, out)
	return out.GetCode()
}

// reset starts again under somebody's account.
func (a *administered) reset(user string, account proto.ID) *victim {
	a.t.Helper()
	v := &victim{t: a.t, m: newMiddle(a.t, a.url), dir: a.t.TempDir()}
	_, err := peer.Reset(a.t.Context(), peer.Options{Dir: v.dir}, peer.Credentials{Server: v.m.url, User: user, Password: "another long password", Reset: a.resetCode(account)})
	if err != nil {
		a.t.Fatal(err)
	}
	v.open()
	return v
}

// recoveryCode gives an account one.
func recoveryCode(t *testing.T, server, dir, user string) string {
	t.Helper()
	r := newRogue(t, server, dir)
	_, master, grant := r.ringOf(user)
	code := proto.NewRecoveryCode()
	auth, wrap := code.Secrets("localhost")
	restAs(t, r.token, http.MethodPut, server+"/api/v1/recovery", &pb.SetRecovery{
		Ticket: grant.GetTicket(), Recovery: &pb.Recovery{AuthSecret: auth, WrappedMaster: must(proto.WrapMaster(wrap, r.account, master))},
	}, nil)
	return code.String()
}

func (v *victim) contact(account proto.ID) peer.Contact {
	v.t.Helper()
	contacts := must(v.Contacts(v.t.Context()))
	i := slices.IndexFunc(contacts, func(c peer.Contact) bool { return c.Account == account })
	if i < 0 {
		v.t.Fatal("no such contact")
	}
	return contacts[i]
}

// sealed is how many messages of a conversation a device has that it cannot read.
func (v *victim) sealed(conversation proto.ID) (n int) {
	v.t.Helper()
	for _, m := range must(v.History(v.t.Context(), conversation, peer.HistoryOptions{})) {
		if m.State == peer.StateSealed {
			n++
		}
	}
	return n
}

// goAway takes the server from a peer, comeBack gives it back.
func (v *victim) goAway() {
	v.t.Helper()
	v.m.goAway(true)
	v.await("connection", func(e peer.Event) bool { c, ok := e.(peer.ConnectionEvent); return ok && !c.Online })
}

func (v *victim) comeBack() {
	v.t.Helper()
	v.m.goAway(false)
	v.NetworkChanged()
	v.online()
}

// posts counts what a peer posts and commits from now on.
func (v *victim) posts() (count func() int) {
	sent := make(chan bool, 1000)
	v.m.toServer(func(f *pb.Frame) []*pb.Frame {
		if f.GetPost() != nil || f.GetCommit() != nil {
			sent <- true
		}
		return []*pb.Frame{f}
	})
	return func() int { return len(sent) }
}

// TestReset: mia lost everything, and an administrator lets her start again. Her contact is warned and nothing of his goes to
// her before he decides; of what was before she reads nothing until she finds her recovery code.
func TestReset(t *testing.T) {
	server := startAdministered(t)
	mia, ben, conversation := victims(t, server.url)
	code := recoveryCode(t, server.url, mia.dir, "mia")
	mia.says(conversation, "only between us")
	ben.gets("only between us")
	ben.goAway() // away, and he goes on writing
	written := must(ben.SendText(t.Context(), conversation, "written before he knows"))

	again := server.reset("mia", mia.Account())
	ends(t, mia.Client, mia.sub, peer.ErrSignedOut)
	if again.Account() != mia.Account() {
		t.Error("she has another account")
	}
	count := ben.posts()
	ben.comeBack()
	ben.reports("identity changed")
	if c := ben.contact(mia.Account()); !c.IdentityChanged || c.State != peer.ContactAccepted {
		t.Errorf("ben sees %+v", c)
	}
	if _, err := ben.SendText(t.Context(), conversation, "to whom?"); err == nil {
		t.Error("he writes to somebody about whom he has not decided")
	}
	eventually(t, "she knows that she waits for him", func() bool { return again.contact(ben.Account()).IdentityPending })
	hers := must(again.SendText(t.Context(), conversation, "it is me"))
	eventually(t, "she has what was before, sealed", func() bool { return again.sealed(conversation) == 2 })
	ben.reconnect()
	if n := count(); n != 0 {
		t.Errorf("ben's program sent %d posts and commits before he decided", n)
	}
	for _, m := range []struct {
		v *victim
		m peer.Message
	}{{ben, written}, {again, hers}} {
		if now := must(m.v.Wait(t.Context(), m.m, peer.StateWaiting)); now.State != peer.StateWaiting {
			t.Errorf("%q is %s", now.Text, now.State)
		}
	}

	if _, err := ben.AcceptIdentity(t.Context(), mia.Account()); err != nil {
		t.Fatal(err)
	}
	again.gets("written before he knows")
	ben.gets("it is me")
	if c := ben.contact(mia.Account()); c.IdentityChanged {
		t.Error("ben is still warned")
	}
	if c := again.contact(ben.Account()); c.IdentityPending {
		t.Error("she still waits")
	}
	ben.says(conversation, "how are you?")
	again.gets("how are you?")
	again.says(conversation, "fine")
	ben.gets("fine")
	if n := again.sealed(conversation); n != 2 {
		t.Errorf("she cannot read %d messages, want 2", n)
	}
	if _, err := ben.AcceptIdentity(t.Context(), mia.Account()); !proto.HasCode(err, pb.ErrorCode_ERROR_CODE_CONFLICT) {
		t.Errorf("accepting again: %v", err)
	}

	// devices that come later learn it all from the chain
	phone := ben.secondDevice(server.url, "ben")
	phone.has(conversation, texts(t, ben.Client, conversation))
	if c := phone.contact(mia.Account()); c.IdentityChanged {
		t.Error("ben's new device asks what he decided already")
	}
	phone.says(conversation, "from the phone")
	again.gets("from the phone")

	if err := again.RecoverFormer(t.Context(), proto.NewRecoveryCode().String()); err == nil {
		t.Error("another recovery code opens what was before")
	}
	if err := again.RecoverFormer(t.Context(), code); err != nil {
		t.Fatal(err)
	}
	eventually(t, "she reads what was before", func() bool {
		return again.sealed(conversation) == 0 && strings.HasPrefix(texts(t, again.Client, conversation), "hello|only between us|")
	})
	again.says(conversation, "found it")
	ben.gets("found it")
}

// TestResetUndecided: a device of ben's that comes while he has not decided is warned as the others, although the server shows
// it nothing but the new identity; it takes his decision from the device where he makes it.
func TestResetUndecided(t *testing.T) {
	server := startAdministered(t)
	mia, ben, conversation := victims(t, server.url)
	again := server.reset("mia", mia.Account())
	ben.reports("identity changed")
	phone := ben.secondDevice(server.url, "ben")
	eventually(t, "the new device is warned", func() bool { return phone.contact(mia.Account()).IdentityChanged })
	phone.has(conversation, "hello")
	if _, err := phone.SendText(t.Context(), conversation, "to whom?"); err == nil {
		t.Error("the new device writes before ben has decided")
	}
	if _, err := ben.AcceptIdentity(t.Context(), mia.Account()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new device heard of it", func() bool { return !phone.contact(mia.Account()).IdentityChanged })
	phone.says(conversation, "from the phone")
	again.gets("from the phone")
}

// TestResetAcceptedOffline: a decision made without the server is carried out when it is reached.
func TestResetAcceptedOffline(t *testing.T) {
	server := startAdministered(t)
	mia, ben, conversation := victims(t, server.url)
	again := server.reset("mia", mia.Account())
	ben.reports("identity changed")
	ben.goAway()
	if _, err := ben.AcceptIdentity(t.Context(), mia.Account()); err != nil {
		t.Fatal(err)
	}
	must(ben.SendText(t.Context(), conversation, "when I am back"))
	ben.comeBack()
	again.gets("when I am back")
	again.says(conversation, "there you are")
	ben.gets("there you are")
}

// TestInventedReset: a taken-over server makes up a reset by itself, list and all, and speaks as the new identity. Nothing is
// sent to it, nothing of it is shown, and the old conversation goes on when the server is honest again.
func TestInventedReset(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	reader := corrupt(ben.secondDevice(server.url, "ben"), server.url).connect() // what it reads the server has anyway
	known := listOf(t, reader, mia.Account())
	_, identity, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, sign, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	x25519 := func() []byte { return must(ecdh.X25519().GenerateKey(nil)).PublicKey().Bytes() }
	next := proto.NextDeviceList(known, uint64(time.Now().UnixMilli()))
	device := proto.NewID()
	next.IdentityKey, next.AccountKey = identity.Public().(ed25519.PublicKey), x25519()
	next.Generation++
	next.Devices = []*pb.DeviceKeys{{Device: device.Bytes(), SignKey: sign.Public().(ed25519.PublicKey), SealKey: x25519(), AddedMs: 1}}
	invented := must(proto.OpenDeviceList(must(proto.SignDeviceList(identity, next))))
	if err := invented.CheckReset(known); err != nil {
		t.Fatal(err)
	}

	count := ben.posts()
	ben.m.toPeer(func(f *pb.Frame) []*pb.Frame {
		for _, contact := range append(f.GetAccountChanges().GetContacts(), f.GetWelcome().GetChanges().GetContacts()...) {
			contact.DeviceList = invented.Signed
		}
		if lists := f.GetLists(); lists != nil {
			lists.Lists = append(lists.Lists, invented.Signed)
		}
		return []*pb.Frame{f}
	})
	profile := &pb.Profile{Account: mia.Account().Bytes(), UserName: "mia", Nickname: "mia"}
	ben.m.push(&pb.Frame{Kind: &pb.Frame_AccountChanges{AccountChanges: &pb.AccountChanges{Contacts: []*pb.Contact{{
		Profile: profile, State: pb.ContactState_CONTACT_STATE_ACCEPTED, Conversation: conversation.Bytes(), DeviceList: invented.Signed,
	}}}}})
	ben.reports("identity changed")
	if _, err := ben.SendText(t.Context(), conversation, "to whom?"); err == nil {
		t.Error("he writes to the server")
	}

	// the new identity commits its own taking, and asks for the key of the epoch
	page := reader.ask(&pb.Frame{Kind: &pb.Frame_Sync{Sync: &pb.Sync{Conversation: conversation.Bytes(), Limit: 10}}}).GetPage()
	chain := proto.NewChain(conversation)
	first := must(chain.Check(page.GetEvents()[0].GetCommit().GetCommit(), func(account, id proto.ID) (ed25519.PublicKey, error) {
		d, _ := listOf(t, reader, account).Device(id)
		return d.GetSignKey(), nil
	}))
	chain.Apply(first)
	signer := proto.Signer{Account: mia.Account(), Device: device, Key: sign, TimeMS: 1}
	members := []proto.MemberKey{asMember(invented), asMember(listOf(t, reader, ben.Account()))}
	for _, post := range []*pb.CommitPost{
		must(proto.TakeIdentity(signer, chain, mia.Account(), members)),
		must(proto.Rekey(signer, chain, members, nil)),
		must(proto.Rekey(signer, chain, []proto.MemberKey{asMember(known), members[1]}, nil)), // in the name of the real one
	} {
		event := &pb.CommitEvent{Commit: post.GetCommit()}
		for _, g := range post.GetGrants() {
			if proto.ID(g.GetAccount()) == ben.Account() {
				event.Grant = g
			}
		}
		hash := proto.CommitHash(post.GetCommit().GetBody())
		ben.m.push(&pb.Frame{Kind: &pb.Frame_Events{Events: &pb.Events{Events: []*pb.Event{{
			Conversation: conversation.Bytes(), Seq: page.GetHeadSeq() + 1, RelayMs: 1, Hash: hash[:], Kind: &pb.Event_Commit{Commit: event},
		}}}}})
	}
	ben.m.push(&pb.Frame{Kind: &pb.Frame_GrantNeeded{GrantNeeded: &pb.GrantNeeded{Conversation: conversation.Bytes(), Epoch: 1, Account: mia.Account().Bytes()}}})
	ben.reconnect()
	ben.has(conversation, "hello")
	if n := count(); n != 0 {
		t.Errorf("ben's program sent %d posts and commits", n)
	}
	if bytes.Contains(ben.m.recorded(), []byte("to whom?")) {
		t.Error("the text crossed the wire")
	}

	ben.m.honest()
	ben.reconnect()
	eventually(t, "the right identity is in force again", func() bool { return !ben.contact(mia.Account()).IdentityChanged })
	ben.says(conversation, "is it you?")
	mia.gets("is it you?")
}
