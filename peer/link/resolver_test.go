package link

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/pion/mdns/v2"
	"golang.org/x/net/ipv4"
)

// TestResolver asks a real multicast DNS responder on this machine.
func TestResolver(t *testing.T) {
	socket, err := listenMulticast("udp4", mdns.DefaultAddressIPv4)
	if err != nil {
		t.Fatal(err)
	}
	const name = "b0a6c9a2-parley-test.local"
	responder, err := mdns.NewServer(ipv4.NewPacketConn(socket), nil,
		mdns.WithLocalNames(name), mdns.WithIncludeLoopback(true), mdns.WithLoggerFactory(silent{}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = responder.Close() }()
	r := newResolver(slog.New(slog.DiscardHandler), true)
	a, err := r.resolve(testContext(t), name)
	if err != nil || !a.IsValid() {
		t.Errorf("%v, %v", a, err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	if a, err := r.resolve(ctx, "nobody-has-this.local"); err == nil {
		t.Errorf("a name that nobody has: %v", a)
	}
	r.close()
	if _, err := r.resolve(testContext(t), name); !errors.Is(err, errResolverClosed) {
		t.Errorf("after close: %v", err)
	}
}
