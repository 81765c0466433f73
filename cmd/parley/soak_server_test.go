package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// program builds the real binary, once for all tests.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "parley-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "parley")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-o", path, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, nil
})

// built returns the path of the real binary.
func built(t *testing.T) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// serverProcess is `parley serve` as a process of its own, started again on the same folder and port whenever it was killed.
type serverProcess struct {
	path, address, data string
	log                 io.Writer
	cmd                 *exec.Cmd
	url                 string
}

func startProcess(t *testing.T, log io.Writer) *serverProcess {
	t.Helper()
	s := &serverProcess{path: built(t), address: "127.0.0.1:0", data: t.TempDir(), log: log}
	s.start(t)
	s.address = strings.TrimPrefix(s.url, "http://")
	t.Cleanup(s.kill)
	return s
}

// start returns when the server serves.
func (s *serverProcess) start(t *testing.T) {
	t.Helper()
	s.cmd = exec.CommandContext(context.Background(), s.path, "serve", "--listen", s.address, "--data-dir", s.data, "--registration", "open", "--log-level", "warn")
	s.cmd.Stderr = s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready ") {
		t.Fatalf("the server did not start: %q, %v", line, err)
	}
	s.url = strings.TrimSpace(strings.TrimPrefix(line, "ready "))
}

// kill ends it without a word.
func (s *serverProcess) kill() {
	if s.cmd.ProcessState != nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended already
	_ = s.cmd.Wait()         // killed: that is what it says
}
