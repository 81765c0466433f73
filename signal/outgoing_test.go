package signal_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestPostsAhead: a client need not wait for the answer to a post before it sends the next request. Answers come in the
// order of the requests, and what comes behind posts sees them.
func TestPostsAhead(t *testing.T) {
	w := newWorld(t)
	a, b, sa, sb := w.connected()
	const posts = 40
	for i := range uint64(posts) {
		f := a.envelope(b, 1, i+1, fmt.Sprint("message ", i))
		if i%8 == 3 {
			f.GetPost().Envelopes = nil // refused, in its turn
		}
		f.Request = 100 + i
		sa.write(must(gproto.Marshal(f)))
	}
	sa.write(must(gproto.Marshal(&pb.Frame{Request: 100 + posts, Kind: &pb.Frame_Sync{Sync: &pb.Sync{
		Conversation: conversation(a, b), Limit: proto.MaxPage,
	}}})))
	seq := uint64(1)
	for want := uint64(100); want <= 100+posts; {
		f := sa.next()
		if f.GetRequest() == 0 {
			continue
		}
		if f.GetRequest() != want {
			t.Fatalf("request %d was answered, want %d", f.GetRequest(), want)
		}
		want++
		if results := f.GetPosted().GetResults(); len(results) == 1 {
			if seq++; results[0].GetSeq() != seq {
				t.Fatalf("request %d: number %d, want %d", f.GetRequest(), results[0].GetSeq(), seq)
			}
		} else if n := len(f.GetPage().GetEvents()); n > 0 && n != int(seq) {
			t.Errorf("the page behind %d numbers has %d", seq, n)
		} else if n == 0 && f.GetError().GetCode() != pb.ErrorCode_ERROR_CODE_TOO_LARGE {
			t.Errorf("request %d: %v", f.GetRequest(), f)
		}
	}
	for next := uint64(2); next <= seq; {
		for _, e := range sb.push("events", isEvents).GetEvents().GetEvents() {
			if e.GetEnvelope() == nil {
				continue // the first commit
			}
			if e.GetSeq() != next {
				t.Fatalf("number %d came, want %d", e.GetSeq(), next)
			}
			next++
		}
	}
}

// TestIdleConnection: a connection with nothing to do has its reader and no other goroutine, however it was used before:
// thousands of them are most of what a server has in memory.
func TestIdleConnection(t *testing.T) {
	w := newWorld(t)
	people := make([]*person, 10)
	for i := range people {
		people[i] = w.register(fmt.Sprint("person", i))
	}
	before := runtime.NumGoroutine()
	for i, p := range people {
		s := p.connect(p.device)
		s.ok(ice())
		if i > 0 {
			s.ok(askContact(people[i-1])) // and pushes something to the one before
		}
	}
	const readers = 2 // the server's, and the test's
	deadline := time.Now().Add(patience)
	for runtime.NumGoroutine() > before+readers*len(people) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections have %d goroutines", len(people), runtime.NumGoroutine()-before)
		}
		runtime.Gosched()
	}
}
