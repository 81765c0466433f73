package store

import (
	"context"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Deleted is who has to be told that an account was deleted.
type Deleted struct {
	Devices []proto.ID // of the account, ended or not
	Peers   []proto.ID // its contacts, and those with a request to or from it
}

// DeleteAccount takes everything away that is held of an account but what belongs to the history of others: device lists,
// commits and sealed messages. Its pairs close. It fails with conflict for the last administrator of a server with other
// accounts.
func (s *Store) DeleteAccount(ctx context.Context, account int64) (*Deleted, error) {
	var gone Deleted
	err := s.write(ctx, func(w *writeTx) error {
		gone = Deleted{}
		if err := w.mayDelete(account); err != nil {
			return err
		}
		var err error
		if gone.Devices, err = publicIDs(w.ctx, w.tx, "SELECT public_id FROM devices WHERE account_id = ?", account); err != nil {
			return err
		}
		gone.Peers, err = publicIDs(w.ctx, w.tx, "SELECT a.public_id FROM contacts c JOIN accounts a ON a.id = c.peer_id WHERE c.account_id = ? AND c.state <> ?",
			account, pb.ContactState_CONTACT_STATE_NONE)
		if err != nil {
			return err
		}
		if err := w.leaveContacts(account); err != nil {
			return err
		}
		if err := w.leaveGroups(account); err != nil {
			return err
		}
		return w.erase(account)
	})
	return &gone, err
}

func (w *writeTx) mayDelete(account int64) error {
	var admin bool
	if err := w.row("SELECT admin FROM accounts WHERE id = ? AND deleted_ms IS NULL", account).Scan(&admin); err != nil || !admin { // nobody is deleted twice
		return wrap("read account", err)
	}
	var admins, all int
	if err := w.row("SELECT COALESCE(SUM(admin), 0), COUNT(*) FROM accounts WHERE deleted_ms IS NULL AND id <> ?", account).Scan(&admins, &all); err != nil {
		return wrap("count accounts", err)
	}
	if admins == 0 && all > 0 {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "you are the last administrator of this server, and others have accounts on it")
	}
	return nil
}

// leaveContacts ends how an account and others stand to each other, and closes their pairs.
func (w *writeTx) leaveContacts(account int64) error {
	peers, err := w.contacts(account)
	if err != nil {
		return err
	}
	for peer, state := range peers {
		if state == pb.ContactState_CONTACT_STATE_ACCEPTED {
			if err := w.closePair(account, peer); err != nil {
				return err
			}
		}
		if _, err := w.exec("DELETE FROM contacts WHERE account_id = ? AND peer_id = ? OR account_id = ? AND peer_id = ?", account, peer, peer, account); err != nil {
			return fmt.Errorf("delete contact: %w", err)
		}
		if state == pb.ContactState_CONTACT_STATE_NONE {
			continue
		}
		if err := w.bumpContact(peer, account); err != nil {
			return err
		}
	}
	return nil
}

// leaveGroups ends the membership of an account in what is no pair. The chains name it until the members commit otherwise.
func (w *writeTx) leaveGroups(account int64) error {
	rows, err := w.tx.QueryContext(w.ctx, "SELECT conversation_id FROM members WHERE account_id = ? AND left_seq = 0", account)
	if err != nil {
		return fmt.Errorf("read members: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var groups []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return fmt.Errorf("read members: %w", err)
		}
		groups = append(groups, id)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read members: %w", err)
	}
	_ = rows.Close()
	for _, id := range groups {
		h, err := w.head(id)
		if err != nil {
			return err
		}
		if _, err := w.exec("UPDATE members SET left_seq = ? WHERE conversation_id = ? AND account_id = ?", h.seq, id, account); err != nil {
			return fmt.Errorf("leave group: %w", err)
		}
	}
	return nil
}

// contacts are all who an account stands in some way to.
func (w *writeTx) contacts(account int64) (map[int64]pb.ContactState, error) {
	rows, err := w.tx.QueryContext(w.ctx, "SELECT peer_id, state FROM contacts WHERE account_id = ?", account)
	if err != nil {
		return nil, fmt.Errorf("read contacts: %w", err)
	}
	defer func() { _ = rows.Close() }()
	all := make(map[int64]pb.ContactState)
	for rows.Next() {
		var (
			peer  int64
			state pb.ContactState
		)
		if err := rows.Scan(&peer, &state); err != nil {
			return nil, fmt.Errorf("read contacts: %w", err)
		}
		all[peer] = state
	}
	return all, wrap("read contacts", rows.Err())
}

// erase takes away the rest. Devices stay without their names, since messages refer to them and their keys stand in the
// lists; so do the rows of members, which say until when the account was one.
func (w *writeTx) erase(account int64) error {
	now := w.s.nowMS()
	type step struct {
		query string
		args  []any
	}
	devices := "(SELECT id FROM devices WHERE account_id = ?)"
	for _, s := range []step{
		{`UPDATE accounts SET user_name = NULL, user_key = NULL, nickname = '', pw_memory = 0, pw_time = 0, pw_parallelism = 0, pw_salt = NULL,
			pw_host = '', auth_salt = NULL, auth_hash = NULL, wrapped_master = NULL, key_ring = NULL, recovery_salt = NULL, recovery_hash = NULL,
			wrapped_recovery = NULL, reset_salt = NULL, reset_hash = NULL, reset_expires_ms = 0, avatar = NULL, admin = 0, hide_presence = 0, hide_read = 0, hide_typing = 0, last_seen_ms = 0, deleted_ms = ?
			WHERE id = ?`, []any{now, account}},
		{"UPDATE devices SET name = '', last_used_ms = 0, last_address = '', ended_ms = COALESCE(ended_ms, ?) WHERE account_id = ?", []any{now, account}},
		{"UPDATE members SET delivered_seq = 0, read_seq = 0, shown_delivered = NULL, shown_read = NULL WHERE account_id = ?", []any{account}},
		{"DELETE FROM sessions WHERE device_id IN " + devices, []any{account}},
		{"DELETE FROM generation_grants WHERE device_id IN " + devices, []any{account}},
		{"DELETE FROM device_cursors WHERE device_id IN " + devices, []any{account}},
		{"DELETE FROM grants WHERE conversation_id IN (SELECT conversation_id FROM members WHERE account_id = ?) AND account_id = ?", []any{account, account}},
		{"DELETE FROM tickets WHERE account_id = ?", []any{account}},
		{"DELETE FROM avatars WHERE account_id = ?", []any{account}},
		{"DELETE FROM former_keys WHERE account_id = ?", []any{account}},
		{"DELETE FROM settings WHERE account_id = ?", []any{account}},
		{"DELETE FROM device_links WHERE account_id = ?", []any{account}},
		{"DELETE FROM invitation_uses WHERE invitation_id IN (SELECT id FROM invitations WHERE account_id = ?)", []any{account}},
		{"DELETE FROM invitation_uses WHERE account_id = ?", []any{account}},
		{"DELETE FROM invitations WHERE account_id = ?", []any{account}},
		{"DELETE FROM account_log WHERE account_id = ?", []any{account}},
	} {
		if _, err := w.exec(s.query, s.args...); err != nil {
			return fmt.Errorf("delete account: %w", err)
		}
	}
	w.s.heads.clear()
	return nil
}

// DeletedMS says when an account was deleted; ErrNotFound if it was not, or does not exist.
func (s *Store) DeletedMS(ctx context.Context, id proto.ID) (ms uint64, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT deleted_ms FROM accounts WHERE public_id = ? AND deleted_ms IS NOT NULL", id[:]).Scan(&ms)
	return ms, wrap("read account", err)
}
