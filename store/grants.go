package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func (w *writeTx) insertGrant(conversation int64, epoch uint64, account int64, g *pb.Grant) error {
	_, err := w.exec("INSERT INTO grants (conversation_id, epoch, account_id, generation, enc, ciphertext) VALUES (?, ?, ?, ?, ?, ?)",
		conversation, epoch, account, g.GetGeneration(), g.GetEnc(), g.GetCiphertext())
	return wrap("insert grant", err)
}

// grantColumns belong to accounts a and grants g, which may be missing.
const grantColumns = "a.public_id, g.generation, g.enc, g.ciphertext"

type scannedGrant struct {
	account         []byte
	generation      sql.NullInt64
	enc, ciphertext []byte
}

func (g scannedGrant) grant() *pb.Grant {
	if !g.generation.Valid {
		return nil
	}
	return &pb.Grant{Account: g.account, Generation: uint32(g.generation.Int64), Enc: g.enc, Ciphertext: g.ciphertext} //nolint:gosec // stored from a uint32
}

// NewGrant is a grant that a member adds after the commit of its epoch.
type NewGrant struct {
	Conversation int64
	Epoch        uint64
	Commit       []byte // hash of the commit that the grant was made for
	Poster       int64  // account that adds it
	Account      int64  // that it is for
	Grant        *pb.Grant
	Replace      bool   // one of the same generation too, since the account asked for it
	Stored       func() // is called once it is stored, as that of Posts; not if it is not kept
}

// AddGrant stores a grant of the epoch in force, if the relay has none of that generation or a higher one,
// or if the account's own device adds it or asked for it. It fails with not_found when one of the two is no
// member, with stale_head when the commit is not the newest, with forbidden when the account has no such
// generation.
func (s *Store) AddGrant(ctx context.Context, n NewGrant) error {
	return s.write(ctx, func(w *writeTx) error {
		if err := w.mayGrant(n); err != nil {
			return err
		}
		var stored uint32
		err := w.row("SELECT generation FROM grants WHERE conversation_id = ? AND epoch = ? AND account_id = ?", n.Conversation, n.Epoch, n.Account).Scan(&stored)
		switch g := n.Grant; {
		case errors.Is(err, sql.ErrNoRows):
			err = w.insertGrant(n.Conversation, n.Epoch, n.Account, g)
		case err != nil:
		case stored < g.GetGeneration(), stored == g.GetGeneration() && (n.Replace || n.Poster == n.Account):
			_, err = w.exec("UPDATE grants SET generation = ?, enc = ?, ciphertext = ? WHERE conversation_id = ? AND epoch = ? AND account_id = ?",
				g.GetGeneration(), g.GetEnc(), g.GetCiphertext(), n.Conversation, n.Epoch, n.Account)
		default:
			return nil // there is a better one
		}
		if err != nil {
			return fmt.Errorf("add grant: %w", err)
		}
		w.after(n.Stored)
		return nil
	})
}

func (w *writeTx) mayGrant(n NewGrant) error {
	for _, account := range []int64{n.Poster, n.Account} {
		if member, err := w.isMember(n.Conversation, account); err != nil || !member {
			return firstErr(err, notFound())
		}
	}
	var (
		epoch      uint64
		head       []byte
		generation uint32
	)
	if err := w.row("SELECT epoch, head_commit FROM conversations WHERE id = ?", n.Conversation).Scan(&epoch, &head); err != nil {
		return wrap("read conversation", err)
	}
	if err := w.row("SELECT generation FROM accounts WHERE id = ?", n.Account).Scan(&generation); err != nil {
		return wrap("read account", err)
	}
	switch {
	case epoch != n.Epoch, !bytes.Equal(head, n.Commit):
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_STALE_HEAD, "the grant is not for the newest commit")
	case n.Grant.GetGeneration() > generation:
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_FORBIDDEN, "the member's account key has no such generation")
	}
	return nil
}
