package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

// command runs one command line and returns its output.
func command(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, stdio{strings.NewReader(""), &out, &errs}); code != exitOK {
		t.Fatalf("%v: exit code %d: %s", args, code, errs.String())
	}
	return out.String()
}

// listening is `parley listen --json` in the background.
type listening struct {
	events chan peer.WireEvent
	stop   func()
}

func listen(t *testing.T, profile string) *listening {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	l := &listening{events: make(chan peer.WireEvent, 100)}
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"listen", "--json", "--profile", profile}, stdio{strings.NewReader(""), write, io.Discard})
		_ = write.Close()
	}()
	go func() {
		defer close(l.events)
		lines := bufio.NewScanner(read)
		for lines.Scan() {
			var e peer.WireEvent
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Errorf("listen wrote %q: %v", lines.Text(), err)
			}
			l.events <- e
		}
	}()
	stopped := false
	l.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range l.events { // so that the command never waits for its reader
		}
		if code := <-done; code != exitOK {
			t.Errorf("listen ended with %d", code)
		}
	}
	t.Cleanup(l.stop)
	return l
}

func (l *listening) wait(t *testing.T, kind, text string) peer.WireEvent {
	t.Helper()
	for {
		select {
		case e, open := <-l.events:
			if !open {
				t.Fatalf("listen ended before %s %q", kind, text)
			}
			if e.Type == kind && e.Text == text {
				return e
			}
		case <-t.Context().Done():
			t.Fatalf("never: %s %q", kind, text)
		}
	}
}

// TestSharedProfile runs several commands on one profile at once: the first owns it, the others work through it, and one
// of them takes over when it goes.
func TestSharedProfile(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, miaDir, benDir := pair(t, server.url)
	conversation := proto.PairID(mia.Account(), ben.Account())
	if err := mia.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ben.Close(); err != nil {
		t.Fatal(err)
	}

	first := listen(t, miaDir)
	first.wait(t, "ready", "")
	second := listen(t, miaDir)
	second.wait(t, "ready", "")
	command(t, "send", "ben", "one 一", "--profile", miaDir)
	first.wait(t, "message", "one 一")
	second.wait(t, "message", "one 一")

	other := listen(t, benDir)
	other.wait(t, "ready", "")
	command(t, "send", "mia", "two", "--wait", "delivered", "--profile", benDir)
	if e := second.wait(t, "message", "two"); e.From != "ben" || e.Conversation != conversation.String() {
		t.Errorf("event %+v", e)
	}
	var contact struct{ User, State string }
	if err := json.Unmarshal([]byte(command(t, "contacts", "list", "--json", "--profile", miaDir)), &contact); err != nil ||
		contact.User != "ben" || contact.State != "accepted" {
		t.Errorf("contacts list: %+v, %v", contact, err)
	}

	first.stop()
	second.wait(t, "ready", "") // it has the profile now
	command(t, "send", "mia", "three", "--profile", benDir)
	second.wait(t, "message", "three")
	if got := strings.Count(command(t, "history", "ben", "--json", "--profile", miaDir), "\n"); got != 3 {
		t.Errorf("history has %d lines, want 3", got)
	}
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"send", "nobody", "x", "--profile", miaDir}, stdio{strings.NewReader(""), io.Discard, &errs}); code != exitNotFound {
		t.Errorf("send to nobody through another process: exit code %d, want %d: %s", code, exitNotFound, errs.String())
	}
}
