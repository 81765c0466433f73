package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

// rewound is a server on a folder that can be taken back to an older copy of itself.
type rewound struct {
	testServer
	data, copy, address string
}

func startRewound(t *testing.T) *rewound {
	t.Helper()
	r := &rewound{data: t.TempDir(), copy: t.TempDir()}
	r.testServer = startServer(t, "127.0.0.1:0", r.data)
	r.address = strings.TrimPrefix(r.url, "http://")
	return r
}

// backup makes a copy of the folder, and goes on.
func (r *rewound) backup(t *testing.T) {
	t.Helper()
	r.stop()
	copyFolder(t, r.data, r.copy)
	r.testServer = startServer(t, r.address, r.data)
}

// restore takes the copy in place of the folder.
func (r *rewound) restore(t *testing.T) {
	t.Helper()
	r.stop()
	copyFolder(t, r.copy, r.data)
	r.testServer = startServer(t, r.address, r.data)
}

// copyFolder makes the files of one folder the only ones of another.
func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	for _, dir := range []string{to} {
		old, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range old {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(from, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(file)), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// back makes clients come back to a server that was away.
func back(t *testing.T, clients ...*peer.Client) {
	t.Helper()
	for _, c := range clients {
		c.NetworkChanged()
		if err := c.WaitOnline(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// agree waits until all clients show these texts, numbered and in one order, and none else.
func agree(t *testing.T, conversation proto.ID, want []string, clients ...*peer.Client) {
	t.Helper()
	var now []string
	eventually(t, "all show "+strings.Join(want, ", "), func() bool {
		now = nil
		for _, c := range clients {
			all, err := c.History(t.Context(), conversation, peer.HistoryOptions{})
			if err != nil {
				t.Fatal(err)
			}
			count := make(map[string]int)
			for _, m := range all {
				if m.Seq == 0 {
					return false
				}
				count[m.Text]++
			}
			for _, text := range want {
				if count[text] != 1 {
					return false
				}
			}
			if len(all) != len(want) {
				return false
			}
			now = append(now, texts(t, c, conversation))
		}
		for _, list := range now {
			if list != now[0] {
				return false
			}
		}
		return true
	})
}

// login opens another device of an account.
func login(t *testing.T, url, user string) *peer.Client {
	t.Helper()
	dir := t.TempDir()
	if _, err := peer.Login(t.Context(), peer.Options{Dir: dir}, peer.Credentials{Server: url, User: user, Password: testPassword}); err != nil {
		t.Fatal(err)
	}
	return openClient(t, dir)
}

// TestRestoredServer takes a server back to an older copy of itself. What it lost is posted again by those who have it, so
// that a device that logs in afterwards has everything.
func TestRestoredServer(t *testing.T) {
	r := startRewound(t)
	mia, ben, _, _ := pair(t, r.url)
	conversation := proto.PairID(mia.Account(), ben.Account())
	send(t, mia, conversation, "before", peer.StateDelivered)
	r.backup(t)
	back(t, mia, ben)
	send(t, mia, conversation, "lost, of mia 丢", peer.StateDelivered)
	send(t, ben, conversation, "lost, of ben", peer.StateDelivered)
	r.restore(t)
	back(t, mia, ben)
	send(t, mia, conversation, "after", peer.StateSent)
	all := []string{"before", "lost, of mia 丢", "lost, of ben", "after"}
	agree(t, conversation, all, mia, ben)
	agree(t, conversation, all, mia, ben, login(t, r.url, "ben"))
}

// TestRestoredEpoch is a server that lost a new epoch too: the conversation goes on in another one.
func TestRestoredEpoch(t *testing.T) {
	r := startRewound(t)
	mia, ben, _, _ := pair(t, r.url)
	conversation := proto.PairID(mia.Account(), ben.Account())
	send(t, mia, conversation, "before", peer.StateDelivered)
	r.backup(t)
	back(t, mia, ben)
	if err := mia.NewEpoch(t.Context(), conversation); err != nil {
		t.Fatal(err)
	}
	send(t, mia, conversation, "lost, of mia", peer.StateDelivered)
	send(t, ben, conversation, "lost, of ben", peer.StateDelivered)
	r.restore(t)
	back(t, mia, ben)
	send(t, ben, conversation, "after", peer.StateSent)
	all := []string{"before", "lost, of mia", "lost, of ben", "after"}
	agree(t, conversation, all, mia, ben)
	agree(t, conversation, all, mia, ben, login(t, r.url, "ben"))
}

// TestRestoredBeforeContact is a server that lost the conversation itself, and that the two are contacts. Nothing of it is
// lost here; when they are contacts again it is all there.
func TestRestoredBeforeContact(t *testing.T) {
	r := startRewound(t)
	mia, _ := register(t, r.url, "mia", "")
	ben, _ := register(t, r.url, "ben", "")
	r.backup(t)
	back(t, mia, ben)
	meet := func() {
		t.Helper()
		if _, err := mia.Ask(t.Context(), "ben", ""); err != nil {
			t.Fatal(err)
		}
		eventually(t, "ben is asked", func() bool {
			who, err := ben.Resolve(t.Context(), "mia")
			return err == nil && who.State == peer.ContactAsking
		})
		if _, err := ben.Accept(t.Context(), mia.Account()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "they are contacts", func() bool {
			who, err := mia.Resolve(t.Context(), "ben")
			return err == nil && who.State == peer.ContactAccepted
		})
	}
	meet()
	conversation := proto.PairID(mia.Account(), ben.Account())
	send(t, mia, conversation, "of mia", peer.StateDelivered)
	send(t, ben, conversation, "of ben", peer.StateDelivered)
	r.restore(t)
	back(t, mia, ben)
	eventually(t, "mia knows that they are no contacts any more", func() bool {
		_, err := mia.Resolve(t.Context(), "ben")
		return err != nil
	})
	if m, err := mia.SendText(t.Context(), conversation, "to nobody"); !errors.Is(err, peer.ErrNoContact) {
		t.Errorf("sent to somebody who is no contact: %+v, %v", m, err)
	}
	meet()
	all := []string{"of mia", "of ben"}
	agree(t, conversation, all, mia, ben)
	agree(t, conversation, all, mia, ben, login(t, r.url, "mia"))
}

// TestVanishedSender is somebody who wrote over a link while the server was down, and never came back: whoever has the message
// gives it to the server for them.
func TestVanishedSender(t *testing.T) {
	t.Parallel() // it mostly waits
	r := startRewound(t)
	mia, ben, _, _ := pair(t, r.url)
	conversation := proto.PairID(mia.Account(), ben.Account())
	linked(t, mia, conversation)
	r.stop()
	send(t, mia, conversation, "the last word", peer.StateDelivered)
	if err := mia.Close(); err != nil {
		t.Fatal(err)
	}
	r.testServer = startServer(t, r.address, r.data)
	back(t, ben)
	laptop := login(t, r.url, "ben")
	wait, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	sub := laptop.Subscribe()
	defer sub.Cancel()
	for texts(t, laptop, conversation) != "the last word" {
		select {
		case <-sub.C:
		case <-wait.Done():
			t.Fatalf("ben's laptop has %q", texts(t, laptop, conversation))
		}
	}
}
