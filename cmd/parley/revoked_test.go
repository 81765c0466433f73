package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// savedCopy gives a revoked device all that the server has, and lets it in there as if nothing had been: on a server of its own,
// on a copy of the data, with its profile. What was said last is sealed for it.
func savedCopy(t *testing.T, data, dir string, conversation proto.ID, said []string) {
	t.Helper()
	copied := t.TempDir()
	for _, name := range []string{"parley.db", "parley.db-wal"} {
		b, err := os.ReadFile(filepath.Join(data, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(copied, name), b, 0o600)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(copied, "parley.db"))
	if err != nil {
		t.Fatal(err)
	}
	result, err := db.ExecContext(t.Context(), "UPDATE devices SET ended_ms = NULL WHERE ended_ms IS NOT NULL")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := result.RowsAffected(); n != 1 || err != nil {
		t.Fatalf("%d devices let in again: %v", n, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	server := startServer(t, "127.0.0.1:0", copied)
	profile := copyProfile(t, dir)
	moveProfile(t, profile, server.url)
	c := openClient(t, profile)
	all, err := c.History(t.Context(), conversation, peer.HistoryOptions{})
	if err != nil || len(all) != len(said) {
		t.Fatalf("it has %d of %d messages: %v", len(all), len(said), err)
	}
	for i, m := range all[:len(all)-1] {
		if m.Text != said[i] {
			t.Errorf("what it had before: %q, want %q", m.Text, said[i])
		}
	}
	if last := all[len(all)-1]; last.State != peer.StateSealed || last.Text != "" {
		t.Errorf("a revoked device reads %+v", last)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	server.stop()
}

// moveProfile lets a profile take another server for its own.
func moveProfile(t *testing.T, dir, url string) {
	t.Helper()
	path := filepath.Join(dir, "profile.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var p map[string]any
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	p["server"] = url
	if b, err = json.Marshal(p); err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// losing is an account with a device to be lost, seen by its contact.
func losing(t *testing.T, url string) (mia, lost, ben *peer.Client, lostDir string, conversation proto.ID) {
	t.Helper()
	mia, ben, _, _ = pair(t, url)
	lostDir = t.TempDir()
	if _, err := peer.Login(t.Context(), peer.Options{Dir: lostDir}, peer.Credentials{Server: url, User: "mia", Password: testPassword}); err != nil {
		t.Fatal(err)
	}
	return mia, openClient(t, lostDir), ben, lostDir, proto.PairID(mia.Account(), ben.Account())
}

// TestRevokedWhileOffline: the device was away when it was revoked, and finds its session ended when it comes.
func TestRevokedWhileOffline(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, lost, ben, dir, conversation := losing(t, server.url)
	send(t, ben, conversation, "before", peer.StateSent)
	eventually(t, "both have it", func() bool {
		return texts(t, lost, conversation) == "before" && texts(t, mia, conversation) == "before"
	})
	if err := lost.Close(); err != nil {
		t.Fatal(err)
	}
	if err := mia.Revoke(t.Context(), []proto.ID{lost.Device()}, testPassword); err != nil {
		t.Fatal(err)
	}
	send(t, ben, conversation, "after", peer.StateSent)
	eventually(t, "mia reads it", func() bool { return texts(t, mia, conversation) == "before|after" })
	c, err := openUntilEnded(t, dir)
	if !errors.Is(err, peer.ErrSignedOut) || texts(t, c, conversation) != "before" {
		t.Errorf("%v, it reads %q", err, texts(t, c, conversation))
	}
}

// TestRevokedWhilePosting: the device sends as fast as it can while it is revoked. What the relay numbered before is a message
// like any other, nothing is after, and the conversation goes on for the rest.
func TestRevokedWhilePosting(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, lost, ben, _, conversation := losing(t, server.url)
	sub := lost.Subscribe()
	started, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			if _, err := lost.SendText(t.Context(), conversation, fmt.Sprint("lost ", i)); err != nil {
				return
			}
			if i == 20 {
				close(started)
			}
			select {
			case <-lost.Ended():
				return
			default:
			}
		}
	}()
	<-started
	if err := mia.Revoke(t.Context(), []proto.ID{lost.Device()}, testPassword); err != nil {
		t.Fatal(err)
	}
	ends(t, lost, sub, peer.ErrSignedOut)
	<-stopped
	send(t, ben, conversation, "goes on", peer.StateSent)
	for name, c := range map[string]*peer.Client{"mia": mia, "ben": ben} {
		var last uint64 // the number of what ben said
		var all []peer.Message
		eventually(t, name+" has what ben said last", func() bool {
			var err error
			if all, err = c.History(t.Context(), conversation, peer.HistoryOptions{}); err != nil {
				t.Fatal(err)
			}
			for _, m := range all {
				if m.Text == "goes on" {
					last = m.Seq
				}
			}
			return last != 0
		})
		for _, m := range all { // what came over a link and was not posted in time has no number
			if m.Device == lost.Device() && m.Seq > last {
				t.Errorf("%s has a message of the revoked device at number %d, behind %d", name, m.Seq, last)
			}
		}
	}
	if err := mia.NewEpoch(t.Context(), conversation); err != nil {
		t.Errorf("a new epoch: %v", err)
	}
}

// TestRevokedBehindACutLink: the device hears nothing from the server any more, but has a link to the contact. When that one
// hears of the revocation the link ends, and nothing goes there any more.
func TestRevokedBehindACutLink(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, lost, ben, dir, conversation := losing(t, server.url)
	if err := lost.Close(); err != nil {
		t.Fatal(err)
	}
	m := newMiddle(t, server.url)
	moveProfile(t, dir, m.url)
	lost = openClient(t, dir)
	linked(t, lost, conversation)
	send(t, ben, conversation, "over the link", peer.StateDelivered)
	eventually(t, "the device has it", func() bool { return texts(t, lost, conversation) == "over the link" })
	t.Cleanup(m.hangUp) // what nobody answers is not waited for
	deaf := func(*pb.Frame) []*pb.Frame { return nil }
	m.toPeer(deaf)
	m.toServer(deaf)
	links := lost.Subscribe()
	defer links.Cancel()
	if err := mia.Revoke(t.Context(), []proto.ID{lost.Device()}, testPassword); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the link ends", func() bool {
		for {
			select {
			case e := <-links.C:
				if l, ok := e.(peer.LinkEvent); ok && l.State == "closed" && l.Account == ben.Account() {
					return true
				}
			default:
				return false
			}
		}
	})
	send(t, ben, conversation, "not over the link", peer.StateSent)
	eventually(t, "mia reads it", func() bool { return texts(t, mia, conversation) == "over the link|not over the link" })
	if got := texts(t, lost, conversation); got != "over the link" {
		t.Errorf("the revoked device reads %q", got)
	}
	if bytes.Contains(m.recorded(), []byte("not over the link")) {
		t.Error("it went in clear")
	}
}
