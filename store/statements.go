package store

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
)

// Statements are prepared once and kept: parsing one takes SQLite longer than running it. maxStatements bounds how many
// a side keeps; this package has fewer, but lists of ids give some of them many lengths.
const maxStatements = 200

// reader runs queries on the connections for reading. It is safe for concurrent use.
type reader struct {
	db *sql.DB

	mu       sync.RWMutex
	prepared map[string]*sql.Stmt
}

func newReader(db *sql.DB) *reader { return &reader{db: db, prepared: make(map[string]*sql.Stmt)} }

// statement is a query's prepared statement, nil when it cannot be prepared or is one too many.
func (r *reader) statement(ctx context.Context, query string) *sql.Stmt {
	r.mu.RLock()
	s, full := r.prepared[query], len(r.prepared) >= maxStatements
	r.mu.RUnlock()
	if s != nil || full {
		return s
	}
	s, err := r.db.PrepareContext(ctx, query)
	if err != nil {
		return nil // running it says why
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if first := r.prepared[query]; first != nil {
		_ = s.Close() //nolint:sqlclosecheck // this one only
		return first
	}
	r.prepared[query] = s
	return s
}

// QueryContext runs a query that gives rows.
func (r *reader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if s := r.statement(ctx, query); s != nil { //nolint:sqlclosecheck // kept
		return s.QueryContext(ctx, args...) //nolint:wrapcheck // callers name the operation
	}
	return r.db.QueryContext(ctx, query, args...) //nolint:wrapcheck // likewise
}

// QueryRowContext runs a query that gives one row.
func (r *reader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if s := r.statement(ctx, query); s != nil { //nolint:sqlclosecheck // kept
		return s.QueryRowContext(ctx, args...)
	}
	return r.db.QueryRowContext(ctx, query, args...)
}

// Close closes the connections and what is prepared on them.
func (r *reader) Close() error {
	return r.db.Close() //nolint:wrapcheck // callers name the operation
}

// statement is a statement's prepared form for the transaction that is being written.
func (w *writeTx) statement(text string) (*sql.Stmt, error) {
	if s, ok := w.statements[text]; ok {
		return s, nil
	}
	var err error
	s, kept := w.s.prepared[text]
	if kept {
		s = w.tx.StmtContext(w.ctx, s)
	} else if s, err = w.tx.PrepareContext(w.ctx, text); err != nil {
		return nil, err //nolint:wrapcheck // callers name the operation
	}
	if w.statements == nil {
		w.statements = make(map[string]*sql.Stmt)
	}
	w.statements[text] = s
	return s, nil
}

// keep prepares for later transactions what this one, which has ended, was the first to run.
func (w *writeTx) keep() error {
	for text := range w.statements {
		if _, kept := w.s.prepared[text]; kept || len(w.s.prepared) >= maxStatements {
			continue
		}
		s, err := w.s.db.PrepareContext(w.ctx, text) //nolint:sqlclosecheck // kept
		if err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
		w.s.prepared[text] = s
	}
	return nil
}
