package main

import (
	"bytes"
	"testing"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestAlteredMessage: a taken-over server changes messages on their way. None is shown; each is reported; what comes unaltered
// afterwards is.
func TestAlteredMessage(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	header := func(change func(*pb.Header)) func(*pb.Envelope) {
		return func(e *pb.Envelope) {
			h := &pb.Header{}
			if err := gproto.Unmarshal(e.GetHeader(), h); err != nil {
				t.Error(err)
			}
			change(h)
			e.Header = must(gproto.Marshal(h))
		}
	}
	shown := []string{"hello"}
	for _, c := range []struct {
		name, report string
		change       func(*pb.Envelope)
	}{
		{"text", "signature", func(e *pb.Envelope) { e.Ciphertext[0] ^= 1 }},
		{"signature", "signature", func(e *pb.Envelope) { e.Signature[0] ^= 1 }},
		{"time", "signature", header(func(h *pb.Header) { h.TimeMs-- })},
		{"id", "signature", header(func(h *pb.Header) { h.Id = proto.NewID().Bytes() })},
		{"counter", "signature", header(func(h *pb.Header) { h.Counter++ })},
		{"kind", "signature", header(func(h *pb.Header) { h.Kind = uint32(pb.Kind_KIND_CALL) })},
		{"replaces", "signature", header(func(h *pb.Header) {
			h.Replaces = &pb.MessageRef{Device: h.GetDevice(), Id: proto.NewID().Bytes()}
		})},
		{"sender is the reader", "signature", header(func(h *pb.Header) { h.Account, h.Device = mia.Account().Bytes(), mia.Device().Bytes() })},
		{"sender is nobody known", "not a member", header(func(h *pb.Header) { h.Account = proto.NewID().Bytes() })},
		{"device is nobody's", "no device list", header(func(h *pb.Header) { h.Device = proto.NewID().Bytes() })},
		{"conversation", "another conversation", header(func(h *pb.Header) { h.Conversation = proto.NewID().Bytes() })},
		{"cut", "", func(e *pb.Envelope) { e.Header = e.GetHeader()[:10] }},
		{"body of another", "signature", func(e *pb.Envelope) { e.Ciphertext = bytes.Repeat([]byte{7}, len(e.GetCiphertext())) }},
		{"blanked with another hash", "signature", func(e *pb.Envelope) {
			e.Ciphertext, e.CiphertextHash = nil, make([]byte, proto.HashSize)
		}},
	} {
		t.Run(c.name, func(_ *testing.T) {
			mia.m.toPeer(alterEnvelopes(func(_ *pb.Event, e *pb.Envelope) { c.change(e) }))
			ben.says(conversation, "altered: "+c.name)
			mia.reports(c.report)
			mia.has(conversation, shown...)
			mia.m.honest()
			ben.says(conversation, "after: "+c.name)
			mia.gets("after: " + c.name)
			shown = append(shown, "after: "+c.name)
			mia.has(conversation, shown...)
		})
	}
	mia.says(conversation, "I am fine")
	ben.gets("I am fine")
}

// TestReplayedMessage: a message is delivered again in the place of the next one, and in another conversation.
func TestReplayedMessage(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	var old *pb.Envelope
	mia.m.toPeer(alterEnvelopes(func(_ *pb.Event, e *pb.Envelope) {
		if old == nil {
			old = gproto.CloneOf(e)
			return
		}
		gproto.Reset(e)
		gproto.Merge(e, old)
	}))
	first := ben.says(conversation, "once")
	mia.gets("once")
	ben.says(conversation, "replaced by the server")
	mia.reports("a message with its id stands at number")
	mia.has(conversation, "hello", "once")
	mia.m.honest()
	ben.says(conversation, "after")
	mia.gets("after")
	mia.has(conversation, "hello", "once", "after")
	all := must(mia.History(t.Context(), conversation, peer.HistoryOptions{}))
	if all[1].ID != first.ID || all[1].Seq != first.Seq {
		t.Errorf("the repeated message is %v at %d now, was %v at %d", all[1].ID, all[1].Seq, first.ID, first.Seq)
	}
}

// TestSquattedID: a message that comes under an id which another one has, of the same device or of another one, changes nothing.
func TestSquattedID(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	id := proto.NewID()
	taken := func(h *pb.Header) { h.Id = id.Bytes() }
	eve := corrupt(ben, server.url) // ben's device runs another program
	key := eve.epochKey(conversation, 1)
	socket := eve.connect()

	first := eve.envelope(conversation, 1, key, "first", taken)
	seq, code := socket.posts(first)
	if code != 0 {
		t.Fatal(code)
	}
	mia.gets("first")
	if _, code := socket.posts(eve.envelope(conversation, 1, key, "second", taken)); code != pb.ErrorCode_ERROR_CODE_ID_CONFLICT {
		t.Errorf("another message with the same id: %v", code)
	}
	if again, code := socket.posts(first); again != seq || code != 0 {
		t.Errorf("the same message again: number %d (%v), want %d", again, code, seq)
	}

	// the server is in it and delivers the second one under a number of its own
	other := eve.envelope(conversation, 1, key, "second", taken)
	mia.m.toPeer(alterEnvelopes(func(_ *pb.Event, e *pb.Envelope) { gproto.Reset(e); gproto.Merge(e, other) }))
	if _, code := socket.posts(eve.envelope(conversation, 1, key, "carrier")); code != 0 {
		t.Fatal(code)
	}
	mia.reports("a message with its id stands at number")
	mia.has(conversation, "hello", "first")
	mia.m.honest()

	// a device of somebody else takes the id that a message of mia's is going to have
	var mine *pb.Envelope
	hold := make(chan struct{})
	mia.m.toServer(func(f *pb.Frame) []*pb.Frame {
		if post := f.GetPost(); post != nil && mine == nil {
			mine = gproto.CloneOf(post.GetEnvelopes()[0])
			close(hold)
			return nil // she thinks that it is lost and posts it again on the next connection
		}
		return []*pb.Frame{f}
	})
	waiting, err := mia.SendText(t.Context(), conversation, "mine")
	if err != nil {
		t.Fatal(err)
	}
	<-hold
	h := must(proto.ParseHeader(mine.GetHeader()))
	squat := eve.envelope(conversation, 1, key, "squatted", func(s *pb.Header) { s.Id = h.GetId() })
	if _, code := socket.posts(squat); code != 0 {
		t.Fatal(code)
	}
	stolen := gproto.CloneOf(mine)
	stolen.Signature[0] ^= 1
	if _, code := socket.posts(stolen); code != pb.ErrorCode_ERROR_CODE_BAD_SIGNATURE {
		t.Errorf("a message in mia's name: %v", code)
	}
	mia.gets("squatted")
	mia.m.honest()
	mia.m.hangUp()
	if sent, err := mia.Wait(t.Context(), waiting, peer.StateSent); err != nil || sent.Failure != "" {
		t.Fatalf("mia's own message: %v %s", err, sent.Failure)
	}
	mia.has(conversation, "hello", "first", "carrier", "squatted", "mine") // the one that the server had exchanged is there too now
}

// TestForgedSender: the server takes nothing in somebody else's name without their signature, and the peer would not
// either.
func TestForgedSender(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	eve := corrupt(ben, server.url)
	key := eve.epochKey(conversation, 1)
	socket := eve.connect()
	forged := eve.envelope(conversation, 1, key, "mia never wrote this", func(h *pb.Header) {
		h.Account, h.Device = mia.Account().Bytes(), mia.Device().Bytes()
	})
	if _, code := socket.posts(forged); code != pb.ErrorCode_ERROR_CODE_BAD_SIGNATURE {
		t.Errorf("posted in mia's name: %v", code)
	}
	mia.m.toPeer(alterEnvelopes(func(_ *pb.Event, e *pb.Envelope) { gproto.Reset(e); gproto.Merge(e, forged) }))
	if _, code := socket.posts(eve.envelope(conversation, 1, key, "carrier")); code != 0 {
		t.Fatal(code)
	}
	mia.reports("signature")
	mia.has(conversation, "hello")
	mia.m.honest()
	mia.says(conversation, "still here")
	mia.has(conversation, "hello", "still here")
}

// TestBlankedMessage: the server takes the text of a message away. Who has it keeps it; a new device says that it is gone;
// what comes afterwards is not touched.
func TestBlankedMessage(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	ben.says(conversation, "there for now")
	mia.gets("there for now")
	blank := alterEnvelopes(func(_ *pb.Event, e *pb.Envelope) {
		blanked := proto.Blank(e)
		gproto.Reset(e)
		gproto.Merge(e, blanked)
	})
	second := mia.secondDevice(server.url, "mia")
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	third := &victim{t: t, m: newMiddle(t, server.url), dir: t.TempDir()}
	third.m.toPeer(blank)
	if _, err := peer.Login(t.Context(), peer.Options{Dir: third.dir}, peer.Credentials{Server: third.m.url, User: "mia", Password: testPassword}); err != nil {
		t.Fatal(err)
	}
	third.open()
	gone := must(third.History(t.Context(), conversation, peer.HistoryOptions{}))
	if len(gone) != 2 {
		t.Errorf("a new device knows of %d messages", len(gone))
	}
	for _, m := range gone {
		if m.State != peer.StateGone || m.Text != "" {
			t.Errorf("a blanked message is %s, %q", m.State, m.Text)
		}
	}
	mia.m.toPeer(blank)
	mia.reconnect()
	mia.has(conversation, "hello", "there for now")
	mia.m.honest()
	third.m.honest()
	ben.says(conversation, "after")
	mia.gets("after")
	third.gets("after")
	mia.has(conversation, "hello", "there for now", "after")
}

// TestLostEvents: the server drops what it should push, and pushes in the wrong order. The gap shows and is fetched.
func TestLostEvents(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	var held []*pb.Frame
	mia.m.toPeer(func(f *pb.Frame) []*pb.Frame {
		if f.GetEvents() != nil {
			held = append(held, f)
			if len(held) < 3 {
				return nil
			}
			if len(held) == 3 { // the third alone: two are missing
				return []*pb.Frame{f}
			}
		}
		return []*pb.Frame{f}
	})
	for _, text := range []string{"one", "two", "three"} {
		ben.says(conversation, text)
	}
	mia.gets("three")
	mia.has(conversation, "hello", "one", "two", "three")

	var first *pb.Frame
	mia.m.toPeer(func(f *pb.Frame) []*pb.Frame {
		switch {
		case f.GetEvents() == nil:
			return []*pb.Frame{f}
		case first == nil:
			first = f
			return nil
		}
		return []*pb.Frame{f, first, f, first} // in the wrong order, and twice
	})
	ben.says(conversation, "four")
	ben.says(conversation, "five")
	mia.gets("five")
	mia.has(conversation, "hello", "one", "two", "three", "four", "five")
	mia.m.honest()
	ben.says(conversation, "six")
	mia.gets("six")
	mia.has(conversation, "hello", "one", "two", "three", "four", "five", "six")
}
