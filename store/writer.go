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
)

// operation is one unit of work for the writer: either fn, or posts.
type operation struct {
	ctx    context.Context //nolint:containedctx // of the caller that waits
	fn     func(*writeTx) error
	posts  []*Post
	result chan error
}

// write runs fn in the writer's next group. When it returns nil, what fn wrote is durable; otherwise
// nothing of it is kept.
func (s *Store) write(ctx context.Context, fn func(*writeTx) error) error {
	return s.enqueue(&operation{ctx: ctx, fn: fn, result: make(chan error, 1)})
}

func (s *Store) enqueue(op *operation) error {
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
	case <-s.stop:
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
	s   *Store
	ctx context.Context //nolint:containedctx // of the group being written
	tx  *sql.Tx
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
	for {
		select {
		case op := <-s.queue:
			s.writeGroup(s.gather(op))
		case <-s.stop:
			for {
				select {
				case op := <-s.queue:
					op.result <- errClosed
				default:
					return
				}
			}
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
	err := s.runGroup(group, results)
	if err != nil {
		s.heads.clear()
		if s.dialect.full(err) {
			err = errFull()
		}
	}
	for i, op := range group {
		if err != nil && results[i] == nil {
			results[i] = err
		}
		op.result <- results[i]
	}
}

// runGroup fills results with each operation's own outcome; its error is the whole group's.
func (s *Store) runGroup(group []*operation, results []error) error {
	ctx := context.Background()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	w := &writeTx{s: s, ctx: ctx, tx: tx}
	var posts []*Post
	for i, op := range group {
		if op.fn == nil {
			posts = append(posts, op.posts...)
			continue
		}
		if op.ctx.Err() != nil {
			results[i] = op.ctx.Err()
			continue
		}
		results[i] = w.isolated(op.fn)
	}
	if len(posts) > 0 {
		if err := w.postAll(posts); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// isolated runs fn so that its failure undoes its own changes and nobody else's.
func (w *writeTx) isolated(fn func(*writeTx) error) error {
	if _, err := w.exec("SAVEPOINT op"); err != nil {
		return fmt.Errorf("savepoint: %w", err)
	}
	err := fn(w)
	if err != nil {
		w.s.heads.clear() // what fn may have cached is not true any more
		if _, undo := w.exec("ROLLBACK TO SAVEPOINT op"); undo != nil {
			return errors.Join(err, undo)
		}
	}
	if _, release := w.exec("RELEASE SAVEPOINT op"); release != nil {
		return errors.Join(err, release)
	}
	return err
}
