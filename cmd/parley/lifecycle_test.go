package main

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite" // to damage a server's database

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

// TestOneConversationInTrouble is a server that fails whenever it is asked for one conversation: the device comes online all
// the same, says what is wrong, and everything else goes on.
func TestOneConversationInTrouble(t *testing.T) {
	data := t.TempDir()
	server := startServer(t, "127.0.0.1:0", data)
	mia, ben, miaDir, _ := pair(t, server.url)
	invitation, err := mia.Invite(t.Context(), time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	tom, _ := register(t, server.url, "tom", invitation.Code)
	healthy, broken := proto.PairID(mia.Account(), ben.Account()), proto.PairID(mia.Account(), tom.Account())
	send(t, ben, healthy, "one", peer.StateDelivered)
	send(t, tom, broken, "two", peer.StateDelivered)
	for _, c := range []*peer.Client{mia, ben, tom} {
		if c == ben { // mia is away, and misses something
			send(t, tom, broken, "missed", peer.StateSent)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	server.stop()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(data, "parley.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "UPDATE conversations SET chain = X'FF' WHERE public_id = ?", broken[:]); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	startServer(t, strings.TrimPrefix(server.url, "http://"), data)
	c, err := peer.Open(t.Context(), peer.Config{Options: peer.Options{Dir: miaDir}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	sub := c.Subscribe()
	if err := c.WaitOnline(t.Context()); err != nil {
		t.Fatal(err)
	}
	send(t, c, healthy, "three", peer.StateSent)
	m, err := c.SendText(t.Context(), broken, "four")
	if err != nil || m.State != peer.StateWaiting {
		t.Errorf("%+v, %v", m, err)
	}
	timeout := time.After(20 * time.Second)
	for {
		select {
		case e := <-sub.C:
			if trouble, ok := e.(peer.ErrorEvent); ok && trouble.Conversation == broken {
				return
			}
		case <-timeout:
			t.Fatal("nothing was said about the conversation in trouble")
		}
	}
}

// TestCloseUnderLoad closes clients while they send, receive, open links and are asked things: everything that was begun ends,
// with ErrClosed or done, and nothing runs on (TestMain looks, and so does the race detector).
func TestCloseUnderLoad(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, miaDir, benDir := pair(t, server.url)
	conversation := proto.PairID(mia.Account(), ben.Account())
	for _, c := range []*peer.Client{mia, ben} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	accepted := 0
	for range 6 {
		var clients []*peer.Client
		for _, dir := range []string{miaDir, benDir} {
			c, err := peer.Open(t.Context(), peer.Config{Options: peer.Options{Dir: dir}, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			clients = append(clients, c)
		}
		var busy sync.WaitGroup
		var mu sync.Mutex
		enough := make(chan struct{}, 64)
		for _, c := range clients {
			ask := func(f func() error) {
				busy.Go(func() {
					for {
						if err := f(); errors.Is(err, peer.ErrClosed) || errors.Is(err, context.Canceled) {
							return
						} else if err != nil && !errors.Is(err, peer.ErrOffline) {
							t.Errorf("before Close: %v", err)
							return
						}
					}
				})
			}
			ask(func() error {
				_, err := c.SendText(t.Context(), conversation, "x")
				if err == nil {
					mu.Lock()
					accepted++
					mu.Unlock()
					enough <- struct{}{}
				}
				return err
			})
			ask(func() error {
				_, err := c.Contacts(t.Context())
				return err
			})
			ask(func() error { return c.WaitOnline(t.Context()) })
		}
		for range 20 {
			<-enough
		}
		go func() {
			for range enough { // senders never wait for this test
			}
		}()
		for _, c := range clients {
			for range 2 {
				busy.Go(func() {
					if err := c.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				})
			}
		}
		busy.Wait()
		close(enough)
	}
	last := openClient(t, miaDir)
	other := openClient(t, benDir)
	eventually(t, "both have everything that was accepted", func() bool {
		return strings.Count(texts(t, last, conversation), "x") == accepted && strings.Count(texts(t, other, conversation), "x") == accepted
	})
}
