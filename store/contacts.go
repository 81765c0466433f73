package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Kinds of objects in the account log. Stored: never renumber.
const (
	LogProfile      = 1
	LogDeviceList   = 2
	LogDevice       = 3 // ref: device
	LogContact      = 4 // ref: account
	LogConversation = 5 // ref: conversation
	LogInvitation   = 6 // ref: code
)

// bump raises an object's version in the account's log, so that every device hears of its new state.
func (w *writeTx) bump(account int64, kind int, ref []byte) (uint64, error) {
	if ref == nil {
		ref = []byte{}
	}
	if _, err := w.exec("UPDATE accounts SET version = version + 1 WHERE id = ?", account); err != nil {
		return 0, fmt.Errorf("account log: %w", err)
	}
	var version uint64
	if err := w.row("SELECT version FROM accounts WHERE id = ?", account).Scan(&version); err != nil {
		return 0, wrap("account log", err)
	}
	changed, err := w.exec("UPDATE account_log SET version = ? WHERE account_id = ? AND kind = ? AND ref = ?", version, account, kind, ref)
	if err == nil && changed == 0 {
		_, err = w.exec("INSERT INTO account_log (account_id, kind, ref, version) VALUES (?, ?, ?, ?)", account, kind, ref, version)
	}
	return version, wrap("account log", err)
}

// bumpList tells an account's devices and its contacts' that the device list changed.
func (w *writeTx) bumpList(account int64) error {
	if _, err := w.bump(account, LogDeviceList, nil); err != nil {
		return err
	}
	var public []byte
	if err := w.row("SELECT public_id FROM accounts WHERE id = ?", account).Scan(&public); err != nil {
		return wrap("read account", err)
	}
	rows, err := w.tx.QueryContext(w.ctx, "SELECT peer_id FROM contacts WHERE account_id = ? AND state = ?", account, pb.ContactState_CONTACT_STATE_ACCEPTED)
	if err != nil {
		return fmt.Errorf("read contacts: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var peers []int64
	for rows.Next() {
		var peer int64
		if err := rows.Scan(&peer); err != nil {
			return fmt.Errorf("read contacts: %w", err)
		}
		peers = append(peers, peer)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("read contacts: %w", err)
	}
	for _, peer := range peers {
		if _, err := w.bump(peer, LogContact, public); err != nil {
			return err
		}
	}
	return nil
}

// LogEntry is one changed object.
type LogEntry struct {
	Kind    int
	Ref     []byte
	Version uint64
}

// Log returns up to limit objects of an account that changed after a version, in order of version.
func (s *Store) Log(ctx context.Context, account int64, after uint64, limit int) ([]LogEntry, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT kind, ref, version FROM account_log WHERE account_id = ? AND version > ? ORDER BY version LIMIT ?",
		account, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read account log: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []LogEntry
	for rows.Next() {
		var e LogEntry
		if err := rows.Scan(&e.Kind, &e.Ref, &e.Version); err != nil {
			return nil, fmt.Errorf("read account log: %w", err)
		}
		all = append(all, e)
	}
	return all, wrap("read account log", rows.Err())
}

// Contact is how an account sees another.
type Contact struct {
	State   pb.ContactState
	Note    string
	SinceMS int64
	Join    *pb.Signed
}

// Contact reads a relation; state NONE when there is none.
func (s *Store) Contact(ctx context.Context, account, peer int64) (*Contact, error) {
	var (
		c         = Contact{State: pb.ContactState_CONTACT_STATE_NONE}
		body, sig []byte
	)
	err := s.read.QueryRowContext(ctx, "SELECT state, note, since_ms, join_body, join_signature FROM contacts WHERE account_id = ? AND peer_id = ?",
		account, peer).Scan(&c.State, &c.Note, &c.SinceMS, &body, &sig)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read contact: %w", err)
	}
	if body != nil {
		c.Join = &pb.Signed{Body: body, Signature: sig}
	}
	return &c, nil
}

// Peers returns the public ids of an account's accepted contacts.
func (s *Store) Peers(ctx context.Context, account int64) ([]proto.ID, error) {
	return publicIDs(ctx, s.read, `SELECT a.public_id FROM contacts c JOIN accounts a ON a.id = c.peer_id
		WHERE c.account_id = ? AND c.state = ?`, account, pb.ContactState_CONTACT_STATE_ACCEPTED)
}

func publicIDs(ctx context.Context, db *sql.DB, query string, args ...any) ([]proto.ID, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read ids: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []proto.ID
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return nil, fmt.Errorf("read ids: %w", err)
		}
		all = append(all, proto.ID(b))
	}
	return all, wrap("read ids", rows.Err())
}

func (w *writeTx) setContact(account, peer int64, state pb.ContactState, note string, join *pb.Signed) error {
	changed, err := w.exec(`UPDATE contacts SET state = ?, note = ?, join_body = ?, join_signature = ?, since_ms = ?
		WHERE account_id = ? AND peer_id = ?`, state, note, join.GetBody(), join.GetSignature(), w.s.nowMS(), account, peer)
	if err == nil && changed == 0 {
		_, err = w.exec(`INSERT INTO contacts (account_id, peer_id, state, note, join_body, join_signature, since_ms)
			VALUES (?, ?, ?, ?, ?, ?, ?)`, account, peer, state, note, join.GetBody(), join.GetSignature(), w.s.nowMS())
	}
	if err != nil {
		return fmt.Errorf("set contact: %w", err)
	}
	var public []byte
	if err := w.row("SELECT public_id FROM accounts WHERE id = ?", peer).Scan(&public); err != nil {
		return wrap("read account", err)
	}
	_, err = w.bump(account, LogContact, public)
	return err
}

func (w *writeTx) contactState(account, peer int64) (state pb.ContactState, err error) {
	err = w.row("SELECT state FROM contacts WHERE account_id = ? AND peer_id = ?", account, peer).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return pb.ContactState_CONTACT_STATE_NONE, nil
	}
	return state, wrap("read contact", err)
}

// AskContact notes that account wants peer as a contact. Asking again changes nothing but the note.
func (s *Store) AskContact(ctx context.Context, account, peer int64, note string) error {
	return s.write(ctx, func(w *writeTx) error {
		state, err := w.contactState(account, peer)
		if err != nil {
			return err
		}
		switch state {
		case pb.ContactState_CONTACT_STATE_ACCEPTED:
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "you are contacts already")
		case pb.ContactState_CONTACT_STATE_ASKING:
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "they asked you already: accept them")
		default:
		}
		if err := w.setContact(account, peer, pb.ContactState_CONTACT_STATE_ASKED, "", nil); err != nil {
			return err
		}
		return w.setContact(peer, account, pb.ContactState_CONTACT_STATE_ASKING, note, nil)
	})
}

// AcceptContact makes two accounts contacts and creates their conversation with its first commit.
func (s *Store) AcceptContact(ctx context.Context, account, peer int64, first *NewCommit) error {
	return s.write(ctx, func(w *writeTx) error {
		state, err := w.contactState(account, peer)
		if err != nil {
			return err
		}
		if state != pb.ContactState_CONTACT_STATE_ASKING {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "they did not ask to become a contact")
		}
		return w.connect(account, peer, nil, first)
	})
}

func (w *writeTx) connect(account, peer int64, join *pb.Signed, first *NewCommit) error {
	if err := w.setContact(account, peer, pb.ContactState_CONTACT_STATE_ACCEPTED, "", nil); err != nil {
		return err
	}
	if err := w.setContact(peer, account, pb.ContactState_CONTACT_STATE_ACCEPTED, "", join); err != nil {
		return err
	}
	return w.insertCommit(first)
}

// DeclineContact ends a request.
func (s *Store) DeclineContact(ctx context.Context, account, peer int64) error {
	return s.write(ctx, func(w *writeTx) error {
		if err := w.setContact(account, peer, pb.ContactState_CONTACT_STATE_NONE, "", nil); err != nil {
			return err
		}
		return w.setContact(peer, account, pb.ContactState_CONTACT_STATE_NONE, "", nil)
	})
}

// Invitation is one row of invitations.
type Invitation struct {
	ID        int64
	AccountID int64
	Code      string
	Sealed    []byte // serialised pb.Sealed
	Signed    *pb.Signed
	Uses      uint32
	UsesLeft  uint32
	ExpiresMS int64
	Revoked   bool
}

// CreateInvitation stores an invitation whose signature was verified.
func (s *Store) CreateInvitation(ctx context.Context, inv Invitation) error {
	return s.write(ctx, func(w *writeTx) error {
		_, err := w.exec(`INSERT INTO invitations (code, account_id, sealed, body, signature, uses, uses_left, expires_ms, created_ms)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, inv.Code, inv.AccountID, inv.Sealed, inv.Signed.GetBody(), inv.Signed.GetSignature(), inv.Uses,
			inv.Uses, inv.ExpiresMS, w.s.nowMS())
		if err != nil {
			return wrap("insert invitation", err)
		}
		_, err = w.bump(inv.AccountID, LogInvitation, []byte(inv.Code))
		return err
	})
}

// RevokeInvitation ends an invitation of the account.
func (s *Store) RevokeInvitation(ctx context.Context, account int64, code string) error {
	return s.write(ctx, func(w *writeTx) error {
		changed, err := w.exec("UPDATE invitations SET revoked_ms = ? WHERE code = ? AND account_id = ? AND revoked_ms IS NULL", w.s.nowMS(), code, account)
		if err != nil {
			return fmt.Errorf("revoke invitation: %w", err)
		}
		if changed == 0 {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "there is no such invitation")
		}
		_, err = w.bump(account, LogInvitation, []byte(code))
		return err
	})
}

const invitationColumns = "id, account_id, code, sealed, body, signature, uses, uses_left, expires_ms, revoked_ms IS NOT NULL"

func scanInvitation(row *sql.Row) (*Invitation, error) {
	inv := Invitation{Signed: &pb.Signed{}}
	err := row.Scan(&inv.ID, &inv.AccountID, &inv.Code, &inv.Sealed, &inv.Signed.Body, &inv.Signed.Signature, &inv.Uses, &inv.UsesLeft, &inv.ExpiresMS, &inv.Revoked)
	return &inv, wrap("read invitation", err)
}

// Invitation reads an invitation, whatever its state.
func (s *Store) Invitation(ctx context.Context, code string) (*Invitation, error) {
	return scanInvitation(s.read.QueryRowContext(ctx, "SELECT "+invitationColumns+" FROM invitations WHERE code = ?", code))
}

// CheckInvitation says why an invitation cannot be used.
func (s *Store) CheckInvitation(inv *Invitation) error {
	switch {
	case inv.Revoked:
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "there is no such invitation")
	case inv.ExpiresMS < s.nowMS():
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_EXPIRED, "this invitation has expired: ask for a new one")
	case inv.UsesLeft == 0:
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_USED_UP, "this invitation is used up: ask for a new one")
	}
	return nil
}

// UseInvitation makes an existing account and the inviter contacts.
func (s *Store) UseInvitation(ctx context.Context, account int64, j *Join) error {
	return s.write(ctx, func(w *writeTx) error { return w.join(account, j) })
}

func (w *writeTx) join(account int64, j *Join) error {
	inv, err := scanInvitation(w.row("SELECT "+invitationColumns+" FROM invitations WHERE code = ?", j.Code))
	if errors.Is(err, ErrNotFound) {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "there is no such invitation")
	}
	if err != nil {
		return err
	}
	if err := w.s.CheckInvitation(inv); err != nil {
		return err
	}
	state, err := w.contactState(account, inv.AccountID)
	if err != nil {
		return err
	}
	if state == pb.ContactState_CONTACT_STATE_ACCEPTED {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "you are contacts already")
	}
	if _, err := w.exec("UPDATE invitations SET uses_left = uses_left - 1 WHERE id = ?", inv.ID); err != nil {
		return fmt.Errorf("use invitation: %w", err)
	}
	if _, err := w.exec("INSERT INTO invitation_uses (invitation_id, account_id, used_ms) VALUES (?, ?, ?)", inv.ID, account, w.s.nowMS()); err != nil {
		return fmt.Errorf("use invitation: %w", err)
	}
	if _, err := w.bump(inv.AccountID, LogInvitation, []byte(j.Code)); err != nil {
		return err
	}
	return w.connect(account, inv.AccountID, j.Proof, j.First)
}
