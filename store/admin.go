package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// AdminPage is how many rows an administrator gets at a time.
const AdminPage = 100

// storedBytes are those of the sealed messages that an account a has posted.
const storedBytes = `COALESCE((SELECT SUM(LENGTH(x.header) + COALESCE(LENGTH(x.ciphertext), 0) + LENGTH(x.signature)) FROM members m
	JOIN messages x ON x.conversation_id = m.conversation_id AND x.account_id = m.account_id WHERE m.account_id = a.id AND x.type = 0), 0)`

// AdminUsers returns a page of the accounts whose user name or nickname contains q, by creation, as an administrator sees
// them: nothing of whom they know or what they write. after is where the page before ended; empty: at the beginning.
func (s *Store) AdminUsers(ctx context.Context, q, after string) (*pb.AdminUsers, error) {
	like := "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(strings.ToLower(q)) + "%"
	from, _ := strconv.ParseInt(after, 10, 64) // what is no number is before all
	rows, err := s.read.QueryContext(ctx, `SELECT a.id, a.public_id, COALESCE(a.user_name, ''), a.nickname, a.admin, a.created_ms, a.last_seen_ms,
		COALESCE(a.suspended_ms, 0), (SELECT COUNT(*) FROM devices d WHERE d.account_id = a.id AND d.ended_ms IS NULL), `+storedBytes+`
		FROM accounts a WHERE a.deleted_ms IS NULL AND a.id > ? AND (LOWER(a.nickname) LIKE ? ESCAPE '!' OR COALESCE(a.user_key, '') LIKE ? ESCAPE '!')
		ORDER BY a.id LIMIT ?`, from, like, like, AdminPage+1)
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	defer func() { _ = rows.Close() }()
	out := &pb.AdminUsers{}
	for rows.Next() {
		if len(out.GetUsers()) == AdminPage {
			out.After = strconv.FormatInt(from, 10)
			break
		}
		u := &pb.AdminUser{}
		if err := rows.Scan(&from, &u.Account, &u.UserName, &u.Nickname, &u.Admin, &u.CreatedMs, &u.LastSeenMs, &u.SuspendedMs, &u.Devices, &u.StoredBytes); err != nil {
			return nil, fmt.Errorf("read users: %w", err)
		}
		out.Users = append(out.Users, u)
	}
	return out, wrap("read users", rows.Err())
}

// Suspend ends all sessions of an account and lets it open no other, or lets it in again. It returns the devices of the
// account. It fails with ErrNotFound for one that does not exist.
func (s *Store) Suspend(ctx context.Context, account proto.ID, suspended bool) (devices []proto.ID, err error) {
	err = s.write(ctx, func(w *writeTx) error {
		var id int64
		if err := w.row("SELECT id FROM accounts WHERE public_id = ? AND deleted_ms IS NULL", account[:]).Scan(&id); err != nil {
			return wrap("read account", err)
		}
		if !suspended {
			_, err := w.exec("UPDATE accounts SET suspended_ms = NULL WHERE id = ?", id)
			return wrap("end suspension", err)
		}
		if _, err := w.exec("UPDATE accounts SET suspended_ms = ? WHERE id = ? AND suspended_ms IS NULL", w.s.nowMS(), id); err != nil {
			return fmt.Errorf("suspend: %w", err)
		}
		if _, err := w.exec("DELETE FROM sessions WHERE device_id IN (SELECT id FROM devices WHERE account_id = ?)", id); err != nil {
			return fmt.Errorf("suspend: %w", err)
		}
		if _, err := w.exec("DELETE FROM tickets WHERE account_id = ?", id); err != nil {
			return fmt.Errorf("suspend: %w", err)
		}
		devices, err = publicIDs(w.ctx, w.tx, "SELECT public_id FROM devices WHERE account_id = ?", id)
		return err
	})
	return devices, err
}

// AdminInvitations returns a page of all invitations, newest first; after as that of AdminUsers.
func (s *Store) AdminInvitations(ctx context.Context, after string) (*pb.AdminInvitations, error) {
	from, err := strconv.ParseInt(after, 10, 64)
	if err != nil {
		from = 1<<63 - 1
	}
	rows, err := s.read.QueryContext(ctx, `SELECT i.id, i.code, a.public_id, a.nickname, i.uses, i.uses_left, i.created_ms, i.expires_ms, i.revoked_ms IS NOT NULL
		FROM invitations i JOIN accounts a ON a.id = i.account_id WHERE i.id < ? ORDER BY i.id DESC LIMIT ?`, from, AdminPage+1)
	if err != nil {
		return nil, fmt.Errorf("read invitations: %w", err)
	}
	defer func() { _ = rows.Close() }()
	out := &pb.AdminInvitations{}
	for rows.Next() {
		if len(out.GetInvitations()) == AdminPage {
			out.After = strconv.FormatInt(from, 10)
			break
		}
		i := &pb.AdminInvitation{}
		if err := rows.Scan(&from, &i.Code, &i.Account, &i.Nickname, &i.Uses, &i.UsesLeft, &i.CreatedMs, &i.ExpiresMs, &i.Revoked); err != nil {
			return nil, fmt.Errorf("read invitations: %w", err)
		}
		out.Invitations = append(out.Invitations, i)
	}
	return out, wrap("read invitations", rows.Err())
}

// RevokeAnyInvitation ends an invitation, whoever made it, and returns who.
func (s *Store) RevokeAnyInvitation(ctx context.Context, code string) (owner proto.ID, err error) {
	err = s.write(ctx, func(w *writeTx) error {
		var (
			account int64
			public  []byte
		)
		err := w.row("SELECT a.id, a.public_id FROM invitations i JOIN accounts a ON a.id = i.account_id WHERE i.code = ?", code).Scan(&account, &public)
		if err != nil {
			return wrap("read invitation", err)
		}
		owner = proto.ID(public)
		return w.revokeInvitation(account, code)
	})
	return owner, err
}

// AdminStats counts what there is. It knows nothing of connections.
func (s *Store) AdminStats(ctx context.Context) (*pb.AdminStats, error) {
	out := &pb.AdminStats{}
	now := s.nowMS()
	for _, c := range []struct {
		to    *uint64
		query string
		args  []any
	}{
		{&out.Accounts, "accounts WHERE deleted_ms IS NULL", nil},
		{&out.AccountsSeenToday, "accounts WHERE deleted_ms IS NULL AND last_seen_ms > ?", []any{now - (24 * time.Hour).Milliseconds()}},
		{&out.Suspended, "accounts WHERE deleted_ms IS NULL AND suspended_ms IS NOT NULL", nil},
		{&out.Devices, "devices WHERE ended_ms IS NULL", nil},
		{&out.Conversations, "conversations WHERE deleted_ms IS NULL", nil},
		{&out.Messages, "messages", nil},
		{&out.InvitationsOpen, "invitations WHERE revoked_ms IS NULL AND uses_left > 0 AND expires_ms >= ?", []any{now}},
	} {
		var err error
		if *c.to, err = s.countAt(ctx, "SELECT COUNT(*) FROM "+c.query, c.args...); err != nil {
			return nil, err
		}
	}
	commits, err := s.countAt(ctx, "SELECT COUNT(*) FROM commits")
	if err != nil {
		return nil, err
	}
	out.Messages -= min(commits, out.GetMessages()) // they have numbers in the same table
	out.DatabaseBytes, err = s.dialect.size(ctx, s.read.db)
	return out, wrap("size of the database", err)
}

// Names of what an administrator sets, in the meta table.
const (
	metaServerName   = "server_name"
	metaRegistration = "registration"
)

// ServerSettings are what an administrator has set; empty: nothing.
type ServerSettings struct{ Name, Registration string }

// ServerSettings reads what an administrator has set.
func (s *Store) ServerSettings(ctx context.Context) (ServerSettings, error) {
	name, err := s.Meta(ctx, metaServerName)
	if err != nil {
		return ServerSettings{}, err
	}
	registration, err := s.Meta(ctx, metaRegistration)
	return ServerSettings{string(name), string(registration)}, err
}

// SetServerSettings changes what is not empty.
func (s *Store) SetServerSettings(ctx context.Context, set ServerSettings) error {
	return s.write(ctx, func(w *writeTx) error {
		for name, value := range map[string]string{metaServerName: set.Name, metaRegistration: set.Registration} {
			if value == "" {
				continue
			}
			if err := w.setMeta(name, []byte(value)); err != nil {
				return fmt.Errorf("set %s: %w", name, err)
			}
		}
		return nil
	})
}
