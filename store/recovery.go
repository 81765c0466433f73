package store

import (
	"context"
	"fmt"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Recovery is how a recovery code logs in, as it is stored.
type Recovery struct {
	AuthSalt []byte
	AuthHash []byte
	Master   *pb.Sealed
}

type scannedRecovery struct{ salt, hash, master []byte }

// recovery is nil for an account without a code.
func (r scannedRecovery) recovery() (*Recovery, error) {
	if r.hash == nil {
		return nil, nil //nolint:nilnil // as the comment says
	}
	out := &Recovery{AuthSalt: r.salt, AuthHash: r.hash, Master: &pb.Sealed{}}
	return out, proto.Unmarshal(r.master, out.Master)
}

// SetRecovery replaces the recovery code of an account; nil takes it away.
func (s *Store) SetRecovery(ctx context.Context, account int64, r *Recovery) error {
	var salt, hash, master []byte
	if r != nil {
		var err error
		if master, err = gproto.Marshal(r.Master); err != nil {
			return fmt.Errorf("recovery: %w", err)
		}
		salt, hash = r.AuthSalt, r.AuthHash
	}
	return s.write(ctx, func(w *writeTx) error {
		if err := w.exists(account); err != nil {
			return err
		}
		_, err := w.exec("UPDATE accounts SET recovery_salt = ?, recovery_hash = ?, wrapped_recovery = ? WHERE id = ?", salt, hash, master, account)
		if err == nil {
			err = w.bump(account, LogProfile, nil)
		}
		return wrap("set recovery code", err)
	})
}
