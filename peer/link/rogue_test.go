package link

import (
	"crypto/ed25519"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// rogue is a bare PeerConnection that speaks to a Manager as whoever's key it was given, and says what a test wants.
type rogue struct {
	t        testing.TB
	as       peerID
	key      ed25519.PrivateKey
	victim   *side
	link     proto.ID
	pc       *webrtc.PeerConnection
	dc       *webrtc.DataChannel
	opened   chan struct{}
	closed   chan struct{}
	messages chan []byte

	mu         sync.Mutex
	generation uint64
	described  bool
	early      []webrtc.ICECandidateInit
}

func newRogue(t testing.TB, as peerID, key ed25519.PrivateKey, victim *side, link proto.ID) *rogue {
	t.Helper()
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	s.SetICEMulticastDNSMode(1)
	s.LoggerFactory = silent{}
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rogue{
		t: t, as: as, key: key, victim: victim, link: link, pc: pc, opened: make(chan struct{}), closed: make(chan struct{}),
		messages: make(chan []byte, 256),
	}
	yes, zero := true, uint16(0)
	if r.dc, err = pc.CreateDataChannel("control", &webrtc.DataChannelInit{Negotiated: &yes, ID: &zero}); err != nil {
		t.Fatal(err)
	}
	r.dc.OnOpen(func() { close(r.opened) })
	r.dc.OnClose(sync.OnceFunc(func() { close(r.closed) }))
	r.dc.OnMessage(func(m webrtc.DataChannelMessage) { r.messages <- m.Data })
	t.Cleanup(func() {
		if err := pc.GracefulClose(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// listen makes the signaling server hand the rogue what is for the device it speaks as.
func (r *rogue) listen(w *wires) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rogues[r.as.Device] = r.take
}

func (r *rogue) describe(d webrtc.SessionDescription, offerHash []byte) *pb.Signal {
	gathered := webrtc.GatheringCompletePromise(r.pc)
	if err := r.pc.SetLocalDescription(d); err != nil {
		r.t.Error(err)
	}
	<-gathered
	r.mu.Lock()
	r.generation++
	body := &pb.DescriptionBody{
		FromAccount: r.as.Account.Bytes(), FromDevice: r.as.Device.Bytes(),
		ToAccount: r.victim.self.Account.Bytes(), ToDevice: r.victim.self.Device.Bytes(),
		Link: r.link.Bytes(), Generation: r.generation, OfferHash: offerHash,
		Type: pb.DescriptionType_DESCRIPTION_TYPE_OFFER,
	}
	r.mu.Unlock()
	if offerHash != nil {
		body.Type = pb.DescriptionType_DESCRIPTION_TYPE_ANSWER
	}
	signed, err := proto.SignDescription(r.key, body, r.pc.LocalDescription().SDP)
	if err != nil {
		r.t.Error(err)
	}
	return &pb.Signal{Link: r.link.Bytes(), Kind: &pb.Signal_Description{Description: signed}}
}

func (r *rogue) send(sig *pb.Signal) { r.victim.HandleSignal(r.as.Account, r.as.Device, sig) }

// offer makes the offer for the victim.
func (r *rogue) offer() *pb.Signal {
	o, err := r.pc.CreateOffer(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.describe(o, nil)
}

// take handles what the victim signals: it answers an offer and uses an answer.
func (r *rogue) take(sig *pb.Signal) {
	switch k := sig.GetKind().(type) {
	case *pb.Signal_Description:
		body, err := proto.PeekDescription(k.Description)
		if err != nil {
			r.t.Error(err)
			return
		}
		kind := webrtc.SDPTypeAnswer
		if body.GetType() == pb.DescriptionType_DESCRIPTION_TYPE_OFFER {
			kind = webrtc.SDPTypeOffer
		}
		if r.pc.RemoteDescription() != nil {
			return
		}
		if err := r.pc.SetRemoteDescription(webrtc.SessionDescription{Type: kind, SDP: k.Description.GetSdp()}); err != nil {
			return // the connection may be closed already
		}
		r.mu.Lock()
		r.described = true
		early := r.early
		r.mu.Unlock()
		for _, c := range early {
			_ = r.pc.AddICECandidate(c)
		}
		if kind == webrtc.SDPTypeOffer {
			answer, err := r.pc.CreateAnswer(nil)
			if err != nil {
				r.t.Error(err)
				return
			}
			hash := proto.OfferHash(k.Description)
			r.send(r.describe(answer, hash[:]))
		}
	case *pb.Signal_Candidate:
		c := webrtc.ICECandidateInit{Candidate: k.Candidate.GetCandidate()}
		r.mu.Lock()
		if !r.described {
			r.early = append(r.early, c)
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		_ = r.pc.AddICECandidate(c)
	}
}

func (r *rogue) frame(f *pb.Frame) {
	body, err := protobuf.Marshal(f)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, piece := range proto.Fragments(body) {
		if err := r.dc.Send(piece); err != nil {
			r.t.Logf("rogue sends: %v", err)
		}
	}
}

// receive returns the next frame from the victim.
func (r *rogue) receive() *pb.Frame {
	r.t.Helper()
	var in proto.Reassembler
	for {
		select {
		case m := <-r.messages:
			body, err := in.Add(m)
			if err != nil {
				r.t.Fatal(err)
			}
			if body == nil {
				continue
			}
			f := new(pb.Frame)
			if err := protobuf.Unmarshal(body, f); err != nil {
				r.t.Fatal(err)
			}
			return f
		case <-time.After(patience):
			r.t.Fatal("rogue: nothing came")
		}
	}
}

// connect opens the channel to the victim.
func (r *rogue) connect(w *wires) {
	r.t.Helper()
	r.listen(w)
	r.send(r.offer())
	select {
	case <-r.opened:
	case <-time.After(patience):
		r.t.Fatal("rogue: not connected")
	}
}

// prove answers the victim's LinkOpen as a true device would, but for what change does.
func (r *rogue) prove(id *identity, change func(open *pb.LinkOpen, own, other *proto.LinkEnd)) {
	r.t.Helper()
	open := &pb.LinkOpen{Nonce: make([]byte, nonceSize), ListVersion: id.list.GetVersion(), DeviceList: id.list.Signed}
	open.Nonce[0] = 42
	theirs := r.receive().GetLinkOpen()
	ownPrint, err := proto.FingerprintOf(r.pc.LocalDescription().SDP)
	if err != nil {
		r.t.Fatal(err)
	}
	otherPrint, err := proto.FingerprintOf(r.pc.RemoteDescription().SDP)
	if err != nil {
		r.t.Fatal(err)
	}
	own := proto.LinkEnd{
		Account: r.as.Account, Device: r.as.Device, Fingerprint: ownPrint, Nonce: open.Nonce, ListVersion: open.ListVersion,
	}
	other := proto.LinkEnd{
		Account: r.victim.self.Account, Device: r.victim.self.Device, Fingerprint: otherPrint,
		Nonce: theirs.GetNonce(), ListVersion: theirs.GetListVersion(),
	}
	if change != nil {
		change(open, &own, &other)
	}
	r.frame(&pb.Frame{Kind: &pb.Frame_LinkOpen{LinkOpen: open}})
	proof := proto.SignLinkProof(r.key, r.link, own, other)
	r.frame(&pb.Frame{Kind: &pb.Frame_LinkProof{LinkProof: proof}})
}
