package local

import (
	"database/sql"
	"fmt"
	"math"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Status is where a message stands on this device.
type Status int

// Statuses are stored: never renumber. 6 was never written.
const (
	Stored    Status = 0 // received, or an own one that the relay has
	Waiting   Status = 1 // in the outbox: the relay does not have it yet
	Failed    Status = 2 // the relay refuses it for good; see Failure
	NoKey     Status = 3 // sealed under an epoch key this device does not have yet
	Blanked   Status = 4 // the relay keeps only its header
	OnlyHere  Status = 5 // somebody else's, or delivered directly, and the relay refuses it for good
	Unrelayed Status = 7 // somebody else's, whose number at the relay is not known yet
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
	Arrival      int64 // order in which this device came to have it, from 1
	Conversation proto.ID
	Seq          uint64 // 0 until the relay's number is known
	After        uint64 // newest number here when it came
	Device, ID   proto.ID
	Account      proto.ID
	Kind         uint32
	Counter      uint64 // of the sender's device; 0 in what was stored before counters were kept
	Epoch        uint64 // that Envelope is sealed under; 0 likewise, or when it is not sealed yet
	TimeMS       uint64
	Hash         []byte       // of the envelope, empty when it is not sealed yet
	Content      *pb.Content  // nil while NoKey and when Blanked
	Envelope     *pb.Envelope // kept, for a relay that loses it (a restored copy); nil when not sealed yet or of another epoch
	Path         Path
	Status       Status
	Acked        bool // a device at the other end has stored it, told by the link
	Altered      bool // the relay's copy says something else than the direct one did
	Timed        bool // TimeMS was compared with the relay's
	Failure      string
}

const messageColumns = `arrival, conversation, seq, after_seq, device, id, account, kind, counter, epoch, time_ms, hash, content, envelope,
	path, status, acked, altered, timed, failure`

func scanMessage(row scanner) (*Message, error) {
	var (
		m                                                     Message
		seq                                                   sql.NullInt64
		conversation, device, mid, account, content, envelope []byte
	)
	err := row.Scan(&m.Arrival, &conversation, &seq, &m.After, &device, &mid, &account, &m.Kind, &m.Counter, &m.Epoch, &m.TimeMS, &m.Hash,
		&content, &envelope, &m.Path, &m.Status, &m.Acked, &m.Altered, &m.Timed, &m.Failure)
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

// endPlace is where messages stand whose number will come: at the end, in order of arrival.
const endPlace = math.MaxInt64

// placeOf orders a conversation: by the relay's number; what will never have one stands behind the number that was the
// newest when it came. Messages of one place stand in order of arrival.
func placeOf(m *Message) int64 {
	switch {
	case m.Seq != 0:
		return int64(m.Seq) * 2 //nolint:gosec // numbers have 32 bits
	case m.Status == Failed || m.Status == OnlyHere:
		return int64(m.After)*2 + 1 //nolint:gosec // likewise
	}
	return endPlace
}

// Message returns one by its identity, or ErrNotFound.
func (t *Tx) Message(conversation, device, mid proto.ID) (*Message, error) {
	m, err := scanMessage(t.row("SELECT "+messageColumns+" FROM messages WHERE conversation = ? AND device = ? AND id = ?",
		conversation[:], device[:], mid[:]))
	if err != nil {
		return nil, found("read message", err)
	}
	return m, nil
}

// SaveMessage writes m. A zero Arrival makes it a new one: it gets its Arrival, and its counter is counted.
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
		if err := t.vacate(m); err != nil {
			return err
		}
	}
	hash := m.Hash
	if hash == nil {
		hash = []byte{}
	}
	values := []any{
		placeOf(m), m.Conversation[:], seq, m.After, m.Device[:], m.ID[:], m.Account[:], m.Kind, m.Counter, m.Epoch, m.TimeMS, hash,
		content, envelope, m.Path, m.Status, m.Acked, m.Altered, m.Timed, m.Failure,
	}
	if m.Arrival != 0 {
		return t.exec("save message", `UPDATE messages SET place = ?, conversation = ?, seq = ?, after_seq = ?, device = ?, id = ?, account = ?,
			kind = ?, counter = ?, epoch = ?, time_ms = ?, hash = ?, content = ?, envelope = ?, path = ?, status = ?, acked = ?, altered = ?,
			timed = ?, failure = ? WHERE arrival = ?`, append(values, m.Arrival)...)
	}
	res, err := t.run(`INSERT INTO messages (place, conversation, seq, after_seq, device, id, account, kind, counter, epoch,
		time_ms, hash, content, envelope, path, status, acked, altered, timed, failure)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, values...)
	if err != nil {
		return failed("save message", err)
	}
	if m.Arrival, err = res.LastInsertId(); err != nil {
		return failed("save message", err)
	}
	return t.count(m)
}

// vacate takes m's number from any other message: that one had it from an answer to its posting, and the log, which has the
// last word, says otherwise. It waits again.
func (t *Tx) vacate(m *Message) error {
	return t.exec("vacate number", "UPDATE messages SET seq = NULL, place = ?, status = ? WHERE conversation = ? AND seq = ? AND arrival <> ?",
		int64(endPlace), Waiting, m.Conversation[:], m.Seq, m.Arrival)
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

// WaitingIn returns the conversations whose outbox is not empty.
func (t *Tx) WaitingIn() ([]proto.ID, error) {
	return t.conversationsWith(Waiting)
}

// UnrelayedIn returns the conversations with messages whose number is not known.
func (t *Tx) UnrelayedIn() ([]proto.ID, error) {
	return t.conversationsWith(Unrelayed)
}

func (t *Tx) conversationsWith(status Status) ([]proto.ID, error) {
	return queryAll(t, "read conversations", func(row scanner) (proto.ID, error) {
		var b []byte
		err := row.Scan(&b)
		return id(b), err
	}, "SELECT conversation FROM messages WHERE status = ? GROUP BY conversation ORDER BY min(arrival)", status)
}

// Outbox returns own messages of a conversation that the relay does not have yet, behind one that arrived at after, in the
// order in which they were written, at most limit.
func (t *Tx) Outbox(conversation proto.ID, after int64, limit int) ([]*Message, error) {
	return queryAll(t, "read outbox", scanMessage, "SELECT "+messageColumns+` FROM messages
		WHERE status = ? AND conversation = ? AND arrival > ? ORDER BY arrival LIMIT ?`, Waiting, conversation[:], after, limit)
}

// Unrelayed returns others' messages of a conversation that have no number yet, are sealed under epoch, and were written
// before a time; at most limit, in order of arrival.
func (t *Tx) Unrelayed(conversation proto.ID, epoch, beforeMS uint64, limit int) ([]*Message, error) {
	return queryAll(t, "read messages", scanMessage, "SELECT "+messageColumns+` FROM messages
		WHERE status = ? AND conversation = ? AND epoch = ? AND time_ms < ? AND envelope IS NOT NULL ORDER BY arrival LIMIT ?`,
		Unrelayed, conversation[:], epoch, beforeMS, limit)
}

// WithStatus returns the messages of a conversation that have the status, in order of arrival.
func (t *Tx) WithStatus(conversation proto.ID, status Status) ([]*Message, error) {
	return queryAll(t, "read messages", scanMessage, "SELECT "+messageColumns+` FROM messages
		WHERE status = ? AND conversation = ? ORDER BY arrival`, status, conversation[:])
}

// History returns up to limit messages in the order in which they are shown, oldest first: the last ones, or with before
// the last ones that stand above it. limit 0 means all.
func (t *Tx) History(conversation proto.ID, before *Message, limit int) ([]*Message, error) {
	place, arrival := int64(endPlace), int64(math.MaxInt64)
	if before != nil {
		place, arrival = placeOf(before), before.Arrival
	}
	if limit <= 0 {
		limit = -1
	}
	page, err := queryAll(t, "read history", scanMessage, "SELECT "+messageColumns+` FROM messages
		WHERE conversation = ? AND (place, arrival) < (?, ?) ORDER BY place DESC, arrival DESC LIMIT ?`, conversation[:], place, arrival, limit)
	for i, j := 0, len(page)-1; i < j; i, j = i+1, j-1 {
		page[i], page[j] = page[j], page[i]
	}
	return page, err
}

// Arrived returns up to limit messages of all conversations that came after an Arrival, in that order.
func (t *Tx) Arrived(after int64, limit int) ([]*Message, error) {
	return queryAll(t, "read messages", scanMessage, "SELECT "+messageColumns+" FROM messages WHERE arrival > ? ORDER BY arrival LIMIT ?", after, limit)
}

// LastArrival returns the newest message's, 0 without any.
func (t *Tx) LastArrival() (last int64, err error) {
	err = t.row("SELECT COALESCE(max(arrival), 0) FROM messages").Scan(&last)
	return last, failed("read messages", err)
}

// Unread counts the messages of kinds below countsBelow that others than self wrote and that stand behind a read mark.
func (t *Tx) Unread(conversation, self proto.ID, read uint64, countsBelow uint32) (n uint64, err error) {
	err = t.row(`SELECT count(*) FROM messages WHERE conversation = ? AND (place BETWEEN ? AND ? OR place = ?)
		AND account <> ? AND kind < ? AND status <> ?`,
		conversation[:], int64(read)*2+1, int64(endPlace-1), int64(endPlace), self[:], countsBelow, OnlyHere).Scan(&n) //nolint:gosec // numbers have 32 bits
	return n, failed("count unread", err)
}

// ForgetSeqs takes the relay's numbers from every message of a conversation: the relay's log turned
// out to be another one (a restored backup), and they are given again while it is read anew. What stands in the log is
// taken out of it: own messages wait again, others' are unrelayed.
func (t *Tx) ForgetSeqs(conversation, device proto.ID) error {
	return t.exec("forget numbers", `UPDATE messages SET seq = NULL, place = ?,
		status = CASE WHEN status <> ? THEN status WHEN device = ? THEN ? ELSE ? END WHERE conversation = ? AND seq IS NOT NULL`,
		int64(endPlace), Stored, device[:], Waiting, Unrelayed, conversation[:])
}
