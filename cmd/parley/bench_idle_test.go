package main

import (
	"testing"

	"github.com/gorilla/websocket"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// idleConnections is how many BenchmarkIdleConnections holds, each with a descriptor on both sides.
const idleConnections = 5000

// BenchmarkIdleConnections measures what an idle connection over plain HTTP adds to the server's resident memory, when
// it has just been used and after minutes of idleness. Each has said hello, posted one message and got two.
func BenchmarkIdleConnections(b *testing.B) {
	server := serve(b)
	people := writers(b, server.url, idleConnections)
	var used, idle []float64
	for b.Loop() {
		server.stop()
		server.start()
		sockets := make([]*websocket.Conn, len(people))
		connect := func(i int) (err error) {
			people[i].url = server.url
			sockets[i], err = people[i].connect(b.Context())
			return err
		}
		each(b, len(people), func(i int) error { // a few at a time: what the database keeps in memory is no connection's
			if err := connect(i); err != nil {
				return err
			}
			return sockets[i].Close()
		})
		before := server.settled()
		each(b, len(people), connect)
		each(b, len(people), func(i int) error {
			post, err := people[i].messages(1)
			if err == nil {
				_, err = ask(sockets[i], &pb.Frame{Request: 2, Kind: &pb.Frame_Post{Post: post}})
			}
			return err
		})
		used = append(used, (server.resident()-before)/idleConnections)
		idle = append(idle, (server.settled()-before)/idleConnections)
		each(b, len(people), func(i int) error { // they are all there
			if err := people[i].complete(sockets[i]); err != nil {
				return err
			}
			return sockets[i].Close()
		})
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(used), "KiB-used/conn")
	b.ReportMetric(median(idle), "KiB-idle/conn")
}
