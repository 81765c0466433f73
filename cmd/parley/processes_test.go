package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

// These tests run several real processes on one profile at once.

// commandProcess is one command of the real binary.
func commandProcess(t *testing.T, tmp string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), built(t), args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	return cmd
}

// listenProcess is `parley listen --json` as a process.
type listenProcess struct {
	cmd    *exec.Cmd
	events chan peer.WireEvent // closed when the process ends
}

func startListening(t *testing.T, tmp, profile string) *listenProcess {
	t.Helper()
	return startListenProcess(t, commandProcess(t, tmp, "listen", "--json", "--profile", profile))
}

// startListenProcess starts a command that is `parley listen --json`.
func startListenProcess(t *testing.T, cmd *exec.Cmd) *listenProcess {
	t.Helper()
	l := &listenProcess{cmd: cmd, events: make(chan peer.WireEvent, 1<<12)}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(l.events)
		decoder := json.NewDecoder(bufio.NewReader(out))
		for {
			var e peer.WireEvent
			if decoder.Decode(&e) != nil {
				return
			}
			l.events <- e
		}
	}()
	t.Cleanup(l.kill)
	return l
}

func (l *listenProcess) kill() {
	if l.cmd.ProcessState != nil {
		return
	}
	_ = l.cmd.Process.Kill() // it may have ended already
	for range l.events {     // what it said last
	}
	_ = l.cmd.Wait() // killed: that is what it says
}

// until reads events until one is of a kind with a text, and returns the texts of all messages before it.
func (l *listenProcess) until(t *testing.T, kind, text string) (messages []string) {
	t.Helper()
	timeout := time.NewTimer(time.Minute)
	defer timeout.Stop()
	for {
		select {
		case e, open := <-l.events:
			switch {
			case !open:
				t.Fatalf("listen ended before %s %q", kind, text)
			case e.Type == kind && e.Text == text:
				return messages
			case e.Type == "message":
				messages = append(messages, e.Text)
			}
		case <-timeout.C:
			t.Fatalf("never: %s %q", kind, text)
		}
	}
}

// sendProcess is `parley send` as a process, which has to succeed.
func sendProcess(t *testing.T, tmp, profile, name, text string) {
	t.Helper()
	cmd := commandProcess(t, tmp, "send", name, text, "--profile", profile, "--timeout", "60s")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("send %q: %v: %s", text, err, out)
	}
}

// closedPair is two contacts whose clients are closed.
func closedPair(t *testing.T, url string) (conversation proto.ID, miaDir, benDir string) {
	t.Helper()
	mia, ben, miaDir, benDir := pair(t, url)
	for _, c := range []*peer.Client{mia, ben} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return proto.PairID(mia.Account(), ben.Account()), miaDir, benDir
}

// TestHolderKilled kills the process that holds a profile again and again while others work through it: one of them takes the
// profile over, what was being sent is sent once, and who listens hears every message once.
func TestHolderKilled(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	conversation, miaDir, benDir := closedPair(t, server.url)
	ben, tmp := openClient(t, benDir), t.TempDir()
	holder := startListening(t, tmp, miaDir)
	holder.until(t, "ready", "")
	listener := startListening(t, tmp, miaDir)
	listener.until(t, "ready", "")
	var want, heard []string
	for round := range 3 {
		var sends sync.WaitGroup
		for i := range 3 {
			text := fmt.Sprintf("from mia %d.%d", round, i)
			want = append(want, text)
			sends.Go(func() { sendProcess(t, tmp, miaDir, "ben", text) })
		}
		text := fmt.Sprintf("from ben %d", round)
		want = append(want, text)
		m, err := ben.SendText(t.Context(), conversation, text)
		if err != nil {
			t.Fatal(err)
		}
		victim := holder.cmd.Process
		time.AfterFunc(time.Duration(round)*150*time.Millisecond, func() { _ = victim.Kill() })
		sends.Wait()
		holder.kill()
		if _, err := ben.Wait(t.Context(), m, peer.StateSent); err != nil {
			t.Fatal(err)
		}
		end := fmt.Sprintf("end of round %d", round)
		sendProcess(t, tmp, miaDir, "ben", end)
		heard = append(heard, listener.until(t, "message", end)...)
		holder, listener = listener, startListening(t, tmp, miaDir)
		listener.until(t, "ready", "")
		heard = append(heard, end)
		want = append(want, end)
	}
	count := func(list []string) map[string]int {
		n := make(map[string]int)
		for _, text := range list {
			n[text]++
		}
		return n
	}
	times := count(heard)
	for _, text := range want {
		if times[text] != 1 {
			t.Errorf("who listened heard %q %d times", text, times[text])
		}
	}
	eventually(t, "ben has every message once", func() bool {
		got := count(strings.Split(texts(t, ben, conversation), "|"))
		for _, text := range want {
			if got[text] != 1 {
				return false
			}
		}
		return len(got) == len(want)
	})
}

// TestStaleSocket opens a profile whose holder was killed, and takes away what that left behind.
func TestStaleSocket(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	_, miaDir, _ := closedPair(t, server.url)
	tmp := t.TempDir()
	killed := startListening(t, tmp, miaDir)
	killed.until(t, "ready", "")
	killed.kill()
	left, err := filepath.Glob(filepath.Join(tmp, "parley-*", "s"))
	if err != nil || len(left) != 1 {
		t.Fatalf("sockets left behind: %v, %v", left, err)
	}
	sendProcess(t, tmp, miaDir, "ben", "after the crash")
	if left, err = filepath.Glob(filepath.Join(tmp, "*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(miaDir, "socket")); !os.IsNotExist(err) {
		t.Errorf("the profile still names a socket: %v", err)
	}
	// A file that names something else takes nothing away.
	precious := filepath.Join(tmp, "precious", "s")
	if err := os.MkdirAll(filepath.Dir(precious), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{precious, filepath.Join(miaDir, "socket")} {
		if err := os.WriteFile(file, []byte(precious), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sendProcess(t, tmp, miaDir, "ben", "after the forgery")
	if _, err := os.Stat(precious); err != nil {
		t.Errorf("a foreign file was taken away: %v", err)
	}
}

// TestStartTogether starts several processes on a profile at once: one gets it, the others work through that one.
func TestStartTogether(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	_, miaDir, _ := closedPair(t, server.url)
	tmp := t.TempDir()
	built(t)
	var all []*listenProcess
	for range 4 {
		all = append(all, startListening(t, tmp, miaDir))
	}
	var sends sync.WaitGroup
	for i := range 3 {
		sends.Go(func() { sendProcess(t, tmp, miaDir, "ben", fmt.Sprintf("together %d", i)) })
	}
	for _, l := range all {
		l.until(t, "ready", "")
	}
	sends.Wait()
	sendProcess(t, tmp, miaDir, "ben", "last")
	for i, l := range all {
		l.until(t, "message", "last")
		if sockets, err := filepath.Glob(filepath.Join(tmp, "parley-*")); err != nil || len(sockets) != 1 {
			t.Errorf("listener %d: sockets %v, %v", i, sockets, err)
		}
	}
	var out bytes.Buffer
	cmd := commandProcess(t, tmp, "history", "ben", "--json", "--profile", miaDir)
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "\n"); got != 4 {
		t.Errorf("history has %d lines, want 4:\n%s", got, out.String())
	}
}

// TestLogoutWhileListening signs a device out whose profile another process has open: that one ends, and nothing of the device
// is left.
func TestLogoutWhileListening(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	_, miaDir, _ := closedPair(t, server.url)
	tmp := t.TempDir()
	l := startListening(t, tmp, miaDir)
	l.until(t, "ready", "")
	if out, err := commandProcess(t, tmp, "logout", "--profile", miaDir).CombinedOutput(); err != nil {
		t.Fatalf("logout: %v: %s", err, out)
	}
	for range l.events { // until it has ended
	}
	if err := l.cmd.Wait(); l.cmd.ProcessState.ExitCode() != exitRefused {
		t.Errorf("listen ended with %v", err)
	}
	left, err := filepath.Glob(filepath.Join(miaDir, "*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "lock" {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
