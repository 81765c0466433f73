package proto

import (
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func TestDeviceListHoldsItsLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.alice.list()
	for len(l.GetDevices()) < MaxDevices {
		d := proto.CloneOf(l.GetDevices()[0])
		d.Device = NewID().Bytes()
		l.Devices = append(l.Devices, d)
	}
	full := openList(t, w.alice, l)
	if _, ok := full.Device(ID(w.alice.Device)); !ok {
		t.Error("the device does not stand in its list")
	}
	if _, ok := full.Device(NewID()); ok {
		t.Error("a device stands in the list that nobody added")
	}
	l.Devices = append(l.Devices, w.bob.deviceKeys())
	if _, err := SignDeviceList(w.alice.identity(), l); !HasCode(err, malformed) {
		t.Errorf("65 devices: %v", err)
	}
}

func TestOpenDeviceListOfNothing(t *testing.T) {
	t.Parallel()
	for _, s := range []*pb.Signed{nil, {}, {Body: []byte{0xff}}} {
		if l, err := OpenDeviceList(s); err == nil {
			t.Errorf("opened %v", l)
		}
	}
}

// TestCheckSeenSkipsVersions: a client that was away takes a much newer list, which it cannot follow back.
func TestCheckSeenSkipsVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := w.aliceLists(t)
	third := openList(t, w.alice, NextDeviceList(second, epochMS))
	if err := third.CheckSeen(first); err != nil {
		t.Error(err)
	}
	if err := third.CheckSuccessor(first); !HasCode(err, staleList) {
		t.Errorf("list 3 follows on list 1: %v", err)
	}
	if err := first.CheckSeen(third); !HasCode(err, staleList) {
		t.Errorf("list 1 after list 3: %v", err)
	}
}

func TestNextDeviceListLeavesTheOldAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := openList(t, w.alice, w.alice.list(w.phone))
	next := NextDeviceList(first, 5)
	next.Devices[0].SignKey[0] ^= 1
	if first.GetVersion() != 1 || openList(t, w.alice, w.alice.list(w.phone)).Hash != first.Hash || first.GetDevices()[0].GetSignKey()[0] == next.GetDevices()[0].GetSignKey()[0] {
		t.Error("the list in force changed with its successor")
	}
}
