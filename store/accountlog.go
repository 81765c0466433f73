package store

import (
	"context"
	"fmt"
)

// Kinds of objects in the account log. Stored: never renumber.
const (
	LogProfile      = 1
	LogDeviceList   = 2
	LogDevice       = 3 // ref: device
	LogContact      = 4 // ref: account
	LogConversation = 5 // ref: conversation
	LogInvitation   = 6 // ref: code
)

// bump raises an object's version in the account's log, so that every device hears of its new state.
func (w *writeTx) bump(account int64, kind int, ref []byte) error {
	if ref == nil {
		ref = []byte{}
	}
	if _, err := w.exec("UPDATE accounts SET version = version + 1 WHERE id = ?", account); err != nil {
		return fmt.Errorf("account log: %w", err)
	}
	var version uint64
	if err := w.row("SELECT version FROM accounts WHERE id = ?", account).Scan(&version); err != nil {
		return wrap("account log", err)
	}
	changed, err := w.exec("UPDATE account_log SET version = ? WHERE account_id = ? AND kind = ? AND ref = ?", version, account, kind, ref)
	if err == nil && changed == 0 {
		_, err = w.exec("INSERT INTO account_log (account_id, kind, ref, version) VALUES (?, ?, ?, ?)", account, kind, ref, version)
	}
	return wrap("account log", err)
}

// LogEntry is one changed object.
type LogEntry struct {
	Kind    int
	Ref     []byte
	Version uint64
}

// Log returns up to limit objects of an account that changed after a version, in order of version.
func (s *Store) Log(ctx context.Context, account int64, after uint64, limit int) ([]LogEntry, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT kind, ref, version FROM account_log WHERE account_id = ? AND version > ? ORDER BY version LIMIT ?",
		account, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read account log: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []LogEntry
	for rows.Next() {
		var e LogEntry
		if err := rows.Scan(&e.Kind, &e.Ref, &e.Version); err != nil {
			return nil, fmt.Errorf("read account log: %w", err)
		}
		all = append(all, e)
	}
	return all, wrap("read account log", rows.Err())
}
