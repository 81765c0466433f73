package local

import "database/sql"

// maxStatements bounds the prepared statements that are kept: this package has fewer, but lists of ids give some of them
// many lengths.
const maxStatements = 200

// statement is a statement's prepared form for this transaction. Each is prepared once and kept by the store: parsing it
// takes longer than running it.
func (t *Tx) statement(text string) (*sql.Stmt, error) {
	if s, ok := t.statements[text]; ok {
		return s, nil
	}
	t.s.mu.Lock()
	kept := t.s.prepared[text]
	t.s.mu.Unlock()
	var (
		s   *sql.Stmt
		err error
	)
	if kept != nil {
		s = t.tx.StmtContext(t.ctx, kept)
	} else if s, err = t.tx.PrepareContext(t.ctx, text); err != nil {
		return nil, err //nolint:wrapcheck // callers name the operation
	}
	if t.statements == nil {
		t.statements = make(map[string]*sql.Stmt)
	}
	t.statements[text] = s
	return s, nil
}

// keep prepares for later transactions what this one, which has ended, was the first to run. What cannot be prepared now
// is so when it runs again.
func (t *Tx) keep() {
	for text := range t.statements {
		t.s.mu.Lock()
		known := t.s.prepared[text] != nil || len(t.s.prepared) >= maxStatements
		t.s.mu.Unlock()
		if known {
			continue
		}
		s, err := t.s.db.PrepareContext(t.ctx, text) //nolint:sqlclosecheck // kept
		if err != nil {
			return
		}
		t.s.mu.Lock()
		if t.s.prepared[text] == nil {
			t.s.prepared[text], s = s, nil
		}
		t.s.mu.Unlock()
		if s != nil {
			_ = s.Close() // another transaction was quicker
		}
	}
}
