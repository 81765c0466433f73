package store

import (
	"context"
	"database/sql"
	"io"

	"github.com/pressly/goose/v3"
)

// dialect is what a database says in its own words. All other statements are shared: they keep to what
// SQLite and MySQL understand alike (no RETURNING, no ON CONFLICT, no scalar MAX, no partial indexes).
type dialect interface {
	// lock keeps other processes, and other Stores of this one, away from the database until it is closed: heads of
	// conversations are cached by the one writer, and two would give out the same numbers.
	lock(ctx context.Context, address string) (io.Closer, error)
	// open opens the database at a path or address: db for the writer, with one connection that commits
	// durably, and read for everybody else.
	open(address string) (db, read *sql.DB, err error)
	// migrations names the folder of the schema below migrations and goose's name of the dialect.
	migrations() (folder string, name goose.Dialect)
	// taken says whether a statement failed because a unique key exists; with a column, because of that one.
	taken(err error, column string) bool
	// full says whether a statement or commit failed because there is no room on the disk.
	full(err error) bool
	// size is how many bytes the database has.
	size(ctx context.Context, db *sql.DB) (uint64, error)
}
