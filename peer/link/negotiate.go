package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Negotiation after W3C webrtc-pc §10.7. pion cannot roll an offer back, so an offer on a session that has negotiated
// before becomes pion's local description only together with its answer; until then it can be forgotten. Two first
// offers meet on two different sessions, of which the polite side ends its own.

// signal takes one signal from outside. Queue only, like everything in this file.
func (l *Link) signal(sig *pb.Signal, from route) {
	id, err := proto.IDFrom(sig.GetLink())
	if err != nil {
		l.m.drop("malformed")
		return
	}
	switch k := sig.GetKind().(type) {
	case *pb.Signal_Description:
		if err := l.description(id, k.Description, from); err != nil {
			l.refused(id, err)
		}
	case *pb.Signal_Candidate:
		l.candidate(id, k.Candidate)
	case *pb.Signal_Close:
		l.remoteClose(id, k.Close.GetReason(), from)
	}
}

// refused ends a session that is not proven yet, and tells the other end. A proven one ignores what it refuses: the
// server could otherwise end links that it has no part in.
func (l *Link) refused(id proto.ID, err error) {
	l.log().Warn("link: description refused", slog.Any("error", err))
	s := l.session(id)
	switch {
	case s != nil && s.open:
	case s != nil:
		s.farewell(ReasonRefused)
		l.fail(s, ReasonRefused, err)
	case l.active == nil && l.pending == nil:
		l.m.end(id)
		l.sendSocket(&pb.Signal{Link: id.Bytes(), Kind: &pb.Signal_Close{Close: &pb.LinkClose{Reason: ReasonRefused}}})
		l.close(ReasonRefused, err)
	}
}

// remoteClose ends a session at the other end's word. It is not signed: over the socket it counts only before the proof.
func (l *Link) remoteClose(id proto.ID, reason Reason, from route) {
	s := l.session(id)
	if s == nil || s.open && from != routeChannel {
		return
	}
	switch reason {
	case ReasonIdle, ReasonRestart, ReasonRefused, ReasonSuperseded, ReasonTimeout:
	default:
		reason = ReasonLost
	}
	l.fail(s, reason, errors.New("closed by the other end"))
}

// signalFailed hears that the server did not forward a signal.
func (l *Link) signalFailed(link []byte, err error) {
	id, bad := proto.IDFrom(link)
	s := l.session(id)
	if bad != nil || s == nil {
		return
	}
	if e, ok := proto.AsError(err); ok && !s.open {
		switch e.Code { //nolint:exhaustive // others may pass
		case pb.ErrorCode_ERROR_CODE_OFFLINE:
			l.fail(s, ReasonOffline, err)
			return
		case pb.ErrorCode_ERROR_CODE_FORBIDDEN, pb.ErrorCode_ERROR_CODE_NOT_FOUND:
			l.fail(s, ReasonRefused, err)
			return
		}
	}
	if s.offer != nil {
		s.sendChannel(&pb.Signal{Link: s.id.Bytes(), Kind: &pb.Signal_Description{Description: s.offer}})
	}
}

// description verifies an offer or answer before anything of it is used.
func (l *Link) description(id proto.ID, d *pb.Description, from route) error {
	ctx, cancel := context.WithTimeout(l.m.ctx, lookupTimeout)
	defer cancel()
	list, err := l.m.cfg.Lists.Lookup(ctx, l.peer.Account, l.peer.Device)
	if err != nil {
		return fmt.Errorf("device list: %w", err)
	}
	keys, ok := list.Device(l.peer.Device)
	if !ok {
		return refuse("description: device is not in its account's list")
	}
	body, err := proto.OpenDescription(keys.GetSignKey(), d)
	if err != nil {
		return refuse("description: %w", err)
	}
	if err := l.addressed(body, id); err != nil {
		return err
	}
	if strings.Count(d.GetSdp(), "\r") != strings.Count(d.GetSdp(), "\r\n") {
		return refuse("description: line ends that pion and this package read differently")
	}
	fingerprint, err := proto.FingerprintOf(d.GetSdp())
	if err != nil {
		return refuse("description: %w", err)
	}
	in := &description{
		Description: d, body: body, hash: proto.OfferHash(d), fingerprint: fingerprint, key: keys.GetSignKey(), list: list,
	}
	if body.GetType() == pb.DescriptionType_DESCRIPTION_TYPE_ANSWER {
		return l.takeAnswer(id, in)
	}
	return l.takeOffer(id, in, from)
}

// addressed checks that a verified description is for this link, from the device it came from to this one.
func (l *Link) addressed(body *pb.DescriptionBody, id proto.ID) error {
	self := l.m.cfg.Self
	switch {
	case !bytes.Equal(body.GetFromAccount(), l.peer.Account.Bytes()), !bytes.Equal(body.GetFromDevice(), l.peer.Device.Bytes()),
		!bytes.Equal(body.GetToAccount(), self.Account.Bytes()), !bytes.Equal(body.GetToDevice(), self.Device.Bytes()):
		return refuse("description: from or for another device")
	case !bytes.Equal(body.GetLink(), id.Bytes()):
		return refuse("description: of another link")
	}
	return nil
}

// description is a verified one.
type description struct {
	*pb.Description
	body        *pb.DescriptionBody
	hash        [proto.HashSize]byte // of the signed body
	fingerprint []byte
	key         []byte // the device key that verified it
	list        *proto.DeviceList
}

func (l *Link) takeOffer(id proto.ID, d *description, from route) error {
	s := l.session(id)
	if s == nil {
		if l.m.hasEnded(id) {
			return refuse("offer: of a link that has ended")
		}
		if !l.offers.Allow() {
			l.m.drop("offers")
			return nil
		}
		if l.pending != nil {
			if l.pending.own && !l.polite() {
				return nil // collision of two new links: ours wins, the other end answers it
			}
			l.pending.end()
			l.pending = nil
		}
		var err error
		if s, err = newSession(l, id, false, from); err != nil {
			return err
		}
		l.pending = s
		if l.active == nil {
			l.setState(State{Phase: Connecting})
		}
	}
	return s.takeOffer(d, from)
}

func (s *session) takeOffer(d *description, from route) error {
	switch {
	case d.body.GetGeneration() == s.remoteGen && s.answer != nil && bytes.Equal(s.answerTo, d.hash[:]):
		s.sendDescription(s.answer) // it was lost on the way
		s.repeatCandidates()
		return nil
	case d.body.GetGeneration() <= s.remoteGen:
		return nil // late or twice
	case s.answered && !s.l.offers.Allow():
		s.l.m.drop("offers")
		return nil
	}
	if err := s.sameFingerprint(d.fingerprint); err != nil {
		return err
	}
	ufrag := ufragOf(d.GetSdp())
	restart := s.remoteUfrag != "" && ufrag != s.remoteUfrag
	if s.offer != nil {
		if s.applied {
			return refuse("offer: on a link whose first offer is not answered")
		}
		if !s.l.polite() {
			// The generation is not taken: the answer to the own offer may have been made, and lost, before this offer was.
			s.note("collision, own offer stands")
			s.send(&pb.Signal{Link: s.id.Bytes(), Kind: &pb.Signal_Description{Description: s.offer}}, from)
			return nil
		}
		if s.restarting && !restart {
			s.again, s.againICE = true, true
		} // otherwise pion says itself that negotiation is still needed
		s.forgetOffer()
	}
	s.remoteGen = d.body.GetGeneration()
	s.remoteKey, s.remoteList = d.key, d.list
	if restart {
		if from == routeChannel && !s.l.m.cfg.Signals.Connected() {
			return nil // pion would drop the path that the answer has to take
		}
		from = routeSocket
		s.restartedAt = time.Now()
	}
	s.via = from
	sdp, lines := splitCandidates(d.GetSdp())
	if err := s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: sdp}); err != nil {
		return fmt.Errorf("offer: %w", err)
	}
	if restart {
		s.againICE = false
		s.broken()
	}
	s.remoteDescribed(ufrag, lines)
	return s.makeAnswer(d.hash[:])
}

func (s *session) makeAnswer(offerHash []byte) error {
	answer, err := s.pc.CreateAnswer(&webrtc.AnswerOptions{OfferAnswerOptions: webrtc.OfferAnswerOptions{ICETricklingSupported: true}})
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if err := s.pc.SetLocalDescription(answer); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	d, err := s.describe(answer.SDP, pb.DescriptionType_DESCRIPTION_TYPE_ANSWER, offerHash)
	if err != nil {
		return err
	}
	s.answer, s.answerTo, s.answered = d, offerHash, true
	s.note("offer answered")
	s.sendDescription(d)
	s.arm(2 * retryFirst)
	if s.again && s.open {
		s.negotiateAgain()
	}
	return nil
}

func (l *Link) takeAnswer(id proto.ID, d *description) error {
	s := l.session(id)
	if s == nil || s.offer == nil || !bytes.Equal(d.body.GetOfferHash(), s.offerHash) || d.body.GetGeneration() <= s.remoteGen {
		return nil // of an offer that is not outstanding any more
	}
	if err := s.sameFingerprint(d.fingerprint); err != nil {
		return err
	}
	s.remoteGen = d.body.GetGeneration()
	s.remoteKey, s.remoteList = d.key, d.list
	if !s.applied {
		offer := webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: s.offerSDP}
		if err := s.pc.SetLocalDescription(offer); err != nil {
			return fmt.Errorf("offer: %w", err)
		}
	}
	sdp, lines := splitCandidates(d.GetSdp())
	if err := s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: sdp}); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	s.forgetOffer()
	s.answered = true
	s.note("answer taken")
	s.remoteDescribed(ufragOf(d.GetSdp()), lines)
	if s.again && s.open {
		s.negotiateAgain()
	}
	return nil
}

func (s *session) forgetOffer() {
	s.offer, s.offerHash, s.offerSDP, s.applied, s.restarting = nil, nil, "", false, false
}

// negotiationNeeded is pion's word that tracks changed.
func (s *session) negotiationNeeded() {
	if s.ended {
		return
	}
	if !s.open || s.offer != nil {
		s.again = s.answered || s.open
		return
	}
	if err := s.negotiate(false); err != nil {
		s.l.log().Warn("link: negotiation", slog.Any("error", err))
	}
}

func (s *session) negotiateAgain() {
	restart := s.againICE
	s.again, s.againICE = false, false
	if restart {
		s.restart()
		return
	}
	if err := s.negotiate(false); err != nil {
		s.l.log().Warn("link: negotiation", slog.Any("error", err))
	}
}

// restart builds the path anew. See Manager.NetworkChanged for why it depends on the socket.
func (s *session) restart() {
	s.wantRestart = false
	switch {
	case s.offer != nil:
		s.again, s.againICE = true, true
		return
	case !s.answered:
		return
	case s.l.m.cfg.Signals.Connected():
		s.via = routeSocket
		if err := s.negotiate(true); err != nil {
			s.l.log().Warn("link: ICE restart", slog.Any("error", err))
		}
	case s.connected && s.open && s == s.l.active:
		if s.l.pending == nil {
			s.l.begin(routeChannel)
		}
	default:
		s.wantRestart = true
		s.arm(retryFirst)
	}
}

// negotiate makes, signs and sends an offer.
func (s *session) negotiate(restart bool) error {
	if s.ended {
		return nil
	}
	if s.offer != nil {
		s.again, s.againICE = true, s.againICE || restart
		return nil
	}
	if restart {
		if servers, err := s.servers(); err == nil && len(servers) > 0 {
			c := s.pc.GetConfiguration()
			c.ICEServers = servers
			if err := s.pc.SetConfiguration(c); err != nil {
				return fmt.Errorf("ICE servers: %w", err)
			}
		}
		s.restartedAt = time.Now()
	} else if s.open {
		s.via = routeChannel
	}
	offer, err := s.pc.CreateOffer(&webrtc.OfferOptions{
		ICERestart: restart, OfferAnswerOptions: webrtc.OfferAnswerOptions{ICETricklingSupported: true},
	})
	if err != nil {
		return fmt.Errorf("offer: %w", err)
	}
	s.applied = !s.answered
	if s.applied {
		if err := s.pc.SetLocalDescription(offer); err != nil {
			return fmt.Errorf("offer: %w", err)
		}
	}
	d, err := s.describe(offer.SDP, pb.DescriptionType_DESCRIPTION_TYPE_OFFER, nil)
	if err != nil {
		return err
	}
	hash := proto.OfferHash(d)
	s.offer, s.offerHash, s.offerSDP, s.restarting = d, hash[:], offer.SDP, restart
	s.note("offer made")
	if restart {
		s.broken()
	}
	s.attempt = 0
	s.arm(retryFirst)
	s.sendDescription(d)
	return nil
}

// describe signs a local description.
func (s *session) describe(sdp string, kind pb.DescriptionType, offerHash []byte) (*pb.Description, error) {
	fingerprint, err := proto.FingerprintOf(sdp)
	if err != nil {
		return nil, fmt.Errorf("description: %w", err)
	}
	if s.localFingerprint != nil && !bytes.Equal(s.localFingerprint, fingerprint) {
		return nil, errors.New("description: own DTLS fingerprint changed")
	}
	s.localFingerprint = fingerprint
	if u := ufragOf(sdp); u != s.localUfrag {
		s.localUfrag, s.localCandidates = u, nil
	}
	s.localGen++
	self := s.l.m.cfg.Self
	return proto.SignDescription(self.Key, &pb.DescriptionBody{
		FromAccount: self.Account.Bytes(), FromDevice: self.Device.Bytes(),
		ToAccount: s.l.peer.Account.Bytes(), ToDevice: s.l.peer.Device.Bytes(),
		Link: s.id.Bytes(), Generation: s.localGen, Type: kind, OfferHash: offerHash,
	}, sdp)
}
