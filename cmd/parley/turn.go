package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/signal"
	"github.com/parley-chat/parley/turnsrv"
)

// turnFlags configure the embedded STUN and TURN server.
type turnFlags struct {
	Turn           bool     `help:"Serve STUN and TURN: UDP on the listen port's number, TCP on another port." default:"true" negatable:"" env:"PARLEY_TURN"`
	TurnTCPListen  string   `help:"HOST:PORT for TURN over TCP; a free port of the listen address otherwise." placeholder:"HOST:PORT" env:"PARLEY_TURN_TCP_LISTEN"`
	TurnExternalIP []string `help:"Public addresses of this machine behind a one-to-one NAT, one IPv4 and one IPv6 at most." placeholder:"IP" env:"PARLEY_TURN_EXTERNAL_IP"`
	TurnAllowPeer  []string `help:"Networks that may be relayed to although they are private, e.g. 192.168.1.0/24 on a LAN." placeholder:"CIDR" env:"PARLEY_TURN_ALLOW_PEER"`
}

const turnSecret = 32 // bytes; made anew at every start: clients fetch credentials when they reconnect

// portTries is how often another free TCP port is taken because its UDP twin is not free.
const portTries = 16

// listen opens the front door's listener and TURN's UDP sockets on the same port number.
func (s *serveCmd) listen(ctx context.Context, logger *slog.Logger) (net.Listener, *turnsrv.Server, error) {
	_, port, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return nil, nil, fmt.Errorf("--listen: %w", err)
	}
	for try := 0; ; try++ {
		var lc net.ListenConfig
		listener, err := lc.Listen(ctx, "tcp", s.Listen)
		if err != nil {
			return nil, nil, addressError("--listen", s.Listen, err)
		}
		turn, err := s.openTurn(listener, logger)
		if err == nil {
			return listener, turn, nil
		}
		err = errors.Join(err, listener.Close())
		if errors.Is(err, turnsrv.ErrConfig) || port != "0" || try >= portTries {
			return nil, nil, err
		}
	}
}

// openTurn opens the TURN server beside a listener, nil when it is turned off.
func (s *serveCmd) openTurn(listener net.Listener, logger *slog.Logger) (*turnsrv.Server, error) {
	if !s.Turn {
		return nil, nil //nolint:nilnil // turned off is no error
	}
	cfg := turnsrv.Config{Logger: logger, Secrets: turnsrv.Secrets{Current: make([]byte, turnSecret)}}
	_, _ = rand.Read(cfg.Secrets.Current) // never fails (crypto/rand)
	address, err := netip.ParseAddrPort(listener.Addr().String())
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	hosts := []string{address.Addr().Unmap().String()}
	if address.Addr().IsUnspecified() && address.Addr().Is6() {
		hosts = []string{"0.0.0.0", "::"}
	}
	for _, host := range hosts {
		cfg.ListenUDP = append(cfg.ListenUDP, net.JoinHostPort(host, strconv.Itoa(int(address.Port()))))
		if s.TurnTCPListen == "" && len(cfg.ListenTCP) == 0 {
			cfg.ListenTCP = []string{net.JoinHostPort(host, "0")}
		}
	}
	if s.TurnTCPListen != "" {
		cfg.ListenTCP = []string{s.TurnTCPListen}
	}
	if err := s.turnAddresses(&cfg); err != nil {
		return nil, err
	}
	turn, err := turnsrv.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("TURN: %w: free the port, or turn it off with --no-turn", err)
	}
	return turn, nil
}

func (s *serveCmd) turnAddresses(cfg *turnsrv.Config) error {
	for _, text := range s.TurnExternalIP {
		ip, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			return badFlag("--turn-external-ip %s: %v", text, err)
		case ip.Is4() && !cfg.ExternalIPv4.IsValid():
			cfg.ExternalIPv4 = ip
		case ip.Is6() && !cfg.ExternalIPv6.IsValid():
			cfg.ExternalIPv6 = ip
		default:
			return badFlag("--turn-external-ip: give one IPv4 and one IPv6 address at most")
		}
	}
	for _, text := range s.TurnAllowPeer {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return badFlag("--turn-allow-peer %s: %v", text, err)
		}
		cfg.AllowPeers = append(cfg.AllowPeers, prefix.Masked())
	}
	return nil
}

// ice tells devices how to reach the TURN server, with credentials of their own: they end with the device.
// Devices of an account share its limits.
type ice struct {
	turn *turnsrv.Server
	host string
}

// newICE takes the name in the public URL; for loopback it uses the address itself, since a name may mean
// another family there. Without a TURN server there is no ICE.
func newICE(turn *turnsrv.Server, host string) signal.ICE {
	if turn == nil {
		return nil
	}
	if a := turn.UDPAddr(); a != nil && a.IP.IsLoopback() {
		host = a.IP.String()
	}
	return ice{turn, host}
}

func turnUser(account, device proto.ID) string { return account.String() + "/" + device.String() }

// Servers implements signal.ICE.
func (i ice) Servers(account, device proto.ID) *pb.IceServers {
	username, password, expires := i.turn.Credentials(turnUser(account, device), time.Now())
	return &pb.IceServers{
		Servers:   []*pb.IceServer{{Urls: i.turn.URLs(i.host), Username: username, Credential: password}},
		ExpiresMs: uint64(expires.UnixMilli()),
	}
}

// Revoke implements signal.ICE.
func (i ice) Revoke(account, device proto.ID) { i.turn.Revoke(turnUser(account, device)) }

// turnMetrics shows the counters of the TURN server at /metrics.
type turnMetrics struct {
	turn                                 *turnsrv.Server
	allocations, bytes, packets, refused *prometheus.Desc
}

func newTurnMetrics(turn *turnsrv.Server) *turnMetrics {
	return &turnMetrics{
		turn:        turn,
		allocations: prometheus.NewDesc("parley_turn_allocations", "Live allocations.", nil, nil),
		bytes:       prometheus.NewDesc("parley_turn_relayed_bytes_total", "Relayed payload.", []string{"direction"}, nil),
		packets:     prometheus.NewDesc("parley_turn_relayed_packets_total", "Relayed packets.", []string{"direction"}, nil),
		refused:     prometheus.NewDesc("parley_turn_refused_total", "What was refused or dropped.", []string{"reason"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *turnMetrics) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, out) }

// Collect implements prometheus.Collector.
func (m *turnMetrics) Collect(out chan<- prometheus.Metric) {
	s := m.turn.Stats()
	out <- prometheus.MustNewConstMetric(m.allocations, prometheus.GaugeValue, float64(s.Allocations))
	out <- prometheus.MustNewConstMetric(m.bytes, prometheus.CounterValue, float64(s.BytesUp), "up")
	out <- prometheus.MustNewConstMetric(m.bytes, prometheus.CounterValue, float64(s.BytesDown), "down")
	out <- prometheus.MustNewConstMetric(m.packets, prometheus.CounterValue, float64(s.PacketsUp), "up")
	out <- prometheus.MustNewConstMetric(m.packets, prometheus.CounterValue, float64(s.PacketsDown), "down")
	for reason, n := range s.Refused {
		out <- prometheus.MustNewConstMetric(m.refused, prometheus.CounterValue, float64(n), string(reason))
	}
}
