package local

import (
	"errors"
	"reflect"
	"testing"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestAccount writes and reads every field of own devices, invitations and settings.
func TestAccount(t *testing.T) {
	s, _ := open(t)
	device := &Device{ID: mias, Name: "laptop", CreatedMS: 5, LastUsedMS: 6, LastAddress: "192.0.2.1", Ended: true}
	invitation := &Invitation{Code: "code", Body: []byte{1}, UsesLeft: 2, Revoked: true}
	setting := &Setting{Key: "links", Sealed: []byte{3}, Opened: true, Value: []byte{4}}
	sealed := &Setting{Key: "person/ben", Sealed: []byte{5}, Person: ben}
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.SaveDevice(&Device{ID: mias}), tx.SaveDevice(device), tx.SaveDevice(&Device{ID: bens, CreatedMS: 1}),
			tx.SaveInvitation(&Invitation{Code: "code", Body: []byte{0}}), tx.SaveInvitation(invitation), tx.SaveSetting(setting), tx.SaveSetting(sealed))
	})
	update(t, s, func(tx *Tx) error {
		devices, err := tx.Devices()
		if err != nil || len(devices) != 2 || devices[0].ID != bens || !reflect.DeepEqual(devices[1], device) {
			t.Errorf("devices %+v, %v", devices, err)
		}
		i, err := tx.Invitation("code")
		if err != nil || !reflect.DeepEqual(i, invitation) {
			t.Errorf("invitation %+v, %v", i, err)
		}
		if _, err := tx.Invitation("other"); !errors.Is(err, ErrNotFound) {
			t.Errorf("unknown invitation: %v", err)
		}
		if all, err := tx.Invitations(); err != nil || len(all) != 1 {
			t.Errorf("invitations %+v, %v", all, err)
		}
		got, err := tx.Setting("links")
		if err != nil || !reflect.DeepEqual(got, setting) {
			t.Errorf("setting %+v, %v", got, err)
		}
		if all, err := tx.Settings(); err != nil || len(all) != 2 || !reflect.DeepEqual(all[1], sealed) {
			t.Errorf("settings %+v, %v", all, err)
		}
		_, err = tx.Setting("other")
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("unknown setting: %v", err)
		}
		return nil
	})
}

// TestPersonSetting: what this account notes of somebody comes with them, whichever was there first, and writing them leaves
// it alone.
func TestPersonSetting(t *testing.T) {
	s, _ := open(t)
	value, err := gproto.Marshal(&pb.PersonSetting{Nickname: "Benny", HideAddress: true})
	if err != nil {
		t.Fatal(err)
	}
	key := proto.PersonSettingKey(ben)
	expect := func(name string, hidden, sealed bool) {
		t.Helper()
		update(t, s, func(tx *Tx) error {
			p, err := tx.Person(ben)
			if err != nil || p.DisplayName() != name || p.Setting.GetHideAddress() != hidden || p.SealedSetting != sealed {
				t.Errorf("called %s, %+v, %v", p.DisplayName(), p, err)
			}
			return tx.SavePerson(p)
		})
	}
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.SaveSetting(&Setting{Key: key, Sealed: []byte{1}, Opened: true, Value: value, Person: ben}), tx.SavePerson(&Person{Account: ben, Nickname: "Ben"}))
	})
	expect("Benny", true, false)
	expect("Benny", true, false)
	update(t, s, func(tx *Tx) error { return tx.SaveSetting(&Setting{Key: key, Sealed: []byte{2}, Person: ben}) })
	expect("Ben", false, true)
	update(t, s, func(tx *Tx) error { return tx.SaveSetting(&Setting{Key: key, Opened: true, Person: ben}) })
	expect("Ben", false, false)
}
