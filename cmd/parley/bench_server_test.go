package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The benchmarks of this package run the real program in a process of its own and load it over real sockets from this
// one. `make bench` runs them and prints a table; docs/PERFORMANCE.md says what the figures mean.

// measured is the program that is measured: this one, or another build that PARLEY_BENCH_PROGRAM names.
func measured(b *testing.B) string {
	b.Helper()
	if file := os.Getenv("PARLEY_BENCH_PROGRAM"); file != "" {
		return file
	}
	file, err := program()
	if err != nil {
		b.Fatal(err)
	}
	return file
}

// process is a server.
type process struct {
	b     *testing.B
	file  string // the program
	dir   string // its data
	url   string // http://…
	admin string // host:port of /metrics and profiles
	cmd   *exec.Cmd
	errs  strings.Builder // standard error
}

// serve starts a server with a fresh database. It is stopped with the benchmark.
func serve(b *testing.B) *process {
	b.Helper()
	p := &process{b: b, file: measured(b), dir: b.TempDir()}
	b.Cleanup(http.DefaultClient.CloseIdleConnections)
	b.Cleanup(p.stop)
	p.start()
	return p
}

func (p *process) start() {
	p.b.Helper()
	p.admin = freeAddress(p.b)
	p.cmd = exec.CommandContext(context.Background(), p.file, "serve", "--listen", "127.0.0.1:0", "--data-dir", p.dir,
		"--registration", "open", "--admin-listen", p.admin, "--log-level", "warn")
	p.cmd.Stderr = &p.errs // go test mixes it into the figures otherwise
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.b.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.b.Fatal(err)
	}
	if _, err := fmt.Fscanf(bufio.NewReader(out), "ready %s\n", &p.url); err != nil {
		p.b.Fatalf("the server did not start: %v\n%s", err, p.errs.String())
	}
}

func freeAddress(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // of a benchmark
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// stop ends the server as an operator would and fails the benchmark if it does not end well.
func (p *process) stop() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		p.b.Errorf("server: %v\n%s", err, p.errs.String())
	}
	p.cmd = nil
}

// proc reads a file of the server's folder in /proc.
func (p *process) proc(name string) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, name))
	if err != nil {
		p.b.Fatal(err)
	}
	return string(text)
}

// cpu is the time that the server has computed, in steps of 10 ms.
func (p *process) cpu() time.Duration {
	const userTime, systemTime, tick = 11, 12, 10 * time.Millisecond // behind the name, in the kernel's USER_HZ
	stat := p.proc("stat")
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	return time.Duration(p.number(fields[userTime])+p.number(fields[systemTime])) * tick
}

// resident is the server's resident memory in KiB.
func (p *process) resident() float64 {
	for line := range strings.Lines(p.proc("status")) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return float64(p.number(strings.Fields(rest)[0]))
		}
	}
	p.b.Fatal("no VmRSS in /proc")
	return 0
}

func (p *process) number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		p.b.Fatal(err)
	}
	return n
}

// settled is the server's resident memory in KiB when it has collected its garbage and given back what it does not need,
// as after minutes of idleness.
func (p *process) settled() float64 {
	p.b.Helper()
	const steady = 6 // half seconds without a change of more than 1 %
	least, same := p.resident(), 0
	for tick := time.NewTicker(500 * time.Millisecond); same < steady; <-tick.C {
		if err := p.get("/debug/pprof/heap?gc=1", io.Discard); err != nil {
			p.b.Fatal(err)
		}
		if now := p.resident(); now < 0.99*least {
			least, same = now, 0
		} else {
			same++
		}
	}
	return p.resident()
}

// get reads a page of the operator's address.
func (p *process) get(path string, to io.Writer) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+p.admin+path, http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", path, res.StatusCode)
	}
	_, err = io.Copy(to, res.Body)
	return err
}

// profile writes a CPU profile of the server's next two seconds into the folder that PARLEY_BENCH_PROFILE names, if it
// does. wait waits for it.
func (p *process) profile(name string) (wait func()) {
	p.b.Helper()
	dir := os.Getenv("PARLEY_BENCH_PROFILE")
	if dir == "" {
		return func() {}
	}
	file, err := os.Create(filepath.Join(dir, name+".pprof"))
	if err != nil {
		p.b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		err := p.get("/debug/pprof/profile?seconds=2", file)
		done <- errors.Join(err, file.Close())
	}()
	return func() {
		if err := <-done; err != nil {
			p.b.Fatal(err)
		}
	}
}
