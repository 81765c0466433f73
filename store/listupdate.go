package store

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// ListUpdate is a successor of an account's device list.
type ListUpdate struct {
	Account    int64
	Previous   uint64
	List       *proto.DeviceList
	Added      *pb.DeviceKeys // the device to open a session for, nil for none
	DeviceName string
	Link       string                // code of the device link that Added came by, which gets no session; empty without one
	NewKey     bool                  // the list has a new generation of the account key
	KeyRing    *pb.Sealed            // with the new key; nil for an account without a password
	Grants     []*pb.GenerationGrant // see pb.UpdateDevices
	TokenHash  []byte
	Expires    time.Time
}

// UpdateDevices puts the next device list in force. Devices that it drops lose their sessions; the
// returned ids are theirs. It fails with stale_list when another list came first.
func (s *Store) UpdateDevices(ctx context.Context, u ListUpdate) (ended []proto.ID, err error) {
	err = s.write(ctx, func(w *writeTx) error {
		if err := w.exists(u.Account); err != nil {
			return err
		}
		ended = nil
		changed, err := w.exec("UPDATE accounts SET list_version = ?, generation = ? WHERE id = ? AND list_version = ?",
			u.List.GetVersion(), u.List.GetGeneration(), u.Account, u.Previous)
		if err != nil {
			return fmt.Errorf("update devices: %w", err)
		}
		if changed == 0 {
			return proto.Errorf(pb.ErrorCode_ERROR_CODE_STALE_LIST, "the devices changed meanwhile: try again")
		}
		if err := w.insertList(u.Account, u.List); err != nil {
			return err
		}
		if u.Added != nil {
			if err := w.admitDevice(u); err != nil {
				return err
			}
		}
		if ended, err = w.dropDevices(u); err != nil {
			return err
		}
		if err := w.insertGenerations(u); err != nil {
			return err
		}
		if err := w.newGeneration(u); err != nil {
			return err
		}
		return w.bumpList(u.Account)
	})
	return ended, err
}

// admitDevice adds the new device of a list: with a session, or by a device link, then it logs in by signing.
func (w *writeTx) admitDevice(u ListUpdate) error {
	device, err := w.addDevice(u.Account, u.List, u.Added, u.DeviceName)
	if err != nil {
		return err
	}
	if u.Link != "" {
		return w.useDeviceLink(u.Account, u.Link)
	}
	return w.addSession(u.TokenHash, device, u.Expires)
}

func (w *writeTx) dropDevices(u ListUpdate) ([]proto.ID, error) {
	rows, err := w.tx.QueryContext(w.ctx, "SELECT id, public_id FROM devices WHERE account_id = ? AND ended_ms IS NULL", u.Account)
	if err != nil {
		return nil, fmt.Errorf("read devices: %w", err)
	}
	defer func() { _ = rows.Close() }()
	dropped := make(map[proto.ID]int64)
	for rows.Next() {
		var (
			id     int64
			public []byte
		)
		if err := rows.Scan(&id, &public); err != nil {
			return nil, fmt.Errorf("read devices: %w", err)
		}
		if _, ok := u.List.Device(proto.ID(public)); !ok {
			dropped[proto.ID(public)] = id
		}
	}
	if err := rows.Close(); err != nil {
		return nil, fmt.Errorf("read devices: %w", err)
	}
	var ended []proto.ID
	for public, id := range dropped {
		if err := w.endDevice(u.Account, id, public); err != nil {
			return nil, err
		}
		ended = append(ended, public)
	}
	return ended, rows.Err() //nolint:wrapcheck // read above
}
