package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// forms are how a secret could stand in a file, on a wire or in a log.
func forms(secret []byte) []string {
	return []string{
		string(secret), hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret),
	}
}

// noneIn fails for each secret that data contains. Base64 of a longer text begins differently, so three alignments are tried.
func noneIn(t *testing.T, where string, data []byte, secrets map[string][]byte) {
	t.Helper()
	for name, secret := range secrets {
		looks := forms(secret)
		for skip := 1; skip < 3 && len(secret) > 6; skip++ {
			part := secret[skip:]
			looks = append(looks, base64.RawStdEncoding.EncodeToString(part[:len(part)/3*3]))
		}
		for _, form := range looks {
			if len(form) >= 6 && bytes.Contains(data, []byte(form)) {
				t.Errorf("%s contains %s", where, name)
				break
			}
		}
	}
}

// udpTap stands between a peer and the TURN server and records every datagram.
type udpTap struct {
	front *net.UDPConn
	turn  *net.UDPAddr

	mu      sync.Mutex
	tape    bytes.Buffer
	packets int
	backs   map[string]*net.UDPConn
	readers sync.WaitGroup
}

func newUDPTap(t *testing.T, turn string) *udpTap {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp4", turn)
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	u := &udpTap{front: front, turn: to, backs: make(map[string]*net.UDPConn)}
	u.readers.Go(u.read)
	t.Cleanup(func() {
		_ = front.Close()
		u.mu.Lock()
		for _, back := range u.backs {
			_ = back.Close()
		}
		u.mu.Unlock()
		u.readers.Wait()
	})
	return u
}

func (u *udpTap) record(b []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tape.Write(b)
	u.packets++
}

// read passes on what peers send, each from a socket of its own.
func (u *udpTap) read() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := u.front.ReadFromUDP(b)
		if err != nil {
			return
		}
		u.record(b[:n])
		u.mu.Lock()
		back := u.backs[from.String()]
		u.mu.Unlock()
		if back == nil {
			if back, err = net.DialUDP("udp4", nil, u.turn); err != nil {
				return
			}
			u.mu.Lock()
			u.backs[from.String()] = back
			u.mu.Unlock()
			u.readers.Go(func() { u.answer(back, from) })
		}
		_, _ = back.Write(b[:n])
	}
}

func (u *udpTap) answer(back *net.UDPConn, to *net.UDPAddr) {
	b := make([]byte, 1<<16)
	for {
		n, err := back.Read(b)
		if err != nil {
			return
		}
		u.record(b[:n])
		_, _ = u.front.WriteToUDP(b[:n], to)
	}
}

var turnUDP = regexp.MustCompile(`^turn:(127\.0\.0\.1:\d+)(\?transport=udp)?$`)

// tapTurn makes the peers behind a middle reach TURN through a recorder.
func tapTurn(t *testing.T, m *middle) func() *udpTap {
	t.Helper()
	var (
		mu  sync.Mutex
		tap *udpTap
	)
	rewrite := func(ice *pb.IceServers) {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range ice.GetServers() {
			var urls []string
			for _, u := range s.GetUrls() {
				if found := turnUDP.FindStringSubmatch(u); found != nil {
					if tap == nil {
						tap = newUDPTap(t, found[1])
					}
					urls = append(urls, fmt.Sprintf("turn:%s?transport=udp", tap.front.LocalAddr()))
				}
			}
			s.Urls = urls
		}
	}
	m.toPeer(func(f *pb.Frame) []*pb.Frame {
		rewrite(f.GetWelcome().GetIce())
		rewrite(f.GetIceServers())
		return []*pb.Frame{f}
	})
	return func() *udpTap {
		mu.Lock()
		defer mu.Unlock()
		if tap == nil {
			t.Fatal("no TURN over UDP was offered")
		}
		return tap
	}
}

// TestNothingInClear: the database, its log, both sides' sockets and what goes through TURN hold no message, no password and no
// invitation's secret. What they do hold shows that the recorders work.
func TestNothingInClear(t *testing.T) {
	data := t.TempDir()
	server := startServer(t, "127.0.0.1:0", data)
	mia := newVictim(t, server.url, "mia", "")
	inv, err := mia.Invite(t.Context(), time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	ben := newVictim(t, server.url, "ben", inv.Code)
	conversation := proto.PairID(mia.Account(), ben.Account())
	const away, here = "你在吗？ are you there, canary one", "canary two, through TURN"
	mia.says(conversation, away)
	ben.gets(away)
	second := mia.secondDevice(server.url, "mia")
	second.has(conversation, away)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := mia.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ben.Close(); err != nil {
		t.Fatal(err)
	}
	taps := map[string]func() *udpTap{"mia": tapTurn(t, mia.m), "ben": tapTurn(t, ben.m)}
	relayed := func(c *peer.Config) { c.NoLinks, c.RelayOnly = false, true }
	mia.open(relayed)
	ben.open(relayed)
	eventually(t, "a message through TURN", func() bool {
		if err := mia.OpenLinks(t.Context(), conversation); err != nil {
			return false
		}
		return send(t, mia.Client, conversation, here, peer.StateDelivered).Path == "turn"
	})
	ben.gets(here)

	_, secret, _ := strings.Cut(inv.Code, ".")
	secrets := map[string][]byte{
		"a message": []byte(away), "a part of one": []byte("canary one"), "a direct message": []byte(here), "the password": []byte(testPassword),
		"an invitation's secret": []byte(secret), "Chinese": []byte("你在吗"),
	}
	for name, v := range map[string]*victim{"mia": mia, "ben": ben, "mia's second device": second} {
		tape := v.m.recorded()
		noneIn(t, name+"'s traffic with the server", tape, secrets)
		if !bytes.Contains(tape, conversation[:]) {
			t.Errorf("nothing of %s was recorded", name)
		}
	}
	for name, tap := range taps {
		u := tap()
		u.mu.Lock()
		noneIn(t, name+"'s traffic with TURN", u.tape.Bytes(), secrets)
		if u.packets < 20 {
			t.Errorf("%d datagrams of %s were recorded", u.packets, name)
		}
		u.mu.Unlock()
	}
	files, err := filepath.Glob(filepath.Join(data, "*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("files of the server: %v %v", files, err)
	}
	stored := false
	for _, file := range files {
		b := must(os.ReadFile(file))
		noneIn(t, filepath.Base(file), b, secrets)
		stored = stored || bytes.Contains(b, conversation[:])
	}
	if !stored {
		t.Error("the database does not hold the conversation")
	}
}

// logBuffer collects a log from several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

// TestQuietLogs: at debug, neither the server nor the peers log a text, password, token, key, invitation or description,
// whatever goes right or wrong.
func TestQuietLogs(t *testing.T) {
	var serverLog, peerLog logBuffer
	server := startLogged(t, t.TempDir(), &serverLog)
	logged := func(c *peer.Config) {
		c.NoLinks = false
		c.Logger = slog.New(slog.NewTextHandler(&peerLog, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	mia := newVictim(t, server, "mia", "", logged)
	inv, err := mia.Invite(t.Context(), time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	ben := newVictim(t, server, "ben", inv.Code, logged)
	conversation := proto.PairID(mia.Account(), ben.Account())
	var sdp [][]byte
	var mu sync.Mutex
	mia.m.toPeer(func(f *pb.Frame) []*pb.Frame {
		mu.Lock()
		defer mu.Unlock()
		if d := f.GetSignalFrom().GetSignal().GetDescription(); d != nil {
			for line := range strings.SplitSeq(d.GetSdp(), "\r\n") {
				if strings.HasPrefix(line, "a=ice-pwd:") || strings.HasPrefix(line, "a=fingerprint:") {
					sdp = append(sdp, []byte(line), []byte(line[strings.Index(line, ":")+1:]))
				}
			}
		}
		for _, s := range f.GetWelcome().GetIce().GetServers() {
			if s.GetCredential() != "" {
				sdp = append(sdp, []byte(s.GetCredential()))
			}
		}
		return []*pb.Frame{f}
	})
	mia.reconnect()
	texts := []string{"canary: hello", "canary: directly", "canary: altered", "canary: without a server"}
	mia.says(conversation, texts[0])
	ben.gets(texts[0])
	links(t, ben, mia, conversation, texts[1])
	ben.m.toPeer(alterEnvelopes(func(_ *pb.Event, e *pb.Envelope) { e.Ciphertext[0] ^= 1 }))
	mia.says(conversation, texts[2])
	ben.m.honest()
	for _, wrong := range []peer.Credentials{
		{Server: server, User: "mia", Password: "canary: wrong password"}, {Server: server, User: "nobody", Password: testPassword},
	} {
		if _, err := peer.Login(t.Context(), peer.Options{Dir: t.TempDir()}, wrong); err == nil {
			t.Error("logged in")
		}
	}
	if _, err := peer.Register(t.Context(), peer.Options{Dir: t.TempDir()}, peer.Credentials{Server: server, User: "eve", Password: testPassword, Invitation: inv.Code}); err == nil {
		t.Error("a used invitation was taken")
	}
	rogue := stranger(t, server, "rogue")
	socket := rogue.connect()
	socket.posts(rogue.envelope(conversation, 1, proto.RandomKey(), "canary: stranger"))
	if _, err := mia.SendText(t.Context(), conversation, texts[3]); err != nil {
		t.Fatal(err)
	}
	second := mia.secondDevice(server, "mia", logged)
	p := must(peer.LoadProfile(second.dir))
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	keys := map[string][]byte{"an invitation": []byte(inv.Code), "a stranger's text": []byte("canary: stranger"), "a wrong password": []byte("canary: wrong password"), "the password": []byte(testPassword)}
	for _, dir := range []string{mia.dir, ben.dir, second.dir, rogue.dir} {
		for name, secret := range secretsOf(t, dir) {
			keys[name+" of "+dir] = secret
		}
	}
	if err := peer.Logout(t.Context(), peer.Options{Dir: second.dir}, p, false); err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		keys[text] = []byte(text)
	}
	mu.Lock()
	for i, line := range sdp {
		keys[fmt.Sprintf("line %d of a description", i)] = line
	}
	if len(sdp) < 5 {
		t.Errorf("%d lines of descriptions were seen", len(sdp))
	}
	mu.Unlock()
	for name, log := range map[string]*logBuffer{"the server's log": &serverLog, "the peers' log": &peerLog} {
		b := log.bytes()
		if !bytes.Contains(b, []byte("level=DEBUG")) {
			t.Errorf("%s is not at debug", name)
		}
		noneIn(t, name, b, keys)
		for _, word := range []string{"v=0", "a=fingerprint", "a=ice-pwd", "Bearer "} {
			if bytes.Contains(b, []byte(word)) {
				t.Errorf("%s contains %q", name, word)
			}
		}
	}
}

// secretsOf are the keys and the token in a profile.
func secretsOf(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	var p struct {
		Sign  []byte     `json:"sign_seed"`
		Seal  []byte     `json:"seal_key"`
		Keys  []rogueKey `json:"account_keys"`
		Token string     `json:"session_token"`
	}
	if err := json.Unmarshal(must(os.ReadFile(filepath.Join(dir, "profile.json"))), &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Sign) == 0 || len(p.Seal) == 0 || len(p.Keys) == 0 || p.Token == "" {
		t.Fatalf("the profile in %s has another form", dir)
	}
	return map[string][]byte{"the signing key": p.Sign, "the sealing key": p.Seal, "the account key": p.Keys[0].Private, "the token": []byte(p.Token)}
}

// startLogged is startServer with its log, at debug, in out.
func startLogged(t *testing.T, dir string, out io.Writer) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	read, write := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"serve", "--listen=127.0.0.1:0", "--data-dir=" + dir, "--registration=open", "--log-level=debug"}, stdio{strings.NewReader(""), write, out})
		_ = write.Close()
	}()
	var url string
	if _, err := fmt.Fscanf(read, "ready %s\n", &url); err != nil {
		cancel()
		t.Fatalf("server did not start: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != exitOK {
			t.Errorf("server ended with %d", code)
		}
	})
	return url
}
