package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// load is one way of posting. Half of the writers are the other half's mates, so that every message is also delivered,
// but for a single writer, whose mate is away.
type load struct {
	connections int
	perPost     int // envelopes in a request
	inFlight    int // requests of a connection without an answer
	posts       int // requests of a connection; below the burst that a connection may send
}

func (l load) String() string {
	return fmt.Sprintf("conns=%d/batch=%d/inflight=%d", l.connections, l.perPost, l.inFlight)
}

func (l load) total() int { return l.connections * l.posts * l.perPost }

// patience is how long a load waits for the next frame before it counts what it waits for as lost.

// BenchmarkPosts measures posts that are committed, acknowledged and delivered.
func BenchmarkPosts(b *testing.B) {
	loads := []load{
		{connections: 1, perPost: 1, inFlight: 1, posts: 600},
		{connections: 1, perPost: 1, inFlight: 8, posts: 900},
		{connections: 1, perPost: 100, inFlight: 1, posts: 300},
		{connections: 100, perPost: 1, inFlight: 4, posts: 500},
		{connections: 1000, perPost: 1, inFlight: 2, posts: 60},
	}
	server := serve(b)
	people := writers(b, server.url, 1000)
	for _, l := range loads {
		b.Run(l.String(), func(b *testing.B) {
			var rounds []figures
			for b.Loop() {
				b.StopTimer()
				at := len(rounds) * l.connections % len(people) // others each time: an account's frame budget lasts for one
				if l.connections == 1 {
					at *= 2
				}
				rounds = append(rounds, l.run(b, server, people[at:at+l.connections]))
				b.StartTimer()
			}
			reportMedians(b, rounds)
		})
	}
}

// figures are one round's.
type figures struct {
	rate       float64 // posts a second
	serverCost float64 // CPU of the server for one post, µs
	loadCost   float64 // likewise of the load generator
	p50, p99   float64 // from posting until the other's device has it, ms
}

// reportMedians gives the medians of rounds.
func reportMedians(b *testing.B, rounds []figures) {
	b.Helper()
	metric := func(unit string, of func(figures) float64) {
		all := make([]float64, len(rounds))
		for i, f := range rounds {
			all[i] = of(f)
		}
		b.ReportMetric(median(all), unit)
	}
	b.ReportMetric(0, "ns/op")
	metric("posts/s", func(f figures) float64 { return f.rate })
	metric("µs-server-cpu/post", func(f figures) float64 { return f.serverCost })
	metric("µs-load-cpu/post", func(f figures) float64 { return f.loadCost })
	if rounds[0].p50 > 0 {
		metric("ms-delivery-p50", func(f figures) float64 { return f.p50 })
		metric("ms-delivery-p99", func(f figures) float64 { return f.p99 })
	}
}

// median of values, which it sorts.
func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// run connects the writers, lets them post, and checks that every post was acknowledged once and delivered once.
func (l load) run(b *testing.B, server *process, people []*writer) figures {
	b.Helper()
	drivers := make([]*driver, len(people))
	each(b, len(people), func(i int) (err error) {
		drivers[i], err = l.prepare(b.Context(), people[i])
		return err
	})
	if len(people) > 1 {
		for i, d := range drivers {
			d.mate = drivers[i^1]
		}
	}
	var (
		tasks sync.WaitGroup
		start = make(chan struct{})
		errs  = make(chan error, len(drivers))
	)
	for _, d := range drivers {
		tasks.Go(func() {
			<-start
			if err := d.drive(); err != nil {
				errs <- err
			}
		})
	}
	profiled := server.profile(strings.ReplaceAll(l.String(), "/", ","))
	serverCPU, loadCPU, began := server.cpu(), ownCPU(b), now()
	close(start)
	tasks.Wait()
	serverCPU, loadCPU = server.cpu()-serverCPU, ownCPU(b)-loadCPU
	profiled()
	select {
	case err := <-errs:
		b.Fatal(err)
	default:
	}
	end := began
	var took []time.Duration
	for _, d := range drivers {
		end = max(end, d.lastAnswer)
		took = append(took, d.took...)
	}
	each(b, len(drivers), func(i int) error { return drivers[i].finish() })
	perPost := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(l.total()) }
	return figures{
		rate: float64(l.total()) / (end - began).Seconds(), serverCost: perPost(serverCPU), loadCost: perPost(loadCPU),
		p50: quantile(took, 0.5), p99: quantile(took, 0.99),
	}
}

// quantile is in milliseconds, 0 without values.
func quantile(d []time.Duration, q float64) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return float64(d[int(q*float64(len(d)-1))].Microseconds()) / 1000
}

// now is a monotonic time.
func now() time.Duration { return time.Since(epoch) }

var epoch = time.Now()

func ownCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// driver is one connection under load. Its fields belong to drive's goroutine but for sentAt.
type driver struct {
	load
	w          *writer
	mate       *driver
	ws         *websocket.Conn
	frames     [][]byte       // the requests
	first      uint64         // counter of the first message of this run
	sentAt     []atomic.Int64 // of each request
	sent       int
	answered   int
	lastSeq    uint64 // of an own message
	lastAnswer time.Duration
	own        uint64 // counter of the newest own message that came back
	got        uint64 // likewise of the mate's
	took       []time.Duration
}

// prepare connects a writer and makes its requests.
func (l load) prepare(ctx context.Context, w *writer) (*driver, error) {
	d := &driver{load: l, w: w, first: w.counter + 1, own: w.counter, sentAt: make([]atomic.Int64, l.posts)}
	for i := range l.posts {
		post, err := w.messages(l.perPost)
		if err != nil {
			return nil, err
		}
		frame, err := gproto.Marshal(&pb.Frame{Request: uint64(i + 2), Kind: &pb.Frame_Post{Post: post}})
		if err != nil {
			return nil, err
		}
		d.frames = append(d.frames, frame)
	}
	var err error
	d.ws, err = w.connect(ctx)
	return d, err
}

// drive posts and receives until every request is answered and every message of this side and the mate's is here.
func (d *driver) drive() error {
	last := d.first + uint64(d.posts*d.perPost) - 1
	if d.mate != nil {
		d.got = d.mate.first - 1
	}
	for range min(d.inFlight, d.posts) {
		if err := d.send(); err != nil {
			return err
		}
	}
	for d.answered < d.posts || d.own < last || d.mate != nil && d.got < d.mate.first+uint64(d.posts*d.perPost)-1 {
		if err := d.receive(); err != nil {
			return fmt.Errorf("%s: %d of %d requests answered, own messages up to %d of %d came back: %w", d.load, d.answered, d.posts, d.own, last, err)
		}
	}
	return nil
}

func (d *driver) send() error {
	d.sentAt[d.sent].Store(int64(now()))
	d.sent++
	return d.ws.WriteMessage(websocket.BinaryMessage, d.frames[d.sent-1])
}

func (d *driver) receive() error {
	if err := d.ws.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, b, err := d.ws.ReadMessage()
	if err != nil {
		return err
	}
	f := &pb.Frame{}
	if err := gproto.Unmarshal(b, f); err != nil {
		return err
	}
	switch kind := f.GetKind().(type) {
	case *pb.Frame_Posted:
		return d.posted(f.GetRequest(), kind.Posted)
	case *pb.Frame_Events:
		for _, e := range kind.Events.GetEvents() {
			if err := d.event(e); err != nil {
				return err
			}
		}
	case *pb.Frame_Error:
		return proto.FromProto(kind.Error)
	}
	return nil
}

// posted checks an answer: the next one in order, with a higher number for every envelope.
func (d *driver) posted(request uint64, p *pb.Posted) error {
	if request != uint64(d.answered+2) || len(p.GetResults()) != d.perPost {
		return fmt.Errorf("request %d with %d results was answered, want %d with %d", request, len(p.GetResults()), d.answered+2, d.perPost)
	}
	for _, r := range p.GetResults() {
		if r.GetError() != nil {
			return proto.FromProto(r.GetError())
		}
		if r.GetSeq() <= d.lastSeq {
			return fmt.Errorf("a post got number %d after %d", r.GetSeq(), d.lastSeq)
		}
		d.lastSeq = r.GetSeq()
	}
	d.answered++
	d.lastAnswer = now()
	if d.sent < d.posts {
		return d.send()
	}
	return nil
}

// event checks a delivery: the next message of its sender.
func (d *driver) event(e *pb.Event) error {
	h := &pb.Header{}
	if err := gproto.Unmarshal(e.GetEnvelope().GetHeader(), h); err != nil {
		return err
	}
	newest := &d.own
	if d.mate != nil && proto.ID(h.GetDevice()) == d.mate.w.device {
		newest = &d.got
		request := (h.GetCounter() - d.mate.first) / uint64(d.perPost)
		d.took = append(d.took, now()-time.Duration(d.mate.sentAt[request].Load()))
	}
	*newest++
	if h.GetCounter() != *newest {
		return fmt.Errorf("message %d of a device came, want %d", h.GetCounter(), *newest)
	}
	return nil
}

// finish checks that the relay has exactly what was posted, and disconnects.
func (d *driver) finish() error {
	defer func() { _ = d.ws.Close() }()
	return d.w.complete(d.ws)
}
