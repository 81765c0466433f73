package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Session says whose a token is.
type Session struct {
	Account, Device     proto.ID
	AccountID, DeviceID int64
	Admin               bool
	LastUsedMS          int64 // of the device, as of LastAddress
	LastAddress         string
}

// SessionByToken finds the session of a token hash; ErrNotFound when it does not exist, has expired or
// its device has ended.
func (s *Store) SessionByToken(ctx context.Context, tokenHash []byte) (*Session, error) {
	var (
		out             Session
		account, device []byte
	)
	err := s.read.QueryRowContext(ctx, `SELECT a.public_id, d.public_id, a.id, d.id, a.admin, d.last_used_ms, d.last_address FROM sessions t
		JOIN devices d ON d.id = t.device_id JOIN accounts a ON a.id = d.account_id
		WHERE t.token_hash = ? AND t.expires_ms > ? AND d.ended_ms IS NULL AND a.suspended_ms IS NULL AND a.deleted_ms IS NULL`,
		tokenHash, s.nowMS()).Scan(&account, &device, &out.AccountID, &out.DeviceID, &out.Admin, &out.LastUsedMS, &out.LastAddress)
	if err != nil {
		return nil, wrap("read session", err)
	}
	out.Account, out.Device = proto.ID(account), proto.ID(device)
	return &out, nil
}

// maxSessions is how many sessions a device may have; its oldest end when there are more.
const maxSessions = 16

// OpenSession stores a session of a device that proved itself.
func (s *Store) OpenSession(ctx context.Context, device int64, tokenHash []byte, expires time.Time) error {
	return s.write(ctx, func(w *writeTx) error {
		if _, err := w.exec("UPDATE devices SET last_used_ms = ? WHERE id = ?", w.s.nowMS(), device); err != nil {
			return fmt.Errorf("open session: %w", err)
		}
		if err := w.addSession(tokenHash, device, expires); err != nil {
			return err
		}
		return w.endOldSessions(device, tokenHash)
	})
}

// endOldSessions deletes the sessions of a device that have expired, and the oldest but the new one if there
// are too many.
func (w *writeTx) endOldSessions(device int64, tokenHash []byte) error {
	if _, err := w.exec("DELETE FROM sessions WHERE device_id = ? AND expires_ms <= ?", device, w.s.nowMS()); err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	var oldest []byte
	err := w.row("SELECT token_hash FROM sessions WHERE device_id = ? AND token_hash <> ? ORDER BY created_ms DESC LIMIT 1 OFFSET ?",
		device, tokenHash, maxSessions-1).Scan(&oldest)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		_, err = w.exec("DELETE FROM sessions WHERE token_hash = ?", oldest)
	}
	return wrap("end sessions", err)
}

// EndDevice signs a device out for good: its sessions end, it cannot open another.
func (s *Store) EndDevice(ctx context.Context, account, device int64, public proto.ID) error {
	return s.write(ctx, func(w *writeTx) error { return w.endDevice(account, device, public) })
}

func (w *writeTx) endDevice(account, device int64, public proto.ID) error {
	if _, err := w.exec("UPDATE devices SET ended_ms = ? WHERE id = ? AND ended_ms IS NULL", w.s.nowMS(), device); err != nil {
		return fmt.Errorf("end device: %w", err)
	}
	if _, err := w.exec("DELETE FROM sessions WHERE device_id = ?", device); err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	err := w.bump(account, LogDevice, public[:])
	return err
}

// Purposes of tickets.
const (
	TicketLogin     = 1 // a password was proved: the account may change its devices or password
	TicketChallenge = 2 // the nonce that a device has to sign
)

// AddTicket stores a ticket, and forgets those that have expired.
func (s *Store) AddTicket(ctx context.Context, purpose int, hash []byte, account, device int64, expires time.Time) error {
	return s.write(ctx, func(w *writeTx) error {
		if _, err := w.exec("DELETE FROM tickets WHERE expires_ms < ?", w.s.nowMS()); err != nil {
			return fmt.Errorf("expire tickets: %w", err)
		}
		_, err := w.exec("INSERT INTO tickets (token_hash, purpose, account_id, device_id, expires_ms) VALUES (?, ?, ?, ?, ?)",
			hash, purpose, account, device, expires.UnixMilli())
		return wrap("insert ticket", err)
	})
}

// TakeTicket uses a ticket up and returns whose it was.
func (s *Store) TakeTicket(ctx context.Context, purpose int, hash []byte) (account, device int64, err error) {
	err = s.write(ctx, func(w *writeTx) error {
		err := w.row("SELECT account_id, device_id FROM tickets WHERE token_hash = ? AND purpose = ? AND expires_ms > ?",
			hash, purpose, w.s.nowMS()).Scan(&account, &device)
		if err != nil {
			return wrap("read ticket", err)
		}
		_, err = w.exec("DELETE FROM tickets WHERE token_hash = ?", hash)
		return wrap("use ticket", err)
	})
	return account, device, err
}

// Device is one row of devices.
type Device struct {
	ID, AccountID int64
	Public        proto.ID
	SignKey       []byte
	State         *pb.DeviceState
}

// Device finds a device that has not ended.
func (s *Store) Device(ctx context.Context, id proto.ID) (*Device, error) {
	d := Device{Public: id}
	err := s.read.QueryRowContext(ctx, "SELECT id, account_id, sign_key FROM devices WHERE public_id = ? AND ended_ms IS NULL", id[:]).
		Scan(&d.ID, &d.AccountID, &d.SignKey)
	return &d, wrap("read device", err)
}

// DeviceList returns the list in force of an account.
func (s *Store) DeviceList(ctx context.Context, account int64) (*pb.Signed, error) {
	var signed pb.Signed
	err := s.read.QueryRowContext(ctx, "SELECT body, signature FROM device_lists WHERE account_id = ? ORDER BY version DESC LIMIT 1", account).
		Scan(&signed.Body, &signed.Signature)
	if err != nil {
		return nil, wrap("read device list", err)
	}
	return &pb.Signed{Body: signed.GetBody(), Signature: signed.GetSignature()}, nil
}

// DeviceLists returns the lists of an account, oldest first: the newest that have up to so many bytes together.
func (s *Store) DeviceLists(ctx context.Context, account int64, most int) ([]*pb.Signed, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT body, signature FROM device_lists WHERE account_id = ? ORDER BY version DESC", account)
	if err != nil {
		return nil, fmt.Errorf("read device lists: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []*pb.Signed
	for rows.Next() {
		signed := &pb.Signed{}
		if err := rows.Scan(&signed.Body, &signed.Signature); err != nil {
			return nil, fmt.Errorf("read device lists: %w", err)
		}
		if most -= len(signed.GetBody()) + len(signed.GetSignature()); most < 0 {
			break
		}
		all = append(all, signed)
	}
	slices.Reverse(all)
	return all, wrap("read device lists", rows.Err())
}
