package store

import "context"

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
	}
}

// Queued is how many operations wait for the writer.
func (s *Store) Queued() int { return len(s.queue) }
