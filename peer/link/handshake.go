package link

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const nonceSize = 32

// ends is what the two ends prove to each other: as negotiation had left it when the channel opened. A later offer may be
// taken while the proof is under way.
type ends struct {
	localFingerprint  []byte
	remoteFingerprint []byte
	remoteKey         ed25519.PublicKey
	remoteList        *proto.DeviceList
}

// serve is the session's reader, in a goroutine of its own: it proves both ends to each other, hands the session to the
// Link and then reads frames until the channel ends. Of the session it uses only what never changes.
func (s *session) serve(e ends) error {
	if err := s.prove(e); err != nil {
		return err
	}
	ran := make(chan struct{})
	if !s.l.q.push(func() {
		s.l.proven(s)
		close(ran)
	}) {
		return errChannelClosed
	}
	select {
	case <-ran:
	case <-s.life.Done():
		return errChannelClosed
	}
	for {
		f, err := s.channel.receive()
		if err != nil {
			return err
		}
		if err := s.frame(f); err != nil {
			return err
		}
	}
}

// prove exchanges LinkOpen and LinkProof (docs/PROTOCOL.md §6).
func (s *session) prove(e ends) error {
	m, ctx := s.l.m, s.life
	nonce := make([]byte, nonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return fmt.Errorf("nonce: %w", err)
	}
	list := m.cfg.Lists.Own()
	if list == nil {
		return errors.New("proof: the own device list is not known yet")
	}
	hello := &pb.LinkOpen{Nonce: nonce, ListVersion: list.GetVersion(), DeviceList: list.Signed}
	if err := s.channel.send(ctx, &pb.Frame{Kind: &pb.Frame_LinkOpen{LinkOpen: hello}}); err != nil {
		return err
	}
	f, err := s.channel.receive()
	if err != nil {
		return err
	}
	theirs := f.GetLinkOpen()
	if theirs == nil {
		return refuse("proof: the first frame is not LinkOpen")
	}
	if err := s.checkOpen(ctx, e, theirs); err != nil {
		return err
	}
	if bytes.Equal(theirs.GetNonce(), nonce) {
		return refuse("proof: nonce sent back")
	}
	own := proto.LinkEnd{
		Account: m.cfg.Self.Account, Device: m.cfg.Self.Device,
		Fingerprint: e.localFingerprint, Nonce: nonce, ListVersion: list.GetVersion(),
	}
	other := proto.LinkEnd{
		Account: s.l.peer.Account, Device: s.l.peer.Device,
		Fingerprint: e.remoteFingerprint, Nonce: theirs.GetNonce(), ListVersion: theirs.GetListVersion(),
	}
	out := proto.SignLinkProof(m.cfg.Self.Key, s.id, own, other)
	if err := s.channel.send(ctx, &pb.Frame{Kind: &pb.Frame_LinkProof{LinkProof: out}}); err != nil {
		return err
	}
	if f, err = s.channel.receive(); err != nil {
		return err
	}
	in := f.GetLinkProof()
	if in == nil {
		return refuse("proof: the second frame is not LinkProof")
	}
	if err := proto.VerifyLinkProof(e.remoteKey, s.id, own, other, in); err != nil {
		return refuse("proof: %w", err)
	}
	return nil
}

// checkOpen checks the other end's device list.
func (s *session) checkOpen(ctx context.Context, e ends, open *pb.LinkOpen) error {
	if len(open.GetNonce()) != nonceSize {
		return refuse("proof: nonce of %d bytes", len(open.GetNonce()))
	}
	list, err := proto.OpenDeviceList(open.GetDeviceList())
	if err != nil {
		return refuse("proof: device list: %w", err)
	}
	known := e.remoteList
	switch {
	case !bytes.Equal(list.GetAccount(), s.l.peer.Account.Bytes()):
		return refuse("proof: device list of another account")
	case list.GetVersion() != open.GetListVersion():
		return refuse("proof: device list is not of the version named")
	case !bytes.Equal(list.GetIdentityKey(), known.GetIdentityKey()):
		return refuse("proof: device list by another identity key")
	case list.GetVersion() < known.GetVersion():
		return refuse("proof: device list %d is lower than %d", list.GetVersion(), known.GetVersion())
	}
	keys, ok := list.Device(s.l.peer.Device)
	if !ok || !bytes.Equal(keys.GetSignKey(), e.remoteKey) {
		return refuse("proof: device is not in its account's list")
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if err := s.l.m.cfg.Lists.Offer(ctx, list); err != nil {
		return refuse("proof: device list: %w", err)
	}
	return nil
}

// frame takes one frame of a proven session. Kinds that belong to the socket are dropped, and so are unknown ones.
func (s *session) frame(f *pb.Frame) error {
	switch k := f.GetKind().(type) {
	case *pb.Frame_Direct, *pb.Frame_DirectAck, *pb.Frame_Typing:
		s.l.touch()
		s.l.m.cfg.OnFrame(s.l, f)
	case *pb.Frame_Signal:
		if !s.l.q.pushForeign(func() { s.l.signal(k.Signal, routeChannel) }) {
			s.l.m.drop("queue")
		}
	case *pb.Frame_Ping:
		s.channel.pong(k.Ping)
	case *pb.Frame_LinkOpen, *pb.Frame_LinkProof:
		return refuse("control channel: proof twice")
	default:
		s.l.m.drop("frame")
	}
	return nil
}
