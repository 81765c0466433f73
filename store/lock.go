package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
)

// fileLock is SQLite's own lock on an empty file beside the database: it works wherever SQLite does and ends with the process.
type fileLock struct {
	db *sql.DB
	tx *sql.Tx
}

func (sqlite) lock(ctx context.Context, path string) (io.Closer, error) {
	name := path + ".lock"
	// Only where it does not exist: closing a file drops every lock that this process has on it.
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		if err := touch(name); err != nil {
			return nil, err
		}
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: name}).EscapedPath()+"?_txlock=exclusive")
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("another process has it open (%w): stop that one, or choose another folder", err), db.Close())
	}
	return &fileLock{db, tx}, nil
}

// Close lets another process open the database.
func (l *fileLock) Close() error { return errors.Join(l.tx.Rollback(), l.db.Close()) }
