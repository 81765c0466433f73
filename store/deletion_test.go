package store_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/store/storetest"
)

// TestDeletedLeavesNothing: what a person said of themselves is in no row any more; what belongs to others is.
func TestDeletedLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parley.db")
	s, ctx := openFile(t, path, newClock()), t.Context()
	anna, berta, carla := storetest.Register(t, s, "canary-user"), storetest.Register(t, s, "berta"), storetest.Register(t, s, "carla")
	account := anna.Session.AccountID
	pair := storetest.Befriend(anna, berta)
	ok(t, post(t, s, anna, pair, anna.Text(pair, "hi"))[0].Err)
	ok(t, s.SetNickname(ctx, account, "canary-nickname"))
	ok(t, s.SetSetting(ctx, account, "canary-setting", []byte("canary-value")))
	ok(t, s.AskContact(ctx, account, carla.Session.AccountID, "canary-note"))
	ok(t, s.SetRecovery(ctx, account, &store.Recovery{AuthSalt: []byte("canary-salt"), AuthHash: []byte("canary-hash"), Master: &pb.Sealed{Ciphertext: []byte("canary-sealed")}}))
	ok(t, s.Touch(ctx, anna.Session, "canary-address"))
	ok(t, s.AddDeviceLink(ctx, account, "canary-link", time.Now().Add(time.Hour)))
	_, err := s.SetAvatar(ctx, account, "image/png", []byte("canary-image"))
	ok(t, err)
	ok(t, s.CreateInvitation(ctx, store.Invitation{AccountID: account, Code: "canary-code", Signed: &pb.Signed{Body: []byte("canary-body"), Signature: []byte("x")}, Sealed: []byte("x"), Uses: 1, ExpiresMS: 1 << 60}))
	ok(t, s.AddTicket(ctx, store.TicketLogin, []byte("canary-ticket"), account, 0, time.Now().Add(time.Hour)))
	ok(t, s.SetResetCode(ctx, anna.ID, store.ResetCode{AuthSalt: []byte("canary-salt"), AuthHash: []byte("canary-hash"), ExpiresMS: 1 << 60}))
	equal(t, "canaries before", canaries(t, path) > 0, true)

	gone, err := s.DeleteAccount(ctx, account)
	ok(t, err)
	equal(t, "devices", len(gone.Devices), 1)
	equal(t, "peers", len(gone.Peers), 2)
	equal(t, "canaries", canaries(t, path), 0)
	lists, err := s.DeviceLists(ctx, account, 1<<20)
	ok(t, err)
	equal(t, "device lists", len(lists), 1)
	equal(t, "messages", len(page(t, s, pair)), 2)

	// nothing that was on its way is written afterwards
	for name, err := range map[string]error{
		"nickname": s.SetNickname(ctx, account, "x"), "setting": s.SetSetting(ctx, account, "x", nil), "recovery": s.SetRecovery(ctx, account, nil),
		"privacy": s.SetPrivacy(ctx, account, nil), "link": s.AddDeviceLink(ctx, account, "x", time.Now()),
		"ask": s.AskContact(ctx, berta.Session.AccountID, account, ""), "block": second(s.SetBlocked(ctx, berta.Session.AccountID, account, true)),
		"avatar": second(s.SetAvatar(ctx, account, "", nil)), "again": second(s.DeleteAccount(ctx, account)),
	} {
		if err == nil || proto.HasCode(err, pb.ErrorCode_ERROR_CODE_INTERNAL) {
			t.Errorf("%s of a deleted account: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// canaries counts them in a copy of the database that holds nothing but rows.
func canaries(t *testing.T, path string) int {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	ok(t, err)
	defer func() { _ = db.Close() }()
	copied := filepath.Join(t.TempDir(), "copy.db")
	_, err = db.ExecContext(t.Context(), "VACUUM INTO ?", copied)
	ok(t, err)
	b, err := os.ReadFile(copied)
	ok(t, err)
	return strings.Count(string(b), "canary")
}
