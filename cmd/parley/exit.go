package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

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

// exitCode says what kind of failure err is.
func exitCode(err error) int {
	var (
		usage     *usageError
		refused   *refusedError
		late      *timeoutError
		ambiguous *peer.AmbiguousError
	)
	switch {
	case errors.As(err, &usage), errors.Is(err, peer.ErrServerAddress):
		return exitUsage
	case errors.As(err, &late):
		return exitTimeout
	case errors.Is(err, peer.ErrUnreachable), errors.Is(err, peer.ErrOffline):
		return exitUnreachable
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	case errors.Is(err, peer.ErrNoSuchName), errors.As(err, &ambiguous):
		return exitNotFound
	case errors.As(err, &refused), errors.Is(err, peer.ErrSignedOut):
		return exitRefused
	}
	known, ok := proto.AsError(err)
	if !ok {
		return exitFailed
	}
	switch known.Code { //nolint:exhaustive // these say that what the person gave cannot be used
	case pb.ErrorCode_ERROR_CODE_MALFORMED, pb.ErrorCode_ERROR_CODE_TOO_LARGE, pb.ErrorCode_ERROR_CODE_NAME_INVALID,
		pb.ErrorCode_ERROR_CODE_WEAK_PARAMETERS:
		return exitUsage
	}
	return exitRefused
}

// usageError is a flag, argument or configuration that cannot be used.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func badFlag(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// refusedError is something that others do not let happen.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

// timeoutError is something that did not happen in time.
type timeoutError struct{ text string }

func (e *timeoutError) Error() string { return e.text }
