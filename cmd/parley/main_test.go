package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests; or, in a process that one of them started, a peer for it.
func TestMain(m *testing.M) {
	if dir := os.Getenv(peerProcessEnv); dir != "" {
		os.Exit(peerProcess(dir, os.Stdin, os.Stdout))
	}
	goleak.VerifyTestMain(m)
}
