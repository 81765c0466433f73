package link

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/transport/v5"
	"github.com/pion/webrtc/v4"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Defaults of Config.
const (
	DefaultIdleTimeout = 5 * time.Minute
	DefaultOpenTimeout = 20 * time.Second
	DefaultMaxLinks    = 256
)

// Self is this device.
type Self struct {
	Account proto.ID
	Device  proto.ID
	Key     ed25519.PrivateKey // of the device, the one in the account's device list
}

// Lists is where device lists are kept and pinned. Its methods are called from several goroutines.
type Lists interface {
	// Own returns this account's list in force; it holds this device.
	Own() *proto.DeviceList
	// Lookup returns the newest list known of account. An implementation that knows none, or none that holds device,
	// asks the server for it. A list returned is verified and its identity key is the one pinned for the account.
	Lookup(ctx context.Context, account, device proto.ID) (*proto.DeviceList, error)
	// Offer hands over a list that the other end sent about itself; its own signature is verified already. It returns an
	// error if the list is lower than the highest version known, another one of the same version, not the successor it
	// must be, or made by another identity key than the pinned one. What is newer is kept.
	Offer(ctx context.Context, list *proto.DeviceList) error
}

// Signals is the way through the server's socket.
type Signals interface {
	// Connected says whether the socket is open. It decides how a link is repaired (see Manager.NetworkChanged).
	Connected() bool
	// SendSignal puts a signal into the socket's queue, keeping the order of calls, and does not wait for the server's
	// answer. It fails at once when the socket is down or its queue full. If the server refuses a signal later, the
	// implementation calls Manager.SignalFailed.
	SendSignal(ctx context.Context, account, device proto.ID, signal *pb.Signal) error
}

// Config is what a Manager needs. Self, Lists and Signals are required.
type Config struct {
	Self    Self
	Lists   Lists
	Signals Signals

	// ICE returns the STUN and TURN servers in force; called for every session and every ICE restart, so it should answer
	// from memory until they expire. nil: host candidates only. An error leaves the servers used before.
	ICE func(ctx context.Context) (*pb.IceServers, error)

	// OnFrame gets every Direct, DirectAck and Typing frame, in order, only after the other end has proved itself.
	// It runs in the session's reader: while it blocks the other end is held back. It must not call Manager.Close.
	OnFrame func(l *Link, f *pb.Frame)
	// OnState hears every change of state or path, in order. It must not block, nor call Open or Manager.Close.
	OnState func(l *Link, s State)
	// OnTrack hears of media that the other end added. nil: none is expected.
	OnTrack func(l *Link, track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver)
	// OnNetworkChange hears that Serve noticed another network, or that the machine slept. It must not block. nil: nobody does.
	OnNetworkChange func()
	// Media registers codecs and interceptors for new sessions. nil: links carry no media, and cost a third less memory.
	Media func(*webrtc.MediaEngine, *interceptor.Registry) error

	// RelayOnly says whether a link to account must hide this device's addresses: then only TURN is used and no host or
	// reflexive address leaves this device. nil: never.
	RelayOnly func(account proto.ID) bool
	// AllowLoopback admits loopback addresses on both ends: only when the server itself was reached on loopback.
	AllowLoopback bool

	IdleTimeout time.Duration // without frames and holds until a link closes; 0: DefaultIdleTimeout, negative: never
	OpenTimeout time.Duration // from the first offer to the proof; 0: DefaultOpenTimeout
	MaxLinks    int           // links at a time, so that signals cannot fill memory; 0: DefaultMaxLinks

	Clock  func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: nothing is logged. Below debug (level -8) pion's own lines are logged too, with addresses
	Net    transport.Net    // nil: the operating system's; tests put a virtual network here
}

func (c *Config) validate() error {
	switch {
	case len(c.Self.Key) != ed25519.PrivateKeySize:
		return errors.New("link: Self.Key is not an Ed25519 private key")
	case c.Self.Account.IsZero() || c.Self.Device.IsZero():
		return errors.New("link: Self.Account and Self.Device are required")
	case c.Lists == nil:
		return errors.New("link: Lists is required")
	case c.Signals == nil:
		return errors.New("link: Signals is required")
	case c.OpenTimeout < 0:
		return fmt.Errorf("link: OpenTimeout %v is negative", c.OpenTimeout)
	case c.MaxLinks < 0:
		return fmt.Errorf("link: MaxLinks %d is negative", c.MaxLinks)
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = DefaultIdleTimeout
	}
	if c.OpenTimeout == 0 {
		c.OpenTimeout = DefaultOpenTimeout
	}
	if c.MaxLinks == 0 {
		c.MaxLinks = DefaultMaxLinks
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.OnFrame == nil {
		c.OnFrame = func(*Link, *pb.Frame) {}
	}
	if c.OnNetworkChange == nil {
		c.OnNetworkChange = func() {}
	}
	if c.OnState == nil {
		c.OnState = func(*Link, State) {}
	}
	if c.RelayOnly == nil {
		c.RelayOnly = func(proto.ID) bool { return false }
	}
	return nil
}
