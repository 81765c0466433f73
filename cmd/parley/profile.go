package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/parley-chat/parley/peer"
)

// profileFlags name the profile that a client command works on.
type profileFlags struct {
	Profile string `help:"Folder with the keys and messages of this device; parley in the user's configuration folder otherwise." placeholder:"DIR" env:"PARLEY_PROFILE"`
}

func (p profileFlags) options() (peer.Options, error) {
	dir := p.Profile
	if dir == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return peer.Options{}, badFlag("--profile: %v: name a folder", err)
		}
		dir = filepath.Join(config, "parley")
	}
	return peer.Options{Dir: dir}, nil
}

// connect opens the profile and does not wait for the server.
func (p profileFlags) connect(ctx context.Context) (peer.Peer, error) {
	opts, err := p.options()
	if err != nil {
		return nil, err
	}
	return peer.Connect(ctx, peer.Config{Options: opts, Program: "parley " + version, Logger: logger()})
}

// with opens the profile, waits until the server is reached, runs f and closes the profile again. f runs again when it
// failed because it worked through another process and that one let the profile go.
func (p profileFlags) with(ctx context.Context, f func(peer.Peer) error) error {
	return p.try(ctx, func(c peer.Peer) error {
		if err := c.Reach(ctx); err != nil {
			return err
		}
		return f(c)
	})
}

// withOrWithout is with for what works on this device alone too: when the server is not reached f runs all the same and is
// told why.
func (p profileFlags) withOrWithout(ctx context.Context, f func(c peer.Peer, offline error) error) error {
	return p.try(ctx, func(c peer.Peer) error {
		offline := c.Reach(ctx)
		if ctx.Err() != nil || errors.Is(offline, peer.ErrSignedOut) || errors.Is(offline, peer.ErrClosed) {
			return offline
		}
		return f(c, offline)
	})
}

func (p profileFlags) try(ctx context.Context, f func(peer.Peer) error) error {
	for {
		c, err := p.connect(ctx)
		if err != nil {
			return err
		}
		if err = errors.Join(f(c), c.Close()); !errors.Is(err, peer.ErrClosed) || ctx.Err() != nil {
			return err
		}
	}
}

// note tells the person something that is no failure.
func note(io stdio, err error, what string) {
	_, _ = fmt.Fprintf(io.err, "parley: %s: %s\n", line(err.Error()), what)
}

// logger writes warnings to standard error; PARLEY_LOG_LEVEL=debug shows more.
func logger() *slog.Logger {
	level := slog.LevelWarn
	if err := level.UnmarshalText([]byte(os.Getenv("PARLEY_LOG_LEVEL"))); err != nil {
		level = slog.LevelWarn
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
