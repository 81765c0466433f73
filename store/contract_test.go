package store_test

import (
	"flag"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

func TestMain(m *testing.M) {
	becomeChild()
	err := flag.Set("rapid.checks", "12") // each step is on the disk before the next
	if err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// opener opens an empty store with a clock; the test closes it.
type opener func(t testing.TB, clock *clock) *store.Store

// contract is what every database has to do.
func contract(t *testing.T, open opener) {
	for name, test := range map[string]func(*testing.T, opener){
		"accounts":                testAccounts,
		"passwords":               testPasswords,
		"set-up":                  testSetup,
		"sessions":                testSessions,
		"tickets":                 testTickets,
		"device lists":            testDeviceLists,
		"generations":             testGenerations,
		"settings":                testSettings,
		"account log":             testAccountLog,
		"contacts":                testContacts,
		"requests are bounded":    testAskedBounded,
		"closed pairs":            testClosedPairs,
		"invitations":             testInvitations,
		"invitations at once":     testInvitationsAtOnce,
		"commits":                 testCommits,
		"commits at once":         testCommitsAtOnce,
		"commits are checked":     testCommitsChecked,
		"joining by a link":       testJoin,
		"grants":                  testGrants,
		"posts":                   testPosts,
		"posts again":             testPostsAgain,
		"posts and epochs":        testPostsAndEpochs,
		"a bad post among others": testBadPost,
		"posts at once":           testPostsAtOnce,
		"largest posts":           testLargestPosts,
		"pages":                   testPages,
		"cursors":                 testCursors,
		"unread":                  testUnread,
		"states":                  testStates,
		"told in order":           testToldInOrder,
		"recovery codes":          testRecovery,
		"device links":            testDeviceLinks,
		"use of devices":          testTouch,
		"blocking":                testBlocks,
		"privacy":                 testPrivacy,
		"avatars":                 testAvatars,
		"administration":          testAdministration,
		"resets":                  testReset,
		"reset codes":             testResetCodes,
		"closing":                 testClosing,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open)
		})
	}
}

func TestSQLite(t *testing.T) { contract(t, openSQLite) }

func openSQLite(t testing.TB, clock *clock) *store.Store {
	t.Helper()
	return openFile(t, filepath.Join(t.TempDir(), "parley.db"), clock)
}

func openFile(t testing.TB, path string, clock *clock) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Path: path, Clock: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, err error, code pb.ErrorCode) {
	t.Helper()
	if !proto.HasCode(err, code) {
		t.Fatalf("got %v, want %v", err, code)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

const (
	codeNotFound   = pb.ErrorCode_ERROR_CODE_NOT_FOUND
	codeConflict   = pb.ErrorCode_ERROR_CODE_CONFLICT
	codeForbidden  = pb.ErrorCode_ERROR_CODE_FORBIDDEN
	codeTooLarge   = pb.ErrorCode_ERROR_CODE_TOO_LARGE
	codeUsedUp     = pb.ErrorCode_ERROR_CODE_USED_UP
	codeExpired    = pb.ErrorCode_ERROR_CODE_EXPIRED
	codeStaleHead  = pb.ErrorCode_ERROR_CODE_STALE_HEAD
	codeStaleList  = pb.ErrorCode_ERROR_CODE_STALE_LIST
	codeStaleEpoch = pb.ErrorCode_ERROR_CODE_STALE_EPOCH
	codeNeedsEpoch = pb.ErrorCode_ERROR_CODE_NEEDS_EPOCH
	codeIDConflict = pb.ErrorCode_ERROR_CODE_ID_CONFLICT
	codeStoreFull  = pb.ErrorCode_ERROR_CODE_STORE_FULL
)
