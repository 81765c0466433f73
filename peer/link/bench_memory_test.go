package link

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/pion/webrtc/v4"

	"github.com/parley-chat/parley/proto"
)

const (
	heldPairs = 150
	holdEnv   = "PARLEY_BENCH_HOLD" // in a child: what it has to hold
)

// BenchmarkIdleMemory holds idle links, and as many PeerConnections of pion as it comes, each kind with both ends in a
// process of its own, and reports what one end adds to that process: resident memory in KiB after the garbage is
// collected, and goroutines.
func BenchmarkIdleMemory(b *testing.B) {
	switch os.Getenv(holdEnv) {
	case "link":
		hold(b, holdLinks)
	case "default":
		hold(b, holdDefault)
	default:
		for b.Loop() {
			ours, plain := heldBy(b, "link"), heldBy(b, "default")
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(ours.kib, "KiB-link")
			b.ReportMetric(plain.kib, "KiB-default")
			b.ReportMetric(ours.kib/plain.kib, "ratio")
			b.ReportMetric(ours.goroutines, "goroutines-link")
			b.ReportMetric(plain.goroutines, "goroutines-default")
		}
	}
}

// cost is what one end adds to a process.
type cost struct{ kib, goroutines float64 }

// heldBy runs this benchmark in a child that holds one kind.
func heldBy(b *testing.B, kind string) cost {
	b.Helper()
	child := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkIdleMemory$", "-test.benchtime=1x")
	child.Env = append(os.Environ(), holdEnv+"="+kind)
	out, err := child.CombinedOutput()
	if err != nil {
		b.Fatalf("%s: %v\n%s", kind, err, out)
	}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var c cost
		if n, _ := fmt.Sscanf(lines.Text(), "held %f %f", &c.kib, &c.goroutines); n == 2 {
			return c
		}
	}
	b.Fatalf("%s: no figures in\n%s", kind, out)
	return cost{}
}

// hold prints what each end of the pairs that open makes adds to this process.
func hold(b *testing.B, prepare func(b *testing.B) (open func())) {
	b.Helper()
	open := prepare(b)
	before, goroutines := resident(b), runtime.NumGoroutine()
	open()
	each := func(n float64) float64 { return n / (2 * heldPairs) }
	fmt.Printf("held %f %f\n", each(resident(b)-before), each(float64(runtime.NumGoroutine()-goroutines)))
}

// resident is the process's resident memory in KiB once it has been idle for a while: garbage is collected, stacks have
// shrunk, and what is free has been given back.
func resident(b *testing.B) float64 {
	b.Helper()
	for range 5 {
		runtime.GC()
	}
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	check(b, err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			check(b, err)
			return float64(kib)
		}
	}
	b.Fatal("no VmRSS in /proc")
	return 0
}

// holdLinks opens links from one device to many.
func holdLinks(b *testing.B) func() {
	b.Helper()
	w := newWires(b)
	device := proto.NewID()
	center := w.add(b, "center", newIdentity(b, device), device, func(c *Config) {
		onLoopback(b)(c)
		c.MaxLinks = heldPairs + 1
	})
	linkPair(b, center, leaf(b, w, center)) // what is set up once
	leaves := make([]*side, heldPairs)
	for i := range leaves {
		leaves[i] = leaf(b, w, center)
		ready(b, leaves[i])
	}
	return func() {
		for _, l := range leaves {
			mustOpen(b, center, l)
			until(b, l, "open", isPhase(Open))
		}
	}
}

func leaf(b *testing.B, w *wires, center *side) *side {
	b.Helper()
	d := proto.NewID()
	l := w.add(b, "leaf", newIdentity(b, d), d, onLoopback(b))
	know(center, l)
	return l
}

// holdDefault opens pairs of PeerConnections of pion as it comes.
func holdDefault(b *testing.B) func() {
	b.Helper()
	open := func() {
		_, _, done := plainPair(b, loopback(b), webrtc.Configuration{})
		b.Cleanup(done)
	}
	open() // what is set up once
	return func() {
		for range heldPairs {
			open()
		}
	}
}
