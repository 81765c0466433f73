package store_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/parley-chat/parley/proto"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/store/storetest"
)

// TestFrozenMigration: what a released program has run may not change any more.
func TestFrozenMigration(t *testing.T) {
	b, err := os.ReadFile("migrations/sqlite/0001_init.sql")
	ok(t, err)
	equal(t, "SHA-256 of 0001", fmt.Sprintf("%x", sha256.Sum256(b)), "d934d9796275c531370620e7027dd327acedd75f4510e49cd4c605b9ca75dfc7")
}

// TestUpgrade opens a database as the first schema's program left it (testdata/0001.sql: anna and berta with a
// conversation, a device of anna's that was revoked, somebody who came by an invitation, a group with a link).
// Nothing of it is lost, and it is written on.
func TestUpgrade(t *testing.T) {
	dump, err := os.ReadFile("testdata/0001.sql")
	ok(t, err)
	path := filepath.Join(t.TempDir(), "parley.db")
	raw(t, path, string(dump))
	s := openFile(t, path, newClock())
	ctx := t.Context()
	token, err := hex.DecodeString("5bba282567bf0091361b289114ee6727f8e066f07b07a393870d644b54677995")
	ok(t, err)
	anna, err := s.SessionByToken(ctx, token)
	ok(t, err)
	berta, err := s.AccountByName(ctx, "berta")
	ok(t, err)
	pair, err := s.ConversationOf(ctx, anna.AccountID, proto.PairID(anna.Account, berta.Public))
	ok(t, err)
	equal(t, "the pair", pair.Public.String(), "5bf301d1-bcac-2e2a-6e8f-15b21d0d097f")
	equal(t, "its history", historyHash(t, s, pair.ID), "77513a23d50a573d31b28e97eb7c58c9644564f17c90154de3f46b1675015f52")
	chain := storetest.Must(proto.RestoreChain(pair.Chain))
	equal(t, "its chain", string(chain.Head()), string(pair.HeadCommit))
	state, err := s.State(ctx, berta.ID, 0, pair.ID)
	ok(t, err)
	if state.HeadSeq != 7 || state.Epoch != 2 || state.NeedsEpoch || state.ReadSeq != 3 || state.Unread != 1 {
		t.Errorf("berta sees %+v", state)
	}
	lists, err := s.DeviceLists(ctx, anna.AccountID, 1<<20)
	ok(t, err)
	equal(t, "device lists", len(lists), 3)
	inv, err := s.Invitation(ctx, "code")
	ok(t, err)
	equal(t, "uses left", inv.UsesLeft, 2)
	shared, err := s.ShareGroup(ctx, anna.AccountID, berta.ID)
	ok(t, err)
	equal(t, "they share a group", shared, true)
	setting, err := s.Setting(ctx, anna.AccountID, "theme")
	ok(t, err)
	equal(t, "a setting", string(setting.GetValue()), "sealed")

	next := anyPost(store.Post{Conversation: pair.ID, Account: anna.AccountID, Device: anna.DeviceID})
	next.Epoch = 2
	ok(t, storetest.Posts(ctx, s, []*store.Post{next}))
	ok(t, next.Err)
	equal(t, "the next number", next.Seq, 8)
}

// historyHash identifies every number of a conversation.
func historyHash(t *testing.T, s *store.Store, conversation int64) string {
	t.Helper()
	rows, err := s.Page(t.Context(), conversation, 0, 0, 0, false, 1000)
	ok(t, err)
	sum := sha256.New()
	for _, r := range rows {
		_, _ = fmt.Fprintf(sum, "%d %d %x\n", r.Seq, r.RelayMS, r.Hash)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
