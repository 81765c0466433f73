package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

const (
	queueSize = 2048 // operations waiting for the writer; callers wait while it is full
	groupSize = 2048 // posts and other operations committed together, but for those of the last one
	toldSize  = 4    // groups whose callers are being told; the writer waits while it is full
)

// operation is one unit of work for the writer: either fn, or posts.
type operation struct {
	ctx    context.Context //nolint:containedctx // of the caller that waits
	fn     func(*writeTx) error
	result chan error // of fn
	posts  []*Post
	done   func(error) // of posts
}

func (op *operation) size() int { return max(1, len(op.posts)) }

// write runs fn in the writer's next group. When it returns nil, what fn wrote is durable; otherwise
// nothing of it is kept.
func (s *Store) write(ctx context.Context, fn func(*writeTx) error) error {
	op := &operation{ctx: ctx, fn: fn, result: make(chan error, 1)}
	if err := s.enqueue(op); err != nil {
		return err
	}
	return <-op.result // even if the caller gives up meanwhile: it may be carried out
}

// enqueue hands an operation to the writer, which then settles it, also while the store is being closed.
func (s *Store) enqueue(op *operation) error {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return errClosed
	}
	select {
	case s.queue <- op:
		return nil
	case <-op.ctx.Done():
		return op.ctx.Err() //nolint:wrapcheck // the caller's own
	}
}

var errClosed = errors.New("the store is closed")

// writeTx is what a write function works with. It belongs to the writer's goroutine.
type writeTx struct {
	s      *Store
	ctx    context.Context //nolint:containedctx // of the group being written
	tx     *sql.Tx
	stored []func()

	statements map[string]*sql.Stmt // of tx, by their text
}

// after has fn called when what is being written is durable. All such calls of a store come from one
// goroutine, in the order of the writes, so that numbers of a conversation are told in order. fn must not
// wait for anything, least of all for the store. It is not called if the write fails.
func (w *writeTx) after(fn func()) {
	if fn != nil {
		w.stored = append(w.stored, fn)
	}
}

func (w *writeTx) run(query string, args ...any) (sql.Result, error) {
	statement, err := w.statement(query) //nolint:sqlclosecheck // kept
	if err != nil {
		return nil, err
	}
	return statement.ExecContext(w.ctx, args...) //nolint:wrapcheck // callers name the operation
}

// exec runs a statement and returns how many rows it changed.
func (w *writeTx) exec(query string, args ...any) (int64, error) {
	res, err := w.run(query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected() //nolint:wrapcheck // callers name the operation
}

func (w *writeTx) row(query string, args ...any) *sql.Row {
	if statement, err := w.statement(query); err == nil { //nolint:sqlclosecheck // kept
		return statement.QueryRowContext(w.ctx, args...)
	}
	return w.tx.QueryRowContext(w.ctx, query, args...) // says why it cannot be prepared
}

// insert runs an INSERT and returns the new row's integer id.
func (w *writeTx) insert(query string, args ...any) (int64, error) {
	res, err := w.run(query, args...)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId() //nolint:wrapcheck // callers name the operation
}

// writeLoop is the one writer: it takes everything that is queued, runs it in one transaction, commits
// once, and only then answers.
func (s *Store) writeLoop() {
	defer close(s.told)
	for op := range s.queue {
		s.writeGroup(s.gather(op))
	}
}

// tellLoop calls what was left with writeTx.after, and tells how posts ended, beside the writer.
func (s *Store) tellLoop() {
	for group := range s.told {
		for _, fn := range group {
			fn()
		}
	}
}

func (s *Store) gather(first *operation) []*operation {
	group := []*operation{first}
	for size := first.size(); size < groupSize; {
		select {
		case op, open := <-s.queue:
			if !open {
				return group
			}
			group = append(group, op)
			size += op.size()
		default:
			return group
		}
	}
	return group
}

func (s *Store) writeGroup(group []*operation) {
	results := make([]error, len(group))
	told, err := s.runGroup(group, results)
	if err != nil {
		s.heads.clear()
	}
	for i, op := range group {
		if results[i] == nil {
			results[i] = err
		}
		outcome := s.outcome(results[i])
		switch {
		case op.fn != nil:
			op.result <- outcome
		case err != nil:
			told = append(told, func() { op.done(outcome) })
		}
	}
	if len(told) > 0 {
		s.told <- told
	}
}

// outcome is an operation's error as callers see it: a full disk is for the sender to know and for the
// operator to end.
func (s *Store) outcome(err error) error {
	if err == nil || !s.dialect.full(err) {
		return err
	}
	s.logger.Error("the disk is full: free some space", "error", err)
	return errFull()
}

// runGroup fills results with each operation's own outcome; its error is the whole group's. It returns
// what to call after.
func (s *Store) runGroup(group []*operation, results []error) ([]func(), error) {
	ctx := context.Background()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	w := &writeTx{s: s, ctx: ctx, tx: tx}
	if err := w.runAll(group, results); err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	if err := w.keep(); err != nil {
		s.logger.Warn("store", "error", err) // what was committed is no less durable
	}
	return w.stored, nil
}

func (w *writeTx) runAll(group []*operation, results []error) error {
	for i, op := range group {
		var fatal error
		switch {
		case op.fn == nil:
			w.s.heads.begin()
			fatal = w.postAll(op.posts)
			w.after(func() { op.done(nil) })
		case op.ctx.Err() != nil:
			results[i] = op.ctx.Err()
		default:
			results[i], fatal = w.isolated(op.fn)
		}
		if fatal != nil {
			return fatal
		}
	}
	return nil
}

// isolated runs fn so that its failure undoes its own changes and nobody else's. fatal says that the
// transaction is of no use any more: the database has ended it, as it does when the disk is full.
func (w *writeTx) isolated(fn func(*writeTx) error) (failed, fatal error) {
	if _, err := w.exec("SAVEPOINT op"); err != nil {
		return nil, fmt.Errorf("savepoint: %w", err)
	}
	stored := len(w.stored)
	w.s.heads.begin()
	failed = fn(w)
	if failed != nil {
		w.s.heads.undo() // what fn wrote is not there any more
		w.stored = w.stored[:stored]
		if _, err := w.exec("ROLLBACK TO SAVEPOINT op"); err != nil {
			return failed, fmt.Errorf("roll back after %w: %w", failed, err)
		}
	}
	if _, err := w.exec("RELEASE SAVEPOINT op"); err != nil {
		return failed, fmt.Errorf("release: %w", err)
	}
	return failed, nil
}
