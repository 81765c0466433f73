package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Progress is how far an account is in a conversation.
type Progress struct {
	DeliveredSeq, ReadSeq, Unread uint64

	Delivered bool // DeliveredSeq has moved, not only ReadSeq
	Hidden    bool // others are not told: one of the pair blocks the other
}

// MoveCursor raises a device's delivered and its account's read number, never beyond the head. If that
// moves the account, moved is called as that of Posts. It fails with not_found for who is no member.
func (s *Store) MoveCursor(ctx context.Context, conversation, account, device int64, delivered, read uint64, moved func(Progress)) error {
	return s.write(ctx, func(w *writeTx) error {
		var (
			was  Progress
			sees uint64
		)
		err := w.row("SELECT delivered_seq, read_seq, visible_seq FROM members WHERE conversation_id = ? AND account_id = ? AND left_seq = 0", conversation, account).
			Scan(&was.DeliveredSeq, &was.ReadSeq, &sees)
		if errors.Is(err, sql.ErrNoRows) {
			return notFound()
		}
		if err != nil {
			return fmt.Errorf("read member: %w", err)
		}
		h, err := w.head(conversation)
		if err != nil {
			return err
		}
		delivered, read := min(max(delivered, read), h.seq, sees), min(read, h.seq, sees)
		if err := w.deliver(conversation, device, delivered); err != nil {
			return err
		}
		if delivered <= was.DeliveredSeq && read <= was.ReadSeq {
			return nil
		}
		return w.progress(conversation, account, delivered, read, func(now Progress) {
			now.Delivered = delivered > was.DeliveredSeq
			if moved != nil {
				moved(now)
			}
		})
	})
}

func (w *writeTx) deliver(conversation, device int64, seq uint64) error {
	changed, err := w.exec("UPDATE device_cursors SET delivered_seq = "+raised("delivered_seq")+" WHERE device_id = ? AND conversation_id = ?",
		seq, seq, device, conversation)
	if err == nil && changed == 0 {
		_, err = w.exec("INSERT INTO device_cursors (device_id, conversation_id, delivered_seq) VALUES (?, ?, ?)", device, conversation, seq)
	}
	return wrap("move device cursor", err)
}

func (w *writeTx) progress(conversation, account int64, delivered, read uint64, moved func(Progress)) error {
	_, err := w.exec("UPDATE members SET delivered_seq = "+raised("delivered_seq")+", read_seq = "+raised("read_seq")+
		" WHERE conversation_id = ? AND account_id = ?", delivered, delivered, read, read, conversation, account)
	if err != nil {
		return fmt.Errorf("move cursor: %w", err)
	}
	var now Progress
	err = w.row("SELECT m.delivered_seq, m.read_seq, m.shown_read IS NOT NULL, "+unread+" FROM members m WHERE m.conversation_id = ? AND m.account_id = ?", conversation, account).
		Scan(&now.DeliveredSeq, &now.ReadSeq, &now.Hidden, &now.Unread)
	w.after(func() { moved(now) })
	return wrap("read member", err)
}

// raised is the greater of a column and an argument that is given twice.
func raised(column string) string {
	return "CASE WHEN " + column + " < ? THEN ? ELSE " + column + " END"
}
