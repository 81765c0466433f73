package local

import (
	"errors"

	"github.com/parley-chat/parley/proto"
)

// unknownStart marks a sender whose envelopes were not counted from the first: the next one sets the start.
const unknownStart = -1

// count notes the counter of a message that is new here.
func (t *Tx) count(m *Message) error {
	if m.Counter == 0 {
		return nil
	}
	var high, have int64
	err := found("read sender", t.row("SELECT high, have FROM senders WHERE conversation = ? AND device = ?", m.Conversation[:], m.Device[:]).
		Scan(&high, &have))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	counter := int64(m.Counter) //nolint:gosec // a sender with counters beyond 63 bits only confuses this count of its own messages
	if high == unknownStart {
		have = counter - 1
	}
	return t.exec("count sender", `INSERT INTO senders (conversation, device, account, high, have) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (conversation, device) DO UPDATE SET high = excluded.high, have = excluded.have`,
		m.Conversation[:], m.Device[:], m.Account[:], max(high, counter), have+1)
}

// Gap is what lacks of a device's messages in a conversation.
type Gap struct {
	Conversation, Account, Device proto.ID
	Missing                       int64 // envelopes whose counters are below the highest one and that never came
	Told                          int64 // of them, reported before
}

// Gaps returns the devices whose missing messages are not as many as were reported.
func (t *Tx) Gaps() ([]Gap, error) {
	return queryAll(t, "read gaps", func(row scanner) (Gap, error) {
		var (
			g                             Gap
			conversation, account, device []byte
		)
		err := row.Scan(&conversation, &account, &device, &g.Missing, &g.Told)
		g.Conversation, g.Account, g.Device = id(conversation), id(account), id(device)
		return g, err
	}, "SELECT conversation, account, device, max(high - have, 0) AS missing, told FROM senders WHERE missing <> told")
}

// TellGap notes how many missing messages of a device were reported.
func (t *Tx) TellGap(g Gap) error {
	return t.exec("note gap", "UPDATE senders SET told = ? WHERE conversation = ? AND device = ?", g.Missing, g.Conversation[:], g.Device[:])
}
