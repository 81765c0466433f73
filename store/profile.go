package store

import (
	"context"
	"fmt"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// SetNickname changes what contacts see, and tells their devices and the account's own.
func (s *Store) SetNickname(ctx context.Context, account int64, nickname string) error {
	return s.write(ctx, func(w *writeTx) error {
		if err := w.exists(account); err != nil {
			return err
		}
		if _, err := w.exec("UPDATE accounts SET nickname = ? WHERE id = ?", nickname, account); err != nil {
			return fmt.Errorf("set nickname: %w", err)
		}
		return w.bumpProfile(account)
	})
}

// bumpProfile tells the devices of an account and of those who see it that its profile changed.
func (w *writeTx) bumpProfile(account int64) error { return w.bumpSeen(account, LogProfile) }

// bumpList tells them that its device list changed.
func (w *writeTx) bumpList(account int64) error { return w.bumpSeen(account, LogDeviceList) }

// bumpSeen raises the version of a part of an account that others see, for its own devices and for theirs.
func (w *writeTx) bumpSeen(account int64, kind int) error {
	if err := w.bump(account, kind, nil); err != nil {
		return err
	}
	var public []byte
	if err := w.row("SELECT public_id FROM accounts WHERE id = ?", account).Scan(&public); err != nil {
		return wrap("read account", err)
	}
	peers, err := w.watchers(account)
	if err != nil {
		return err
	}
	for _, peer := range peers {
		if err := w.bump(peer, LogContact, public); err != nil {
			return err
		}
	}
	return nil
}

// watchers are the accounts that see this one's profile and keys: its contacts, and those it asks.
func (w *writeTx) watchers(account int64) ([]int64, error) {
	rows, err := w.tx.QueryContext(w.ctx, "SELECT peer_id FROM contacts WHERE account_id = ? AND state IN (?, ?)",
		account, pb.ContactState_CONTACT_STATE_ACCEPTED, pb.ContactState_CONTACT_STATE_ASKED)
	if err != nil {
		return nil, fmt.Errorf("read contacts: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []int64
	for rows.Next() {
		var peer int64
		if err := rows.Scan(&peer); err != nil {
			return nil, fmt.Errorf("read contacts: %w", err)
		}
		all = append(all, peer)
	}
	return all, wrap("read contacts", rows.Err())
}

// KeepAccount gives an account without a password a user name and a password. It fails with conflict when
// the name is taken or the account has a password.
func (s *Store) KeepAccount(ctx context.Context, account int64, name, key string, p *Password, ring *pb.Sealed) error {
	master, err := gproto.Marshal(p.Master)
	if err != nil {
		return fmt.Errorf("password: %w", err)
	}
	sealed, err := gproto.Marshal(ring)
	if err != nil {
		return fmt.Errorf("key ring: %w", err)
	}
	return s.write(ctx, func(w *writeTx) error {
		if err := w.exists(account); err != nil {
			return err
		}
		changed, err := w.exec(`UPDATE accounts SET user_name = ?, user_key = ?, pw_memory = ?, pw_time = ?, pw_parallelism = ?, pw_salt = ?,
			pw_host = ?, auth_salt = ?, auth_hash = ?, wrapped_master = ?, key_ring = ? WHERE id = ? AND auth_hash IS NULL`,
			name, key, p.Params.GetMemoryKib(), p.Params.GetTime(), p.Params.GetParallelism(), p.Params.GetSalt(), p.Params.GetHost(),
			p.AuthSalt, p.AuthHash, master, sealed, account)
		if w.s.dialect.taken(err, "user_key") {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "the user name %q is taken: choose another", name)
		}
		if err != nil {
			return fmt.Errorf("set password: %w", err)
		}
		if changed == 0 {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "this account has a password already")
		}
		return w.bumpProfile(account)
	})
}
