package turnsrv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v4"
)

// sweepInterval is how often idle users and old revocations are forgotten and the interfaces are read.
const sweepInterval = 10 * time.Second

// socketBuffer is asked of the system for each UDP listener: 208 KiB, the usual default, lose packets in
// bursts.
const socketBuffer = 4 << 20

// ErrClosed is returned by Serve when the server was closed before, or is served already.
var ErrClosed = errors.New("turnsrv: closed")

// Server is a STUN and TURN server. Its methods may be called from any goroutine.
type Server struct {
	cfg     Config
	creds   *credentials
	ledger  *ledger
	policy  *policy
	limiter *replyLimiter
	stats   *stats
	counter *connCounter
	udp     []net.PacketConn
	tcp     []net.Listener

	relays sync.WaitGroup // pion's goroutines of allocations
	closed chan struct{}
	once   sync.Once
	ended  chan struct{} // Serve has returned
	failed chan error    // one slot: a listener that cannot be read

	mu     sync.Mutex
	served bool // guarded by mu
}

// New checks the configuration and opens the listeners. Sockets that the caller handed over are the server's
// from the moment New succeeds, and stay the caller's if it fails.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:     cfg,
		creds:   newCredentials(cfg.Realm, cfg.CredentialTTL, cfg.Secrets),
		limiter: newReplyLimiter(cfg.RepliesPerSecond, cfg.ReplyBurst),
		stats:   newStats(),
		counter: &connCounter{
			total: cfg.TCPConns, perSource: cfg.TCPConnsPerSource, sources: make(map[netip.Addr]int),
		},
		closed: make(chan struct{}), ended: make(chan struct{}), failed: make(chan error, 1),
	}
	s.ledger = newLedger(cfg, s.creds.isRevoked)
	opened, err := s.listen()
	if err == nil {
		err = s.setUp()
	}
	if err != nil {
		for _, c := range opened {
			_ = c.Close()
		}
		return nil, err
	}
	return s, nil
}

// listen opens the configured addresses and returns what it opened.
func (s *Server) listen() (opened []interface{ Close() error }, err error) {
	s.udp = append(s.udp, s.cfg.PacketConns...)
	s.tcp = append(s.tcp, s.cfg.Listeners...)
	var lc net.ListenConfig
	ctx := context.Background()
	for _, address := range s.cfg.ListenUDP {
		conn, err := lc.ListenPacket(ctx, network("udp", address), address)
		if err != nil {
			return opened, fmt.Errorf("turnsrv: listening on UDP %s: %w", address, err)
		}
		s.udp, opened = append(s.udp, conn), append(opened, conn)
	}
	for _, address := range s.cfg.ListenTCP {
		listener, err := lc.Listen(ctx, network("tcp", address), address)
		if err != nil {
			return opened, fmt.Errorf("turnsrv: listening on TCP %s: %w", address, err)
		}
		s.tcp, opened = append(s.tcp, listener), append(opened, listener)
	}
	return opened, nil
}

// network names the family of a listen address: IPv6 only for an IPv6 literal, IPv4 for everything else, so
// that no client's IPv4 address ever comes as IPv6.
func network(transport, address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return transport // the error is better told by the listen call
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
		return transport + "6"
	}
	return transport + "4"
}

// setUp makes what depends on the listeners' addresses.
func (s *Server) setUp() error {
	own := make([]netip.Addr, 0, len(s.udp)+len(s.tcp)+2)
	loopback := true
	for _, l := range s.listenAddrs() {
		ip := addrPort(l).Addr()
		if !ip.IsValid() {
			return badField("PacketConns, Listeners", "%T is neither a UDP nor a TCP address", l)
		}
		loopback = loopback && ip.IsLoopback()
		own = append(own, ip)
	}
	if s.cfg.AllowLoopback && !loopback {
		return badField("AllowLoopback", "a listener is not on a loopback address")
	}
	for _, ip := range []netip.Addr{s.cfg.ExternalIPv4, s.cfg.ExternalIPv6} {
		if ip.IsValid() {
			own = append(own, ip)
		}
	}
	p, err := newPolicy(newRanges(s.cfg.AllowPeers, s.cfg.AllowLoopback), s.ledger, own)
	if err != nil {
		return err
	}
	s.policy = p
	return nil
}

func (s *Server) listenAddrs() []net.Addr {
	addrs := make([]net.Addr, 0, len(s.udp)+len(s.tcp))
	for _, c := range s.udp {
		addrs = append(addrs, c.LocalAddr())
	}
	for _, l := range s.tcp {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

// Serve answers clients until ctx ends or Close is called, then closes everything, waits for its goroutines
// and returns nil; or an error, when a listener cannot be read any more. It may be called once.
func (s *Server) Serve(ctx context.Context) error {
	if !s.start() {
		return ErrClosed
	}
	defer close(s.ended)
	muxes, err := s.run()
	if err == nil {
		s.cfg.Logger.Info("turn serves", "udp", len(s.udp), "tcp", len(s.tcp))
		err = s.wait(ctx)
	}
	s.stop()
	for _, m := range muxes {
		_ = m.Close()
		m.wg.Wait()
	}
	s.relays.Wait()
	s.cfg.Logger.Info("turn ended")
	return err
}

func (s *Server) start() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return false
	default:
	}
	if s.served {
		return false
	}
	s.served = true
	return true
}

// run starts one pion server per listener: the guard in front of it then knows that whatever pion asks or
// answers concerns the request in hand.
func (s *Server) run() ([]*tcpMux, error) {
	var muxes []*tcpMux
	for i, conn := range s.udp {
		if buffered, ok := conn.(interface {
			SetReadBuffer(bytes int) error
			SetWriteBuffer(bytes int) error
		}); ok {
			// The system may give less; that costs throughput only.
			_ = buffered.SetReadBuffer(socketBuffer)
			_ = buffered.SetWriteBuffer(socketBuffer)
		}
		if err := s.attach(conn, i, false); err != nil {
			return muxes, err
		}
	}
	for i, listener := range s.tcp {
		m := newTCPMux(listener, len(s.udp)+i, s.cfg.TCPIdle, s.ledger, s.stats, s.counter)
		muxes = append(muxes, m)
		if err := s.attach(m, m.index, true); err != nil {
			return muxes, err
		}
		m.wg.Go(m.serve)
	}
	return muxes, nil
}

// attach puts a guard and pion on a listener.
func (s *Server) attach(conn net.PacketConn, index int, stream bool) error {
	listeners := make([]netip.Addr, 0, len(s.udp)+len(s.tcp))
	for _, a := range s.listenAddrs() {
		listeners = append(listeners, addrPort(a).Addr())
	}
	g := &guard{
		PacketConn: conn, index: index, stream: stream, localIP: addrPort(conn.LocalAddr()).Addr(),
		policy: s.policy, ledger: s.ledger, creds: s.creds, limiter: s.limiter, stats: s.stats,
		places: addresses{
			external4: s.cfg.ExternalIPv4, external6: s.cfg.ExternalIPv6, listeners: listeners,
		},
		minPort: s.cfg.MinPort, maxPort: s.cfg.MaxPort, perAlloc: s.cfg.Permissions, clock: s.cfg.Clock,
		spawn: func(r *relayConn) { s.relays.Add(1); r.wg = &s.relays },
		ended: s.listenerEnded,
		buf:   make([]byte, maxFrame),
	}
	_, err := turn.NewServer(turn.ServerConfig{
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn: g, RelayAddressGenerator: g, PermissionHandler: g.permission,
		}},
		LoggerFactory: silence{},
		Realm:         s.cfg.Realm,
		AuthHandler:   g.key,
		EventHandler:  g.events(),
		InboundMTU:    maxFrame,
	})
	if err != nil {
		return fmt.Errorf("turnsrv: starting pion: %w", err)
	}
	return nil
}

// listenerEnded ends Serve when a listener fails that nobody closed.
func (s *Server) listenerEnded(err error) {
	if errors.Is(err, net.ErrClosed) {
		return
	}
	select {
	case s.failed <- err:
	default: // one is enough
	}
}

// wait sweeps until the server shall end.
func (s *Server) wait(ctx context.Context) error {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.closed:
			return nil
		case err := <-s.failed:
			return fmt.Errorf("turnsrv: reading a listener: %w", err)
		case <-ticker.C:
			s.ledger.sweep(time.Now())
			s.creds.sweep(s.cfg.Clock())
			if err := s.policy.refresh(); err != nil {
				s.cfg.Logger.Warn("turn keeps the old list of its own addresses", "error", err)
			}
		}
	}
}

// stop closes the sockets; pion ends its allocations when its listener ends.
func (s *Server) stop() {
	s.once.Do(func() {
		close(s.closed)
		for _, c := range s.udp {
			_ = c.Close()
		}
		for _, l := range s.tcp {
			_ = l.Close()
		}
	})
}

// Close ends all allocations and connections, and waits until Serve has returned. It may be called again.
func (s *Server) Close() {
	s.stop()
	s.mu.Lock()
	served := s.served
	s.mu.Unlock()
	if served {
		<-s.ended
	}
}

// Credentials issues a credential of the TURN REST form for a user: username "expiry:user" with the expiry
// in Unix seconds, password the base64 of HMAC-SHA1(secret, username). The user id is whatever is stable for
// quotas and revocation, 1 to MaxUser bytes without ':'; for another one everything returned is empty.
func (s *Server) Credentials(user string, now time.Time) (username, password string, expires time.Time) {
	return s.creds.issue(user, now)
}

// Revoke ends a user's allocations at once and refuses the credentials issued to them so far. Credentials
// issued later work. Revocations live in memory: after a restart old credentials work until they expire.
func (s *Server) Revoke(user string) {
	s.creds.revoke(user, s.cfg.Clock())
	s.ledger.closeUser(user)
}

// Rotate replaces the secrets. With the old one as Previous, credentials issued so far go on working until
// PreviousUntil. The error wraps ErrConfig.
func (s *Server) Rotate(secrets Secrets) error {
	if err := secrets.validate(); err != nil {
		return err
	}
	s.creds.rotate(secrets)
	return nil
}

// UDPAddr returns the address of the first UDP listener, nil if there is none.
func (s *Server) UDPAddr() *net.UDPAddr {
	if len(s.udp) == 0 {
		return nil
	}
	return net.UDPAddrFromAddrPort(addrPort(s.udp[0].LocalAddr()))
}

// TCPAddr returns the address of the first TCP listener, nil if there is none.
func (s *Server) TCPAddr() *net.TCPAddr {
	if len(s.tcp) == 0 {
		return nil
	}
	return net.TCPAddrFromAddrPort(addrPort(s.tcp[0].Addr()))
}

// URLs returns the server's URLs (RFC 7064, RFC 7065) for clients that reach it under a host name or an IP
// address: STUN and TURN on the first UDP listener, TURN on the first TCP listener.
func (s *Server) URLs(host string) []string {
	var urls []string
	if a := s.UDPAddr(); a != nil {
		at := net.JoinHostPort(host, strconv.Itoa(a.Port))
		urls = append(urls, "stun:"+at, "turn:"+at+"?transport=udp")
	}
	if a := s.TCPAddr(); a != nil {
		urls = append(urls, "turn:"+net.JoinHostPort(host, strconv.Itoa(a.Port))+"?transport=tcp")
	}
	return urls
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	out := s.stats.snapshot()
	out.Allocations, out.Users = s.ledger.counts()
	out.TCPConns = s.counter.count()
	return out
}

// silence is pion's logger. What pion logs names clients and peers, which no log of this server does; what
// matters of it is counted in Stats.
type silence struct{}

// NewLogger returns a logger that writes nothing.
func (silence) NewLogger(string) logging.LeveledLogger {
	return &logging.DefaultLeveledLogger{}
}
