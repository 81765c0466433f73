package main

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

// victim is a whole peer whose server is a middle.
type victim struct {
	*peer.Client
	t   *testing.T
	m   *middle
	dir string
	sub *peer.Subscription
}

// open starts the peer on its profile.
func (v *victim) open(change ...func(*peer.Config)) {
	v.t.Helper()
	cfg := peer.Config{Options: peer.Options{Dir: v.dir}, Logger: slog.New(slog.DiscardHandler), NoLinks: true}
	for _, c := range change {
		c(&cfg)
	}
	c, err := peer.Open(v.t.Context(), cfg)
	if err != nil {
		v.t.Fatal(err)
	}
	v.Client, v.sub = c, c.Subscribe()
	v.t.Cleanup(func() { _ = c.Close() })
	v.online()
}

func (v *victim) online() {
	v.t.Helper()
	if err := v.WaitOnline(v.t.Context()); err != nil {
		v.t.Fatal(err)
	}
}

// reconnect ends the connection and waits for the next.
func (v *victim) reconnect() {
	v.t.Helper()
	v.m.hangUp()
	v.await("connection", func(e peer.Event) bool { c, ok := e.(peer.ConnectionEvent); return ok && !c.Online })
	v.online()
}

// await waits for an event.
func (v *victim) await(what string, is func(peer.Event) bool) peer.Event {
	v.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case e, open := <-v.sub.C:
			if !open {
				v.t.Fatalf("no %s: the client ended: %v", what, v.Err())
			}
			if is(e) {
				return e
			}
		case <-deadline.C:
			v.t.Fatalf("no %s came", what)
		}
	}
}

// reports waits until the peer told of something wrong, in these words.
func (v *victim) reports(words string) {
	v.t.Helper()
	v.await(fmt.Sprintf("report of %q", words), func(e peer.Event) bool {
		wrong, ok := e.(peer.ErrorEvent)
		if ok && !strings.Contains(wrong.Err.Error(), words) {
			v.t.Logf("also reported: %v", wrong.Err)
		}
		return ok && strings.Contains(wrong.Err.Error(), words)
	})
}

// gets waits for a message with this text.
func (v *victim) gets(text string) peer.Message {
	v.t.Helper()
	e := v.await(fmt.Sprintf("message %q", text), func(e peer.Event) bool {
		m, ok := e.(peer.MessageEvent)
		return ok && m.Message.Text == text
	})
	return e.(peer.MessageEvent).Message
}

// has checks what the peer shows of a conversation.
func (v *victim) has(conversation proto.ID, want ...string) {
	v.t.Helper()
	if got := texts(v.t, v.Client, conversation); got != strings.Join(want, "|") {
		v.t.Errorf("it shows %q, want %q", got, strings.Join(want, "|"))
	}
}

// says sends a text and waits until the relay has it.
func (v *victim) says(conversation proto.ID, text string) peer.Message {
	v.t.Helper()
	return send(v.t, v.Client, conversation, text, peer.StateSent)
}

// newVictim registers a peer through a middle of its own.
func newVictim(t *testing.T, server, user, invitation string, change ...func(*peer.Config)) *victim {
	t.Helper()
	v := &victim{t: t, m: newMiddle(t, server), dir: t.TempDir()}
	_, err := peer.Register(t.Context(), peer.Options{Dir: v.dir}, peer.Credentials{
		Server: v.m.url, User: user, Password: testPassword, Invitation: invitation,
	})
	if err != nil {
		t.Fatal(err)
	}
	v.open(change...)
	return v
}

// secondDevice logs the account in on another device, through the same server.
func (v *victim) secondDevice(server, user string, change ...func(*peer.Config)) *victim {
	v.t.Helper()
	second := &victim{t: v.t, m: newMiddle(v.t, server), dir: v.t.TempDir()}
	_, err := peer.Login(v.t.Context(), peer.Options{Dir: second.dir}, peer.Credentials{Server: second.m.url, User: user, Password: testPassword})
	if err != nil {
		v.t.Fatal(err)
	}
	second.open(change...)
	return second
}

// victims are two contacts, each with a middle of its own, and their conversation.
func victims(t *testing.T, server string, change ...func(*peer.Config)) (mia, ben *victim, conversation proto.ID) {
	t.Helper()
	mia = newVictim(t, server, "mia", "", change...)
	inv, err := mia.Invite(t.Context(), time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	ben = newVictim(t, server, "ben", inv.Code, change...)
	mia.await("contact", func(e peer.Event) bool {
		c, ok := e.(peer.ContactEvent)
		return ok && c.Contact.State == "accepted"
	})
	conversation = proto.PairID(mia.Account(), ben.Account())
	ben.says(conversation, "hello")
	mia.gets("hello")
	return mia, ben, conversation
}
