package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/alecthomas/kong"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// Exit codes; README lists them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitRefused     = 4
	exitNotFound    = 5
	exitTimeout     = 6
)

type cli struct {
	Serve    serveCmd    `cmd:"" help:"Run the server."`
	Register registerCmd `cmd:"" help:"Make an account on a server, with this profile as its first device."`
	Login    loginCmd    `cmd:"" help:"Add this profile as a device of an existing account."`
	Logout   logoutCmd   `cmd:"" help:"Sign this device out and delete everything it kept."`
	Contacts contactsCmd `cmd:"" help:"Find people, ask, accept, decline, invite."`
	Send     sendCmd     `cmd:"" help:"Send a text."`
	Listen   listenCmd   `cmd:"" help:"Receive until interrupted."`
	History  historyCmd  `cmd:"" help:"Show a conversation."`
	Version  versionCmd  `cmd:"" help:"Show the version."`
}

type versionCmd struct{}

func (versionCmd) Run(io stdio) error {
	_, err := fmt.Fprintln(io.out, "parley", version)
	return err
}

type exited int

// run carries out one command line and returns its exit code.
func run(ctx context.Context, args []string, io stdio) (code int) {
	defer func() {
		if v := recover(); v != nil {
			early, ok := v.(exited)
			if !ok {
				panic(v)
			}
			code = int(early)
		}
	}()
	var grammar cli
	parser, err := kong.New(&grammar, kong.Name("parley"), kong.UsageOnError(), kong.Writers(io.out, io.err),
		kong.Description("Parley: talk directly when both are there, through the relay when one is not.\n\nExit codes: 0 done, 1 failed, 2 usage, 3 server not reached, 4 refused, 5 no such or ambiguous name, 6 timed out."),
		kong.Exit(func(code int) { panic(exited(code)) }), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(io),
		kong.Configuration(loadConfig))
	if err != nil {
		_, _ = fmt.Fprintln(io.err, "parley:", err)
		return exitFailed
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		_, _ = fmt.Fprintln(io.err, "parley:", err)
		return exitUsage
	}
	if err := parsed.Run(); err != nil {
		_, _ = fmt.Fprintln(io.err, "parley:", err)
		return exitCode(err)
	}
	return exitOK
}

// exitCode says what kind of failure err is.
func exitCode(err error) int {
	var (
		usage     *usageError
		ambiguous *peer.AmbiguousError
	)
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	case errors.Is(err, peer.ErrUnreachable), errors.Is(err, peer.ErrOffline):
		return exitUnreachable
	case errors.Is(err, peer.ErrNoSuchName), errors.As(err, &ambiguous), proto.HasCode(err, pb.ErrorCode_ERROR_CODE_NOT_FOUND):
		return exitNotFound
	case errors.Is(err, peer.ErrSignedOut):
		return exitRefused
	}
	if _, ok := proto.AsError(err); ok {
		return exitRefused
	}
	return exitFailed
}

// usageError is a flag or configuration that cannot be used.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func badFlag(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }
