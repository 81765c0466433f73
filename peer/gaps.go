package peer

import (
	"context"

	"github.com/parley-chat/parley/proto"
)

// gapKey names a device in a conversation.
type gapKey struct{ conversation, device proto.ID }

// reportGaps tells of devices that counted more messages than have come here. What lacks at one look may be under way: it is
// told when it lacks at the next too, while the conversation is in step with the relay.
func (c *Client) reportGaps(ctx context.Context) {
	cu := c.attending()
	if cu == nil {
		return
	}
	err := c.update(ctx, func(w *work) error {
		gaps, err := w.Gaps()
		if err != nil {
			return err
		}
		now := make(map[gapKey]int64, len(gaps))
		for _, g := range gaps {
			key := gapKey{g.Conversation, g.Device}
			if g.Missing > g.Told {
				if !cu.announced(g.Conversation, 0) {
					continue
				}
				if now[key] = g.Missing; c.gaps[key] != g.Missing {
					continue
				}
				name, err := w.name(g.Account)
				if err != nil {
					return err
				}
				w.tell(GapEvent{Conversation: g.Conversation, Account: g.Account, Device: g.Device, From: name, Missing: int(g.Missing)})
			}
			if err := w.TellGap(g); err != nil {
				return err
			}
		}
		c.gaps = now
		return nil
	})
	if err != nil && ctx.Err() == nil {
		c.logger.Warn("gaps", "error", err)
	}
}
