package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// TestMain runs the tests; or, in a process that one of them started, the program or a peer.
func TestMain(m *testing.M) {
	if dir := os.Getenv(peerProcessEnv); dir != "" {
		os.Exit(peerProcess(dir, os.Stdin, os.Stdout))
	}
	testscript.Main(withoutLeaks{m}, map[string]func(){"parley": main})
}

// withoutLeaks fails a run of tests that leaves goroutines behind.
type withoutLeaks struct{ *testing.M }

func (m withoutLeaks) Run() int {
	code := m.M.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return code
}
