package peer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"

	"github.com/parley-chat/parley/proto"
)

// SetAvatar gives the account a picture, made by picture.Avatar; nil takes it away.
func SetAvatar(ctx context.Context, p Peer, image []byte) error {
	call := restCall{Method: http.MethodPut, Path: "/api/v1/avatar", Type: "image/jpeg", Body: image}
	if image == nil {
		call = restCall{Method: http.MethodDelete, Path: "/api/v1/avatar"}
	}
	_, err := p.do(ctx, call)
	return err
}

// Avatar fetches somebody's picture by the SHA-256 that their profile shows, and checks it.
func Avatar(ctx context.Context, p Peer, account proto.ID, hash []byte) ([]byte, error) {
	b, err := p.do(ctx, restCall{Method: http.MethodGet, Path: "/api/v1/avatars/" + account.String() + "/" + hex.EncodeToString(hash)})
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); !bytes.Equal(sum[:], hash) {
		return nil, errors.New("the server returned another picture than the profile shows")
	}
	return b, nil
}
