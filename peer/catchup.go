package peer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// catchUp keeps this device equal with the relay over one connection. Conversations that may be behind are fetched one after
// the other by run; of those that are in step what the server pushes is stored at once. One that cannot be fetched is tried
// again later and holds up no other.
type catchUp struct {
	c    *Client
	conn *connection
	wake chan struct{} // to run: there may be something to do

	mu       sync.Mutex
	due      []proto.ID             // to be fetched, in this order
	trouble  map[proto.ID]*trouble  // of those that failed
	greeting map[proto.ID]bool      // behind at the greeting, and not looked at yet
	seen     map[proto.ID]uint64    // newest number that was announced
	inStep   map[proto.ID]bool      // compared with the relay, and nothing is missing
	suspects map[proto.ID]bool      // of which an event was refused before this connection, still to be compared
	absent   map[proto.ID]bool      // that the server does not have, or does not show any more
	cursors  map[proto.ID]bool      // whose cursor may have to be told
	told     map[proto.ID]toldMarks // what the relay knows
	online   bool
}

type trouble struct {
	tries     int
	notBefore time.Time
}

// toldMarks are a device's delivered and its account's read number.
type toldMarks struct{ delivered, read uint64 }

func newCatchUp(c *Client, conn *connection) *catchUp {
	return &catchUp{
		c: c, conn: conn, wake: make(chan struct{}, 1), trouble: make(map[proto.ID]*trouble), greeting: make(map[proto.ID]bool),
		seen: make(map[proto.ID]uint64), inStep: make(map[proto.ID]bool), absent: make(map[proto.ID]bool), suspects: make(map[proto.ID]bool), cursors: make(map[proto.ID]bool), told: make(map[proto.ID]toldMarks),
	}
}

// attending is what attends to the present connection, nil while offline.
func (c *Client) attending() *catchUp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.catching
}

// attach takes the greeting of a new connection.
func (c *Client) attach(ctx context.Context, conn *connection, w *pb.Welcome) (attendant, error) {
	cu := newCatchUp(c, conn)
	c.mu.Lock()
	c.ice, c.catching = w.GetIce(), cu
	away := c.away
	c.mu.Unlock()
	if away {
		conn.tell(presenceFrame(away))
	}
	if err := c.welcomeChanges(ctx, conn, w.GetChanges()); err != nil {
		return nil, err
	}
	c.applyPresences(w.GetPresences())
	for _, state := range w.GetBehind() {
		if err := c.noteState(ctx, state); err != nil {
			return nil, err
		}
	}
	if err := c.doubted(ctx, conn.ask); err != nil {
		return nil, err
	}
	return cu, cu.suspect(ctx)
}

// suspect has the conversations compared with the relay of which an event was refused before this connection: an honest
// relay has another one in its place by now.
func (cu *catchUp) suspect(ctx context.Context) error {
	var rows []*local.Conversation
	err := cu.c.update(ctx, func(w *work) (err error) {
		if rows, err = w.Conversations(); err != nil {
			return err
		}
		return cu.untaken(w, rows)
	})
	for _, row := range rows {
		if row.SuspectSeq == 0 {
			continue
		}
		cu.mu.Lock()
		cu.suspects[row.ID] = true
		cu.mu.Unlock()
		cu.behind(row.ID, 0)
	}
	return err
}

// poke wakes run.
func (cu *catchUp) poke() {
	select {
	case cu.wake <- struct{}{}:
	default:
	}
}

// behind notes that a conversation may lack something, up to a number if that is known.
func (cu *catchUp) behind(id proto.ID, seq uint64) {
	cu.mu.Lock()
	defer cu.mu.Unlock()
	cu.seen[id] = max(cu.seen[id], seq)
	delete(cu.inStep, id)
	delete(cu.absent, id)
	if !slices.Contains(cu.due, id) {
		cu.due = append(cu.due, id)
	}
	cu.poke()
}

// again lets a conversation be fetched once more after a while, although it is in step.
func (cu *catchUp) again(id proto.ID, after time.Duration) {
	cu.mu.Lock()
	defer cu.mu.Unlock()
	cu.trouble[id] = &trouble{notBefore: time.Now().Add(after)}
	if !slices.Contains(cu.due, id) {
		cu.due = append(cu.due, id)
	}
	cu.poke()
}

// want says whether a conversation is in step; if not it is the next to be fetched.
func (cu *catchUp) want(id proto.ID) bool {
	cu.mu.Lock()
	defer cu.mu.Unlock()
	if cu.inStep[id] || cu.absent[id] {
		return cu.inStep[id]
	}
	cu.due = slices.Insert(slices.DeleteFunc(cu.due, func(other proto.ID) bool { return other == id }), 0, id)
	cu.poke()
	return false
}

// announced notes that a number exists and says whether the conversation is in step, so that it may be stored at once.
// Otherwise whoever fetches the conversation will not stop before it.
func (cu *catchUp) announced(id proto.ID, seq uint64) bool {
	cu.mu.Lock()
	defer cu.mu.Unlock()
	cu.seen[id] = max(cu.seen[id], seq)
	return cu.inStep[id]
}

// newest is the highest number that was announced.
func (cu *catchUp) newest(id proto.ID) uint64 {
	cu.mu.Lock()
	defer cu.mu.Unlock()
	return cu.seen[id]
}

// suspected says once that an event was refused before this connection.
func (cu *catchUp) suspected(id proto.ID) bool {
	cu.mu.Lock()
	defer cu.mu.Unlock()
	suspected := cu.suspects[id]
	delete(cu.suspects, id)
	return suspected
}

// gone notes that a number that was announced is not there.
func (cu *catchUp) gone(id proto.ID) {
	cu.mu.Lock()
	defer cu.mu.Unlock()
	delete(cu.seen, id)
}

// arrived says that everything up to a number is stored; false that more was announced meanwhile.
func (cu *catchUp) arrived(id proto.ID, through uint64) bool {
	cu.mu.Lock()
	defer cu.mu.Unlock()
	if cu.seen[id] > through {
		return false
	}
	cu.inStep[id] = true
	cu.due = slices.DeleteFunc(cu.due, func(other proto.ID) bool { return other == id })
	delete(cu.trouble, id)
	return true
}

// run fetches and acknowledges until ctx ends.
func (cu *catchUp) run(ctx context.Context) {
	for ctx.Err() == nil {
		cu.tellCursors(ctx)
		if cu.greeted() {
			cu.c.nowOnline(cu)
		}
		id, wait := cu.next()
		if wait == 0 {
			cu.fetch(ctx, id)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-cu.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// greeted says once that what was behind at the greeting has been looked at.
func (cu *catchUp) greeted() bool {
	cu.mu.Lock()
	defer cu.mu.Unlock()
	if cu.online || len(cu.greeting) > 0 {
		return false
	}
	cu.online = true
	return true
}

// next is a conversation to be fetched now, or how long there is none.
func (cu *catchUp) next() (id proto.ID, wait time.Duration) {
	cu.mu.Lock()
	defer cu.mu.Unlock()
	wait = time.Minute
	for _, id := range cu.due {
		t := cu.trouble[id]
		if t == nil {
			return id, 0
		}
		if left := time.Until(t.notBefore); left <= 0 {
			return id, 0
		} else if left < wait {
			wait = left
		}
	}
	return proto.ID{}, wait
}

// nowOnline tells that the server is reached and everything it had is here.
func (c *Client) nowOnline(cu *catchUp) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.catching == cu {
		c.online = true
		c.events.emit(ConnectionEvent{Online: true})
	}
}

// fetch syncs a conversation and notes how that went.
func (cu *catchUp) fetch(ctx context.Context, id proto.ID) {
	err := cu.sync(ctx, id)
	if err == nil {
		err = cu.takeIdentity(ctx, id)
	}
	gone := proto.HasCode(err, pb.ErrorCode_ERROR_CODE_NOT_FOUND)
	if gone {
		err = cu.c.missing(ctx, id)
	}
	cu.mu.Lock()
	defer cu.mu.Unlock()
	delete(cu.greeting, id)
	if gone { // until something is said of it again
		cu.absent[id] = true
		cu.due = slices.DeleteFunc(cu.due, func(other proto.ID) bool { return other == id })
	}
	switch {
	case err == nil:
		cu.c.kick()
		return
	case ctx.Err() != nil || errors.Is(err, ErrOffline):
		return
	}
	t := cu.trouble[id]
	if t == nil {
		t = &trouble{}
		cu.trouble[id] = t
	}
	if t.tries == 0 {
		cu.c.logger.Warn("sync", "conversation", id, "error", err)
		cu.c.events.emit(ErrorEvent{Conversation: id, Err: err})
	}
	t.tries++
	t.notBefore = time.Now().Add(backoff(t.tries))
}

// missing is what to tell of a conversation that the server does not show: nothing, if it is with somebody who is no contact
// any more.
func (c *Client) missing(ctx context.Context, id proto.ID) error {
	return c.update(ctx, func(w *work) error {
		p, err := w.pairWith(id)
		if err == nil && p != nil && p.State == pb.ContactState_CONTACT_STATE_ACCEPTED {
			err = errNoConversation
		}
		return err
	})
}

var errNoConversation = errors.New("the server does not have this conversation: what is here stays here; add the contact again to go on")

// cursorMoved notes that a conversation's cursor may have to be told.
func (cu *catchUp) cursorMoved(id proto.ID) {
	cu.mu.Lock()
	defer cu.mu.Unlock()
	cu.cursors[id] = true
	cu.poke()
}

// tellCursors tells the relay how far this device is: that everything up to a number is durably stored here, and read.
func (cu *catchUp) tellCursors(ctx context.Context) {
	cu.mu.Lock()
	moved := cu.cursors
	cu.cursors = make(map[proto.ID]bool)
	cu.mu.Unlock()
	for id := range moved {
		if err := cu.tellCursor(ctx, id); err != nil && ctx.Err() == nil {
			cu.c.logger.Debug("cursor", "conversation", id, "error", err)
		}
	}
}

func (cu *catchUp) tellCursor(ctx context.Context, id proto.ID) error {
	var now toldMarks
	err := cu.c.update(ctx, func(w *work) error {
		row, err := w.Conversation(id)
		if errors.Is(err, local.ErrNotFound) || err == nil && row.Rereading {
			return nil
		}
		if err == nil {
			now = toldMarks{delivered: row.ThroughSeq, read: min(row.ReadSeq, row.ThroughSeq)}
		}
		return err
	})
	if err != nil {
		return err
	}
	cu.mu.Lock()
	told := cu.told[id]
	cu.mu.Unlock()
	if now.delivered <= told.delivered && now.read <= told.read {
		return nil
	}
	_, err = cu.conn.ask(ctx, &pb.Frame{Kind: &pb.Frame_Cursor{Cursor: &pb.Cursor{
		Conversation: id.Bytes(), DeliveredSeq: now.delivered, ReadSeq: now.read,
	}}})
	if err == nil {
		cu.knows(id, now)
	}
	return err
}

// knows notes how far the relay knows this device to be.
func (cu *catchUp) knows(id proto.ID, m toldMarks) {
	cu.mu.Lock()
	defer cu.mu.Unlock()
	cu.told[id] = m
}
