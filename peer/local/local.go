// Package local is a peer's own store: one SQLite file per profile with the people, conversations,
// keys and messages that this device knows. It never talks to the network and decides nothing; the
// peer verifies before it writes here. What a transaction has committed survives a crash
// (WAL, synchronous=FULL), which is what lets the peer acknowledge a message.
package local

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"sync"
	"sync/atomic"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver

	"github.com/parley-chat/parley/proto"
)

//go:embed migrations/*.sql
var migrations embed.FS

var (
	// ErrNotFound says that the row asked for does not exist.
	ErrNotFound = errors.New("not in the local store")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("the local store is closed")
)

// Error is a failure of the database itself: full, damaged, locked, or given up because a context ended. Nothing that was
// being stored when it came up may be taken for stored, nor for refused.
type Error struct {
	Op  string
	Err error
}

// Error says what failed and why.
func (e *Error) Error() string { return fmt.Sprintf("local store: %s: %v", e.Op, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// failed wraps an error of the database; nil stays nil.
func failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Err: err}
}

// found is failed, with ErrNotFound for a row that is not there.
func found(op string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return failed(op, err)
}

// Store is an open profile database. Its methods are safe for concurrent use; transactions are serialised
// by its single connection.
type Store struct {
	db     *sql.DB
	closed atomic.Bool

	mu       sync.Mutex
	prepared map[string]*sql.Stmt // on db, by their text; they end with it
}

// Open opens or creates the database at path (mode 0600) and brings its schema up to date. It fails
// when the file was written by a newer program.
func Open(ctx context.Context, path string) (*Store, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the profile's own file
	if err != nil {
		return nil, fmt.Errorf("open profile database: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("open profile database: %w", err)
	}
	pragmas := url.Values{"_pragma": {
		"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(5000)", "foreign_keys(ON)",
	}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+pragmas.Encode())
	if err != nil {
		return nil, fmt.Errorf("open profile database: %w", err)
	}
	db.SetMaxOpenConns(1) // one writer, no SQLITE_BUSY; pages are short
	if err := migrate(ctx, db); err != nil {
		return nil, errors.Join(fmt.Errorf("profile database %s: %w", path, err), db.Close())
	}
	return &Store{db: db, prepared: make(map[string]*sql.Stmt)}, nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, dir)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	have, err := provider.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	sources := provider.ListSources()
	if newest := sources[len(sources)-1].Version; have > newest {
		return fmt.Errorf("it was written by a newer Parley (schema %d, this program knows %d): update this program", have, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// Close closes the database after the transaction that is running. Update fails with ErrClosed from then on.
func (s *Store) Close() error {
	s.closed.Store(true)
	return s.db.Close()
}

// Tx is one transaction. It must not be used after the function it was passed to returned.
type Tx struct {
	s   *Store
	ctx context.Context //nolint:containedctx // lives exactly as long as Update's call
	tx  *sql.Tx

	statements map[string]*sql.Stmt // of tx, by their text
}

// Update runs fn in a transaction: all of it is durable when Update returns nil, none of it otherwise. Errors of fn come
// back as they are, those of the database as *Error.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		if s.closed.Load() {
			return ErrClosed
		}
		return failed("begin", err)
	}
	done := false
	defer func() {
		if !done { // fn panicked: the one connection must be free again for whoever recovers
			_ = tx.Rollback()
		}
	}()
	t := &Tx{s: s, ctx: ctx, tx: tx}
	err = fn(t)
	done = true
	if err != nil {
		if undo := tx.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			return errors.Join(err, failed("roll back", undo))
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		return failed("commit", err)
	}
	t.keep()
	return nil
}

func (t *Tx) run(query string, args ...any) (sql.Result, error) {
	statement, err := t.statement(query) //nolint:sqlclosecheck // kept, or the transaction's
	if err != nil {
		return nil, err
	}
	return statement.ExecContext(t.ctx, args...) //nolint:wrapcheck // callers name the operation
}

func (t *Tx) exec(op, query string, args ...any) error {
	_, err := t.run(query, args...)
	return failed(op, err)
}

// changed runs a statement and says whether it changed a row.
func (t *Tx) changed(op, query string, args ...any) (bool, error) {
	res, err := t.run(query, args...)
	if err != nil {
		return false, failed(op, err)
	}
	n, err := res.RowsAffected()
	return n > 0, failed(op, err)
}

func (t *Tx) row(query string, args ...any) *sql.Row {
	if statement, err := t.statement(query); err == nil { //nolint:sqlclosecheck // likewise
		return statement.QueryRowContext(t.ctx, args...)
	}
	return t.tx.QueryRowContext(t.ctx, query, args...) // says why it cannot be prepared
}

// Get reads a value of the small key-value table; a missing key gives nil.
func (t *Tx) Get(key string) ([]byte, error) {
	var value []byte
	err := found("read value", t.row("SELECT value FROM kv WHERE key = ?", key).Scan(&value))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return value, err
}

// Set writes a value of the small key-value table.
func (t *Tx) Set(key string, value []byte) error {
	return t.exec("write value", "INSERT INTO kv (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value)
}

// scanner is a row of a result.
type scanner interface{ Scan(dest ...any) error }

// queryAll runs a query and scans each row with scan.
func queryAll[T any](t *Tx, op string, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	statement, err := t.statement(query) //nolint:sqlclosecheck // likewise
	if err != nil {
		return nil, failed(op, err)
	}
	rows, err := statement.QueryContext(t.ctx, args...)
	if err != nil {
		return nil, failed(op, err)
	}
	defer func() { _ = rows.Close() }() // it was only read
	var all []T
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, failed(op, err)
		}
		all = append(all, item)
	}
	return all, failed(op, rows.Err())
}

// id reads a 16-byte column; NULL and anything of another length give the zero id.
func id(b []byte) proto.ID {
	v, err := proto.IDFrom(b)
	if err != nil {
		return proto.ID{}
	}
	return v
}

// nullable turns the zero id into NULL.
func nullable(v proto.ID) any {
	if v.IsZero() {
		return nil
	}
	return v[:]
}
