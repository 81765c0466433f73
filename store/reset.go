package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// ResetCode is what lets somebody start again under their account, as it is stored.
type ResetCode struct {
	AuthSalt  []byte
	AuthHash  []byte
	ExpiresMS int64
}

// SetResetCode lets an account be reset by a code until it expires, in place of any code before. It changes nothing else.
// It fails with ErrNotFound for an account that does not exist, with conflict for one without a user name, by which nobody
// could log in.
func (s *Store) SetResetCode(ctx context.Context, account proto.ID, c ResetCode) error {
	return s.write(ctx, func(w *writeTx) error {
		var named bool
		err := w.row("SELECT user_key IS NOT NULL FROM accounts WHERE public_id = ? AND deleted_ms IS NULL", account[:]).Scan(&named)
		if err != nil {
			return wrap("read account", err)
		}
		if !named {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "this account has no user name and password to start again with: invite the person anew")
		}
		_, err = w.exec("UPDATE accounts SET reset_salt = ?, reset_hash = ?, reset_expires_ms = ? WHERE public_id = ?",
			c.AuthSalt, c.AuthHash, c.ExpiresMS, account[:])
		return wrap("set reset code", err)
	})
}

// Reset is a new identity of an account. Everything in it was checked before.
type Reset struct {
	Account    int64
	CodeHash   []byte // stored of the code that allows it
	Previous   uint64 // version of the device list that List follows on
	List       *proto.DeviceList
	DeviceName string
	Password   *Password
	KeyRing    *pb.Sealed
	TokenHash  []byte
	Expires    time.Time
}

// ResetAccount gives an account a new identity with one device and its session, and a new password. Of before stay user
// name, profile, contacts and conversations, whose history the new identity cannot open; devices, sessions, recovery code,
// settings, invitations and device links go. The former key ring is kept for whoever has the former recovery code. It returns
// the devices that ended. It fails with not_found when the code is not open any more, with stale_list when another list
// came first.
func (s *Store) ResetAccount(ctx context.Context, r Reset) (ended []proto.ID, err error) {
	err = s.write(ctx, func(w *writeTx) error {
		ended = nil
		if err := w.mayReset(r); err != nil {
			return err
		}
		if err := w.keepFormer(r.Account); err != nil {
			return err
		}
		if err := w.newIdentity(r); err != nil {
			return err
		}
		u := ListUpdate{Account: r.Account, List: r.List, NewKey: true, KeyRing: r.KeyRing}
		if ended, err = w.dropDevices(u); err != nil {
			return err
		}
		device, err := w.addDevice(r.Account, r.List, r.List.GetDevices()[0], r.DeviceName)
		if err != nil {
			return err
		}
		if err := w.addSession(r.TokenHash, device, r.Expires); err != nil {
			return err
		}
		if err := w.dropSealed(r.Account); err != nil {
			return err
		}
		if err := w.newGeneration(u); err != nil {
			return err
		}
		if err := w.bump(r.Account, LogProfile, nil); err != nil { // it has no recovery code any more
			return err
		}
		return w.bumpList(r.Account)
	})
	return ended, err
}

func (w *writeTx) mayReset(r Reset) error {
	var version uint64
	err := w.row("SELECT list_version FROM accounts WHERE id = ? AND deleted_ms IS NULL AND reset_hash = ? AND reset_expires_ms > ?",
		r.Account, r.CodeHash, w.s.nowMS()).Scan(&version)
	if err != nil {
		return wrap("read account", err)
	}
	if version != r.Previous {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_STALE_LIST, "the devices changed meanwhile: try again")
	}
	return nil
}

// keepFormer puts the key ring aside that the recovery code opens. Without a code nobody could open it again.
func (w *writeTx) keepFormer(account int64) error {
	_, err := w.exec(`INSERT INTO former_keys (account_id, generation, key_ring, recovery_salt, recovery_hash, wrapped_recovery)
		SELECT id, generation, key_ring, recovery_salt, recovery_hash, wrapped_recovery FROM accounts
		WHERE id = ? AND key_ring IS NOT NULL AND recovery_hash IS NOT NULL`, account)
	return wrap("keep former keys", err)
}

// newIdentity writes what the account is from now on.
func (w *writeTx) newIdentity(r Reset) error {
	master, err := gproto.Marshal(r.Password.Master)
	if err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	p, l := r.Password, r.List
	_, err = w.exec(`UPDATE accounts SET identity_key = ?, list_version = ?, generation = ?, first_generation = ?, pw_memory = ?, pw_time = ?,
		pw_parallelism = ?, pw_salt = ?, pw_host = ?, auth_salt = ?, auth_hash = ?, wrapped_master = ?, recovery_salt = NULL, recovery_hash = NULL,
		wrapped_recovery = NULL, reset_salt = NULL, reset_hash = NULL, reset_expires_ms = 0 WHERE id = ?`,
		l.GetIdentityKey(), l.GetVersion(), l.GetGeneration(), l.GetGeneration(), p.Params.GetMemoryKib(), p.Params.GetTime(),
		p.Params.GetParallelism(), p.Params.GetSalt(), p.Params.GetHost(), p.AuthSalt, p.AuthHash, master, r.Account)
	if err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	return w.insertList(r.Account, l)
}

// dropSealed takes away what only the former identity could open or vouch for.
func (w *writeTx) dropSealed(account int64) error {
	for _, query := range []string{
		"DELETE FROM tickets WHERE account_id = ?",
		"DELETE FROM device_links WHERE account_id = ?",
		"DELETE FROM generation_grants WHERE device_id IN (SELECT id FROM devices WHERE account_id = ?)",
		"DELETE FROM settings WHERE account_id = ?",
		"UPDATE contacts SET invitation_id = NULL, join_body = NULL, join_signature = NULL WHERE account_id = ?",
		"DELETE FROM invitation_uses WHERE invitation_id IN (SELECT id FROM invitations WHERE account_id = ?)",
		"DELETE FROM invitations WHERE account_id = ?",
	} {
		if _, err := w.exec(query, account); err != nil {
			return fmt.Errorf("reset: %w", err)
		}
	}
	_, err := w.exec("DELETE FROM account_log WHERE account_id = ? AND kind IN (?, ?)", account, LogSetting, LogInvitation)
	return wrap("reset", err)
}

// FormerKeys is a key ring from before a reset, and the recovery code that opens it.
type FormerKeys struct {
	Recovery *Recovery
	KeyRing  *pb.Sealed
}

// FormerKeys returns the key rings from before the resets of an account, newest first.
func (s *Store) FormerKeys(ctx context.Context, account int64) ([]FormerKeys, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT key_ring, recovery_salt, recovery_hash, wrapped_recovery FROM former_keys
		WHERE account_id = ? ORDER BY generation DESC`, account)
	if err != nil {
		return nil, fmt.Errorf("read former keys: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []FormerKeys
	for rows.Next() {
		var (
			ring []byte
			r    scannedRecovery
		)
		if err := rows.Scan(&ring, &r.salt, &r.hash, &r.master); err != nil {
			return nil, fmt.Errorf("read former keys: %w", err)
		}
		recovery, err := r.recovery()
		former := FormerKeys{Recovery: recovery, KeyRing: &pb.Sealed{}}
		if err := errors.Join(err, proto.Unmarshal(ring, former.KeyRing)); err != nil {
			return nil, fmt.Errorf("former keys: %w", err)
		}
		all = append(all, former)
	}
	return all, wrap("read former keys", rows.Err())
}
