package store

import (
	"context"
	"fmt"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// newGeneration stores what a list update brings for a new account key. Whoever knows the key before
// could open every epoch granted to it, so the account's conversations need a new one.
func (w *writeTx) newGeneration(u ListUpdate) error {
	if !u.NewKey {
		return nil
	}
	if u.KeyRing != nil {
		ring, err := gproto.Marshal(u.KeyRing)
		if err == nil {
			_, err = w.exec("UPDATE accounts SET key_ring = ? WHERE id = ?", ring, u.Account)
		}
		if err != nil {
			return fmt.Errorf("set key ring: %w", err)
		}
	}
	_, err := w.exec(`UPDATE conversations SET needs_epoch = 1 WHERE id IN
		(SELECT conversation_id FROM members WHERE account_id = ? AND left_seq = 0)`, u.Account)
	if err != nil {
		return fmt.Errorf("need new epochs: %w", err)
	}
	w.s.heads.clear()
	return nil
}

// insertGenerations stores the account keys that a list update seals to devices.
func (w *writeTx) insertGenerations(u ListUpdate) error {
	for _, g := range u.Grants {
		_, err := w.exec(`INSERT INTO generation_grants (device_id, generation, enc, ciphertext)
			SELECT id, ?, ?, ? FROM devices WHERE public_id = ? AND account_id = ?`,
			g.GetGeneration(), g.GetEnc(), g.GetCiphertext(), g.GetDevice(), u.Account)
		if err != nil {
			return fmt.Errorf("insert generation grant: %w", err)
		}
	}
	return nil
}

// GenerationGrants returns the account keys that were sealed to a device, oldest first.
func (s *Store) GenerationGrants(ctx context.Context, device int64, public proto.ID) ([]*pb.GenerationGrant, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT generation, enc, ciphertext FROM generation_grants WHERE device_id = ? ORDER BY generation", device)
	if err != nil {
		return nil, fmt.Errorf("read generation grants: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []*pb.GenerationGrant
	for rows.Next() {
		g := &pb.GenerationGrant{Device: public.Bytes()}
		if err := rows.Scan(&g.Generation, &g.Enc, &g.Ciphertext); err != nil {
			return nil, fmt.Errorf("read generation grants: %w", err)
		}
		all = append(all, g)
	}
	return all, wrap("read generation grants", rows.Err())
}

// DeviceState is what an account's devices see of one of them, ended or not. A device of another account
// is ErrNotFound.
func (s *Store) DeviceState(ctx context.Context, account int64, public proto.ID) (*pb.DeviceState, error) {
	d := &pb.DeviceState{Device: public.Bytes()}
	err := s.read.QueryRowContext(ctx, `SELECT name, created_ms, last_used_ms, last_address, ended_ms IS NOT NULL FROM devices
		WHERE public_id = ? AND account_id = ?`, public[:], account).Scan(&d.Name, &d.CreatedMs, &d.LastUsedMs, &d.LastAddress, &d.Ended)
	return d, wrap("read device", err)
}

// TouchEvery is how often at most the use of a device is noted.
const TouchEvery = time.Minute

// Touch notes that a device was used from an address, for the account's other devices to see. It writes nothing if
// that was noted less than TouchEvery before.
func (s *Store) Touch(ctx context.Context, session *Session, address string) error {
	now := s.nowMS()
	if now-session.LastUsedMS < TouchEvery.Milliseconds() && session.LastAddress != "" {
		return nil
	}
	session.LastUsedMS, session.LastAddress = now, address
	return s.write(ctx, func(w *writeTx) error {
		changed, err := w.exec(`UPDATE devices SET last_used_ms = ?, last_address = ?
			WHERE id = ? AND ended_ms IS NULL AND (last_used_ms <= ? OR last_address = '')`, now, address, session.DeviceID, now-TouchEvery.Milliseconds())
		if err != nil || changed == 0 {
			return wrap("note use", err)
		}
		if _, err := w.exec("UPDATE accounts SET last_seen_ms = ? WHERE id = ?", now, session.AccountID); err != nil {
			return fmt.Errorf("note use: %w", err)
		}
		err = w.bump(session.AccountID, LogDevice, session.Device[:])
		return err
	})
}
