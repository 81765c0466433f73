package main

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/relay"
	"github.com/parley-chat/parley/relay/bus"
	"github.com/parley-chat/parley/signal"
	"github.com/parley-chat/parley/store"
)

type serveCmd struct {
	Listen       string `help:"Address to listen on; port 0 takes a free one." default:"localhost:8080" env:"PARLEY_LISTEN"`
	DataDir      string `help:"Folder for the database." default:"data" env:"PARLEY_DATA_DIR"`
	Registration string `help:"Who may make an account: open, invite or closed." enum:"open,invite,closed" default:"invite" env:"PARLEY_REGISTRATION"`
	TLSCert      string `help:"Certificate chain (PEM)." env:"PARLEY_TLS_CERT"`
	TLSKey       string `help:"Private key (PEM)." env:"PARLEY_TLS_KEY"`
	LogLevel     string `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info" env:"PARLEY_LOG_LEVEL"`
}

const shutdownGrace = 10 * time.Second

// Run serves until ctx ends. Standard output gets one line, "ready URL".
func (s *serveCmd) Run(ctx context.Context, io stdio) error {
	if (s.TLSCert == "") != (s.TLSKey == "") {
		return badFlag("--tls-cert and --tls-key go together: give both")
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		return badFlag("--log-level: %v", err)
	}
	logger := slog.New(slog.NewTextHandler(io.err, &slog.HandlerOptions{Level: level}))
	if err := os.MkdirAll(s.DataDir, 0o700); err != nil {
		return fmt.Errorf("--data-dir: %w: choose a folder that this user may write", err)
	}
	db, err := store.Open(ctx, store.Config{Path: filepath.Join(s.DataDir, "parley.db"), Logger: logger})
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	return errors.Join(s.serve(ctx, io, logger, db), db.Close())
}

// hints joins relay's bus and what signal asks for.
type hints struct{ *bus.Local }

func (h hints) Publish(account proto.ID, f *pb.Frame) { h.Local.Publish(account, f, nil) }

func (h hints) Subscribe(account proto.ID, sink signal.Sink) func() {
	return h.Local.Subscribe(account, sink)
}

func (s *serveCmd) serve(ctx context.Context, io stdio, logger *slog.Logger, db *store.Store) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w: choose another port, or 0 for a free one", s.Listen, err)
	}
	url := s.url(listener)
	setup, err := newSetup(ctx, db)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	local := bus.NewLocal()
	front, err := signal.New(ctx, signal.Config{
		Store: db, Conversations: relay.New(relay.Config{Store: db, Bus: local, Logger: logger}), Hints: hints{local}, Logger: logger,
		Registration: signal.Registration(s.Registration), URL: url, Version: version, Setup: setup,
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{
		Handler: front.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	if setup != "" {
		_, _ = fmt.Fprintf(io.err, "Nobody is here yet. This makes the first account, the administrator:\n  parley register --server %s --user NAME --invite setup.%s\n", url, setup)
	}
	if _, err := fmt.Fprintln(io.out, "ready", url); err != nil {
		return errors.Join(err, listener.Close())
	}
	failed := make(chan error, 1)
	go func() {
		if s.TLSCert != "" {
			failed <- server.ServeTLS(listener, s.TLSCert, s.TLSKey)
			return
		}
		failed <- server.Serve(listener)
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	err = server.Shutdown(grace)
	front.Close()
	return err
}

// url is the address as a person on this machine opens it.
func (s *serveCmd) url(listener net.Listener) string {
	scheme := "http"
	if s.TLSCert != "" {
		scheme = "https"
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return scheme + "://" + listener.Addr().String()
	}
	host, _, err := net.SplitHostPort(s.Listen)
	if err != nil || host == "" || host == "0.0.0.0" || host == "::" {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
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
