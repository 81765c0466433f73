package signal

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/relay"
	"github.com/parley-chat/parley/relay/bus"
	"github.com/parley-chat/parley/store"
)

type localHints struct{ *bus.Local }

func (h localHints) Publish(f *pb.Frame, accounts ...proto.ID) {
	h.Local.Publish(f, proto.ID{}, accounts...)
}

func (h localHints) Subscribe(account, device proto.ID, sink Sink) func() {
	return h.Local.Subscribe(account, device, sink)
}

// FuzzSocketFrame feeds bytes to a greeted connection: whatever comes is answered or refused, never
// with the server's own failure, and the connection's queue stays within its limits.
func FuzzSocketFrame(f *testing.F) {
	db, err := store.Open(f.Context(), store.Config{Path: filepath.Join(f.TempDir(), "parley.db")})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = db.Close() })
	local := bus.NewLocal()
	logger := slog.New(slog.DiscardHandler)
	s, err := New(f.Context(), Config{
		Store: db, Conversations: relay.New(relay.Config{Store: db, Bus: local, Logger: logger}), Hints: localHints{local}, Logger: logger,
		Registration: Open, URL: "http://localhost",
	})
	if err != nil {
		f.Fatal(err)
	}
	session := fuzzSession(f, db)
	seed := func(kind *pb.Frame) {
		kind.Request = 1
		b, err := gproto.Marshal(kind)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	kinds := (&pb.Frame{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() { // one of each kind, empty
		frame := &pb.Frame{}
		frame.ProtoReflect().Set(kinds.Get(i), frame.ProtoReflect().NewField(kinds.Get(i)))
		seed(frame)
	}
	seed(&pb.Frame{Kind: &pb.Frame_Hello{Hello: &pb.Hello{Version: 1}}})
	seed(&pb.Frame{Kind: &pb.Frame_SetSetting{SetSetting: &pb.SetSetting{Setting: &pb.Setting{Key: "k", Value: []byte("v")}}}})
	seed(&pb.Frame{Kind: &pb.Frame_FindAccount{FindAccount: &pb.FindAccount{Name: "anna"}}})
	seed(&pb.Frame{Kind: &pb.Frame_Sync{Sync: &pb.Sync{Conversation: session.Account.Bytes(), After: 1 << 63, Limit: 1 << 31}}})
	seed(&pb.Frame{Kind: &pb.Frame_SignalTo{SignalTo: &pb.SignalTo{
		Account: session.Account.Bytes(), Device: session.Device.Bytes(), Signal: &pb.Signal{Link: session.Account.Bytes(), Kind: &pb.Signal_Candidate{Candidate: &pb.Candidate{}}},
	}}})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newConnection(s, session, nil, nil)
		c.ready, c.writing = true, true // no writer starts: there is no socket
		frame := &pb.Frame{}
		valid := proto.Unmarshal(b, frame) == nil
		if c.take(context.Background(), b) != valid {
			t.Fatalf("valid %v is not taken for it", valid)
		}
		c.awaitPosts(0)
		for _, o := range c.gathered() {
			answer := &pb.Frame{}
			if err := gproto.Unmarshal(o.frame, answer); err != nil {
				t.Fatal(err)
			}
			if answer.GetError().GetCode() == pb.ErrorCode_ERROR_CODE_INTERNAL {
				t.Fatalf("the server failed at %v", frame)
			}
		}
	})
}

func fuzzSession(f *testing.F, db *store.Store) *store.Session {
	f.Helper()
	_, identity, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	account, device := proto.NewID(), proto.NewID()
	key := proto.RandomKey()
	signed, err := proto.SignDeviceList(identity, &pb.DeviceList{
		Suite: 1, Account: account.Bytes(), Version: 1, IdentityKey: identity.Public().(ed25519.PublicKey), Generation: 1, AccountKey: key,
		Devices: []*pb.DeviceKeys{{Device: device.Bytes(), SignKey: key, SealKey: key}},
	})
	if err != nil {
		f.Fatal(err)
	}
	list, err := proto.OpenDeviceList(signed)
	if err != nil {
		f.Fatal(err)
	}
	hash := tokenHash("token")
	if err := db.CreateAccount(f.Context(), store.NewAccount{List: list, Nickname: "n", DeviceName: "d", TokenHash: hash, Expires: time.Now().Add(time.Hour)}); err != nil {
		f.Fatal(err)
	}
	session, err := db.SessionByToken(f.Context(), hash)
	if err != nil {
		f.Fatal(err)
	}
	return session
}
