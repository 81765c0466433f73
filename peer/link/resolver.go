package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/mdns/v2"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// resolver asks multicast DNS for the names that browsers put in place of their host addresses. Its sockets are opened
// with the first such name: links between Go peers never pay for them, and a hundred links to browsers pay once.
// It only asks; this device answers no query.
type resolver struct {
	log      *slog.Logger
	loopback bool // asks on loopback too

	mu     sync.Mutex
	conn   *mdns.Conn
	failed error
	closed bool
}

const resolveTimeout = 3 * time.Second

var errResolverClosed = errors.New("mDNS: closed")

func newResolver(log *slog.Logger, loopback bool) *resolver {
	return &resolver{log: log, loopback: loopback}
}

// resolve returns the address of a .local name.
func (r *resolver) resolve(ctx context.Context, name string) (netip.Addr, error) {
	conn, err := r.open()
	if err != nil {
		return netip.Addr{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	_, a, err := conn.QueryAddr(ctx, name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("mDNS: %w", err)
	}
	return a.WithZone(""), nil
}

func (r *resolver) open() (*mdns.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return nil, errResolverClosed
	case r.conn != nil:
		return r.conn, nil
	case r.failed != nil:
		return nil, r.failed
	}
	var v4 *ipv4.PacketConn
	var v6 *ipv6.PacketConn
	c4, err4 := listenMulticast("udp4", mdns.DefaultAddressIPv4)
	if err4 == nil {
		v4 = ipv4.NewPacketConn(c4)
	}
	c6, err6 := listenMulticast("udp6", mdns.DefaultAddressIPv6)
	if err6 == nil {
		v6 = ipv6.NewPacketConn(c6)
	}
	if err4 != nil && err6 != nil {
		r.failed = fmt.Errorf("mDNS: %w", errors.Join(err4, err6))
		return nil, r.failed
	}
	conn, err := mdns.NewServer(v4, v6, mdns.WithLoggerFactory(newLoggerFactory(r.log)), mdns.WithIncludeLoopback(r.loopback),
		mdns.WithRecordTypes(dnsmessage.TypeA, dnsmessage.TypeAAAA), mdns.WithCacheRefresh(false))
	if err != nil {
		if c4 != nil {
			_ = c4.Close() // the error that matters is the one above
		}
		if c6 != nil {
			_ = c6.Close()
		}
		r.failed = fmt.Errorf("mDNS: %w", err)
		return nil, r.failed
	}
	r.conn = conn
	return conn, nil
}

func (r *resolver) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.conn != nil {
		_ = r.conn.Close() // nothing is left to be done about it
		r.conn = nil
	}
}

func listenMulticast(network, address string) (*net.UDPConn, error) {
	a, err := net.ResolveUDPAddr(network, address)
	if err != nil {
		return nil, err
	}
	return net.ListenUDP(network, a)
}
