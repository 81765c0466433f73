package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

const (
	queueSize = 1024 // operations waiting for the writer; callers wait while it is full
	groupSize = 512  // operations committed together at most
	toldSize  = 4    // groups whose callers are being told; the writer waits while it is full
)

// operation is one unit of work for the writer: either fn, or posts.
type operation struct {
	ctx    context.Context //nolint:containedctx // of the caller that waits
	fn     func(*writeTx) error
	posts  []*Post
	stored func() // after posts are durable; see writeTx.after
	result chan error
}

// write runs fn in the writer's next group. When it returns nil, what fn wrote is durable; otherwise
// nothing of it is kept.
func (s *Store) write(ctx context.Context, fn func(*writeTx) error) error {
	return s.enqueue(&operation{ctx: ctx, fn: fn, result: make(chan error, 1)})
}

func (s *Store) enqueue(op *operation) error {
	select {
	case <-s.stop:
		return errClosed
	default:
	}
	select {
	case s.queue <- op:
	case <-op.ctx.Done():
		return op.ctx.Err() //nolint:wrapcheck // the caller's own
	case <-s.stop:
		return errClosed
	}
	// From here on the operation may be carried out: its outcome is waited for even if the caller gave up.
	select {
	case err := <-op.result:
		return err
	case <-s.stopped:
		select {
		case err := <-op.result:
			return err
		default:
			return errClosed
		}
	}
}

var errClosed = errors.New("the store is closed")

// writeTx is what a write function works with. It belongs to the writer's goroutine.
type writeTx struct {
	s      *Store
	ctx    context.Context //nolint:containedctx // of the group being written
	tx     *sql.Tx
	stored []func()
}

// after has fn called when what is being written is durable. All such calls of a store come from one
// goroutine, in the order of the writes, so that numbers of a conversation are told in order. fn must not
// wait for anything, least of all for the store. It is not called if the write fails.
func (w *writeTx) after(fn func()) {
	if fn != nil {
		w.stored = append(w.stored, fn)
	}
}

func (w *writeTx) exec(query string, args ...any) (int64, error) {
	res, err := w.tx.ExecContext(w.ctx, query, args...)
	if err != nil {
		return 0, err //nolint:wrapcheck // callers name the operation
	}
	return res.RowsAffected() //nolint:wrapcheck // likewise
}

func (w *writeTx) row(query string, args ...any) *sql.Row {
	return w.tx.QueryRowContext(w.ctx, query, args...)
}

// insert runs an INSERT and returns the new row's integer id.
func (w *writeTx) insert(query string, args ...any) (int64, error) {
	res, err := w.tx.ExecContext(w.ctx, query, args...)
	if err != nil {
		return 0, err //nolint:wrapcheck // callers name the operation
	}
	return res.LastInsertId() //nolint:wrapcheck // likewise
}

// writeLoop is the one writer: it takes everything that is queued, runs it in one transaction, commits
// once, and only then answers.
func (s *Store) writeLoop() {
	defer close(s.told)
	defer close(s.stopped)
	for {
		select {
		case op := <-s.queue:
			s.writeGroup(s.gather(op))
		case <-s.stop:
			for {
				select {
				case op := <-s.queue:
					s.writeGroup(s.gather(op))
				default:
					return
				}
			}
		}
	}
}

// tellLoop calls what was left with writeTx.after, beside the writer.
func (s *Store) tellLoop() {
	for group := range s.told {
		for _, fn := range group {
			fn()
		}
	}
}

func (s *Store) gather(first *operation) []*operation {
	group := []*operation{first}
	for len(group) < groupSize {
		select {
		case op := <-s.queue:
			group = append(group, op)
		default:
			return group
		}
	}
	return group
}

func (s *Store) writeGroup(group []*operation) {
	results := make([]error, len(group))
	stored, err := s.runGroup(group, results)
	if err != nil {
		s.heads.clear()
	}
	for i, op := range group {
		if results[i] == nil {
			results[i] = err
		}
		op.result <- s.outcome(results[i])
	}
	if err == nil && len(stored) > 0 {
		s.told <- stored
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
	return w.stored, nil
}

func (w *writeTx) runAll(group []*operation, results []error) error {
	var posts []*Post
	for i, op := range group {
		switch {
		case op.fn == nil:
			posts = append(posts, op.posts...)
		case op.ctx.Err() != nil:
			results[i] = op.ctx.Err()
		default:
			var err error
			if results[i], err = w.isolated(op.fn); err != nil {
				return err
			}
		}
	}
	if len(posts) == 0 {
		return nil
	}
	if err := w.postAll(posts); err != nil {
		return err
	}
	for _, op := range group {
		w.after(op.stored)
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
	failed = fn(w)
	if failed != nil {
		w.s.heads.clear() // what fn may have cached is not true any more
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
