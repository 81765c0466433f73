package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// Sync reads a page.
func (r *Relay) Sync(ctx context.Context, caller *store.Session, q *pb.Sync) (*pb.Page, error) {
	a, err := r.authorise(ctx, caller, q.GetConversation())
	if err != nil {
		return nil, err
	}
	page := &pb.Page{Conversation: q.GetConversation()}
	if page.Diverged, err = r.diverged(ctx, a, q); err != nil {
		return nil, err
	}
	if !page.GetDiverged() {
		if err := r.fill(ctx, caller, a, page, q); err != nil {
			return nil, err
		}
	}
	// The state is read after the rows, so that a client never believes to be at the head when it is not.
	if page.State, err = r.state(ctx, caller, a.ID); err != nil {
		return nil, err
	}
	page.HeadSeq = page.GetState().GetHeadSeq()
	return page, nil
}

// diverged says whether a client has something else stored than the relay.
func (r *Relay) diverged(ctx context.Context, a *access, q *pb.Sync) (bool, error) {
	if q.GetKnownSeq() == 0 {
		return false, nil
	}
	hash, err := r.store.HashAt(ctx, a.ID, q.GetKnownSeq())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, fmt.Errorf("sync: %w", err)
	}
	return string(hash) != string(q.GetKnownHash()), nil
}

// fill puts events into a page up to its size limit, from the side that was asked for.
func (r *Relay) fill(ctx context.Context, caller *store.Session, a *access, page *pb.Page, q *pb.Sync) error {
	backward := q.GetBackward()
	limit := min(max(int(q.GetLimit()), 1), proto.MaxPage)
	rows, err := r.store.Page(ctx, a.ID, caller.AccountID, q.GetAfter(), q.GetBefore(), backward, limit)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if backward {
		slices.Reverse(rows)
	} else {
		page.ThroughSeq = q.GetAfter()
	}
	size := 0
	for i := range rows {
		e := event(page.GetConversation(), &rows[i])
		size += gproto.Size(e)
		if size > proto.MaxPageBytes && len(page.GetEvents()) > 0 {
			break
		}
		page.Events = append(page.Events, e)
		if !backward {
			page.ThroughSeq = e.GetSeq()
		}
	}
	if backward {
		slices.Reverse(page.GetEvents())
	}
	return nil
}

func event(conversation []byte, row *store.Row) *pb.Event {
	e := &pb.Event{Conversation: conversation, Seq: row.Seq, RelayMs: uint64(row.RelayMS), Hash: row.Hash} //nolint:gosec // positive
	if row.Commit != nil {
		e.Kind = &pb.Event_Commit{Commit: commitEvent(row.Commit)}
	} else {
		e.Kind = &pb.Event_Envelope{Envelope: row.Envelope}
	}
	return e
}

func commitEvent(c *store.StoredCommit) *pb.CommitEvent {
	return &pb.CommitEvent{Commit: c.Signed, Grant: c.Grant}
}

// Commits reads the chain from a commit number on.
func (r *Relay) Commits(ctx context.Context, caller *store.Session, q *pb.CommitsRequest) (*pb.Commits, error) {
	a, err := r.authorise(ctx, caller, q.GetConversation())
	if err != nil {
		return nil, err
	}
	rows, err := r.store.Commits(ctx, a.ID, caller.AccountID, q.GetFromNumber(), proto.MaxPage)
	if err != nil {
		return nil, fmt.Errorf("commits: %w", err)
	}
	out := &pb.Commits{Conversation: q.GetConversation(), More: len(rows) == proto.MaxPage}
	size := 0
	for i := range rows {
		e := commitEvent(&rows[i])
		size += gproto.Size(e)
		if size > proto.MaxPageBytes && i > 0 {
			out.More = true
			break
		}
		out.Commits = append(out.Commits, e)
	}
	return out, nil
}
