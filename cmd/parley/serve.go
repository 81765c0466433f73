package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/relay"
	"github.com/parley-chat/parley/relay/bus"
	"github.com/parley-chat/parley/signal"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/turnsrv"
	"github.com/parley-chat/parley/web"
)

type serveCmd struct {
	Config        kong.ConfigFlag `help:"YAML file with these settings, by their names without dashes in front; flags and environment come first." placeholder:"FILE"`
	Listen        string          `help:"HOST:PORT to listen on; without HOST on every address, port 0 takes a free one." default:"localhost:8080" env:"PARLEY_LISTEN"`
	DataDir       string          `help:"Folder for the database and the self-signed certificate; made when it does not exist." default:"data" env:"PARLEY_DATA_DIR"`
	Registration  string          `help:"Who may make an account: open (anybody), invite (by an invitation of somebody who is here) or closed (nobody: invitations only make contacts). Holds until an administrator sets another." enum:"open,invite,closed" default:"invite" env:"PARLEY_REGISTRATION"`
	URL           string          `help:"Address at which browsers reach this server when it is not --listen's, e.g. https://talk.example behind a proxy." placeholder:"URL" env:"PARLEY_URL"`
	TLSCert       string          `help:"Certificate chain (PEM); with --tls-key." placeholder:"FILE" env:"PARLEY_TLS_CERT"`
	TLSKey        string          `help:"Private key (PEM); with --tls-cert." placeholder:"FILE" env:"PARLEY_TLS_KEY"`
	TLSSelfSigned bool            `help:"Make a certificate for this machine's names and addresses, for a LAN." env:"PARLEY_TLS_SELF_SIGNED"`
	AdminListen   string          `help:"HOST:PORT for /metrics, /healthz, /readyz and /debug/pprof; it has no log-in. None without it." placeholder:"HOST:PORT" env:"PARLEY_ADMIN_LISTEN"`
	turnFlags
	LogLevel string `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info" env:"PARLEY_LOG_LEVEL"`
}

// Help is the longer part of `parley serve --help`.
func (*serveCmd) Help() string {
	return `Writes one line, "ready URL", to standard output when it serves; everything else goes to standard error. A new server prints a link
there that makes the first account, the administrator. Interrupt it to stop.

Browsers need HTTPS anywhere but on localhost: give --tls-cert and --tls-key, or --tls-self-signed on a LAN, or put a proxy in front and
give --url. One folder serves one process.

  parley serve --listen :443 --data-dir /var/lib/parley --tls-cert chain.pem --tls-key key.pem`
}

const shutdownGrace = 10 * time.Second

// Run serves until ctx ends. Standard output gets one line, "ready URL".
func (s *serveCmd) Run(ctx context.Context, io stdio) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		return badFlag("--log-level: %v", err)
	}
	if err := s.check(); err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(io.err, &slog.HandlerOptions{Level: level}))
	if err := os.MkdirAll(s.DataDir, 0o700); err != nil {
		return fmt.Errorf("--data-dir: %w: choose a folder that this user may write", err)
	}
	cert, err := s.certificate()
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, store.Config{Path: filepath.Join(s.DataDir, "parley.db"), Logger: logger})
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	return errors.Join(s.serve(ctx, io, logger, db, cert), db.Close())
}

// check refuses what cannot work before anything is made or opened.
func (s *serveCmd) check() error {
	for flag, address := range map[string]string{"--listen": s.Listen, "--admin-listen": s.AdminListen, "--turn-tcp-listen": s.TurnTCPListen} {
		if address == "" && flag != "--listen" {
			continue
		}
		if err := checkAddress(flag, address); err != nil {
			return err
		}
	}
	if s.URL != "" {
		u, err := url.Parse(s.URL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return badFlag("--url %s: want https://HOST or https://HOST:PORT, nothing after it", s.URL)
		}
	}
	return s.turnAddresses(&turnsrv.Config{})
}

// hints joins relay's bus and what signal asks for.
type hints struct{ *bus.Local }

func (h hints) Publish(f *pb.Frame, accounts ...proto.ID) {
	h.Local.Publish(f, proto.ID{}, accounts...)
}

func (h hints) Subscribe(account, device proto.ID, sink signal.Sink) func() {
	return h.Local.Subscribe(account, device, sink)
}

// serve opens every address before it serves on any of them.
func (s *serveCmd) serve(ctx context.Context, io stdio, logger *slog.Logger, db *store.Store, cert *tls.Certificate) (err error) {
	listener, turn, err := s.listen(ctx, logger)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // the HTTP server closes it too
	if turn != nil {
		defer turn.Close()
	}
	address, err := s.url(listener, cert != nil)
	if err != nil {
		return err
	}
	operator := newAdmin()
	if err := operator.listen(ctx, s.AdminListen); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, operator.close()) }()
	setup, err := newSetup(ctx, db)
	if err != nil {
		return err
	}
	local := bus.NewLocal()
	front, err := signal.New(ctx, signal.Config{
		Store: db, Conversations: relay.New(relay.Config{Store: db, Bus: local, Logger: logger}), Hints: hints{local}, Logger: logger,
		Registration: signal.Registration(s.Registration), URL: address.String(), Version: version, WebHash: web.Hash(), Setup: setup,
		Web: web.Handler(), ICE: newICE(turn, address.Hostname()),
	})
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: operator.count(front.Handler()), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 60 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	s.greet(io, address.String(), setup, cert)
	operator.ready.Store(true) // before it is said, and before anybody is answered
	if _, err := fmt.Fprintln(io.out, "ready", address); err != nil {
		return err
	}
	failed := make(chan error, 3)
	go func() { failed <- serveHTTP(server, listener, cert) }()
	go func() {
		if err := operator.serve(); err != nil {
			failed <- err
		}
	}()
	if turn != nil {
		operator.registry.MustRegister(newTurnMetrics(turn))
		go func() {
			if err := turn.Serve(context.WithoutCancel(ctx)); err != nil {
				failed <- err
			}
		}()
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	operator.ready.Store(false)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	err = server.Shutdown(grace)
	front.Close()
	return err
}

func serveHTTP(server *http.Server, listener net.Listener, cert *tls.Certificate) error {
	if cert == nil {
		return server.Serve(listener)
	}
	// HTTP/1.1 only: the socket is a WebSocket, which HTTP/2 carries in a way of its own.
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	return server.ServeTLS(listener, "", "")
}

// greet tells the operator, on standard error, what to do first.
func (s *serveCmd) greet(io stdio, url, setup string, cert *tls.Certificate) {
	if s.TLSSelfSigned {
		_, _ = fmt.Fprintf(io.err, "Browsers warn of the certificate once; it is this one:\n  SHA-256 %s\nThe command line takes it with SSL_CERT_FILE=%s\n",
			fingerprint(cert), filepath.Join(s.DataDir, selfSignedCert))
	}
	if setup != "" {
		_, _ = fmt.Fprintf(io.err, "Nobody is here yet. This link makes the first account, the administrator:\n  %s/setup#%s\nor: parley register --server %s --user NAME --invite setup.%s\n",
			url, setup, url, setup)
	}
}

// url is the address as a person on this machine opens it, or the one given.
func (s *serveCmd) url(listener net.Listener, secure bool) (*url.URL, error) {
	if s.URL != "" {
		u, err := url.Parse(s.URL)
		if err != nil {
			return nil, badFlag("--url: %v", err)
		}
		return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
	}
	scheme := "http"
	if secure {
		scheme = "https"
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	host, _, err := net.SplitHostPort(s.Listen)
	if err != nil || host == "" || host == "0.0.0.0" || host == "::" {
		host = "localhost"
	}
	return &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port)}, nil
}

// newSetup makes the one-time secret of a server without accounts, "" for any other.
func newSetup(ctx context.Context, db *store.Store) (string, error) {
	n, err := db.AccountCount(ctx)
	if err != nil || n > 0 {
		return "", err
	}
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b)), nil
}
