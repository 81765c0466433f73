// Package relay holds conversations: it takes commits and sealed envelopes, numbers them, stores them
// through package store before it acknowledges, and tells the members' connections. It never opens an
// envelope. Who calls is settled before (store.Session); what they may do is decided in authorise.
package relay

import (
	"log/slog"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/relay/bus"
	"github.com/parley-chat/parley/store"
)

// Config is what a Relay needs.
type Config struct {
	Store  *store.Store
	Bus    bus.Bus
	Logger *slog.Logger
	Clock  func() time.Time // of links and of what is asked for too often; nil: time.Now
}

// Relay serves conversations. Its methods are safe for concurrent use.
type Relay struct {
	store  *store.Store
	bus    bus.Bus
	logger *slog.Logger
	clock  func() time.Time
	asked  *asked
	places *places

	stateBytes int // maxStateBytes, less in tests
}

// New makes a relay.
func New(cfg Config) *Relay {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return &Relay{
		store: cfg.Store, bus: cfg.Bus, logger: cfg.Logger, clock: cfg.Clock, asked: newAsked(), places: newPlaces(), stateBytes: maxStateBytes,
	}
}

// public turns an error into what the caller may see.
func (r *Relay) public(err error) *pb.Error {
	if known, ok := proto.AsError(err); ok {
		return known.ToProto()
	}
	r.logger.Error("relay", "error", err)
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_INTERNAL, "the server failed: try again").ToProto()
}

// publish gives a frame to all connections of some accounts.
func (r *Relay) publish(f *pb.Frame, accounts ...proto.ID) { r.bus.Publish(f, proto.ID{}, accounts...) }
