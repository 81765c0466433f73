package signal

import (
	"cmp"
	"context"
	"errors"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

const maxLinks = 256 // link sessions whose candidates a connection counts; beyond that it counts anew

// candidates counts what a connection forwarded since the last description of each link session.
type candidates struct{ forwarded map[linkSession]int }

// linkSession is a link to a device: the id of the link is the sender's choice.
type linkSession struct {
	device proto.ID
	link   string
}

func newCandidates() *candidates { return &candidates{forwarded: make(map[linkSession]int)} }

// admit counts a signal; it fails with rate_limited when a session has had its candidates.
func (n *candidates) admit(to proto.ID, signal *pb.Signal) error {
	if len(signal.GetLink()) != proto.IDSize || signal.GetKind() == nil {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_MALFORMED, "a signal names its link and is a description, a candidate or a close")
	}
	if len(signal.GetDescription().GetSdp()) > proto.MaxSDP {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_TOO_LARGE, "a description has at most %d bytes", proto.MaxSDP)
	}
	key := linkSession{to, string(signal.GetLink())}
	if signal.GetCandidate() == nil {
		delete(n.forwarded, key)
		return nil
	}
	if n.forwarded[key] >= proto.MaxCandidates {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_RATE_LIMITED, "a link session has at most %d candidates", proto.MaxCandidates)
	}
	if len(n.forwarded) >= maxLinks {
		clear(n.forwarded)
	}
	n.forwarded[key]++
	return nil
}

// signalTo forwards an offer, answer or candidate to a connected device of somebody related. For others
// that account does not exist.
func (c *connection) signalTo(ctx context.Context, q *pb.SignalTo) error {
	account, err := proto.IDFrom(q.GetAccount())
	if err != nil {
		return err
	}
	device, err := proto.IDFrom(q.GetDevice())
	if err != nil {
		return err
	}
	peer, err := c.s.Store.AccountID(ctx, account)
	if errors.Is(err, store.ErrNotFound) {
		return noAccount()
	}
	if err != nil {
		return err
	}
	if ok, err := c.related(ctx, peer); err != nil || !ok {
		return cmp.Or(err, noAccount())
	}
	if err := c.forward.admit(device, q.GetSignal()); err != nil {
		return err
	}
	hidden, err := c.hidden(ctx, peer, account)
	if err != nil {
		return err
	}
	from := &pb.SignalFrom{Account: c.session.Account.Bytes(), Device: c.session.Device.Bytes(), Signal: q.GetSignal()}
	if hidden || !c.s.Hints.Tell(&pb.Frame{Kind: &pb.Frame_SignalFrom{SignalFrom: from}}, account, device) {
		return proto.Errorf(pb.ErrorCode_ERROR_CODE_OFFLINE, "that device is not connected")
	}
	return nil
}

// hidden says whether an account may not learn whether the caller is there, nor the caller whether it is: a signal
// would tell.
func (c *connection) hidden(ctx context.Context, peer int64, account proto.ID) (bool, error) {
	if account == c.session.Account {
		return false, nil
	}
	return c.s.Store.Hidden(ctx, c.session.AccountID, peer)
}

func noAccount() error {
	return proto.Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "there is no such account among your contacts")
}
