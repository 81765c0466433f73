package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

// A peer process is this test binary started again with a profile: it opens the profile, carries out orders from standard
// input and tells on standard output what happens. It may be killed at any moment.

// peerProcessEnv names the profile's folder.
const peerProcessEnv = "PARLEY_TEST_PEER"

// order is what a peer process is told to do.
type order struct {
	Send    *peer.Draft `json:",omitempty"`
	List    *proto.ID   `json:",omitempty"` // a conversation
	Links   *proto.ID   `json:",omitempty"` // open those of a conversation
	Cut     bool        `json:",omitempty"` // close all links
	Network bool        `json:",omitempty"` // the network changed
}

// report is what a peer process tells.
type report struct {
	Ready    bool     `json:",omitempty"`
	Accepted string   `json:",omitempty"` // id: Send returned
	Shown    string   `json:",omitempty"` // id: a MessageEvent came
	Link     string   `json:",omitempty"` // state of a link
	Trouble  string   `json:",omitempty"` // an ErrorEvent or GapEvent
	Failed   string   `json:",omitempty"` // an order was not carried out
	Listed   bool     `json:",omitempty"`
	List     []listed `json:",omitempty"`
}

// listed is one message of a list.
type listed struct {
	ID    string
	Seq   uint64
	Sum   string // SHA-256 of the text
	Path  string
	State string
	Odd   bool `json:",omitempty"` // altered, or failed
}

func sum(text string) string {
	b := sha256.Sum256([]byte(text))
	return hex.EncodeToString(b[:8])
}

func peerProcess(dir string, in io.Reader, out io.Writer) int {
	ctx := context.Background()
	logs := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	c, err := peer.Open(ctx, peer.Config{Options: peer.Options{Dir: dir}, Program: "soak", Logger: logs})
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "peer process:", err)
		return 1
	}
	var mu sync.Mutex
	encoder := json.NewEncoder(out)
	tell := func(r report) {
		mu.Lock()
		defer mu.Unlock()
		_ = encoder.Encode(r) // the test is gone if this fails, and this process ends with its standard input
	}
	events := c.Subscribe()
	go func() {
		for e := range events.C {
			tellEvent(tell, e)
		}
	}()
	tell(report{Ready: true})
	orders := json.NewDecoder(in)
	for {
		var o order
		if err := orders.Decode(&o); err != nil {
			break
		}
		if err := carryOut(ctx, c, o, tell); err != nil {
			tell(report{Failed: err.Error()})
		}
	}
	if err := c.Close(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "peer process:", err)
		return 1
	}
	return 0
}

func tellEvent(tell func(report), e peer.Event) {
	switch e := e.(type) {
	case peer.MessageEvent:
		tell(report{Shown: e.ID.String()})
	case peer.LinkEvent:
		tell(report{Link: e.State})
	case peer.ErrorEvent:
		tell(report{Trouble: e.Err.Error()})
	case peer.GapEvent:
		tell(report{Trouble: fmt.Sprintf("%d messages of %s are missing", e.Missing, e.Device)})
	case peer.MissedEvent:
		tell(report{Trouble: fmt.Sprintf("%d events were missed", e.Count)})
	}
}

func carryOut(ctx context.Context, c *peer.Client, o order, tell func(report)) error {
	switch {
	case o.Send != nil:
		m, err := c.Send(ctx, *o.Send)
		if err == nil {
			tell(report{Accepted: m.ID.String()})
		}
		return err
	case o.List != nil:
		all, err := c.History(ctx, *o.List, peer.HistoryOptions{})
		r := report{Listed: true}
		for _, m := range all {
			r.List = append(r.List, listed{
				ID: m.ID.String(), Seq: m.Seq, Sum: sum(m.Text), Path: m.Path, State: string(m.State), Odd: m.Altered || m.Failure != "",
			})
		}
		tell(r)
		return err
	case o.Links != nil:
		go func() { _ = c.OpenLinks(ctx, *o.Links) }() // LinkEvents say how it went
	case o.Cut:
		c.CloseLinks()
	case o.Network:
		c.NetworkChanged()
	}
	return nil
}

// device is a peer process that is started again whenever it was killed.
type device struct {
	name string
	dir  string
	log  io.Writer
	died chan struct{} // closed when a process ended that nobody killed

	mu      sync.Mutex
	process *exec.Cmd
	killed  bool
	orders  *json.Encoder
	input   io.Closer
	reports chan report   // closed when the process ends
	again   chan struct{} // closed when the next process is ready
	shown   map[string]int
	trouble []string
	links   int // opened
}

func newDevice(name, dir string, log io.Writer) *device {
	return &device{name: name, dir: dir, log: log, died: make(chan struct{}), again: make(chan struct{}), shown: make(map[string]int)}
}

// start runs the process and returns when it is ready for orders.
func (d *device) start(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), os.Args[0])
	cmd.Env = append(os.Environ(), peerProcessEnv+"="+d.dir)
	cmd.Stderr = d.log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Error(err)
		return
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Error(err)
		return
	}
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	reports := make(chan report, 64)
	d.mu.Lock()
	d.process, d.killed, d.orders, d.input, d.reports = cmd, false, json.NewEncoder(in), in, reports
	d.mu.Unlock()
	go d.read(t, out, reports)
	if r, open := <-reports; !open || !r.Ready {
		t.Errorf("%s did not start: %+v", d.name, r)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.again)
	d.again = make(chan struct{})
}

// read counts what a process shows and hands on what answers orders.
func (d *device) read(t *testing.T, out io.Reader, reports chan<- report) {
	t.Helper()
	defer close(reports)
	decoder := json.NewDecoder(out)
	for {
		var r report
		if err := decoder.Decode(&r); err != nil {
			break
		}
		d.mu.Lock()
		switch {
		case r.Shown != "":
			d.shown[r.Shown]++
		case r.Trouble != "":
			d.trouble = append(d.trouble, r.Trouble)
		case r.Link == "open":
			d.links++
		}
		d.mu.Unlock()
		if r.Ready || r.Accepted != "" || r.Failed != "" || r.Listed {
			reports <- r
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.killed {
		t.Errorf("%s: its process ended by itself", d.name)
		close(d.died)
	}
}

// kill ends the process without a word and waits until it is gone.
func (d *device) kill() {
	d.mu.Lock()
	cmd, in, reports := d.process, d.input, d.reports
	d.killed = true
	d.mu.Unlock()
	if cmd.ProcessState != nil {
		return
	}
	_ = cmd.Process.Kill() // it may have ended already
	_ = in.Close()
	for range reports { // what it said last
	}
	_ = cmd.Wait() // killed: that is what it says
}

// linked is how many links have opened so far.
func (d *device) linked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.links
}

func (d *device) signal(s syscall.Signal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.process.Process.Signal(s) // it may have ended already
}

// ask gives an order and returns its answer. If the process was killed meanwhile, again is closed when the next one is ready.
func (d *device) ask(o order) (r report, alive bool, again <-chan struct{}) {
	d.mu.Lock()
	orders, reports, again := d.orders, d.reports, d.again
	err := orders.Encode(o)
	d.mu.Unlock()
	if err != nil {
		return report{}, false, again
	}
	timeout := time.NewTimer(2 * time.Minute)
	defer timeout.Stop()
	select {
	case r, alive = <-reports:
		return r, alive, again
	case <-timeout.C:
		return report{Failed: "no answer within two minutes"}, true, again
	}
}

// tell gives an order without an answer.
func (d *device) tell(o order) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.orders.Encode(o) // the process may have been killed
}
