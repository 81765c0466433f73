package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

const testPassword = "correct horse battery"

// testServer is the real server on a free port, stopped with the test or by stop.
type testServer struct {
	url  string
	stop func()
}

func startServer(t *testing.T, listen, dir string) testServer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() {
		s := &serveCmd{Listen: listen, DataDir: dir, Registration: "open", LogLevel: "debug", turnFlags: turnFlags{Turn: true}}
		done <- s.Run(ctx, stdio{nil, write, io.Discard})
		_ = write.Close()
	}()
	var url string
	if _, err := fmt.Fscanf(read, "ready %s\n", &url); err != nil {
		cancel()
		t.Fatalf("server did not start: %v, %v", err, <-done)
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Errorf("server: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return testServer{url, stop}
}

func openClient(t *testing.T, dir string) *peer.Client {
	t.Helper()
	c, err := peer.Open(t.Context(), peer.Config{Options: peer.Options{Dir: dir}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.WaitOnline(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func register(t *testing.T, url, user, invitation string) (*peer.Client, string) {
	t.Helper()
	dir := t.TempDir()
	_, err := peer.Register(t.Context(), peer.Options{Dir: dir}, peer.Credentials{Server: url, User: user, Password: testPassword, Invitation: invitation})
	if err != nil {
		t.Fatal(err)
	}
	return openClient(t, dir), dir
}

// pair makes two accounts that are contacts by invitation.
func pair(t *testing.T, url string) (mia, ben *peer.Client, miaDir, benDir string) {
	t.Helper()
	mia, miaDir = register(t, url, "mia", "")
	inv, err := mia.Invite(t.Context(), time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	ben, benDir = register(t, url, "ben", inv.Code)
	eventually(t, "mia sees ben as a contact", func() bool {
		who, err := mia.Resolve(t.Context(), "ben")
		return err == nil && who.State == "accepted"
	})
	return mia, ben, miaDir, benDir
}

// eventually polls what has no event of its own; it fails after 20 s.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		}
	}
}

func texts(t *testing.T, c *peer.Client, conversation proto.ID) string {
	t.Helper()
	all, err := c.History(t.Context(), conversation, peer.HistoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(all))
	for i, m := range all {
		out[i] = m.Text
	}
	return strings.Join(out, "|")
}

func send(t *testing.T, c *peer.Client, conversation proto.ID, text string, level peer.State) peer.Message {
	t.Helper()
	m, err := c.SendText(t.Context(), conversation, text)
	if err == nil {
		m, err = c.Wait(t.Context(), m, level)
	}
	if err != nil || m.Failure != "" {
		t.Fatalf("send %q: %v %s", text, err, m.Failure)
	}
	return m
}

// linked waits until a client has an open link for a conversation.
func linked(t *testing.T, c *peer.Client, conversation proto.ID) {
	t.Helper()
	links := c.Subscribe()
	defer links.Cancel()
	eventually(t, "a link is open", func() bool {
		if err := c.OpenLinks(t.Context(), conversation); err != nil {
			return false
		}
		for {
			select {
			case e := <-links.C:
				if l, ok := e.(peer.LinkEvent); ok && l.State == "open" {
					return true
				}
			default:
				return false
			}
		}
	})
}

// TestConversation is two people: by relay while one is away, directly while both are there, directly
// still while the server is down, and everything in the history of a new device afterwards.
func TestConversation(t *testing.T) {
	data := t.TempDir()
	server := startServer(t, "127.0.0.1:0", data)
	mia, ben, _, benDir := pair(t, server.url)
	conversation := proto.PairID(mia.Account(), ben.Account())

	if err := ben.Close(); err != nil {
		t.Fatal(err)
	}
	if m := send(t, mia, conversation, "你在吗？👋", peer.StateSent); m.Path != "relay" {
		t.Errorf("path of a message to somebody away = %s, want relay", m.Path)
	}
	ben = openClient(t, benDir)
	if got := texts(t, ben, conversation); got != "你在吗？👋" {
		t.Fatalf("after coming back ben has %q", got)
	}

	linked(t, mia, conversation)
	address := strings.TrimPrefix(server.url, "http://")
	server.stop()
	if m := send(t, mia, conversation, "still here", peer.StateDelivered); m.Path != "direct" || m.Seq != 0 {
		t.Errorf("with the server down: path %s, seq %d, want direct and none", m.Path, m.Seq)
	}
	if got := texts(t, ben, conversation); got != "你在吗？👋|still here" {
		t.Errorf("with the server down ben has %q", got)
	}

	server = startServer(t, address, data)
	eventually(t, "the server has the direct message", func() bool {
		mia.NetworkChanged()
		all, err := mia.History(t.Context(), conversation, peer.HistoryOptions{})
		return err == nil && len(all) == 2 && all[1].Seq != 0
	})
	laptop := t.TempDir()
	if _, err := peer.Login(t.Context(), peer.Options{Dir: laptop}, peer.Credentials{Server: server.url, User: "ben", Password: testPassword}); err != nil {
		t.Fatal(err)
	}
	second := openClient(t, laptop)
	if got := texts(t, second, conversation); got != "你在吗？👋|still here" {
		t.Errorf("a new device has %q", got)
	}
	assertSealed(t, data, "still here", "你在吗", testPassword)
}

// assertSealed greps the database and its write-ahead log for clear text.
func assertSealed(t *testing.T, dir string, secrets ...string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "parley.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no database in %s: %v", dir, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range secrets {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%s contains %q in clear", filepath.Base(file), s)
			}
		}
	}
}

// TestRefusals is what the front door says no to.
func TestRefusals(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, _ := register(t, server.url, "mia", "")
	opts := peer.Options{Dir: t.TempDir()}
	for name, c := range map[string]peer.Credentials{
		"taken name":     {Server: server.url, User: "MIA", Password: testPassword},
		"short password": {Server: server.url, User: "tom", Password: "short"},
		"two scripts":    {Server: server.url, User: "miа", Password: testPassword},
		"no invitation":  {Server: server.url, User: "tom", Password: testPassword, Invitation: "cut.off"},
	} {
		if _, err := peer.Register(t.Context(), opts, c); err == nil {
			t.Errorf("%s: registered", name)
		}
	}
	if _, err := peer.Login(t.Context(), opts, peer.Credentials{Server: server.url, User: "mia", Password: "wrong password"}); err == nil {
		t.Error("logged in with a wrong password")
	}
	if _, err := mia.SendText(t.Context(), proto.NewID(), "hello"); err == nil {
		t.Error("wrote into a conversation that does not exist")
	}
	if _, err := mia.Ask(t.Context(), "nobody.here", ""); err == nil {
		t.Error("found somebody who does not exist")
	}
}

// TestUsage is the command line's own errors.
func TestUsage(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		code int
	}{
		"no command":  {nil, exitUsage},
		"wrong flag":  {[]string{"serve", "--nonsense"}, exitUsage},
		"half of TLS": {[]string{"serve", "--tls-cert", "x"}, exitUsage},
		"version":     {[]string{"version"}, exitOK},
		"help":        {[]string{"--help"}, exitOK},
		"no account":  {[]string{"contacts", "list", "--profile", t.TempDir()}, exitFailed},
		"no folder":   {[]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", "/dev/null/x"}, exitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := run(t.Context(), test.args, stdio{strings.NewReader(""), &out, &errs}); code != test.code {
				t.Errorf("exit code %d, want %d: %s%s", code, test.code, out.String(), errs.String())
			}
		})
	}
}
