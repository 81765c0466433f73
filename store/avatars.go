package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/parley-chat/parley/proto"
)

// SetAvatar replaces the picture of an account, or takes it away if the image is empty, and tells those who see the
// profile. It says whether that changed anything.
func (s *Store) SetAvatar(ctx context.Context, account int64, kind string, image []byte) (changed bool, err error) {
	var hash []byte
	if len(image) > 0 {
		sum := sha256.Sum256(image)
		hash = sum[:]
	}
	err = s.write(ctx, func(w *writeTx) error {
		if err := w.exists(account); err != nil {
			return err
		}
		var was []byte
		if err := w.row("SELECT avatar FROM accounts WHERE id = ?", account).Scan(&was); err != nil {
			return wrap("read avatar", err)
		}
		if changed = !bytes.Equal(was, hash); !changed {
			return nil
		}
		if _, err := w.exec("DELETE FROM avatars WHERE account_id = ?", account); err != nil {
			return fmt.Errorf("delete avatar: %w", err)
		}
		if hash != nil {
			if _, err := w.exec("INSERT INTO avatars (account_id, type, image) VALUES (?, ?, ?)", account, kind, image); err != nil {
				return fmt.Errorf("insert avatar: %w", err)
			}
		}
		if _, err := w.exec("UPDATE accounts SET avatar = ? WHERE id = ?", hash, account); err != nil {
			return fmt.Errorf("set avatar: %w", err)
		}
		return w.bumpProfile(account)
	})
	return changed, err
}

// Avatar reads the picture of an account if it has this SHA-256; ErrNotFound otherwise.
func (s *Store) Avatar(ctx context.Context, account proto.ID, hash []byte) (kind string, image []byte, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT v.type, v.image FROM accounts a JOIN avatars v ON v.account_id = a.id
		WHERE a.public_id = ? AND a.avatar = ? AND a.deleted_ms IS NULL`, account[:], hash).Scan(&kind, &image)
	return kind, image, wrap("read avatar", err)
}
