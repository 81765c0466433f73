package main

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/pion/webrtc/v4"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/peer/link"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func withLinks(c *peer.Config) { c.NoLinks = false }

// linkState waits for a link to come into a state.
func (v *victim) linkState(state string) peer.LinkEvent {
	v.t.Helper()
	e := v.await("link "+state, func(e peer.Event) bool { l, ok := e.(peer.LinkEvent); return ok && l.State == state })
	return e.(peer.LinkEvent)
}

// refused waits until a link was closed because the other end did not prove itself, and was not open before.
func (v *victim) refused() {
	v.t.Helper()
	e := v.await("refused link", func(e peer.Event) bool { l, ok := e.(peer.LinkEvent); return ok && l.State != "connecting" })
	if l := e.(peer.LinkEvent); l.State != "closed" || l.Reason != link.ReasonRefused {
		v.t.Errorf("the link is %s (%s)", l.State, l.Reason)
	}
}

// reopen starts peers again with links, which none of them has yet.
func reopen(all ...*victim) {
	for _, v := range all {
		v.t.Helper()
		if err := v.Close(); err != nil {
			v.t.Fatal(err)
		}
	}
	for _, v := range all {
		v.open(withLinks)
	}
}

// triesLink opens links, which fails.
func triesLink(v *victim, conversation proto.ID) {
	v.t.Helper()
	eventually(v.t, "a link that does not open", func() bool {
		return v.OpenLinks(v.t.Context(), conversation) != nil // nil too while nobody is known to be there
	})
}

// links opens a link and says something over it.
func links(t *testing.T, from, to *victim, conversation proto.ID, text string) {
	t.Helper()
	eventually(t, "a link", func() bool {
		if err := from.OpenLinks(t.Context(), conversation); err != nil {
			return false
		}
		m := send(t, from.Client, conversation, text, peer.StateDelivered)
		return m.Path == "direct"
	})
	to.gets(text)
}

// swapFingerprint puts another certificate's fingerprint into every description that passes.
func swapFingerprint(f *pb.Frame) []*pb.Frame {
	for _, signal := range []*pb.Signal{f.GetSignalFrom().GetSignal(), f.GetSignalTo().GetSignal()} {
		d := signal.GetDescription()
		if d == nil {
			continue
		}
		own := fmt.Sprintf("%X", sha256.Sum256([]byte("the server's certificate")))
		var parts []string
		for i := 0; i < len(own); i += 2 {
			parts = append(parts, own[i:i+2])
		}
		const mark = "a=fingerprint:sha-256 "
		lines := strings.Split(d.GetSdp(), "\r\n")
		for i, l := range lines {
			if strings.HasPrefix(l, mark) {
				lines[i] = mark + strings.Join(parts, ":")
			}
		}
		d.Sdp = strings.Join(lines, "\r\n")
	}
	return []*pb.Frame{f}
}

// TestSwappedFingerprint: the server swaps the fingerprints in what it forwards, to sit between the two ends. No link opens,
// messages go through the relay, and links open when the server is honest again.
func TestSwappedFingerprint(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	mia.m.toPeer(swapFingerprint)
	mia.m.toServer(swapFingerprint)
	reopen(mia, ben)
	triesLink(mia, conversation)
	ben.refused()
	mia.refused()
	if m := mia.says(conversation, "by the relay then"); m.Path != "relay" {
		t.Errorf("path %s", m.Path)
	}
	ben.gets("by the relay then")
	mia.m.honest()
	links(t, mia, ben, conversation, "directly")
}

// TestReplayedOffer: the server keeps what it forwarded and plays it again when the link is over, and to a peer that was
// started anew.
func TestReplayedOffer(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url, withLinks)
	var (
		mu  sync.Mutex
		old []*pb.Frame
	)
	mia.m.toPeer(func(f *pb.Frame) []*pb.Frame {
		if f.GetSignalFrom() != nil {
			mu.Lock()
			defer mu.Unlock()
			old = append(old, gproto.CloneOf(f))
		}
		return []*pb.Frame{f}
	})
	links(t, ben, mia, conversation, "over the first link")
	mia.m.honest()
	if err := ben.Close(); err != nil {
		t.Fatal(err)
	}
	mia.linkState("closed")
	play := func() {
		mu.Lock()
		defer mu.Unlock()
		for _, f := range old {
			mia.m.push(f)
		}
	}
	noLink := func(when string) {
		t.Helper()
		play()
		mia.says(conversation, when) // the replayed frames were handled before the answer
		for _, l := range linkEvents(mia) {
			if l.State == "open" {
				t.Errorf("%s: a replayed offer opened a link", when)
			}
		}
	}
	noLink("while the peer remembers the link")
	if err := mia.Close(); err != nil {
		t.Fatal(err)
	}
	mia.open(withLinks)
	noLink("after a restart")
	ben.open(withLinks)
	links(t, ben, mia, conversation, "over a new link")
}

// linkEvents are those that came until now.
func linkEvents(v *victim) (all []peer.LinkEvent) {
	for {
		select {
		case e := <-v.sub.C:
			if l, ok := e.(peer.LinkEvent); ok {
				all = append(all, l)
			}
		default:
			return all
		}
	}
}

// TestOldListInLinkProof: the server keeps a new device list from its own account, whose device then proves itself with an old
// one. Who has seen the newer list refuses the link until the device has it too.
func TestOldListInLinkProof(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url)
	if err := ben.Close(); err != nil { // so that it does not hear of the next one
		t.Fatal(err)
	}
	ben.secondDevice(server.url, "ben")
	ben.m.toPeer(func(f *pb.Frame) []*pb.Frame {
		if w := f.GetWelcome(); w != nil {
			w.Changes = nil
		}
		return []*pb.Frame{f}
	})
	reopen(mia, ben) // she knows both devices then
	triesLink(ben, conversation)
	mia.refused()
	ben.m.honest()
	ben.reconnect()
	links(t, ben, mia, conversation, "with the newest list")
}

// TestSignalOfAStranger: the server passes on an offer of somebody who is no contact, properly signed. The peer does not answer.
func TestSignalOfAStranger(t *testing.T) {
	server := startServer(t, "127.0.0.1:0", t.TempDir())
	mia, ben, conversation := victims(t, server.url, withLinks)
	eve := stranger(t, server.url, "eve")
	list := firstList(t, eve)
	answered := make(chan *pb.SignalTo, 10)
	mia.m.toServer(func(f *pb.Frame) []*pb.Frame {
		if s := f.GetSignalTo(); s != nil && proto.ID(s.GetAccount()) == eve.account {
			answered <- s
		}
		return []*pb.Frame{f}
	})
	mia.m.toPeer(func(f *pb.Frame) []*pb.Frame { // the server helps
		if f.GetLists() != nil && len(f.GetLists().GetLists()) == 0 {
			f.GetLists().Lists = []*pb.Signed{list}
		}
		return []*pb.Frame{f}
	})
	id := proto.NewID()
	offer := must(proto.SignDescription(eve.sign, &pb.DescriptionBody{
		FromAccount: eve.account.Bytes(), FromDevice: eve.device.Bytes(), ToAccount: mia.Account().Bytes(), ToDevice: mia.Device().Bytes(),
		Link: id.Bytes(), Generation: 1, Type: pb.DescriptionType_DESCRIPTION_TYPE_OFFER,
	}, realOffer(t)))
	mia.m.push(&pb.Frame{Kind: &pb.Frame_SignalFrom{SignalFrom: &pb.SignalFrom{
		Account: eve.account.Bytes(), Device: eve.device.Bytes(),
		Signal: &pb.Signal{Link: id.Bytes(), Kind: &pb.Signal_Description{Description: offer}},
	}}})
	ben.says(conversation, "nothing happened")
	mia.gets("nothing happened") // the offer came before it
	for len(answered) > 0 {
		if s := <-answered; s.GetSignal().GetDescription() != nil || s.GetSignal().GetCandidate() != nil {
			t.Errorf("a stranger learns %v", s.GetSignal())
		}
	}
	for _, l := range linkEvents(mia) {
		if l.Account == eve.account && l.State != "closed" {
			t.Errorf("a link to a stranger is %s", l.State)
		}
	}
}

// realOffer is a session description that a link could be made from.
func realOffer(t *testing.T) string {
	t.Helper()
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pc.GracefulClose(); err != nil {
			t.Error(err)
		}
	})
	if _, err := pc.CreateDataChannel("control", nil); err != nil {
		t.Fatal(err)
	}
	return must(pc.CreateOffer(nil)).SDP
}
