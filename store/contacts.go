package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Contact is how an account sees another.
type Contact struct {
	State   pb.ContactState
	Note    string
	SinceMS int64
	Join    *pb.Signed

	Blocked    bool   // by the account; the peer never learns of it
	Invitation string // code of the account's invitation that the peer came by
}

// Contact reads a relation; state NONE when there is none.
func (s *Store) Contact(ctx context.Context, account, peer int64) (*Contact, error) {
	var (
		c         = Contact{State: pb.ContactState_CONTACT_STATE_NONE}
		body, sig []byte
	)
	err := s.read.QueryRowContext(ctx, `SELECT c.state, c.note, c.since_ms, c.join_body, c.join_signature, c.blocked_ms > 0, COALESCE(i.code, '')
		FROM contacts c LEFT JOIN invitations i ON i.id = c.invitation_id WHERE c.account_id = ? AND c.peer_id = ?`,
		account, peer).Scan(&c.State, &c.Note, &c.SinceMS, &body, &sig, &c.Blocked, &c.Invitation)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read contact: %w", err)
	}
	if body != nil {
		c.Join = &pb.Signed{Body: body, Signature: sig}
	}
	return &c, nil
}

// Watchers returns the public ids of those who see an account's profile and keys: its contacts, and those it
// asks.
func (s *Store) Watchers(ctx context.Context, account int64) ([]proto.ID, error) {
	return publicIDs(ctx, s.read, `SELECT a.public_id FROM contacts c JOIN accounts a ON a.id = c.peer_id
		WHERE c.account_id = ? AND c.state IN (?, ?)`, account, pb.ContactState_CONTACT_STATE_ACCEPTED, pb.ContactState_CONTACT_STATE_ASKED)
}

// querier reads, inside a transaction or not.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func publicIDs(ctx context.Context, db querier, query string, args ...any) ([]proto.ID, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read ids: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []proto.ID
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return nil, fmt.Errorf("read ids: %w", err)
		}
		all = append(all, proto.ID(b))
	}
	return all, wrap("read ids", rows.Err())
}

// relation is one side of a contact as it is written.
type relation struct {
	state      pb.ContactState
	note       string
	join       *pb.Signed
	invitation any // its row id; nil without one
}

// setContact writes how an account stands to another and tells its devices.
func (w *writeTx) setContact(account, peer int64, r relation) error {
	if err := w.writeContact(account, peer, r); err != nil {
		return err
	}
	return w.bumpContact(account, peer)
}

// writeContact leaves alone whether the account blocks the other.
func (w *writeTx) writeContact(account, peer int64, r relation) error {
	changed, err := w.exec(`UPDATE contacts SET state = ?, note = ?, join_body = ?, join_signature = ?, invitation_id = ?, since_ms = ?
		WHERE account_id = ? AND peer_id = ?`, r.state, r.note, r.join.GetBody(), r.join.GetSignature(), r.invitation, w.s.nowMS(), account, peer)
	if err == nil && changed == 0 {
		_, err = w.exec(`INSERT INTO contacts (account_id, peer_id, state, note, join_body, join_signature, invitation_id, since_ms)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, account, peer, r.state, r.note, r.join.GetBody(), r.join.GetSignature(), r.invitation, w.s.nowMS())
	}
	return wrap("set contact", err)
}

func (w *writeTx) bumpContact(account, peer int64) error {
	var public []byte
	if err := w.row("SELECT public_id FROM accounts WHERE id = ?", peer).Scan(&public); err != nil {
		return wrap("read account", err)
	}
	err := w.bump(account, LogContact, public)
	return err
}

func (w *writeTx) contactState(account, peer int64) (state pb.ContactState, err error) {
	err = w.row("SELECT state FROM contacts WHERE account_id = ? AND peer_id = ?", account, peer).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return pb.ContactState_CONTACT_STATE_NONE, nil
	}
	return state, wrap("read contact", err)
}

// MaxAsked is how many requests of an account may be unanswered at a time.
const MaxAsked = 256

// AskContact notes that account wants peer as a contact. Asking again changes nothing but the note. It fails
// with too_large when too many have not answered.
func (s *Store) AskContact(ctx context.Context, account, peer int64, note string) error {
	return s.write(ctx, func(w *writeTx) error {
		if err := w.exists(peer); err != nil {
			return err
		}
		if err := w.notBlocking(account, peer); err != nil {
			return err
		}
		state, err := w.contactState(account, peer)
		if err != nil {
			return err
		}
		switch state {
		case pb.ContactState_CONTACT_STATE_ACCEPTED:
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "you are contacts already")
		case pb.ContactState_CONTACT_STATE_ASKING:
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_CONFLICT, "they asked you already: accept them")
		case pb.ContactState_CONTACT_STATE_NONE:
			if err := w.mayAsk(account); err != nil {
				return err
			}
		default:
		}
		if err := w.setContact(account, peer, relation{state: pb.ContactState_CONTACT_STATE_ASKED}); err != nil {
			return err
		}
		if err := w.writeContact(peer, account, relation{state: pb.ContactState_CONTACT_STATE_ASKING, note: note}); err != nil {
			return err
		}
		if blocked, err := w.blocks(peer, account); err != nil || blocked {
			return err // they hear of it when they let the account in again
		}
		return w.bumpContact(peer, account)
	})
}

// exists fails with ErrNotFound for an account that was deleted.
func (w *writeTx) exists(account int64) error {
	return wrap("read account", w.row("SELECT id FROM accounts WHERE id = ? AND deleted_ms IS NULL", account).Scan(&account))
}

func (w *writeTx) mayAsk(account int64) error {
	var n int
	err := w.row("SELECT COUNT(*) FROM contacts WHERE account_id = ? AND state = ?", account, pb.ContactState_CONTACT_STATE_ASKED).Scan(&n)
	if err == nil && n >= MaxAsked {
		err = proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "%d people have not answered yet: withdraw a request first", MaxAsked)
	}
	return wrap("count requests", err)
}

// AcceptContact makes two accounts contacts and creates their conversation with its first commit. A pair that
// was contacts before goes on with the conversation that it has.
func (s *Store) AcceptContact(ctx context.Context, account, peer int64, first *NewCommit) error {
	return s.write(ctx, func(w *writeTx) error {
		state, err := w.contactState(account, peer)
		if err != nil {
			return err
		}
		if state != pb.ContactState_CONTACT_STATE_ASKING {
			return DidNotAsk()
		}
		if err := w.notBlocking(account, peer); err != nil {
			return err
		}
		return w.connect(account, peer, relation{}, first)
	})
}

// connect makes two accounts contacts. came is how the first one came to the other: join and invitation.
func (w *writeTx) connect(account, peer int64, came relation, first *NewCommit) error {
	came.state = pb.ContactState_CONTACT_STATE_ACCEPTED
	if err := w.setContact(account, peer, relation{state: came.state}); err != nil {
		return err
	}
	if err := w.setContact(peer, account, came); err != nil {
		return err
	}
	if err := w.openPair(account, peer, first); err != nil {
		return err
	}
	held, err := w.holdPair(account, peer)
	first.Held = held
	return err
}

// DeclineContact ends a request or removes a contact, for both. Their conversation closes: until they are
// contacts again, it is for both as if it did not exist.
func (s *Store) DeclineContact(ctx context.Context, account, peer int64) error {
	return s.write(ctx, func(w *writeTx) error {
		state, err := w.contactState(account, peer)
		if err != nil {
			return err
		}
		switch state {
		case pb.ContactState_CONTACT_STATE_NONE: // to decline strangers would make them hear of it
			return DidNotAsk()
		case pb.ContactState_CONTACT_STATE_ACCEPTED:
			if err := w.closePair(account, peer); err != nil {
				return err
			}
		default:
		}
		if err := w.setContact(account, peer, relation{state: pb.ContactState_CONTACT_STATE_NONE}); err != nil {
			return err
		}
		return w.setContact(peer, account, relation{state: pb.ContactState_CONTACT_STATE_NONE})
	})
}

// DidNotAsk is the answer to accepting or declining somebody who did not ask.
func DidNotAsk() error {
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "they did not ask to become a contact")
}
