// Package store is the server's durable state: accounts, devices, contacts, conversations and the
// sealed messages of each. It is the only package of the server that holds SQL. It checks what must
// hold in the same transaction as a write (who is a member, which epoch is in force, whose name is
// free); everything that needs keys or rules is checked before by relay and signal. It never sees the
// inside of a message.
package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

//go:embed migrations
var migrations embed.FS

// ErrNotFound says that a row does not exist.
var ErrNotFound = errors.New("not found in the store")

// Config opens a Store.
type Config struct {
	Path   string           // of the SQLite file; made when it does not exist
	Clock  func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: silent
}

// Store is an open database. Its methods are safe for concurrent use.
type Store struct {
	dialect dialect
	clock   func() time.Time
	logger  *slog.Logger
	read    *reader
	db      *sql.DB // one connection, used by the writer only
	lock    io.Closer
	server  proto.ID // see ServerID

	queue   chan *operation
	told    chan []func() // from the writer to tellLoop; closed by the writer
	done    sync.WaitGroup
	once    sync.Once
	closing sync.RWMutex // read-locked while something is put into queue
	closed  bool         // with queue; guarded by closing

	heads    *heads               // owned by the writer
	prepared map[string]*sql.Stmt // likewise; on db, by their text

	idsMu sync.RWMutex
	ids   map[idKey]int64
}

// Open opens or creates the database (mode 0600), brings its schema up to date and starts the writer.
// It fails with what to do when the file cannot be written, is open elsewhere or comes from a newer program.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var speaks dialect = sqlite{}
	held, err := speaks.lock(ctx, cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", cfg.Path, err)
	}
	s, err := open(ctx, speaks, cfg)
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	s.lock = held
	s.done.Go(s.writeLoop)
	s.done.Go(s.tellLoop)
	if err := s.loadServerID(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// open opens the connections of a database that this process owns.
func open(ctx context.Context, speaks dialect, cfg Config) (*Store, error) {
	db, read, err := speaks.open(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := migrate(ctx, speaks, db); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", cfg.Path, err), db.Close(), read.Close())
	}
	return &Store{
		dialect: speaks, clock: cfg.Clock, logger: cfg.Logger, read: newReader(read), db: db,
		queue: make(chan *operation, queueSize), told: make(chan []func(), toldSize), heads: newHeads(),
		prepared: make(map[string]*sql.Stmt), ids: make(map[idKey]int64),
	}, nil
}

func migrate(ctx context.Context, d dialect, db *sql.DB) error {
	folder, name := d.migrations()
	dir, err := fs.Sub(migrations, "migrations/"+folder)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	provider, err := goose.NewProvider(name, db, dir)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	have, err := provider.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	sources := provider.ListSources()
	if newest := sources[len(sources)-1].Version; have > newest {
		return fmt.Errorf("it was written by a newer Parley (schema %d, this program knows %d): start that version, or restore a backup made before the upgrade", have, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// Close waits for what is queued and closes the database. It may be called more than once.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		s.closing.Lock()
		s.closed = true
		close(s.queue)
		s.closing.Unlock()
		s.done.Wait()
		err = errors.Join(s.read.Close(), s.db.Close(), s.lock.Close())
	})
	return err
}

func (s *Store) nowMS() int64 { return s.clock().UnixMilli() }

// ServerID is random, made once per database.
func (s *Store) ServerID() proto.ID { return s.server }

func (s *Store) loadServerID(ctx context.Context) error {
	b, err := s.Secret(ctx, "server_id", proto.IDSize)
	if err != nil {
		return err
	}
	s.server = proto.ID(b)
	return nil
}

// Meta reads a value of the meta table, nil when it is not there.
func (s *Store) Meta(ctx context.Context, name string) ([]byte, error) {
	var value []byte
	err := s.read.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = ?", name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return value, wrap("read meta", err)
}

// SetMeta writes a value of the meta table.
func (s *Store) SetMeta(ctx context.Context, name string, value []byte) error {
	return s.write(ctx, func(w *writeTx) error { return w.setMeta(name, value) })
}

func (w *writeTx) setMeta(name string, value []byte) error {
	changed, err := w.exec("UPDATE meta SET value = ? WHERE name = ?", value, name)
	if err == nil && changed == 0 {
		_, err = w.exec("INSERT INTO meta (name, value) VALUES (?, ?)", name, value)
	}
	return err
}

// Secret returns the random value of n bytes kept under name, making it the first time.
func (s *Store) Secret(ctx context.Context, name string, n int) ([]byte, error) {
	var value []byte
	err := s.write(ctx, func(w *writeTx) error {
		err := w.row("SELECT value FROM meta WHERE name = ?", name).Scan(&value)
		if !errors.Is(err, sql.ErrNoRows) {
			return wrap("read meta", err)
		}
		value = make([]byte, n)
		_, _ = rand.Read(value)
		return w.setMeta(name, value)
	})
	return value, err
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	if _, known := proto.AsError(err); known {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// errFull is what a full disk looks like to clients.
func errFull() error {
	return &proto.Error{Code: pb.ErrorCode_ERROR_CODE_STORE_FULL, Message: "the server cannot store anything at the moment", RetryAfter: 5 * time.Second}
}
