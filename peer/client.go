package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/peer/link"
	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const databaseFile = "peer.db"

// Config opens a Client.
type Config struct {
	Options
	Logger *slog.Logger // nil: silent
	// Name and version of the program, for the server's log.
	Program string
	// NoLinks turns direct links off: everything goes through the relay.
	NoLinks bool
	// RelayOnly lets links use TURN only, so that others do not learn this device's addresses.
	RelayOnly bool
}

// Client is an open profile. Its methods are safe for concurrent use.
type Client struct {
	// fixed at Open
	cfg     Config
	profile *Profile
	rest    *rest
	store   *local.Store
	session *session
	links   *link.Manager
	logger  *slog.Logger
	events  hub
	wake    chan struct{} // to the outbox: something may be ready to go
	lock    *profileLock
	shared  *shared // for other processes with the same profile

	// mu makes "read the local store, decide, write it" one step. It is never held across the network.
	mu       sync.Mutex
	presence map[proto.ID]*pb.Presence
	ice      *pb.IceServers
	list     *proto.DeviceList // own, newest
	fetches  map[fetchKey]bool // device lists that were asked for because of an event

	tokenMu sync.Mutex // guards profile.Token

	run    context.Context //nolint:containedctx // ends with Close; link callbacks have no other
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	online atomic.Bool   // the server is reached and everything it had is stored here
	ended  chan struct{} // closed when the session gave up
	endErr error         // why; set before ended is closed

	closing  sync.Once
	closeErr error
}

// Open opens the profile in cfg.Dir and starts to connect. It returns ErrNoProfile where there is no
// account, and ErrProfileBusy when another process has the profile open (see Connect for sharing it).
func Open(ctx context.Context, cfg Config) (*Client, error) {
	p, err := LoadProfile(cfg.Dir)
	if err != nil {
		return nil, err
	}
	lock, err := lockProfile(cfg.Dir)
	if err != nil {
		return nil, err
	}
	c, err := open(ctx, cfg, p)
	if err != nil {
		return nil, errors.Join(err, lock.release())
	}
	c.lock = lock
	if c.shared, err = c.share(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.tasks.Go(func() {
		if err := c.shared.serve(); err != nil {
			c.logger.Error("serving other processes", "error", err)
		}
	})
	return c, nil
}

func open(ctx context.Context, cfg Config, p *Profile) (*Client, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r, err := newRest(p.Server, cfg.httpClient(), "")
	if err != nil {
		return nil, err
	}
	store, err := local.Open(ctx, filepath.Join(cfg.Dir, databaseFile))
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, profile: p, rest: r, store: store, logger: cfg.Logger, wake: make(chan struct{}, 1),
		presence: make(map[proto.ID]*pb.Presence), ended: make(chan struct{}),
	}
	if err := errors.Join(c.pinInvited(ctx), c.loadOwnList(ctx)); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	c.session = &session{
		url: socketURL(r.base), dialer: c.dialer(), token: c.token, hello: c.hello, welcome: c.onWelcome, push: c.onPush,
		state: c.onConnection, logger: cfg.Logger, retry: make(chan struct{}, 1),
	}
	if err := c.openLinks(); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	c.run, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.tasks.Go(func() {
		c.endErr = c.session.run(c.run)
		close(c.ended)
	})
	c.tasks.Go(func() { c.outbox(c.run) })
	c.serveLinks(c.run)
	return c, nil
}

// Close ends the connection and all links and releases the profile. What is in the outbox stays there. It is idempotent.
func (c *Client) Close() error {
	c.closing.Do(func() {
		c.cancel()
		var err error
		if c.shared != nil {
			err = c.shared.close()
		}
		c.tasks.Wait()
		c.events.close()
		c.closeErr = errors.Join(err, c.store.Close(), c.lock.release())
	})
	return c.closeErr
}

// Ended is closed when the server does not let this device in any more; Err then says why.
func (c *Client) Ended() <-chan struct{} { return c.ended }

// Err is why the session gave up, nil while it has not.
func (c *Client) Err() error {
	select {
	case <-c.ended:
		return c.endErr
	default:
		return nil
	}
}

// Subscribe delivers everything that happens from now on.
func (c *Client) Subscribe() *Subscription { return c.events.subscribe() }

// Account returns the account's id.
func (c *Client) Account() proto.ID { return c.profile.Account }

// Device returns this device's id.
func (c *Client) Device() proto.ID { return c.profile.Device }

// NetworkChanged tells the client that this machine's addresses changed: it reconnects and restarts
// its links now instead of when they time out.
func (c *Client) NetworkChanged() {
	c.session.retryNow()
	if c.links != nil {
		c.links.NetworkChanged()
	}
}

// WaitOnline blocks until the server is reached and this device has everything it had.
func (c *Client) WaitOnline(ctx context.Context) error {
	sub := c.Subscribe()
	defer sub.Cancel()
	var last error
	for !c.online.Load() {
		select {
		case e := <-sub.C:
			if state, ok := e.(ConnectionEvent); ok {
				if state.Online {
					return nil
				}
				last = state.Err
			}
		case <-c.ended:
			if c.endErr != nil {
				return c.endErr
			}
			return ErrOffline
		case <-ctx.Done():
			if last != nil {
				return last
			}
			return fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
		}
	}
	return nil
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
	if c.profile.Token != "" && !renew {
		return c.profile.Token, nil
	}
	token, err := renewSession(ctx, c.rest, c.profile)
	var refused *proto.Error
	if errors.As(err, &refused) && !refused.Retryable() {
		return "", fmt.Errorf("%w: %w", ErrSignedOut, err)
	}
	if err != nil {
		return "", err
	}
	c.profile.Token = token
	return token, c.profile.save()
}

func (c *Client) onConnection(online bool, nextTry time.Duration, err error) {
	c.online.Store(online)
	c.events.emit(ConnectionEvent{Online: online, NextTry: nextTry, Err: err})
	if online {
		c.kick()
		return
	}
	c.mu.Lock()
	clear(c.presence)
	c.mu.Unlock()
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
	return c.store.Update(ctx, func(tx *local.Tx) error {
		for _, pin := range c.profile.Pinned {
			_, err := tx.Person(pin.Account)
			if errors.Is(err, local.ErrNotFound) {
				err = tx.SavePerson(&local.Person{Account: pin.Account, IdentityKey: pin.IdentityKey})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
