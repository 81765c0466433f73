package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestMain runs the tests; or, in a process that one of them started, the writer that it kills.
func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		fmt.Fprintln(os.Stderr, writeForEver(path))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

var (
	room = proto.ID{0xc}
	mia  = proto.ID{0xe}
	ben  = proto.ID{0xa}
	mias = proto.ID{0xd} // mia's device, on which these tests run
	bens = proto.ID{0xb}
)

func open(t *testing.T) (*Store, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "peer.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, path
}

func update(t *testing.T, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func text(body string) *pb.Content {
	return &pb.Content{Kind: &pb.Content_Text_{Text: &pb.Content_Text{Body: body}}}
}

// message makes a message of a device; its text is its name.
func message(device proto.ID, name string, seq uint64, status Status) *Message {
	m := &Message{
		Conversation: room, Seq: seq, Device: device, ID: proto.NewID(), Account: mia, Kind: 1, TimeMS: 1, Hash: []byte(name), Content: text(name),
		Status: status,
	}
	if device == bens {
		m.Account = ben
	}
	return m
}

// save stores messages in this order.
func save(t *testing.T, s *Store, all ...*Message) {
	t.Helper()
	update(t, s, func(tx *Tx) error {
		for _, m := range all {
			if err := tx.SaveMessage(m); err != nil {
				return err
			}
		}
		return nil
	})
}

// names reads messages and joins their texts.
func names(t *testing.T, s *Store, read func(*Tx) ([]*Message, error)) (joined string) {
	t.Helper()
	update(t, s, func(tx *Tx) error {
		all, err := read(tx)
		for _, m := range all {
			joined += m.Content.GetText().GetBody() + " "
		}
		return err
	})
	return joined
}
