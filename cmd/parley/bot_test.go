package main

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"testing"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

// echo accepts whoever asks and answers every message with its text, until ctx ends.
func echo(ctx context.Context, dir string) error {
	bot, err := peer.Open(ctx, peer.Config{Options: peer.Options{Dir: dir}, Program: "echo"})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = bot.Close() })() // it ends the loop
	for event := range bot.Subscribe().C {
		var err error
		switch e := event.(type) {
		case peer.ContactEvent:
			if e.State == peer.ContactAsking {
				_, err = bot.Accept(ctx, e.Account)
			}
		case peer.MessageEvent:
			if e.State == peer.StateReceived && e.Known {
				_, err = bot.SendText(ctx, e.Conversation, e.Text)
			}
		}
		if err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "echo:", err)
		}
	}
	return bot.Close()
}

// TestEchoBot runs the bot of the peer package's example against a real server: somebody becomes its contact, it answers, and
// what came while it was away it answers when it is back.
func TestEchoBot(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, _ := register(t, server.url, "mia", "")
	dir := t.TempDir()
	profile, err := peer.Register(t.Context(), peer.Options{Dir: dir}, peer.Credentials{Server: server.url, User: "echo", Password: testPassword})
	if err != nil {
		t.Fatal(err)
	}
	start := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- echo(ctx, dir) }()
		return func() {
			t.Helper()
			cancel()
			if err := <-done; err != nil {
				t.Errorf("the bot ended: %v", err)
			}
		}
	}
	stop := start()
	if _, err := mia.Ask(t.Context(), "echo", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the bot accepts", func() bool {
		who, err := mia.Resolve(t.Context(), "echo")
		return err == nil && who.State == peer.ContactAccepted
	})
	conversation := proto.PairID(mia.Account(), profile.Account())
	answered := func(text string) {
		t.Helper()
		if _, err := mia.SendText(t.Context(), conversation, text); err != nil {
			t.Fatal(err)
		}
	}
	answered("你好 👋")
	eventually(t, "the bot answers", func() bool { return texts(t, mia, conversation) == "你好 👋|你好 👋" })
	stop()
	answered("are you there?")
	stop = start()
	eventually(t, "the bot answers what came while it was away", func() bool {
		return texts(t, mia, conversation) == "你好 👋|你好 👋|are you there?|are you there?"
	})
	stop()
}

// TestEchoBotIsTheExample holds this file's bot to the one in the documentation.
func TestEchoBotIsTheExample(t *testing.T) {
	if here, there := source(t, "bot_test.go", "echo"), source(t, "../../peer/example_test.go", "echo"); here != there {
		t.Errorf("peer/example_test.go has another bot:\n%s\nthan the one tested here:\n%s", there, here)
	} else if lines := bytes.Count([]byte(here), []byte("\n")) + 1; lines > 30 {
		t.Errorf("the bot has %d lines", lines)
	}
}

// source is a function of a file, formatted.
func source(t *testing.T, file, function string) string {
	t.Helper()
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range parsed.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == function {
			var out bytes.Buffer
			if err := printer.Fprint(&out, set, f); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
	}
	t.Fatalf("%s has no function %s", file, function)
	return ""
}
