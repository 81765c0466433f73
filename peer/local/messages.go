package local

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	gproto "google.golang.org/protobuf/proto"
)

// Status is where a message stands on this device.
type Status int

// Statuses are stored: never renumber.
const (
	Stored    Status = 0 // received, or an own one that the relay has
	Waiting   Status = 1 // in the outbox: the relay does not have it yet
	Failed    Status = 2 // the relay refuses it for good; see Failure
	NoKey     Status = 3 // sealed under an epoch key this device does not have yet
	Blanked   Status = 4 // the relay keeps only its header
	OnlyHere  Status = 5 // came directly, and the relay refuses it for good
	Unopened  Status = 6 // verified, but what is sealed is not of a kind this program knows
	Unrelayed Status = 7 // came directly, its number at the relay is not known yet
)

// Path is how the first copy travelled.
type Path int

// Paths are stored: never renumber.
const (
	PathNone   Path = 0
	PathRelay  Path = 1
	PathTurn   Path = 2
	PathDirect Path = 3
)

// String is the path's code as users of the command line see it.
func (p Path) String() string {
	switch p {
	case PathRelay:
		return "relay"
	case PathTurn:
		return "turn"
	case PathDirect:
		return "direct"
	case PathNone:
	}
	return "waiting"
}

// Message is one envelope as this device has it.
type Message struct {
	Arrival      int64
	Conversation proto.ID
	Seq          uint64 // 0 until the relay's number is known
	Device, ID   proto.ID
	Account      proto.ID
	Kind         uint32
	TimeMS       uint64
	Hash         []byte
	Content      *pb.Content  // nil while NoKey, when Blanked or Unopened
	Envelope     *pb.Envelope // kept for what is not posted or not opened yet
	Path         Path
	Status       Status
	Acked        bool // a device at the other end has stored it, told by the link
	Failure      string
}

const messageColumns = `arrival, conversation, seq, device, id, account, kind, time_ms, hash, content, envelope, path, status,
	acked, failure`

func scanMessage(row interface{ Scan(dest ...any) error }) (*Message, error) {
	var (
		m                                                    Message
		seq                                                  sql.NullInt64
		conversation, device, mid, account, content, envelope []byte
	)
	err := row.Scan(&m.Arrival, &conversation, &seq, &device, &mid, &account, &m.Kind, &m.TimeMS, &m.Hash, &content, &envelope,
		&m.Path, &m.Status, &m.Acked, &m.Failure)
	if err != nil {
		return nil, err
	}
	m.Conversation, m.Device, m.ID, m.Account = id(conversation), id(device), id(mid), id(account)
	m.Seq = uint64(max(seq.Int64, 0))
	if content != nil {
		m.Content = &pb.Content{}
		if err := proto.Unmarshal(content, m.Content); err != nil {
			return nil, err
		}
	}
	if envelope != nil {
		m.Envelope = &pb.Envelope{}
		if err := proto.Unmarshal(envelope, m.Envelope); err != nil {
			return nil, err
		}
	}
	return &m, nil
}

// Message returns one by its identity, or ErrNotFound.
func (t *Tx) Message(conversation, device, mid proto.ID) (*Message, error) {
	m, err := scanMessage(t.tx.QueryRowContext(t.ctx,
		"SELECT "+messageColumns+" FROM messages WHERE conversation = ? AND device = ? AND id = ?", conversation[:], device[:], mid[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return m, nil
}

// SaveMessage writes m; a zero Arrival puts it at the end and sets m.Arrival.
func (t *Tx) SaveMessage(m *Message) error {
	content, err := marshalOrNil(m.Content)
	if err != nil {
		return err
	}
	envelope, err := marshalOrNil(m.Envelope)
	if err != nil {
		return err
	}
	var seq any
	if m.Seq != 0 {
		seq = m.Seq
	}
	values := []any{
		m.Conversation[:], seq, m.Device[:], m.ID[:], m.Account[:], m.Kind, m.TimeMS, m.Hash, content, envelope, m.Path, m.Status,
		m.Acked, m.Failure,
	}
	if m.Arrival != 0 {
		return t.exec(`UPDATE messages SET conversation = ?, seq = ?, device = ?, id = ?, account = ?, kind = ?, time_ms = ?,
			hash = ?, content = ?, envelope = ?, path = ?, status = ?, acked = ?, failure = ? WHERE arrival = ?`,
			append(values, m.Arrival)...)
	}
	res, err := t.tx.ExecContext(t.ctx, `INSERT INTO messages (conversation, seq, device, id, account, kind, time_ms, hash,
		content, envelope, path, status, acked, failure) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, values...)
	if err != nil {
		return fmt.Errorf("save message: %w", err)
	}
	m.Arrival, err = res.LastInsertId()
	if err != nil {
		return fmt.Errorf("save message: %w", err)
	}
	return nil
}

func marshalOrNil[M interface {
	gproto.Message
	comparable
}](m M,
) ([]byte, error) {
	var none M
	if m == none {
		return nil, nil
	}
	b, err := gproto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("save message: %w", err)
	}
	return b, nil
}

// Outbox returns own messages that the relay does not have yet, oldest first, at most limit of them.
func (t *Tx) Outbox(after int64, limit int) ([]*Message, error) {
	return queryAll(t, scanMessage, "SELECT "+messageColumns+` FROM messages WHERE status = ? AND arrival > ?
		ORDER BY arrival LIMIT ?`, Waiting, after, limit)
}

// WithStatus returns the messages of a conversation that have the status, oldest first.
func (t *Tx) WithStatus(conversation proto.ID, status Status) ([]*Message, error) {
	return queryAll(t, scanMessage, "SELECT "+messageColumns+` FROM messages WHERE status = ? AND conversation = ?
		ORDER BY arrival`, status, conversation[:])
}

// History returns up to limit messages in the order in which they are shown, oldest first: by the
// relay's number, and after the last numbered one what has none yet, in order of arrival. With
// before > 0 only numbers below it; limit 0 means all.
func (t *Tx) History(conversation proto.ID, before uint64, limit int) ([]*Message, error) {
	if limit <= 0 {
		limit = -1
	}
	if before > 0 {
		page, err := queryAll(t, scanMessage, "SELECT "+messageColumns+` FROM messages WHERE conversation = ? AND seq < ?
			ORDER BY seq DESC LIMIT ?`, conversation[:], before, limit)
		reverse(page)
		return page, err
	}
	page, err := queryAll(t, scanMessage, "SELECT "+messageColumns+` FROM messages WHERE conversation = ?
		ORDER BY seq IS NULL DESC, seq DESC, arrival DESC LIMIT ?`, conversation[:], limit)
	reverse(page)
	return page, err
}

func reverse(page []*Message) {
	for i, j := 0, len(page)-1; i < j; i, j = i+1, j-1 {
		page[i], page[j] = page[j], page[i]
	}
}

// HashAt returns the highest numbered message at or below seq with its hash, to prove to the relay
// what this device has; zero and nil when there is none.
func (t *Tx) HashAt(conversation proto.ID, seq uint64) (uint64, []byte, error) {
	var (
		found uint64
		hash  []byte
	)
	err := t.tx.QueryRowContext(t.ctx, `SELECT seq, hash FROM messages WHERE conversation = ? AND seq <= ?
		ORDER BY seq DESC LIMIT 1`, conversation[:], seq).Scan(&found, &hash)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, fmt.Errorf("read hash: %w", err)
	}
	return found, hash, nil
}

// ForgetSeqs takes the relay's numbers from every message of a conversation: the relay's log turned
// out to be another one (a restored backup), and they are given again while it is read anew.
func (t *Tx) ForgetSeqs(conversation proto.ID) error {
	return t.exec("UPDATE messages SET seq = NULL WHERE conversation = ?", conversation[:])
}
