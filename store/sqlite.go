package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/pressly/goose/v3"
	driver "modernc.org/sqlite"
	code "modernc.org/sqlite/lib"
)

// sqlite keeps everything in one file, mode 0600, in WAL mode. A commit is on the disk when it returns
// (synchronous=FULL).
type sqlite struct{}

const (
	readers = 4 // connections for reading; WAL lets them run beside the writer

	// checkpointPages is how long the write-ahead log grows, in pages of 4 KiB, before it is written back. Pages that change
	// again and again are then written back once; at SQLite's 1,000 that is after every group under load.
	checkpointPages = 8192
)

func (sqlite) open(path string) (db, read *sql.DB, err error) {
	if err := touch(path); err != nil {
		return nil, nil, err
	}
	db, err = sql.Open("sqlite", dsn(path, url.Values{
		"_pragma": {"synchronous(FULL)", fmt.Sprintf("wal_autocheckpoint(%d)", checkpointPages)}, "_txlock": {"immediate"},
	}))
	if err != nil {
		return nil, nil, fmt.Errorf("writer: %w", err)
	}
	db.SetMaxOpenConns(1)
	read, err = sql.Open("sqlite", dsn(path, url.Values{"_pragma": {"query_only(ON)"}}))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("readers: %w", err), db.Close())
	}
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	return db, read, nil
}

// touch makes the file, so that it is nobody else's to read, and says early why it cannot be written.
func touch(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator's choice
	if err != nil {
		return err //nolint:wrapcheck // names the path and the reason
	}
	return file.Close() //nolint:wrapcheck // likewise
}

func dsn(path string, more url.Values) string {
	more["_pragma"] = append([]string{"busy_timeout(10000)", "journal_mode(WAL)", "foreign_keys(ON)", "cache_size(-65536)", "temp_store(MEMORY)"}, more["_pragma"]...)
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + more.Encode()
}

func (sqlite) migrations() (string, goose.Dialect) { return "sqlite", goose.DialectSQLite3 }

func (sqlite) taken(err error, column string) bool {
	var e *driver.Error
	if !errors.As(err, &e) || e.Code() != code.SQLITE_CONSTRAINT_UNIQUE && e.Code() != code.SQLITE_CONSTRAINT_PRIMARYKEY {
		return false
	}
	return column == "" || strings.Contains(e.Error(), "."+column)
}

func (sqlite) full(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && e.Code()&0xff == code.SQLITE_FULL
}

func (sqlite) size(ctx context.Context, db *sql.DB) (bytes uint64, err error) {
	err = db.QueryRowContext(ctx, "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()").Scan(&bytes)
	return bytes, err //nolint:wrapcheck // the caller names the operation
}
