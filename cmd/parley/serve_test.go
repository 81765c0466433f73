package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-chat/parley/peer"
)

// startCommand runs `parley serve` with these flags until the test ends and returns the address it printed.
func startCommand(t *testing.T, flags ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	read, write := io.Pipe()
	var errs strings.Builder
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, append([]string{"serve"}, flags...), stdio{strings.NewReader(""), write, &errs})
		_ = write.Close()
	}()
	var url string
	if _, err := fmt.Fscanf(read, "ready %s\n", &url); err != nil {
		cancel()
		t.Fatalf("server did not start: exit code %d: %s", <-done, errs.String())
	}
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != exitOK {
			t.Errorf("server ended with %d: %s", code, errs.String())
		}
	})
	return url
}

func get(t *testing.T, client *http.Client, url string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(b)
}

// TestSelfSigned is a server for a LAN: its certificate stays the same over restarts, and a peer that trusts it works.
func TestSelfSigned(t *testing.T) {
	data := t.TempDir()
	url := startCommand(t, "--listen", "127.0.0.1:0", "--data-dir", data, "--tls-self-signed", "--registration", "open")
	if !strings.HasPrefix(url, "https://127.0.0.1:") {
		t.Fatalf("ready %s", url)
	}
	first, err := os.ReadFile(filepath.Join(data, selfSignedCert))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(first)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}}
	t.Cleanup(client.CloseIdleConnections)
	if status, _ := get(t, client, url+"/api/v1/server"); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	dir := t.TempDir()
	opts := peer.Options{Dir: dir, HTTPClient: client}
	if _, err := peer.Register(t.Context(), opts, peer.Credentials{Server: url, User: "mia", Password: testPassword}); err != nil {
		t.Fatal(err)
	}
	c, err := peer.Open(t.Context(), peer.Config{Options: opts})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WaitOnline(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	s := &serveCmd{Listen: "127.0.0.1:0", DataDir: data, TLSSelfSigned: true}
	again, err := s.certificate()
	if err != nil {
		t.Fatal(err)
	}
	if again.Leaf.VerifyHostname("localhost") != nil {
		t.Error("the certificate does not serve localhost")
	}
	if second, err := os.ReadFile(filepath.Join(data, selfSignedCert)); err != nil || string(second) != string(first) {
		t.Errorf("another certificate after a restart: %v", err)
	}
}

// TestConfig is where settings come from: flags, then the environment, then the file.
func TestConfig(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "parley.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("listen: 127.0.0.1:0\nregistration: closed\ndata-dir: " + filepath.Join(dir, "a") + "\n")
	if _, body := get(t, http.DefaultClient, startCommand(t, "--config", file)+"/api/v1/server"); !strings.Contains(body, `"closed"`) {
		t.Errorf("from the file: %s", body)
	}
	if _, body := get(t, http.DefaultClient, startCommand(t, "--config", file, "--registration", "open", "--data-dir", filepath.Join(dir, "b"))+"/api/v1/server"); !strings.Contains(body, `"open"`) {
		t.Errorf("from the flag: %s", body)
	}
	t.Setenv("PARLEY_REGISTRATION", "invite")
	if _, body := get(t, http.DefaultClient, startCommand(t, "--config", file, "--data-dir", filepath.Join(dir, "c"))+"/api/v1/server"); !strings.Contains(body, `"invite"`) {
		t.Errorf("from the environment: %s", body)
	}
	for text, want := range map[string]string{
		"lisen: x":               `unknown setting "lisen"`,
		"listen: [a":             "--config",
		"listen: {a: b}":         "listen",
		"registration: everyone": "--registration",
	} {
		write(text)
		var errs strings.Builder
		t.Setenv("PARLEY_REGISTRATION", "invite")
		if err := os.Unsetenv("PARLEY_REGISTRATION"); err != nil {
			t.Fatal(err)
		}
		if code := run(t.Context(), []string{"serve", "--config", file}, stdio{strings.NewReader(""), io.Discard, &errs}); code != exitUsage || !strings.Contains(errs.String(), want) {
			t.Errorf("%q: exit code %d: %s", text, code, errs.String())
		}
	}
}

// TestAdmin is the operator's address and the pages beside the API.
func TestAdmin(t *testing.T) {
	free, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	url := startCommand(t, "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--admin-listen", address)
	operator := "http://" + address
	if status, body := get(t, http.DefaultClient, url+"/"); status != http.StatusOK || !strings.Contains(body, "Parley") {
		t.Errorf("page: %d %s", status, body)
	}
	if status, body := get(t, http.DefaultClient, url+"/api/v1/nothing"); status != http.StatusNotFound || !strings.Contains(body, `"not_found"`) {
		t.Errorf("nothing: %d %s", status, body)
	}
	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ready", "/metrics": `parley_http_requests_total{code="404",method="get"} 1`,
		"/debug/pprof/heap?debug=1": "heap profile",
	} {
		if status, body := get(t, http.DefaultClient, operator+path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d, want %q in %s", path, status, want, body)
		}
	}
	if status, _ := get(t, http.DefaultClient, url+"/metrics"); status == http.StatusOK {
		if _, body := get(t, http.DefaultClient, url+"/metrics"); strings.Contains(body, "parley_build_info") {
			t.Error("metrics at the front door")
		}
	}
	if _, body := get(t, http.DefaultClient, url+"/debug/pprof/heap?debug=1"); strings.Contains(body, "heap profile") {
		t.Error("profiles at the front door")
	}
}
