package main

import (
	"context"
	"testing"
	"time"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
)

// deliveries is how many messages of each kind an operation of the benchmark sends.
const deliveries = 500

// BenchmarkDelivery measures how long a text takes from SendText until the other side's application has it, durable on
// both devices, one at a time: between two peers with a link, and in turns with that between two without, through the
// relay. A message goes both ways where there is a link; most come over it first.
func BenchmarkDelivery(b *testing.B) {
	server := serve(b)
	linked, relayed := newCouple(b, server.url, "a", false), newCouple(b, server.url, "b", true)
	linked.link(b)
	linked.send(b)
	relayed.send(b)
	var overLink, overRelay []time.Duration
	direct := 0
	for b.Loop() {
		for range deliveries {
			took, path := linked.send(b)
			overLink = append(overLink, took)
			if path == "direct" {
				direct++
			}
			took, path = relayed.send(b)
			overRelay = append(overRelay, took)
			if path != "relay" {
				b.Fatalf("without a link a message came by %s", path)
			}
		}
	}
	if direct < len(overLink)/2 {
		b.Fatalf("of %d messages between two with a link %d came over it", len(overLink), direct)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(100*float64(direct)/float64(len(overLink)), "%-direct-first")
	b.ReportMetric(quantile(overLink, 0.5), "ms-direct-p50")
	b.ReportMetric(quantile(overLink, 0.99), "ms-direct-p99")
	b.ReportMetric(quantile(overRelay, 0.5), "ms-relay-p50")
	b.ReportMetric(quantile(overRelay, 0.99), "ms-relay-p99")
	b.ReportMetric(quantile(overLink, 0.5)/quantile(overRelay, 0.5), "direct/relay-p50")
}

// couple is two peers in a conversation.
type couple struct {
	from, to     *peer.Client
	conversation proto.ID
	heard        *peer.Subscription // of to
}

func newCouple(b *testing.B, url, name string, noLinks bool) *couple {
	b.Helper()
	from := newPeer(b, url, name+"from", "", noLinks)
	invitation, err := from.Invite(b.Context(), time.Hour, 1)
	if err != nil {
		b.Fatal(err)
	}
	to := newPeer(b, url, name+"to", invitation.Code, noLinks)
	c := &couple{from: from, to: to, conversation: proto.PairID(from.Account(), to.Account()), heard: to.Subscribe()}
	b.Cleanup(c.heard.Cancel)
	c.await(b, from, func(e peer.Event) bool {
		contact, ok := e.(peer.ContactEvent)
		return ok && contact.State == "accepted"
	}, func() bool {
		who, err := from.Resolve(b.Context(), name+"to")
		return err == nil && who.State == "accepted"
	})
	return c
}

func newPeer(b *testing.B, url, user, invitation string, noLinks bool) *peer.Client {
	b.Helper()
	opts := peer.Options{Dir: b.TempDir()}
	_, err := peer.Register(b.Context(), opts, peer.Credentials{Server: url, User: user, Password: "correct horse battery", Invitation: invitation})
	if err != nil {
		b.Fatal(err)
	}
	c, err := peer.Open(b.Context(), peer.Config{Options: opts, NoLinks: noLinks})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	if err := c.WaitOnline(b.Context()); err != nil {
		b.Fatal(err)
	}
	return c
}

// await waits for an event of a peer, unless what it tells of is so already.
func (c *couple) await(b *testing.B, of *peer.Client, is func(peer.Event) bool, already func() bool) {
	b.Helper()
	sub := of.Subscribe()
	defer sub.Cancel()
	if already() {
		return
	}
	next(b, sub, is)
}

// next waits for an event.
func next(b *testing.B, sub *peer.Subscription, is func(peer.Event) bool) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	for {
		select {
		case e := <-sub.C:
			if is(e) {
				return
			}
		case <-ctx.Done():
			b.Fatal("an event did not come")
		}
	}
}

// link opens the link between the two.
func (c *couple) link(b *testing.B) {
	b.Helper()
	open := func(e peer.Event) bool {
		l, ok := e.(peer.LinkEvent)
		return ok && l.State == "open"
	}
	here, there := c.from.Subscribe(), c.to.Subscribe()
	defer here.Cancel()
	defer there.Cancel()
	if err := c.from.OpenLinks(b.Context(), c.conversation); err != nil {
		b.Fatal(err)
	}
	next(b, here, open)
	next(b, there, open)
}

// send sends one text and waits until the other side has it.
func (c *couple) send(b *testing.B) (took time.Duration, path string) {
	b.Helper()
	began := time.Now()
	sent, err := c.from.SendText(b.Context(), c.conversation, "how long does this take?")
	if err != nil {
		b.Fatal(err)
	}
	next(b, c.heard, func(e peer.Event) bool {
		m, ok := e.(peer.MessageEvent)
		if !ok || m.ID != sent.ID {
			return false
		}
		took, path = time.Since(began), m.Path
		return true
	})
	return took, path
}
