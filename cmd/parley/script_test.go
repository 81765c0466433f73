package main

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is for what must come; never waited out by a test that passes.
const patience = 60 * time.Second

// TestScripts runs testdata/script. Besides testscript's own commands they have:
//
//	serve NAME FLAGS…       starts a server on a free port and sets $NAME to its address; its folder is NAME unless given
//	end NAME                interrupts a server or listener: exit code 0, and of a server nothing but "ready URL" on standard output
//	listen NAME FLAGS…      starts `parley listen --json`
//	background NAME ARGS…   starts parley
//	event NAME PATTERN      waits until that one wrote a line that matches, and sets $event to the first group
//	ended NAME CODE         waits until that one ends with an exit code; its standard error is NAME.stderr
//	exits CODE FLAGS…       runs parley and checks the exit code; a failure is one line on standard error
//	capture NAME PATTERN    sets $NAME to the first group of PATTERN in the last standard output
//	newer DATABASE          marks a database as written by a newer program
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Values["running"] = make(map[string]*background)
			file := filepath.Join(env.WorkDir, "password")
			env.Setenv("PARLEY_PASSWORD_FILE", file)
			return os.WriteFile(file, []byte(testPassword+"\n"), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": scriptServe, "end": scriptEnd, "listen": scriptListen, "event": scriptEvent, "background": scriptBackground, "ended": scriptEnded, "exits": scriptExits,
			"capture": scriptCapture, "newer": scriptNewer,
		},
	})
}

// background is a program in the background of a script.
type background struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when its standard output ended and it was waited for

	mu    sync.Mutex
	lines []string // of standard output
	err   error
}

func running(ts *testscript.TestScript) map[string]*background {
	all, ok := ts.Value("running").(map[string]*background)
	if !ok {
		ts.Fatalf("the script was not set up")
	}
	return all
}

// start runs parley in the background until the script ends.
func start(ts *testscript.TestScript, name string, args ...string) *background {
	if running(ts)[name] != nil {
		ts.Fatalf("%s runs already", name)
	}
	p := &background{cmd: exec.Command("parley", args...), done: make(chan struct{})} //nolint:noctx // the test's own program, ended by end or with the script
	p.cmd.Dir = ts.MkAbs(".")
	for _, v := range []string{"PATH", "HOME", "TMPDIR", "PARLEY_PASSWORD_FILE", "PARLEY_LOG_LEVEL", "PARLEY_REGISTRATION", "SSL_CERT_FILE"} {
		if value := ts.Getenv(v); value != "" {
			p.cmd.Env = append(p.cmd.Env, v+"="+value)
		}
	}
	errs, err := os.Create(ts.MkAbs(name + ".stderr"))
	ts.Check(err)
	p.cmd.Stderr = errs
	out, err := p.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(p.cmd.Start())
	go p.read(out, errs)
	running(ts)[name] = p
	ts.Defer(func() { _ = p.cmd.Process.Kill(); <-p.done })
	return p
}

func (p *background) read(out io.Reader, errs io.Closer) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, lines.Text())
		p.mu.Unlock()
	}
	err := errors.Join(lines.Err(), p.cmd.Wait(), errs.Close())
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	close(p.done)
}

// line waits for a line that matches and returns its first group, or all of it.
func (p *background) line(ts *testscript.TestScript, pattern *regexp.Regexp) string {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		p.mu.Lock()
		lines := p.lines
		p.mu.Unlock()
		for _, l := range lines {
			if m := pattern.FindStringSubmatch(l); m != nil {
				return m[len(m)-1]
			}
		}
		select {
		case <-tick.C:
			continue
		case <-p.done:
			ts.Fatalf("it ended (%v) and never wrote %s; it wrote:\n%s", p.err, pattern, strings.Join(lines, "\n"))
		case <-deadline.C:
			ts.Fatalf("it never wrote %s; it wrote:\n%s", pattern, strings.Join(lines, "\n"))
		}
	}
}

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: serve NAME FLAGS…")
	}
	name, flags := args[0], args[1:]
	all := strings.Join(flags, " ")
	if !strings.Contains(all, "--listen") && !strings.Contains(all, "--config") {
		flags = append(flags, "--listen=127.0.0.1:0")
	}
	if !strings.Contains(all, "--data-dir") && !strings.Contains(all, "--config") {
		flags = append(flags, "--data-dir="+name)
	}
	p := start(ts, name, append([]string{"serve"}, flags...)...)
	ts.Setenv(name, p.line(ts, regexp.MustCompile(`^ready (\S+)$`)))
}

func scriptEnd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || running(ts)[args[0]] == nil {
		ts.Fatalf("usage: end NAME")
	}
	p := running(ts)[args[0]]
	delete(running(ts), args[0])
	ts.Check(p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.done:
	case <-time.After(patience):
		ts.Fatalf("%s does not end", args[0])
	}
	ts.Check(p.err)
	if p.cmd.Args[1] == "serve" && len(p.lines) != 1 {
		ts.Fatalf("a server wrote more than one line: %q", p.lines)
	}
}

func scriptListen(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: listen NAME FLAGS…")
	}
	start(ts, args[0], append([]string{"listen", "--json"}, args[1:]...)...)
}

func scriptEvent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || running(ts)[args[0]] == nil {
		ts.Fatalf("usage: event NAME PATTERN")
	}
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	line := running(ts)[args[0]].line(ts, pattern)
	ts.Logf("%s", line)
	if pattern.NumSubexp() > 0 {
		ts.Setenv("event", line)
	}
}

func scriptBackground(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: background NAME ARGS…")
	}
	start(ts, args[0], args[1:]...)
}

func scriptEnded(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || running(ts)[args[0]] == nil {
		ts.Fatalf("usage: ended NAME CODE")
	}
	p := running(ts)[args[0]]
	delete(running(ts), args[0])
	select {
	case <-p.done:
	case <-time.After(patience):
		ts.Fatalf("%s does not end", args[0])
	}
	if code := fmt.Sprint(p.cmd.ProcessState.ExitCode()); code != args[1] {
		ts.Fatalf("exit code %s, want %s: %s", code, args[1], ts.ReadFile(args[0]+".stderr"))
	}
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE FLAGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec("parley", args[1:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	errs := ts.ReadFile("stderr")
	if code != exitOK && !regexp.MustCompile(`^parley: [^\n]+\n$`).MatchString(errs) {
		ts.Fatalf("not one line on standard error: %q", errs)
	}
}

func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME PATTERN")
	}
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("nothing matches %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

func scriptNewer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: newer DATABASE")
	}
	db, err := sql.Open("sqlite", "file:"+ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = db.Exec(fmt.Sprintf("INSERT INTO goose_db_version (version_id, is_applied) VALUES (%d, 1)", 9999)) //nolint:noctx // a script's
	ts.Check(errors.Join(err, db.Close()))
}
