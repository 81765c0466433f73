package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lan is three machines on one network, each a network namespace: the server, mia and ben, who could all reach each other.
// Nothing of it touches the machine's own network.
type lan struct {
	t     *testing.T
	names map[string]string // of the namespaces
}

const (
	lanServer = "10.77.0.1"
	lanMia    = "10.77.0.2"
	lanBen    = "10.77.0.3"
)

// newLAN takes root and iproute2.
func newLAN(t *testing.T) *lan {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces take root: sudo go test -run TestAddressHidden ./cmd/parley")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Fatal("this test needs iproute2: ./scripts/install-deps")
	}
	l := &lan{t: t, names: make(map[string]string)}
	for _, who := range []string{"server", "mia", "ben"} {
		l.names[who] = fmt.Sprintf("parley%d%s", os.Getpid(), who)
		l.ip("netns", "add", l.names[who])
		t.Cleanup(func() { l.ip("netns", "del", l.names[who]) })
		l.in(who, "sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
		l.ip("-n", l.names[who], "link", "set", "lo", "up")
	}
	l.ip("-n", l.names["server"], "link", "add", "lan", "type", "bridge")
	l.ip("-n", l.names["server"], "address", "add", lanServer+"/24", "dev", "lan")
	l.ip("-n", l.names["server"], "link", "set", "lan", "up")
	for who, address := range map[string]string{"mia": lanMia, "ben": lanBen} {
		l.ip("link", "add", "to-"+who, "netns", l.names["server"], "type", "veth", "peer", "name", "eth0", "netns", l.names[who])
		l.ip("-n", l.names["server"], "link", "set", "to-"+who, "master", "lan", "up")
		l.ip("-n", l.names[who], "address", "add", address+"/24", "dev", "eth0")
		l.ip("-n", l.names[who], "link", "set", "eth0", "up")
	}
	return l
}

func (l *lan) ip(args ...string) {
	l.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil { //nolint:noctx // done in milliseconds
		l.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// command is a program on one of the machines.
func (l *lan) command(who string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", l.names[who]}, args...)...) //nolint:noctx // ended by the test
}

func (l *lan) in(who string, args ...string) string {
	l.t.Helper()
	out, err := l.command(who, args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s: %v: %v: %s", who, args, err, out)
	}
	return string(out)
}

// capture records to which addresses a machine sends packets.
type capture struct {
	mu   sync.Mutex
	seen map[string]int
	file *os.File
	done chan struct{}
}

func (l *lan) capture(who string) *capture {
	l.t.Helper()
	fd, err := packetSocket("/run/netns/" + l.names[who])
	if err != nil {
		l.t.Fatal(err)
	}
	c := &capture{seen: make(map[string]int), file: os.NewFile(uintptr(fd), "packets"), done: make(chan struct{})}
	go c.read()
	l.t.Cleanup(func() {
		_ = c.file.Close()
		<-c.done
	})
	return c
}

// packetSocket is one that gets every packet of a network namespace, with its Ethernet header.
func packetSocket(namespace string) (fd int, err error) {
	type result struct {
		fd  int
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, which is in the namespace, ends with this goroutine
		ns, err := unix.Open(namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(ns, unix.CLONE_NEWNET)
			_ = unix.Close(ns)
		}
		fd := -1
		if err == nil {
			all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}) // in network byte order
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all))
		}
		made <- result{fd, err}
	}()
	r := <-made
	return r.fd, r.err
}

const ethernet = 14 // bytes of its header

func (c *capture) read() {
	defer close(c.done)
	b := make([]byte, 1<<16)
	for {
		n, err := c.file.Read(b)
		if err != nil {
			return
		}
		if to := destination(b[:n]); to != "" {
			c.mu.Lock()
			c.seen[to]++
			c.mu.Unlock()
		}
	}
}

// destination is where mia's machine sends an Ethernet frame, empty for one that it receives or that stays on it.
func destination(frame []byte) string {
	if len(frame) < ethernet {
		return ""
	}
	packet := frame[ethernet:]
	switch kind := binary.BigEndian.Uint16(frame[12:]); {
	case kind == unix.ETH_P_IP && len(packet) >= 20:
		from, to := netip.AddrFrom4([4]byte(packet[12:])), netip.AddrFrom4([4]byte(packet[16:]))
		if from.IsLoopback() || to == netip.MustParseAddr(lanMia) {
			return ""
		}
		return to.String()
	case kind == unix.ETH_P_ARP && len(packet) >= 28:
		from, to := netip.AddrFrom4([4]byte(packet[14:])), netip.AddrFrom4([4]byte(packet[24:]))
		if from != netip.MustParseAddr(lanMia) || binary.BigEndian.Uint16(packet[6:]) != 1 {
			return "" // somebody else asks, or mia's machine answers: only its own questions tell whom it wants to reach
		}
		return to.String()
	}
	return fmt.Sprintf("type %#x", binary.BigEndian.Uint16(frame[12:]))
}

func (c *capture) to() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.seen)
}

// listen is `parley listen` on a machine.
func (l *lan) listen(who, profile string) *listenProcess {
	l.t.Helper()
	return startListenProcess(l.t, l.command(who, built(l.t), "listen", "--json", "--profile", profile))
}

// linkOpens waits until a link is open and returns its path.
func (p *listenProcess) linkOpens(t *testing.T) string {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case e, open := <-p.events:
			if !open {
				t.Fatal("listen ended before a link opened")
			}
			if e.Type == "link" && e.State == "open" {
				return e.Path
			}
		case <-timeout.C:
			t.Fatal("no link opened")
		}
	}
}

// TestAddressHidden captures every packet that mia's machine sends. Without "hide my address" a link goes straight to ben's;
// with it none leaves for any address but the server's, while messages go over a link all the same.
func TestAddressHidden(t *testing.T) {
	l, dir := newLAN(t), t.TempDir()
	built(t) // before TMPDIR is another
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(testPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(passwordFile, password)
	t.Setenv("TMPDIR", t.TempDir())
	url := "http://" + lanServer + ":8080"
	l.serve(filepath.Join(dir, "data"), url)
	parley := func(who string, args ...string) string {
		t.Helper()
		return l.in(who, append(append([]string{built(t)}, args...), "--profile", filepath.Join(dir, who))...)
	}
	parley("mia", "register", "--server", url, "--user", "mia")
	parley("ben", "register", "--server", url, "--user", "ben")
	parley("mia", "contacts", "add", "ben")
	parley("ben", "contacts", "accept", "mia")
	talk := func(text string) (path string, sent map[string]int) {
		t.Helper()
		ben := l.listen("ben", filepath.Join(dir, "ben")) // anew each time: what an older link still sends mia's machine would answer
		defer ben.kill()
		ben.until(t, "ready", "")
		packets := l.capture("mia")
		mia := l.listen("mia", filepath.Join(dir, "mia"))
		mia.until(t, "ready", "")
		parley("ben", "send", "mia", text) // each opens a link to who is there
		parley("mia", "send", "ben", text)
		path = mia.linkOpens(t)
		parley("mia", "send", "ben", text+" too", "--wait", "delivered")
		mia.kill()
		return path, packets.to()
	}
	if path, sent := talk("shown"); path != "direct" || sent[lanBen] == 0 {
		t.Fatalf("a link that hides nothing: %s, packets to %v: this test would see nothing", path, sent)
	}
	parley("mia", "privacy", "--hide-address", "on")
	path, sent := talk("hidden")
	if path != "turn" || sent[lanServer] == 0 {
		t.Errorf("path %s, packets to %v", path, sent)
	}
	for to, n := range sent {
		if to != lanServer {
			t.Errorf("%d packets left for %s", n, to)
		}
	}
	if got := parley("ben", "history", "mia"); !strings.Contains(got, "hidden too") {
		t.Errorf("ben has %s", got)
	}
}

// serve runs the server on its machine until the test ends. TURN may reach the others although their addresses are private.
func (l *lan) serve(data, url string) {
	l.t.Helper()
	cmd := l.command("server", built(l.t), "serve", "--listen", lanServer+":8080", "--data-dir", data, "--registration", "open",
		"--turn-allow-peer", "10.77.0.0/24", "--url", url, "--log-level", "warn")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed: that is what it says
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready ") {
		l.t.Fatalf("the server did not start: %q, %v", line, err)
	}
}
