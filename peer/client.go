package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/peer/link"
	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const databaseFile = "peer.db"

// ErrClosed says that the client was closed.
var ErrClosed = errors.New("the client was closed")

// Config opens a Client.
type Config struct {
	Options
	Logger *slog.Logger // nil: silent. It never gets a text or a key
	// Name and version of the program, for the server's log.
	Program string
	// NoLinks turns direct links off: everything goes through the relay.
	NoLinks bool
	// RelayOnly lets links use TURN only, so that others do not learn this device's addresses.
	RelayOnly bool
}

// Client is an open profile. Its methods are safe for concurrent use; after Close they return ErrClosed.
type Client struct {
	// fixed at Open
	cfg     Config
	profile *Profile
	rest    *rest
	store   *local.Store
	session *session
	links   *link.Manager // nil with NoLinks
	logger  *slog.Logger
	events  hub
	wake    chan struct{} // to the outbox: something may be ready to go
	lock    *profileLock
	shared  *shared // for other processes with the same profile

	run    context.Context //nolint:containedctx // ends with Close; link callbacks have no other
	cancel context.CancelFunc
	tasks  tasks
	ended  chan struct{} // closed when the session gave up
	endErr error         // why; set before ended is closed

	tokenMu sync.Mutex // one renewal at a time; never locked while mu is held

	// mu makes each transaction one step (see update) and guards what follows and what is secret in profile. It is never
	// held across the network.
	mu       sync.Mutex
	presence map[proto.ID]*pb.Presence
	away     bool // what SetPresence said last
	ice      *pb.IceServers
	list     *proto.DeviceList // own, newest
	catching *catchUp          // of the present connection, nil while offline
	online   bool              // the server is reached and everything it had is stored here
	gaps     map[gapKey]int64  // missing messages that were seen at the last look

	addresses addresses

	// linkMu guards what follows. Nothing else is locked, and nothing waited for, while it is held.
	linkMu  sync.Mutex
	feeders map[proto.ID]*feeder // of open links, by device
	reached map[recipient]*reach

	closing  sync.Once
	closeErr error
}

// Open opens the profile in cfg.Dir and starts to connect. It returns ErrNoProfile where there is no
// account, and ErrProfileBusy when another process has the profile open (see Connect for sharing it).
// ctx is for opening alone; only Close ends the client.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	p, err := LoadProfile(cfg.Dir)
	if err != nil {
		return nil, err
	}
	lock, err := lockProfile(cfg.Dir)
	if err != nil {
		return nil, err
	}
	c, err := newClient(ctx, cfg, p)
	if err != nil {
		return nil, errors.Join(err, lock.release())
	}
	c.lock = lock
	if c.shared, err = c.share(ctx); err != nil {
		return nil, errors.Join(err, c.store.Close(), lock.release())
	}
	c.start()
	return c, nil
}

// newClient makes a Client of which nothing runs yet.
func newClient(ctx context.Context, cfg Config, p *Profile) (*Client, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r, err := newRest(p.Server(), cfg.httpClient(), "")
	if err != nil {
		return nil, err
	}
	store, err := local.Open(ctx, filepath.Join(cfg.Dir, databaseFile))
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, profile: p, rest: r, store: store, logger: cfg.Logger, wake: make(chan struct{}, 1), ended: make(chan struct{}),
		presence: make(map[proto.ID]*pb.Presence), feeders: make(map[proto.ID]*feeder), reached: make(map[recipient]*reach),
		gaps: make(map[gapKey]int64),
	}
	c.run, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.session = &session{
		url: socketURL(r.base), dialer: c.dialer(), token: c.token, hello: c.hello, attach: c.attach, lost: c.lost,
		logger: cfg.Logger, retry: make(chan struct{}, 1),
	}
	if err := errors.Join(c.pinInvited(ctx), c.loadOwnList(ctx), c.update(ctx, (*work).loadAddresses), c.newLinks()); err != nil {
		c.cancel()
		return nil, errors.Join(err, store.Close())
	}
	return c, nil
}

// start runs what works until Close.
func (c *Client) start() {
	c.tasks.start(func() {
		c.endErr = c.session.run(c.run)
		c.mu.Lock()
		c.online, c.catching = false, nil
		c.mu.Unlock()
		close(c.ended)
		c.events.close()
	})
	c.tasks.start(func() { c.outbox(c.run) })
	c.tasks.start(c.shared.serve)
	if c.links != nil {
		c.tasks.start(func() {
			if err := c.links.Serve(c.run); err != nil && c.run.Err() == nil {
				c.logger.Error("links", "error", err)
			}
		})
	}
}

// Close ends the connection and all links and releases the profile. What is in the outbox stays there. It is idempotent and
// waits until nothing of the client runs any more.
func (c *Client) Close() error {
	c.closing.Do(func() {
		c.cancel()
		err := c.shared.close()
		c.tasks.wait()
		c.closeErr = errors.Join(err, c.store.Close(), c.lock.release())
	})
	return c.closeErr
}

// Ended is closed when the server does not let this device in any more, and by Close; Err then says why.
func (c *Client) Ended() <-chan struct{} { return c.ended }

// Err is why the session gave up for good: ErrSignedOut or ErrSuperseded. It is nil while it has not, and after Close.
func (c *Client) Err() error {
	select {
	case <-c.ended:
		return c.endErr
	default:
		return nil
	}
}

// over is Err for whoever waits for something that cannot come any more.
func (c *Client) over() error {
	if err := c.Err(); err != nil {
		return err
	}
	return ErrClosed
}

// Subscribe delivers what happens. The first subscription begins with everything that happened since Open; later ones begin
// with the present ConnectionEvent.
func (c *Client) Subscribe() *Subscription { return c.events.subscribe() }

// Account returns the account's id.
func (c *Client) Account() proto.ID { return c.profile.Account() }

// Dir returns the profile's folder.
func (c *Client) Dir() string { return c.profile.dir }

// Device returns this device's id.
func (c *Client) Device() proto.ID { return c.profile.Device() }

// NetworkChanged tells the client that this machine's addresses changed, or that it woke up: it makes sure of its connection
// and builds its links anew now instead of when they time out. Without NoLinks it notices both by itself within seconds.
func (c *Client) NetworkChanged() {
	c.checkConnection()
	if c.links != nil {
		c.links.NetworkChanged()
	}
}

func (c *Client) checkConnection() {
	c.tasks.start(func() { c.session.networkChanged(c.run) })
}

// WaitOnline blocks until the server is reached and this device has everything it had.
func (c *Client) WaitOnline(ctx context.Context) error {
	if c.isOnline() {
		return nil
	}
	sub := c.events.watch()
	defer sub.Cancel()
	var last error
	for !c.isOnline() {
		select {
		case e, open := <-sub.C:
			if !open {
				<-c.ended
				return c.over()
			}
			if state, ok := e.(ConnectionEvent); ok {
				last = state.Err
			}
		case <-ctx.Done():
			if last != nil {
				return last
			}
			return fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
		}
	}
	return nil
}

// Reach is one attempt to be online, now and not after the backoff: it returns nil when the server is reached and this device
// has everything it had, or why that failed. Each step of an attempt has a time limit of its own.
func (c *Client) Reach(ctx context.Context) error {
	sub := c.events.watch()
	defer sub.Cancel()
	if c.isOnline() {
		return nil
	}
	c.session.retryNow()
	for {
		select {
		case e, open := <-sub.C:
			if !open {
				<-c.ended
				return c.over()
			}
			if state, ok := e.(ConnectionEvent); ok && (state.Online || state.Err != nil) {
				return state.Err
			}
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // the caller's own
		}
	}
}

func (c *Client) isOnline() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.online
}

func (c *Client) dialer() *websocket.Dialer {
	d := &websocket.Dialer{HandshakeTimeout: writeDeadline, Subprotocols: []string{subprotocol}, Proxy: http.ProxyFromEnvironment}
	if t, ok := c.cfg.httpClient().Transport.(*http.Transport); ok && t.TLSClientConfig != nil {
		d.TLSClientConfig = t.TLSClientConfig.Clone()
		d.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	return d
}

// token returns the session token, opening a new session by signature when there is none or when
// the server refused it.
func (c *Client) token(ctx context.Context, renew bool) (string, error) {
	c.tokenMu.Lock()
	defer c.tokenMu.Unlock()
	c.mu.Lock()
	token := c.profile.keys.Token
	c.mu.Unlock()
	if token != "" && !renew {
		return token, nil
	}
	token, err := renewSession(ctx, c.rest, c.profile)
	if refused, ok := proto.AsError(err); ok && !refused.Retryable() {
		return "", fmt.Errorf("%w: %w", ErrSignedOut, err)
	}
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.profile.keys.Token = token
	return token, c.profile.save()
}

// lost ends what belonged to a connection, or tells of an attempt that failed. nextTry 0 says that there is none.
func (c *Client) lost(nextTry time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.online, c.catching = false, nil
	clear(c.presence)
	c.events.emit(ConnectionEvent{NextTry: nextTry, Err: err})
}

// kick wakes the outbox.
func (c *Client) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// pinInvited puts what an invitation vouched for at registration into the local store.
func (c *Client) pinInvited(ctx context.Context) error {
	return c.update(ctx, func(w *work) error {
		for _, pin := range c.profile.keys.Pinned {
			_, err := w.Person(pin.Account)
			if errors.Is(err, local.ErrNotFound) {
				err = w.SavePerson(&local.Person{Account: pin.Account, IdentityKey: pin.IdentityKey})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
