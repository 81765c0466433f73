package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

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

// MaxInvitations is how many invitations of an account may be open at a time.
const MaxInvitations = 256

// CreateInvitation stores an invitation whose signature was verified. It fails with too_large when there are
// too many, with conflict when the code is taken.
func (s *Store) CreateInvitation(ctx context.Context, inv Invitation) error {
	return s.write(ctx, func(w *writeTx) error {
		if err := w.exists(inv.AccountID); err != nil {
			return err
		}
		var open int
		err := w.row("SELECT COUNT(*) FROM invitations WHERE account_id = ? AND revoked_ms IS NULL AND uses_left > 0 AND expires_ms >= ?",
			inv.AccountID, w.s.nowMS()).Scan(&open)
		if err != nil {
			return wrap("count invitations", err)
		}
		if open >= MaxInvitations {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "an account has at most %d open invitations: revoke one", MaxInvitations)
		}
		_, err = w.exec(`INSERT INTO invitations (code, account_id, sealed, body, signature, uses, uses_left, expires_ms, created_ms)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, inv.Code, inv.AccountID, inv.Sealed, inv.Signed.GetBody(), inv.Signed.GetSignature(), inv.Uses,
			inv.Uses, inv.ExpiresMS, w.s.nowMS())
		if w.s.dialect.taken(err, "") {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "there is an invitation with this code already")
		}
		if err != nil {
			return fmt.Errorf("insert invitation: %w", err)
		}
		err = w.bump(inv.AccountID, LogInvitation, []byte(inv.Code))
		return err
	})
}

// RevokeInvitation ends an invitation of the account.
func (s *Store) RevokeInvitation(ctx context.Context, account int64, code string) error {
	return s.write(ctx, func(w *writeTx) error { return w.revokeInvitation(account, code) })
}

func (w *writeTx) revokeInvitation(account int64, code string) error {
	changed, err := w.exec("UPDATE invitations SET revoked_ms = ? WHERE code = ? AND account_id = ? AND revoked_ms IS NULL", w.s.nowMS(), code, account)
	if err != nil {
		return fmt.Errorf("revoke invitation: %w", err)
	}
	if changed == 0 {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "there is no such invitation")
	}
	err = w.bump(account, LogInvitation, []byte(code))
	return err
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
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "there is no such invitation, or it was revoked: ask for a new one")
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
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "there is no such invitation, or it was revoked: ask for a new one")
	}
	if err != nil {
		return err
	}
	if err := w.s.CheckInvitation(inv); err != nil {
		return err
	}
	if err := w.notBlocking(account, inv.AccountID); err != nil {
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
	now := w.s.nowMS()
	again, err := w.exec("UPDATE invitation_uses SET used_ms = ? WHERE invitation_id = ? AND account_id = ?", now, inv.ID, account)
	if err == nil && again == 0 {
		_, err = w.exec("INSERT INTO invitation_uses (invitation_id, account_id, used_ms) VALUES (?, ?, ?)", inv.ID, account, now)
	}
	if err != nil {
		return fmt.Errorf("use invitation: %w", err)
	}
	if err := w.bump(inv.AccountID, LogInvitation, []byte(j.Code)); err != nil {
		return err
	}
	return w.connect(account, inv.AccountID, relation{join: j.Proof, invitation: inv.ID}, j.First)
}
