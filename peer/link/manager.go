package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// ErrManagerClosed is returned by Open after Close.
var ErrManagerClosed = errors.New("link: manager closed")

// ErrTooManyLinks is returned by Open when Config.MaxLinks are there already.
var ErrTooManyLinks = errors.New("link: too many links")

// peerID names a device of an account.
type peerID struct {
	Account proto.ID
	Device  proto.ID
}

// Manager keeps this device's links. Its methods may be called from any goroutine.
type Manager struct {
	cfg          Config
	api          *webrtc.API
	apiRelayOnly *webrtc.API
	certs        *certificates
	resolver     *resolver
	resolve      func(ctx context.Context, name string) (netip.Addr, error) // the resolver's; tests have no multicast
	system       *systemNet                                                 // Config.Net, unless that was given
	lostAfter    time.Duration                                              // a constant that tests shorten
	dropped      atomic.Uint64                                              // signals dropped because a queue or a bound was full

	ctx  context.Context //nolint:containedctx // ends when Close begins: look-ups are given up then
	stop context.CancelFunc
	wg   sync.WaitGroup // queues and readers

	mu     sync.Mutex
	links  map[peerID]*Link
	ended  endedLinks
	closed bool
}

// New checks the configuration and makes a Manager. Serve must run for idle links to be closed.
func New(cfg Config) (*Manager, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	var system *systemNet
	if cfg.Net == nil {
		var err error
		if system, err = newSystemNet(); err != nil {
			return nil, err
		}
		cfg.Net = system
	}
	m := &Manager{system: system, cfg: cfg, certs: newCertificates(), lostAfter: lostAfter, links: make(map[peerID]*Link)}
	var err error
	if m.api, err = newAPI(&m.cfg, false); err != nil {
		return nil, err
	}
	if m.apiRelayOnly, err = newAPI(&m.cfg, true); err != nil {
		return nil, err
	}
	m.resolver = newResolver(cfg.Logger, cfg.AllowLoopback)
	m.resolve = m.resolver.resolve
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.wg.Add(1) // for the Manager itself, so that the count is never zero while links come and go
	return m, nil
}

const sweepEvery = 5 * time.Second

// Serve fills the certificate pool, closes idle links, tries to get off TURN, and notices sleep and changes of the
// network, until ctx ends or Close is called. It closes the Manager on return.
func (m *Manager) Serve(ctx context.Context) error {
	defer func() { _ = m.Close() }() // it never fails
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	refill := time.NewTimer(refillAfter)
	defer refill.Stop()
	watch := newNetworkWatch(m.cfg.Net)
	if err := m.certs.fill(ctx); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.ctx.Done():
			return nil
		case <-m.certs.taken:
			refill.Reset(refillAfter)
		case <-refill.C:
			if err := m.certs.fill(ctx); err != nil {
				return fmt.Errorf("link: %w", err)
			}
		case <-ticker.C:
			if watch.changed() {
				m.cfg.OnNetworkChange()
				m.NetworkChanged()
			}
			m.each((*Link).sweep)
		}
	}
}

// Close closes every link (reason "restart") and waits for everything that the Manager started. It is idempotent, and
// must not be called from OnFrame or OnState.
func (m *Manager) Close() error {
	m.mu.Lock()
	first := !m.closed
	m.closed = true
	m.mu.Unlock()
	if first {
		m.stop()
		if m.system != nil { // what pion still asks of servers that do not answer ends with the sockets it asks over
			defer time.AfterFunc(closeGrace, m.system.sockets.abort).Stop()
		}
		links := m.Links()
		for _, l := range links {
			l.Close(ReasonRestart)
		}
		for _, l := range links {
			<-l.Done()
		}
		m.resolver.close()
		m.wg.Done()
	}
	m.wg.Wait()
	return nil
}

// closeGrace is how long links may say goodbye before their sockets to TURN servers are closed under them.
const closeGrace = time.Second

// Open returns an open link to a device, making it if need be, and waits until it is open. Called again it returns the
// same Link. When ctx ends first the attempt goes on in the background.
func (m *Manager) Open(ctx context.Context, account, device proto.ID) (*Link, error) {
	l, err := m.link(peerID{account, device}, true)
	if err != nil {
		return nil, err
	}
	l.touch()
	if !l.q.push(l.ensure) {
		return nil, l.closedError()
	}
	if err := l.wait(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// Link returns the link to a device if there is one, in whatever phase.
func (m *Manager) Link(account, device proto.ID) (*Link, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.links[peerID{account, device}]
	return l, ok
}

// Links returns all links there are.
func (m *Manager) Links() []*Link {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*Link, 0, len(m.links))
	for _, l := range m.links {
		out = append(out, l)
	}
	return out
}

// HandleSignal takes a signal that came over the socket. It never blocks; what cannot be queued is dropped.
func (m *Manager) HandleSignal(account, device proto.ID, signal *pb.Signal) {
	if signal.GetKind() == nil {
		return
	}
	l, err := m.link(peerID{account, device}, signal.GetClose() == nil)
	if err != nil || l == nil || !l.q.pushForeign(func() { l.signal(signal, routeSocket) }) {
		m.drop("queue")
	}
}

// SignalFailed tells that the server refused to forward a signal of the session named link (Signal.link): the device is
// not connected, or not a contact any more.
func (m *Manager) SignalFailed(account, device proto.ID, link []byte, err error) {
	if l, ok := m.Link(account, device); ok {
		l.q.push(func() { l.signalFailed(link, err) })
	}
}

// NetworkChanged repairs every link: call it when the system reports another network or comes back from sleep (Serve
// notices both within five seconds by itself). With the socket connected it restarts ICE. Without, pion cannot: it drops
// the old path before the new credentials are known at the other end. A second session is then negotiated over the
// control channel while the old path still carries it, and takes over.
func (m *Manager) NetworkChanged() {
	if m.system != nil {
		m.system.forget()
	}
	m.each(func(l *Link) { l.q.push(l.repair) })
}

// Dropped returns how many signals were dropped because a bound was reached.
func (m *Manager) Dropped() uint64 { return m.dropped.Load() }

func (m *Manager) drop(what string) {
	m.dropped.Add(1)
	m.cfg.Logger.Debug("link: signal dropped", slog.String("bound", what))
}

func (m *Manager) each(f func(*Link)) {
	for _, l := range m.Links() {
		f(l)
	}
}

// link finds the link to a peer, or makes one.
func (m *Manager) link(p peerID, create bool) (*Link, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch l, ok := m.links[p]; {
	case ok:
		return l, nil
	case m.closed:
		return nil, ErrManagerClosed
	case !create:
		return nil, nil //nolint:nilnil // no link, no error: the caller asked only for an existing one
	case p.Account.IsZero() || p.Device.IsZero() || p.Device == m.cfg.Self.Device:
		return nil, errors.New("link: no such device")
	case len(m.links) >= m.cfg.MaxLinks:
		return nil, ErrTooManyLinks
	}
	l := newLink(m, p)
	m.links[p] = l
	return l, nil
}

func (m *Manager) forget(l *Link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.links[l.peer] == l {
		delete(m.links, l.peer)
	}
}

// endedLinks remembers link ids that were used, so that an old offer replayed by the server starts nothing. It is bounded
// and lives as long as the Manager; beyond that freshness comes from the nonces of the proof alone.
type endedLinks struct {
	set  map[proto.ID]struct{}
	ring []proto.ID
	next int
}

const endedLimit = 1024

func (e *endedLinks) add(id proto.ID) {
	if e.set == nil {
		e.set = make(map[proto.ID]struct{})
	}
	if _, ok := e.set[id]; ok {
		return
	}
	if len(e.ring) < endedLimit {
		e.ring = append(e.ring, id)
	} else {
		delete(e.set, e.ring[e.next])
		e.ring[e.next] = id
		e.next = (e.next + 1) % endedLimit
	}
	e.set[id] = struct{}{}
}

func (m *Manager) end(id proto.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended.add(id)
}

func (m *Manager) hasEnded(id proto.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.ended.set[id]
	return ok
}
