package store

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// MaxDeviceLinks is how many device links of an account may be open at a time.
const MaxDeviceLinks = 3

// DeviceAsk is what a new device said by a device link: a serialised pb.Sealed.
type DeviceAsk struct {
	Code string
	Ask  []byte
}

// AddDeviceLink opens a device link. It fails with too_large when too many of the account are open.
func (s *Store) AddDeviceLink(ctx context.Context, account int64, code string, expires time.Time) error {
	return s.write(ctx, func(w *writeTx) error {
		if err := w.exists(account); err != nil {
			return err
		}
		if _, err := w.exec("DELETE FROM device_links WHERE account_id = ? AND expires_ms <= ?", account, w.s.nowMS()); err != nil {
			return fmt.Errorf("expire device links: %w", err)
		}
		var open int
		if err := w.row("SELECT COUNT(*) FROM device_links WHERE account_id = ?", account).Scan(&open); err != nil {
			return wrap("count device links", err)
		}
		if open >= MaxDeviceLinks {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "%d devices are being added already: wait until their codes expire", MaxDeviceLinks)
		}
		_, err := w.exec("INSERT INTO device_links (code, account_id, expires_ms) VALUES (?, ?, ?)", code, account, expires.UnixMilli())
		return wrap("insert device link", err)
	})
}

// AskByLink notes what a new device says by a device link and returns whose link that is. It fails with
// not_found for a code that is not open, with used_up when a device asked before.
func (s *Store) AskByLink(ctx context.Context, code string, ask []byte) (account proto.ID, err error) {
	err = s.write(ctx, func(w *writeTx) error {
		var public []byte
		var asked bool
		err := w.row(`SELECT a.public_id, l.ask IS NOT NULL FROM device_links l JOIN accounts a ON a.id = l.account_id
			WHERE l.code = ? AND l.expires_ms > ?`, code, w.s.nowMS()).Scan(&public, &asked)
		if err != nil {
			return wrap("read device link", err)
		}
		if asked {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_USED_UP, "a device asked by this code already: show a new one")
		}
		account = proto.ID(public)
		_, err = w.exec("UPDATE device_links SET ask = ? WHERE code = ?", ask, code)
		return wrap("ask by device link", err)
	})
	return account, err
}

// DeviceAsks returns what new devices said that an account has not answered.
func (s *Store) DeviceAsks(ctx context.Context, account int64) ([]DeviceAsk, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT code, ask FROM device_links WHERE account_id = ? AND ask IS NOT NULL AND expires_ms > ?", account, s.nowMS())
	if err != nil {
		return nil, fmt.Errorf("read device links: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []DeviceAsk
	for rows.Next() {
		var a DeviceAsk
		if err := rows.Scan(&a.Code, &a.Ask); err != nil {
			return nil, fmt.Errorf("read device links: %w", err)
		}
		all = append(all, a)
	}
	return all, wrap("read device links", rows.Err())
}

// useDeviceLink ends a device link by which a device is added.
func (w *writeTx) useDeviceLink(account int64, code string) error {
	used, err := w.exec("DELETE FROM device_links WHERE code = ? AND account_id = ? AND ask IS NOT NULL AND expires_ms > ?", code, account, w.s.nowMS())
	if err == nil && used == 0 {
		err = proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "no device asked by this code, or it has expired: show a new one")
	}
	return wrap("use device link", err)
}
