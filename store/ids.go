package store

import (
	"context"

	"github.com/parley-chat/parley/proto"
)

type idKey struct {
	table byte
	id    proto.ID
}

const (
	accountIDs = 'a'
	deviceIDs  = 'd'
	maxIDs     = 200_000 // cached; beyond that the cache starts again
)

var idQueries = map[byte]string{ //nolint:gochecknoglobals // a constant table
	accountIDs: "SELECT id FROM accounts WHERE public_id = ?",
	deviceIDs:  "SELECT id FROM devices WHERE public_id = ?",
}

// internal translates a public id into the integer that rows refer to. They never change.
func (s *Store) internal(ctx context.Context, table byte, id proto.ID) (int64, error) {
	key := idKey{table, id}
	s.idsMu.RLock()
	n, ok := s.ids[key]
	s.idsMu.RUnlock()
	if ok {
		return n, nil
	}
	if err := s.read.QueryRowContext(ctx, idQueries[table], id[:]).Scan(&n); err != nil {
		return 0, wrap("find id", err)
	}
	s.idsMu.Lock()
	defer s.idsMu.Unlock()
	if len(s.ids) >= maxIDs {
		clear(s.ids)
	}
	s.ids[key] = n
	return n, nil
}

// AccountID is the integer id of an account, or ErrNotFound.
func (s *Store) AccountID(ctx context.Context, id proto.ID) (int64, error) {
	return s.internal(ctx, accountIDs, id)
}

// DeviceID is the integer id of a device, or ErrNotFound.
func (s *Store) DeviceID(ctx context.Context, id proto.ID) (int64, error) {
	return s.internal(ctx, deviceIDs, id)
}
