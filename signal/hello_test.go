package signal_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/signal"
	"github.com/parley-chat/parley/store"
)

func tokenHash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// oneByOne answers with one state of a conversation at a time, as if each were large.
type oneByOne struct {
	signal.Conversations
	store *store.Store
}

func (r oneByOne) States(ctx context.Context, caller *store.Session, after int64) ([]*pb.ConversationState, int64, error) {
	states, _, err := r.Conversations.States(ctx, caller, after)
	if err != nil || len(states) < 2 {
		return states, 0, err
	}
	first, err := r.store.Conversation(ctx, proto.ID(states[0].GetConversation()))
	return states[:1], first.ID, err
}

// TestLongGreeting: what does not fit into Welcome comes behind it, each conversation once, and each contact: that
// they are there, or when they were seen last.
func TestLongGreeting(t *testing.T) {
	var answers *oneByOne
	w := newWorld(t, func(c *signal.Config) {
		answers = &oneByOne{c.Conversations, c.Store}
		c.Conversations = answers
	})
	w.server.LimitPresences(1)
	anna := w.register("anna")
	sa := anna.connect(anna.device)
	want := make(map[proto.ID]bool)
	there := make(map[proto.ID]bool)
	for i := range 6 {
		p := w.register(fmt.Sprint("friend", i))
		s := p.connect(p.device)
		befriend(p, anna, s, sa)
		want[proto.PairID(p.id, anna.id)] = true
		if there[p.id] = i%2 == 0; !there[p.id] {
			_ = s.ws.Close()
			sa.push("offline", func(f *pb.Frame) bool {
				all := f.GetPresences().GetPresences()
				return len(all) == 1 && proto.ID(all[0].GetAccount()) == p.id && len(all[0].GetDevices()) == 0
			})
		}
	}
	back := anna.connectAt(anna.device, 1<<40)
	if n, m := len(back.welcome.GetBehind()), len(back.welcome.GetPresences()); n != 1 || m > 1 {
		t.Fatalf("welcomed with %d states and %d presences", n, m)
	}
	take := func(states []*pb.ConversationState, presences []*pb.Presence) {
		for _, s := range states {
			if !want[proto.ID(s.GetConversation())] || s.GetHeadSeq() != 1 {
				t.Errorf("state %v", s)
			}
			delete(want, proto.ID(s.GetConversation()))
		}
		for _, p := range presences {
			online, known := there[proto.ID(p.GetAccount())]
			if !known || online != (len(p.GetDevices()) > 0) || online == (p.GetLastSeenMs() > 0) {
				t.Errorf("presence %v", p)
			}
			delete(there, proto.ID(p.GetAccount()))
		}
	}
	take(back.welcome.GetBehind(), back.welcome.GetPresences())
	for len(want)+len(there) > 0 {
		f := back.next()
		if c := f.GetAccountChanges(); c != nil && (c.GetVersion() != 0 || c.GetMore()) {
			t.Errorf("states come with %v", c)
		}
		take(f.GetAccountChanges().GetConversations(), f.GetPresences().GetPresences())
	}
}

// TestLargeChanges: however large what changed is, no frame is larger than a client takes.
func TestLargeChanges(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	s := anna.connect(anna.device)
	const settings = 40
	for i := range settings {
		s.ok(setting(fmt.Sprint("key", i), strings.Repeat("v", proto.MaxSettingValue)))
	}
	back := anna.connect(anna.device)
	if n := gproto.Size(back.welcome); n > proto.MaxFrame-1024 {
		t.Errorf("a welcome of %d bytes", n)
	}
	changes, got := back.welcome.GetChanges(), 0
	for {
		got += len(changes.GetSettings())
		if !changes.GetMore() {
			break
		}
		answer := back.ok(&pb.Frame{Kind: &pb.Frame_AccountSync{AccountSync: &pb.AccountSync{After: changes.GetVersion()}}})
		if n := gproto.Size(answer); n > proto.MaxFrame-1024 {
			t.Fatalf("changes of %d bytes", n)
		}
		changes = answer.GetAccountChanges()
	}
	if got != settings {
		t.Errorf("%d settings came", got)
	}
}

// TestLargeLists: the lists of accounts are as many as fit into a frame, the newest of each account first.
func TestLargeLists(t *testing.T) {
	w := newWorld(t)
	a, b, sa, _ := w.connected()
	for range 20 { // each padded to almost the greatest size
		next := proto.NextDeviceList(b.list, 2)
		next.ProtoReflect().SetUnknown(append([]byte{0xfa, 0x3f, 0x80, 0x70}, make([]byte, 14<<10)...)) // field 1023
		b.update(&pb.UpdateDevices{DeviceList: b.take(next)}, b.token).want(204, nil)
	}
	got := sa.ok(lists(b, a)).GetLists().GetLists()
	if n := len(got); n < 10 || n > 15 {
		t.Fatalf("%d lists", n)
	}
	if newest := got[len(got)-1]; !gproto.Equal(newest, b.list.Signed) && !gproto.Equal(got[len(got)-2], b.list.Signed) {
		t.Error("the newest list is not there")
	}
	next := proto.NextDeviceList(b.list, 2)
	next.ProtoReflect().SetUnknown(append([]byte{0xfa, 0x3f, 0x80, 0x80, 0x01}, make([]byte, 16<<10)...))
	b.update(&pb.UpdateDevices{DeviceList: b.take(next)}, b.token).refused(413, pb.ErrorCode_ERROR_CODE_TOO_LARGE)
}

func TestHelloTwice(t *testing.T) {
	w := newWorld(t)
	anna := w.register("anna")
	s := anna.connect(anna.device)
	s.refused(hello(0), pb.ErrorCode_ERROR_CODE_MALFORMED)
	s.ok(ice())
}

// panics is a relay with a bug.
type panics struct{ signal.Conversations }

func (panics) Commits(context.Context, *store.Session, *pb.CommitsRequest) (*pb.Commits, error) {
	panic("a bug")
}

// TestPanic: a bug in one request ends its connection, and nobody else's.
func TestPanic(t *testing.T) {
	w := newWorld(t, func(c *signal.Config) { c.Conversations = panics{c.Conversations} })
	anna, berta := w.register("anna"), w.register("berta")
	sa, sb := anna.connect(anna.device), berta.connect(berta.device)
	sa.tell(numbered(&pb.Frame{Kind: &pb.Frame_CommitsRequest{CommitsRequest: &pb.CommitsRequest{}}}, 7))
	sa.closed(websocket.CloseInternalServerErr)
	sb.ok(ice())
	anna.connect(anna.device)
	w.logged("a bug")
}
