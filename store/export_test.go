package store

import (
	"context"
	"errors"
)

// Operation is one operation of the writer.
type Operation struct{ w *writeTx }

// Exec runs any statement.
func (o Operation) Exec(statement string, args ...any) error {
	_, err := o.w.exec(statement, args...)
	return err
}

// After is writeTx.after.
func (o Operation) After(fn func()) { o.w.after(fn) }

// InOperation runs fn as one operation of the writer.
func (s *Store) InOperation(ctx context.Context, fn func(Operation) error) error {
	return s.write(ctx, func(w *writeTx) error { return fn(Operation{w}) })
}

// SeekingQueries are those that have to be as quick with ten million messages, with arguments.
func SeekingQueries() map[string][]any {
	return map[string][]any{
		stateQuery + " AND m.conversation_id = ?":                                               {1, 1, 1},
		stateQuery + " AND m.conversation_id > ? ORDER BY m.conversation_id LIMIT ?":            {1, 1, 1, 10},
		"SELECT " + unread + " FROM members m WHERE m.conversation_id = ? AND m.account_id = ?": {1, 1},
		otherMembers:                         {1, 1},
		"SELECT p.public_id" + presencePeers: {1, 4},
		pageQuery + "ASC LIMIT ?":            {1, 1, 2, 1, 1, 1, 10},
		pageQuery + "DESC LIMIT ?":           {1, 1, 2, 1, 1, 1, 10},
		knownQuery:                           {[]byte{1}, 1, 1},
	}
}

// Queued is how many operations wait for the writer.
func (s *Store) Queued() int { return len(s.queue) }

// Heads is how many conversations' heads are cached.
func (s *Store) Heads(ctx context.Context) (n int, err error) {
	err = s.write(ctx, func(w *writeTx) error { n = len(w.s.heads.byID); return nil })
	return n, err
}

// Spoil runs an operation that changes a conversation's epoch, looks at its head, and fails.
func (s *Store) Spoil(ctx context.Context, conversation int64) error {
	return s.write(ctx, func(w *writeTx) error {
		if _, err := w.exec("UPDATE conversations SET epoch = 99 WHERE id = ?", conversation); err != nil {
			return err
		}
		if _, err := w.head(conversation); err != nil {
			return err
		}
		return errors.New("spoiled")
	})
}
