package store

import (
	"context"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// LogSetting is the kind of settings in the account log; ref: key. Stored: never renumber.
const LogSetting = 7

// MaxSettings is how many settings an account may have, one for each person that it notes something of among them. An emptied
// one still counts.
const MaxSettings = 2048

// MaxSettingBytes is how large the values of an account's settings may be together.
const MaxSettingBytes = 4 << 20

// SetSetting stores a setting that the account's clients sealed. It fails with too_large when there are
// too many.
func (s *Store) SetSetting(ctx context.Context, account int64, key string, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	return s.write(ctx, func(w *writeTx) error {
		if err := w.exists(account); err != nil {
			return err
		}
		if err := w.roomForSetting(account, key, value); err != nil {
			return err
		}
		changed, err := w.exec("UPDATE settings SET value = ? WHERE account_id = ? AND name = ?", value, account, key)
		if err != nil {
			return fmt.Errorf("set setting: %w", err)
		}
		if changed == 0 {
			if err := w.addSetting(account, key, value); err != nil {
				return err
			}
		}
		err = w.bump(account, LogSetting, []byte(key))
		return err
	})
}

// roomForSetting says whether a value fits beside the account's other settings.
func (w *writeTx) roomForSetting(account int64, key string, value []byte) error {
	var others int
	err := w.row("SELECT COALESCE(SUM(LENGTH(value)), 0) FROM settings WHERE account_id = ? AND name <> ?", account, key).Scan(&others)
	if err == nil && others+len(value) > MaxSettingBytes {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "an account's settings have at most %d bytes together", MaxSettingBytes)
	}
	return wrap("measure settings", err)
}

func (w *writeTx) addSetting(account int64, key string, value []byte) error {
	var n int
	if err := w.row("SELECT COUNT(*) FROM settings WHERE account_id = ?", account).Scan(&n); err != nil {
		return wrap("count settings", err)
	}
	if n >= MaxSettings {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "an account has at most %d settings", MaxSettings)
	}
	_, err := w.exec("INSERT INTO settings (account_id, name, value) VALUES (?, ?, ?)", account, key, value)
	return wrap("insert setting", err)
}

// Setting reads a setting, or ErrNotFound.
func (s *Store) Setting(ctx context.Context, account int64, key string) (*pb.Setting, error) {
	out := &pb.Setting{Key: key}
	err := s.read.QueryRowContext(ctx, "SELECT value FROM settings WHERE account_id = ? AND name = ?", account, key).Scan(&out.Value)
	return out, wrap("read setting", err)
}
