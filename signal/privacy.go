package signal

import (
	"context"
	"slices"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// setPrivacy changes what the account does not show. Hiding its presence looks to contacts as going offline, and to it
// as if they went.
func (c *connection) setPrivacy(ctx context.Context, p *pb.Privacy) error {
	before, err := c.s.Store.PresencePeers(ctx, c.session.AccountID)
	if err != nil {
		return err
	}
	if err := c.s.Store.SetPrivacy(ctx, c.session.AccountID, p); err != nil {
		return err
	}
	after, err := c.s.Store.PresencePeers(ctx, c.session.AccountID)
	if err != nil {
		return err
	}
	for _, peer := range before {
		if !slices.Contains(after, peer) {
			c.s.showOffline(peer, c.session.Account, 0)
			c.s.showOffline(c.session.Account, peer, 0)
		}
	}
	for _, peer := range after {
		if !slices.Contains(before, peer) {
			c.s.introduce(ctx, c.session.Account, peer)
		}
	}
	return nil
}
