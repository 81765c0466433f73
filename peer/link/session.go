package link

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// route is how a signal travels.
type route int

const (
	routeSocket  route = iota
	routeChannel       // the control channel of the Link's active session
)

// session is one PeerConnection. The Link's queue owns it, but for what its reader uses: see serve.
type session struct {
	l         *Link
	id        proto.ID // on the wire: link
	pc        *webrtc.PeerConnection
	control   *webrtc.DataChannel
	own       bool // offered by this side first
	relayOnly bool
	deadline  time.Time       // for the proof
	life      context.Context //nolint:containedctx // ends with the session
	stop      context.CancelFunc

	// As negotiated last. The proof is about what they are when the channel opens: see ends.
	localFingerprint  []byte            // SHA-256 of the DTLS certificate
	remoteFingerprint []byte            // nil until the first description
	remoteKey         ed25519.PublicKey // the device key that verified it
	remoteList        *proto.DeviceList // where it stood

	via       route
	localGen  uint64
	remoteGen uint64

	offer       *pb.Description // outstanding
	offerHash   []byte
	offerSDP    string
	applied     bool // the outstanding offer is pion's local description already (the first one is)
	restarting  bool // the outstanding offer restarts ICE
	answered    bool // at least one negotiation is complete
	answer      *pb.Description
	answerTo    []byte // hash of the offer that answer answers
	again       bool   // negotiate again when stable …
	againICE    bool   // … with an ICE restart
	wantRestart bool   // as soon as the socket is back

	localUfrag       string
	localCandidates  []*pb.Candidate // of localUfrag, to repeat
	remoteUfrag      string
	remoteCandidates map[string]struct{} // of remoteUfrag, handed to pion or refused
	queued           []*pb.Candidate     // whose description has not come yet

	channel     *channel
	open        bool // proven
	ended       bool
	connected   bool      // ICE has a path
	brokenSince time.Time // zero while connected
	restartedAt time.Time
	path        Path
	timer       *time.Timer
	attempt     int
}

const (
	iceTimeout      = 5 * time.Second // to get servers
	retryFirst      = time.Second
	retryMost       = 4 * time.Second
	restartPatience = 8 * time.Second  // for a restart that was answered
	lostAfter       = 30 * time.Second // without a path
	politePause     = time.Second      // before the polite side restarts too, so that both seldom do at once
)

// newSession makes the PeerConnection and its control channel.
func newSession(l *Link, id proto.ID, own bool, via route) (*session, error) {
	m := l.m
	l.shows.Add(1) // before the question: whoever changes its answer and looks afterwards sees this session
	s := &session{
		l: l, id: id, own: own, via: via,
		relayOnly: m.cfg.RelayOnly(l.peer.Account),
		deadline:  time.Now().Add(m.cfg.OpenTimeout),
		queued:    l.early[id],
	}
	delete(l.early, id)
	cert, err := m.certs.take()
	if err != nil {
		return nil, err
	}
	api, policy := m.api, webrtc.ICETransportPolicyAll
	if s.relayOnly {
		l.shows.Add(-1)
		api, policy = m.apiRelayOnly, webrtc.ICETransportPolicyRelay
	}
	servers, err := s.servers()
	if err != nil {
		l.log().Warn("link: ICE servers", "error", err)
	}
	s.pc, err = api.NewPeerConnection(webrtc.Configuration{
		ICEServers: servers, ICETransportPolicy: policy,
		BundlePolicy: webrtc.BundlePolicyMaxBundle, Certificates: []webrtc.Certificate{*cert},
	})
	if err != nil {
		return nil, fmt.Errorf("PeerConnection: %w", err)
	}
	yes, zero := true, uint16(0)
	s.control, err = s.pc.CreateDataChannel("control", &webrtc.DataChannelInit{Negotiated: &yes, ID: &zero, Ordered: &yes})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control channel: %w", err), s.pc.GracefulClose())
	}
	s.life, s.stop = context.WithCancel(context.Background())
	s.listen()
	s.note(noteBegins)
	s.timer = time.AfterFunc(retryFirst, func() { l.q.push(s.tick) })
	return s, nil
}

func (s *session) servers() ([]webrtc.ICEServer, error) {
	if s.l.m.cfg.ICE == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(s.l.m.ctx, iceTimeout)
	defer cancel()
	servers, err := s.l.m.cfg.ICE(ctx)
	if err != nil {
		return nil, err
	}
	return iceServers(servers), nil
}

// listen turns pion's callbacks into work for the queue.
func (s *session) listen() {
	push := s.l.q.push
	s.control.OnOpen(func() { push(s.channelOpen) })
	s.pc.OnICECandidate(func(c *webrtc.ICECandidate) { push(func() { s.localCandidate(c) }) })
	s.pc.OnICEConnectionStateChange(func(state webrtc.ICEConnectionState) { push(func() { s.iceState(state) }) })
	s.pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) { push(func() { s.pcState(state) }) })
	s.pc.OnNegotiationNeeded(func() { push(s.negotiationNeeded) })
	s.pc.SCTP().Transport().ICETransport().OnSelectedCandidatePairChange(func(*webrtc.ICECandidatePair) { push(s.pathChanged) })
	s.pc.OnDataChannel(func(d *webrtc.DataChannel) { d.OnOpen(func() { _ = d.Close() }) }) // only control is known
	s.pc.OnTrack(func(t *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
		if f := s.l.m.cfg.OnTrack; f != nil {
			f(s.l, t, r)
		}
	})
}

// end closes the PeerConnection in the background; Manager.Close waits for it.
func (s *session) end() {
	if s.ended {
		return
	}
	s.ended = true
	s.note("session ended")
	s.timer.Stop()
	s.stop()
	s.l.m.end(s.id)
	s.l.m.wg.Go(func() {
		if err := s.pc.GracefulClose(); err != nil {
			s.l.log().Debug("link: close", "error", err)
		}
	})
}

// retire ends a session that another took the place of, after what is under way on it has arrived. If its Link closes
// first, that ends it.
func (s *session) retire() {
	s.timer.Stop()
	s.l.retired = append(slices.DeleteFunc(s.l.retired, func(r *session) bool { return r.ended }), s)
	s.timer = time.AfterFunc(retireAfter, func() { s.l.q.push(s.end) })
}

// farewell tells the other end why the session ends, and gives the message a moment to leave.
func (s *session) farewell(reason Reason) {
	closing := &pb.Signal{Link: s.id.Bytes(), Kind: &pb.Signal_Close{Close: &pb.LinkClose{Reason: reason}}}
	if !s.open {
		s.send(closing, routeSocket)
		return
	}
	if !s.connected {
		return
	}
	ctx, cancel := context.WithTimeout(s.life, farewellTimeout)
	defer cancel()
	if err := s.channel.send(ctx, &pb.Frame{Kind: &pb.Frame_Signal{Signal: closing}}); err == nil {
		s.channel.flush(ctx)
	}
}

// settled says that nothing is under way that a timer has to watch.
func (s *session) settled() bool {
	return s.open && s.connected && s.offer == nil && !s.wantRestart
}

// arm sets the timer for the next tick.
func (s *session) arm(after time.Duration) {
	if !s.ended {
		s.timer.Reset(after)
	}
}

// tick repeats what may have been lost and gives up what takes too long.
func (s *session) tick() {
	if s.ended || s.l.active != s && s.l.pending != s {
		return
	}
	now := time.Now()
	switch {
	case s.settled():
		s.attempt = 0
		return
	case !s.open && now.After(s.deadline):
		s.farewell(ReasonTimeout)
		s.l.fail(s, ReasonTimeout, nil)
		return
	case s.open && !s.connected && now.Sub(s.brokenSince) > s.l.m.lostAfter:
		s.l.fail(s, ReasonLost, nil)
		return
	case s.offer != nil:
		s.sendDescription(s.offer)
		s.repeatCandidates()
	case s.wantRestart:
		s.restart()
	case !s.connected && s.open && now.Sub(s.restartedAt) > restartPatience:
		s.restart()
	case !s.connected:
		s.repeatCandidates()
	}
	s.attempt++
	s.arm(min(retryFirst<<min(s.attempt, 4), retryMost))
}

func (s *session) repeatCandidates() {
	for _, c := range s.localCandidates {
		s.sendCandidate(c)
	}
}

func (s *session) iceState(state webrtc.ICEConnectionState) {
	if s.ended {
		return
	}
	switch state {
	case webrtc.ICEConnectionStateConnected, webrtc.ICEConnectionStateCompleted:
		s.connected, s.brokenSince, s.attempt = true, time.Time{}, 0
		s.pathChanged()
	case webrtc.ICEConnectionStateDisconnected, webrtc.ICEConnectionStateFailed:
		s.broken()
		if s != s.l.active || s.offer != nil {
			return
		}
		if s.l.polite() && state == webrtc.ICEConnectionStateDisconnected {
			s.wantRestart = true
			s.arm(politePause)
		} else {
			s.restart()
		}
	case webrtc.ICEConnectionStateNew, webrtc.ICEConnectionStateChecking, webrtc.ICEConnectionStateClosed,
		webrtc.ICEConnectionStateUnknown:
	}
}

// broken notes that there is no path, and shows it.
func (s *session) broken() {
	s.connected = false
	if s.brokenSince.IsZero() {
		s.brokenSince = time.Now()
	}
	if s.open && s == s.l.active {
		s.l.setState(State{Phase: Restarting})
	}
	s.arm(retryFirst)
}

func (s *session) pcState(state webrtc.PeerConnectionState) {
	if s.ended {
		return
	}
	switch {
	case s.channel != nil: // its reader ends, after it has read why
	case state == webrtc.PeerConnectionStateClosed:
		s.l.fail(s, ReasonRefused, errors.New("closed by the other end"))
	case s.pc.SCTP().Transport().State() == webrtc.DTLSTransportStateFailed:
		s.l.fail(s, ReasonRefused, errors.New("DTLS: certificate or handshake refused"))
	}
}

// pathChanged publishes the pair that ICE chose.
func (s *session) pathChanged() {
	if s.ended || !s.open || s != s.l.active || !s.connected {
		return
	}
	s.readPath()
	s.l.setState(State{Phase: Open, Path: s.path})
}

// readPath asks pion how packets travel.
func (s *session) readPath() {
	t := s.pc.SCTP().Transport().ICETransport()
	pair, err := t.GetSelectedCandidatePair()
	if err != nil || pair == nil {
		return
	}
	p := Path{
		Kind: Direct, Protocol: pair.Local.Protocol.String(),
		LocalType: pair.Local.Typ.String(), RemoteType: pair.Remote.Typ.String(), Since: s.l.m.cfg.Clock(),
	}
	if a, err := netip.ParseAddr(pair.Remote.Address); err == nil {
		p.RemoteAddress = netip.AddrPortFrom(a.Unmap(), pair.Remote.Port)
	}
	if pair.Local.Typ == webrtc.ICECandidateTypeRelay || pair.Remote.Typ == webrtc.ICECandidateTypeRelay {
		p.Kind = Turn
	}
	if pair.Local.Typ == webrtc.ICECandidateTypeRelay {
		if stats, ok := t.GetSelectedCandidatePairStats(); ok {
			if c, ok := s.pc.GetStats()[stats.LocalCandidateID].(webrtc.ICECandidateStats); ok && c.RelayProtocol != "" {
				p.Protocol = c.RelayProtocol
			}
		}
	}
	if p.same(s.path) {
		p.Since = s.path.Since
	}
	s.path = p
}

// channelOpen starts the reader.
func (s *session) channelOpen() {
	if s.ended || s.channel != nil {
		return
	}
	raw, err := s.control.Detach()
	if err != nil {
		s.l.fail(s, ReasonFailed, fmt.Errorf("control channel: %w", err))
		return
	}
	s.note(noteChannel)
	s.channel = newChannel(s.control, raw, s.life.Done(), s.pc.SCTP().Transport().ICETransport())
	e := ends{s.localFingerprint, s.remoteFingerprint, s.remoteKey, s.remoteList}
	s.l.m.wg.Go(func() {
		err := s.serve(e)
		var refused *refusal
		if !errors.As(err, &refused) {
			s.stop() // nobody needs to wait for this channel any more
		}
		s.l.q.push(func() {
			switch {
			case s.ended:
			case refused != nil:
				s.l.log().Warn("link: refused", "error", err)
				s.farewell(ReasonRefused)
				s.l.fail(s, ReasonRefused, err)
			default:
				s.l.fail(s, ReasonLost, err)
			}
		})
	})
}

// refusal marks an error of the other end's making.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(format string, args ...any) error { return &refusal{fmt.Errorf(format, args...)} }

// sameFingerprint sets the other end's fingerprint, or compares it with the one it had before.
func (s *session) sameFingerprint(fingerprint []byte) error {
	if s.remoteFingerprint != nil && !bytes.Equal(s.remoteFingerprint, fingerprint) {
		return refuse("description: another DTLS fingerprint than before")
	}
	s.remoteFingerprint = fingerprint
	return nil
}
