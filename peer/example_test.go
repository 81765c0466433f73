package peer_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/parley-chat/parley/peer"
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

// An echo bot on the profile that `parley register --profile bot` made.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := echo(ctx, "bot"); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
	}
}
