package link

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"
	"golang.org/x/time/rate"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Link is the link to one device of one account. Its methods may be called from any goroutine.
type Link struct {
	m    *Manager
	peer peerID
	q    queue
	done chan struct{} // closed when the phase is Closed

	used  atomic.Int64 // Config.Clock in Unix nanoseconds, of the last frame
	holds atomic.Int32
	shows atomic.Int32 // sessions that were made with this device's own addresses

	mu      sync.Mutex // guards what follows
	state   State
	changed chan struct{} // closed and replaced when state changes
	channel *channel      // of the active session

	// Owned by the queue.
	active  *session   // proven
	pending *session   // negotiating or proving; may stand beside an active one that it will replace
	retired []*session // replaced ones that are still read
	early   map[proto.ID][]*pb.Candidate
	offers  *rate.Limiter // offers taken from the other end
	made    time.Time
	upgrade upgrade
}

const (
	earlyLinks      = 4  // link ids whose candidates may come before their offer
	candidateLimit  = 64 // per session and ICE generation, and of early ones per link id
	offerBurst      = 20
	emptyLinkLife   = 30 * time.Second // of a Link that signals made and that came to nothing
	lookupTimeout   = 10 * time.Second
	retireAfter     = 2 * time.Second // a replaced session is still read this long
	farewellTimeout = 300 * time.Millisecond
)

func newLink(m *Manager, p peerID) *Link {
	l := &Link{
		m: m, peer: p, done: make(chan struct{}), changed: make(chan struct{}),
		offers: rate.NewLimiter(1, offerBurst), made: time.Now(),
	}
	l.q.wg = &m.wg
	l.touch()
	return l
}

// Account returns whose device is at the other end.
func (l *Link) Account() proto.ID { return l.peer.Account }

// Device returns the device at the other end.
func (l *Link) Device() proto.ID { return l.peer.Device }

// State returns the present state.
func (l *Link) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// RelayOnly says whether nothing of this link went, or may go, anywhere but through TURN.
func (l *Link) RelayOnly() bool { return l.shows.Load() == 0 }

// Done is closed when the link has closed for good.
func (l *Link) Done() <-chan struct{} { return l.done }

// Path returns how the bytes travel; the zero Path unless the link is open.
func (l *Link) Path() Path {
	l.mu.Lock()
	p, c := l.state.Path, l.channel
	l.mu.Unlock()
	if c != nil {
		p.RTT = c.rtt()
	}
	return p
}

// Send puts a frame on the control channel, in order of calls, split into messages of 16 KiB. While more than 256 KiB
// wait to be sent, or the link is not open, it blocks until ctx ends. That it returned nil does not mean that the frame
// arrived: a link may be lost, or replaced, with frames under way. A frame larger than 256 KiB is an error.
func (l *Link) Send(ctx context.Context, f *pb.Frame) error {
	l.touch()
	for {
		if err := l.wait(ctx); err != nil {
			return err
		}
		l.mu.Lock()
		c := l.channel
		l.mu.Unlock()
		err := errChannelClosed
		if c != nil {
			err = c.send(ctx, f)
		}
		if !errors.Is(err, errChannelClosed) {
			return err
		}
		if err := l.waitChange(ctx, c); err != nil { // another session may take over
			return err
		}
	}
}

// Ping measures a round trip through the control channel.
func (l *Link) Ping(ctx context.Context) (time.Duration, error) {
	if err := l.wait(ctx); err != nil {
		return 0, err
	}
	l.mu.Lock()
	c := l.channel
	l.mu.Unlock()
	if c == nil {
		return 0, errChannelClosed
	}
	return c.ping(ctx)
}

// Hold keeps the link from closing for idleness until release is called (once is enough, more do nothing): while a
// conversation is in view, a file under way, a call on.
func (l *Link) Hold() (release func()) {
	l.holds.Add(1)
	return sync.OnceFunc(func() {
		l.touch()
		l.holds.Add(-1)
	})
}

// Negotiate runs f on the PeerConnection of an open link, for adding or removing tracks and transceivers; the offer that
// follows from it goes over the control channel.
func (l *Link) Negotiate(ctx context.Context, f func(*webrtc.PeerConnection) error) error {
	result := make(chan error, 1)
	if !l.q.push(func() {
		if l.active == nil {
			result <- errors.New("link: not open")
			return
		}
		result <- f(l.active.pc)
	}) {
		return l.closedError()
	}
	select {
	case err := <-result:
		return err
	case <-l.done:
		return l.closedError()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close tells the other end the reason and ends the link. It does not wait; Done does.
func (l *Link) Close(reason Reason) {
	l.q.push(func() { l.closing(reason, nil) })
}

// Repair builds the path anew as Manager.NetworkChanged does for all links.
func (l *Link) Repair() { l.q.push(l.repair) }

func (l *Link) touch() { l.used.Store(l.m.cfg.Clock().UnixNano()) }

// polite says whether this side yields when both offer at once: the smaller device id does (docs/PROTOCOL.md §6).
func (l *Link) polite() bool {
	own, other := l.m.cfg.Self.Device, l.peer.Device
	return bytes.Compare(own[:], other[:]) < 0
}

func (l *Link) log() *slog.Logger {
	return l.m.cfg.Logger.With(slog.String("device", l.peer.Device.String()))
}

// Notes that benchmarks measure between.
const (
	noteBegins  = "session begins"
	noteChannel = "channel open"
)

// note logs a step of a session at debug.
func (s *session) note(what string) {
	s.l.log().Debug("link: "+what, slog.String("link", s.id.String()), slog.Uint64("own_generation", s.localGen),
		slog.Uint64("other_generation", s.remoteGen))
}

// wait blocks until the link is open, or was and is being repaired.
func (l *Link) wait(ctx context.Context) error {
	for {
		l.mu.Lock()
		phase, changed := l.state.Phase, l.changed
		l.mu.Unlock()
		switch phase {
		case Open, Restarting:
			return nil
		case Closed:
			return l.closedError()
		case Connecting:
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waitChange blocks until the channel is another one than c.
func (l *Link) waitChange(ctx context.Context, c *channel) error {
	for {
		l.mu.Lock()
		now, changed := l.channel, l.changed
		l.mu.Unlock()
		if now != c {
			return nil
		}
		select {
		case <-changed:
		case <-l.done:
			return l.closedError()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *Link) closedError() error {
	s := l.State()
	return &ClosedError{Reason: s.Reason, Err: s.Err}
}

// setState publishes a state if it says something new. Queue only.
func (l *Link) setState(s State) {
	l.mu.Lock()
	if l.state.Phase == s.Phase && l.state.Path.same(s.Path) && s.Phase != Connecting {
		l.mu.Unlock()
		return
	}
	l.state = s
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()
	l.m.cfg.OnState(l, s)
}

// setChannel tells senders which channel to use. Queue only.
func (l *Link) setChannel(c *channel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.channel = c
	close(l.changed)
	l.changed = make(chan struct{})
}

// ensure starts a session unless there is one. Queue only, like all that follow.
func (l *Link) ensure() {
	if l.active != nil || l.pending != nil {
		return
	}
	l.begin(routeSocket)
}

// begin offers a new session.
func (l *Link) begin(via route) {
	s, err := newSession(l, proto.NewID(), true, via)
	if err != nil {
		l.closing(ReasonFailed, err)
		return
	}
	l.pending = s
	if l.active == nil {
		l.setState(State{Phase: Connecting})
	}
	if err := s.negotiate(false); err != nil {
		l.fail(s, ReasonFailed, err)
	}
}

func (l *Link) session(id proto.ID) *session {
	switch {
	case l.pending != nil && l.pending.id == id:
		return l.pending
	case l.active != nil && l.active.id == id:
		return l.active
	}
	return nil
}

// fail ends a session; the link ends with its last one.
func (l *Link) fail(s *session, reason Reason, err error) {
	current := s == l.active || s == l.pending
	if s == l.active {
		l.active = nil
		l.setChannel(nil)
	}
	if s == l.pending {
		l.pending = nil
	}
	s.end()
	switch {
	case !current:
	case l.active == nil && l.pending == nil:
		l.close(reason, err)
	case l.active == nil:
		l.setState(State{Phase: Connecting})
	}
}

// closing ends the link and tells the other end.
func (l *Link) closing(reason Reason, err error) {
	for _, s := range []*session{l.pending, l.active} {
		if s != nil {
			s.farewell(reason)
			s.end()
		}
	}
	l.active, l.pending = nil, nil
	l.close(reason, err)
}

// close is the last thing that happens to a Link.
func (l *Link) close(reason Reason, err error) {
	select {
	case <-l.done:
		return
	default:
	}
	l.q.close()
	l.m.forget(l)
	l.early = nil
	for _, s := range l.retired {
		s.end()
	}
	l.setChannel(nil)
	l.setState(State{Phase: Closed, Reason: reason, Err: err})
	close(l.done)
}

// proven makes a session the active one.
func (l *Link) proven(s *session) {
	if s.ended || s != l.pending {
		return
	}
	old := l.active
	l.active, l.pending = s, nil
	s.open = true
	s.note("proven")
	l.setChannel(s.channel)
	l.touch()
	s.readPath()
	l.upgrade.reset()
	l.setState(State{Phase: Open, Path: s.path})
	if old != nil {
		old.retire()
	}
	if s.again {
		s.negotiateAgain()
	}
}

// repair builds the path anew (see Manager.NetworkChanged).
func (l *Link) repair() {
	switch {
	case l.active == nil && l.pending == nil:
	case l.active == nil:
		if p := l.pending; p.own && !p.answered {
			p.end() // its candidates are of the old network
			l.pending = nil
			l.begin(p.via)
		} else {
			p.restart()
		}
	default:
		l.active.restart()
	}
}

// sweep is called by Serve now and then, from its goroutine.
func (l *Link) sweep() {
	l.q.push(func() {
		switch {
		case l.active == nil && l.pending == nil:
			if time.Since(l.made) > emptyLinkLife {
				l.close(ReasonTimeout, nil)
			}
		case l.active != nil:
			idle := l.m.cfg.Clock().UnixNano() - l.used.Load()
			if limit := l.m.cfg.IdleTimeout; limit > 0 && l.holds.Load() == 0 && idle >= int64(limit) {
				l.closing(ReasonIdle, nil)
				return
			}
			if l.pending == nil && l.upgrade.due(l.active) {
				l.active.restart()
			}
		}
	})
}

// upgrade decides when a relayed link looks for a direct path again. A restart holds frames for about a round trip, so
// it is tried three times at growing distance, not for ever.
type upgrade struct {
	tries int
	since time.Time
}

const (
	upgradeFirst = 45 * time.Second
	upgradeTries = 3
)

func (u *upgrade) reset() { *u = upgrade{since: time.Now()} }

func (u *upgrade) due(s *session) bool {
	if s.path.Kind != Turn || s.relayOnly || !s.settled() || u.tries >= upgradeTries ||
		time.Since(u.since) < upgradeFirst<<(2*u.tries) {
		return false
	}
	u.tries++
	u.since = time.Now()
	return true
}
