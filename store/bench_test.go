package store_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
	"github.com/parley-chat/parley/store/storetest"
)

// BenchmarkPosts stores messages of 350 bytes in turn in 500 conversations, in groups of different sizes as they come
// from that many senders at once, each group durably. It checks that every message is there.
func BenchmarkPosts(b *testing.B) {
	const pairs = 500
	text := strings.Repeat("x", 350)
	for _, group := range []int{1, 100, 500, 2000} {
		b.Run(fmt.Sprintf("group=%d", group), func(b *testing.B) {
			s := openSQLite(b, newClock())
			writers, conversations := make([]*storetest.Person, pairs), make([]*storetest.Conversation, pairs)
			for i := range pairs {
				writers[i] = storetest.Register(b, s, "")
				conversations[i] = storetest.Befriend(writers[i], storetest.Register(b, s, ""))
			}
			stored := 0
			for b.Loop() {
				b.StopTimer()
				posts := make([]*store.Post, group)
				for i := range posts {
					at := (stored + i) % pairs
					h := writers[at].Header(conversations[at], pb.Kind_KIND_MESSAGE)
					posts[i] = writers[at].Post(conversations[at], writers[at].Envelope(h, text))
				}
				b.StartTimer()
				ok(b, storetest.Posts(b.Context(), s, posts))
				for i, p := range posts {
					if want := uint64((stored+i)/pairs + 2); p.Err != nil || p.Seq != want { // behind the first commit
						b.Fatalf("post %d: number %d, want %d: %v", stored+i, p.Seq, want, p.Err)
					}
				}
				stored += group
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(stored)/b.Elapsed().Seconds(), "posts/s")
			for i := range min(pairs, stored) {
				state, err := s.State(b.Context(), writers[i].Session.AccountID, writers[i].Session.DeviceID, conversations[i].ID)
				ok(b, err)
				if want := uint64((stored-1-i)/pairs + 2); state.HeadSeq != want {
					b.Fatalf("conversation %d ends at number %d, want %d", i, state.HeadSeq, want)
				}
			}
		})
	}
}

// BenchmarkDisk measures what binds every commit: appending to a file and waiting until it is on the disk.
func BenchmarkDisk(b *testing.B) {
	for _, size := range []int{4 << 10, 4 << 20} {
		b.Run(fmt.Sprintf("write=%dKiB", size>>10), func(b *testing.B) {
			file, err := os.Create(filepath.Join(b.TempDir(), "disk"))
			ok(b, err)
			defer func() { _ = file.Close() }()
			data := make([]byte, size)
			writes := 0
			for b.Loop() {
				_, err := file.Write(data)
				ok(b, err)
				ok(b, file.Sync())
				if writes++; writes%100 == 0 { // in place, like a write-ahead log that starts again
					_, err := file.Seek(0, io.SeekStart)
					ok(b, err)
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(writes)/b.Elapsed().Seconds(), "fsyncs/s")
			b.ReportMetric(float64(writes*size)/1e6/b.Elapsed().Seconds(), "MB/s")
		})
	}
}
