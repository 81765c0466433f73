package store

import "context"

// InOperation runs fn as one operation of the writer, with a way to run any statement.
func (s *Store) InOperation(ctx context.Context, fn func(exec func(string, ...any) error) error) error {
	return s.write(ctx, func(w *writeTx) error {
		return fn(func(statement string, args ...any) error {
			_, err := w.exec(statement, args...)
			return err
		})
	})
}

// SeekingQueries are those that have to be as quick with ten million messages, with arguments.
func SeekingQueries() map[string][]any {
	return map[string][]any{
		stateQuery + " AND m.conversation_id = ?":                                               {1, 1, 1},
		stateQuery + " AND m.conversation_id > ? ORDER BY m.conversation_id LIMIT ?":            {1, 1, 1, 10},
		"SELECT " + unread + " FROM members m WHERE m.conversation_id = ? AND m.account_id = ?": {1, 1},
		pageQuery + "ASC LIMIT ?":                                                               {1, 1, 2, 10},
		pageQuery + "DESC LIMIT ?":                                                              {1, 1, 2, 10},
	}
}

// Queued is how many operations wait for the writer.
func (s *Store) Queued() int { return len(s.queue) }
