package main

import (
	"database/sql"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

// openWith opens a client and waits until it is online.
func openWith(t *testing.T, cfg peer.Config) *peer.Client {
	t.Helper()
	c, err := peer.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.WaitOnline(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// copyProfile is a profile that was copied to another machine: the same device twice.
func copyProfile(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{"profile.json", "peer.db", "peer.db-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// ends waits until a client's session has given up, and its subscriptions with it.
func ends(t *testing.T, c *peer.Client, sub *peer.Subscription, want error) {
	t.Helper()
	select {
	case <-c.Ended():
	case <-time.After(30 * time.Second):
		t.Fatal("the session goes on")
	}
	if err := c.Err(); !errors.Is(err, want) {
		t.Errorf("ended with %v, want %v", err, want)
	}
	for range sub.C { // it is closed
	}
	if err := c.WaitOnline(t.Context()); !errors.Is(err, want) {
		t.Errorf("waiting to be online: %v", err)
	}
}

// TestSessionEnds is a device that connects twice, and one that is signed out elsewhere.
func TestSessionEnds(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	first, dir := register(t, server.url, "mia", "")
	sub := first.Subscribe()
	second := openClient(t, copyProfile(t, dir))
	ends(t, first, sub, peer.ErrSuperseded)
	if _, err := first.Contacts(t.Context()); err != nil {
		t.Errorf("what is here cannot be read any more: %v", err)
	}
	sub = second.Subscribe()
	profile, err := peer.LoadProfile(copyProfile(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := peer.Logout(t.Context(), peer.Options{}, profile, false); err != nil {
		t.Fatal(err)
	}
	ends(t, second, sub, peer.ErrSignedOut)
}

// TestDeadConnection is a server that answers nothing any more while the connection to it stays: told that the network changed,
// a client finds out within seconds and comes back when it can.
func TestDeadConnection(t *testing.T) {
	t.Parallel() // it mostly waits
	server := startProcess(t, io.Discard)
	c, _ := register(t, server.url, "mia", "")
	sub := c.Subscribe()
	if err := server.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.NetworkChanged()
	offline := false
	timeout := time.After(45 * time.Second) // without asking it takes a minute
	for !offline {
		select {
		case e := <-sub.C:
			state, ok := e.(peer.ConnectionEvent)
			offline = ok && !state.Online
		case <-timeout:
			t.Fatal("it never noticed")
		}
	}
	if err := server.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitOnline(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSplit sends with every combination of a link that is up or not, and a server that is there, away, or there and unable to
// take posts: what is sent is delivered, or waits visibly, and is with everybody when all is well again.
func TestSplit(t *testing.T) {
	for name, noLinks := range map[string]bool{"link": false, "no link": true} {
		t.Run(name, func(t *testing.T) {
			r := startRewound(t)
			mia, ben, miaDir, benDir := pair(t, r.url)
			conversation := proto.PairID(mia.Account(), ben.Account())
			for _, c := range []*peer.Client{mia, ben} {
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
			}
			mia = openWith(t, peer.Config{Options: peer.Options{Dir: miaDir}, NoLinks: noLinks})
			ben = openWith(t, peer.Config{Options: peer.Options{Dir: benDir}, NoLinks: noLinks})
			if !noLinks {
				linked(t, mia, conversation)
			}
			send(t, mia, conversation, "all well", peer.StateDelivered)
			during := func(text string) {
				t.Helper()
				if !noLinks {
					if m := send(t, mia, conversation, text, peer.StateDelivered); m.Path != "direct" || m.Seq != 0 {
						t.Errorf("%s: %+v", text, m)
					}
					return
				}
				m, err := mia.SendText(t.Context(), conversation, text)
				if err != nil || m.State != peer.StateWaiting {
					t.Errorf("%s: %+v, %v", text, m, err)
				}
			}
			r.stop()
			during("server away")
			chain := r.exchangeChain(t, conversation, []byte{0xff})
			r.testServer = startServer(t, r.address, r.data)
			back(t, mia, ben)
			during("relay in trouble")
			r.stop()
			r.exchangeChain(t, conversation, chain)
			r.testServer = startServer(t, r.address, r.data)
			back(t, mia, ben)
			agree(t, conversation, []string{"all well", "server away", "relay in trouble"}, mia, ben)
		})
	}
}

// exchangeChain puts something else in place of what the stopped server keeps of a conversation's members, and returns what it
// kept: it cannot serve a conversation whose members it does not understand.
func (r *rewound) exchangeChain(t *testing.T, conversation proto.ID, chain []byte) (before []byte) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(r.data, "parley.db"))
	if err != nil {
		t.Fatal(err)
	}
	err = db.QueryRowContext(t.Context(), "SELECT chain FROM conversations WHERE public_id = ?", conversation[:]).Scan(&before)
	if err == nil {
		_, err = db.ExecContext(t.Context(), "UPDATE conversations SET chain = ? WHERE public_id = ?", chain, conversation[:])
	}
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if len(before) == 0 || strings.HasPrefix(string(chain), string(before)) {
		t.Fatal("nothing was exchanged")
	}
	return before
}
