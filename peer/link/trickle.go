package link

import (
	"context"
	"log/slog"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const sendTimeout = 5 * time.Second // for one signal

// localCandidate sends a candidate that pion found; nil is the end of them. Queue only, like everything in this file.
func (s *session) localCandidate(c *webrtc.ICECandidate) {
	if s.ended || s.localUfrag == "" {
		return
	}
	out := &pb.Candidate{Mid: "0", Ufrag: s.localUfrag}
	if c != nil {
		if s.relayOnly && c.Typ != webrtc.ICECandidateTypeRelay {
			return
		}
		init := c.ToJSON()
		out.Candidate = init.Candidate
		if s.relayOnly {
			line, err := parseCandidate(init.Candidate)
			if err != nil {
				return
			}
			out.Candidate = line.String() + " raddr 0.0.0.0 rport 9"
		}
		if init.SDPMid != nil && *init.SDPMid != "" {
			out.Mid = *init.SDPMid
		}
	}
	if len(s.localCandidates) >= candidateLimit {
		return
	}
	s.localCandidates = append(s.localCandidates, out)
	s.sendCandidate(out)
}

// candidate takes one from the other end, perhaps before its offer.
func (l *Link) candidate(id proto.ID, c *pb.Candidate) {
	if s := l.session(id); s != nil {
		s.remoteCandidate(c)
		return
	}
	if l.early == nil {
		l.early = make(map[proto.ID][]*pb.Candidate)
	}
	if waiting, ok := l.early[id]; len(waiting) < candidateLimit && (ok || len(l.early) < earlyLinks) && !l.m.hasEnded(id) {
		l.early[id] = append(waiting, c)
		return
	}
	l.m.drop("early candidates")
}

// remoteCandidate uses a candidate of the description in force and keeps others until theirs comes.
func (s *session) remoteCandidate(c *pb.Candidate) {
	if s.remoteUfrag != "" && (c.GetUfrag() == s.remoteUfrag || c.GetUfrag() == "") {
		s.useCandidate(c.GetCandidate())
		return
	}
	if len(s.queued) >= candidateLimit {
		s.queued = s.queued[1:] // the oldest is the likeliest to be of a description gone by
		s.l.m.drop("candidates")
	}
	s.queued = append(s.queued, c)
}

// remoteDescribed follows a remote description: its own candidates and those that waited for it are used.
func (s *session) remoteDescribed(ufrag string, lines []string) {
	if ufrag != s.remoteUfrag {
		s.remoteUfrag, s.remoteCandidates = ufrag, make(map[string]struct{})
	}
	for _, line := range lines {
		s.useCandidate(line)
	}
	queued := s.queued
	s.queued = nil
	for _, c := range queued {
		s.remoteCandidate(c)
	}
}

// useCandidate checks a candidate and hands it to pion. At most 64 of an ICE generation are looked at.
func (s *session) useCandidate(line string) {
	if line == "" {
		return // the end of candidates; pion has no use for it
	}
	if _, twice := s.remoteCandidates[line]; twice {
		return
	}
	if len(s.remoteCandidates) >= candidateLimit {
		s.l.m.drop("candidates")
		return
	}
	s.remoteCandidates[line] = struct{}{}
	c, err := parseCandidate(line)
	if err == nil && c.mdns() && c.transport == "udp" {
		s.resolve(c)
		return
	}
	if err == nil {
		err = c.check(s.l.m.cfg.AllowLoopback)
	}
	if err == nil {
		err = s.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: c.String()})
	}
	if err != nil {
		s.l.log().Debug("link: candidate not used", slog.Any("error", err))
	}
}

// resolve looks a browser's .local name up and comes back with the address. A link that hides this device's addresses
// does not ask: the question itself would tell the LAN.
func (s *session) resolve(c candidate) {
	if s.relayOnly {
		return
	}
	ufrag := s.remoteUfrag
	s.l.m.wg.Go(func() {
		a, err := s.l.m.resolve(s.life, c.address)
		if err != nil {
			s.l.log().Debug("link: candidate not resolved", slog.Any("error", err))
			return
		}
		s.l.q.push(func() {
			if resolved := c.with(a); !s.ended && s.remoteUfrag == ufrag && resolved.check(s.l.m.cfg.AllowLoopback) == nil {
				if err := s.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: resolved.String()}); err != nil {
					s.l.log().Debug("link: candidate not used", slog.Any("error", err))
				}
			}
		})
	})
}

func (s *session) sendDescription(d *pb.Description) {
	s.send(&pb.Signal{Link: s.id.Bytes(), Kind: &pb.Signal_Description{Description: d}}, s.via)
}

func (s *session) sendCandidate(c *pb.Candidate) {
	s.send(&pb.Signal{Link: s.id.Bytes(), Kind: &pb.Signal_Candidate{Candidate: c}}, s.via)
}

// send uses the route asked for, and the other one if that fails.
func (s *session) send(sig *pb.Signal, via route) {
	if via == routeChannel {
		if !s.sendChannel(sig) {
			s.l.sendSocket(sig)
		}
		return
	}
	if !s.l.sendSocket(sig) {
		s.sendChannel(sig)
	}
}

// sendChannel uses the active session's control channel, if it can carry anything now.
func (s *session) sendChannel(sig *pb.Signal) bool {
	a := s.l.active
	if a == nil || !a.connected {
		return false
	}
	ctx, cancel := context.WithTimeout(s.life, sendTimeout)
	defer cancel()
	return a.channel.send(ctx, &pb.Frame{Kind: &pb.Frame_Signal{Signal: sig}}) == nil
}

func (l *Link) sendSocket(sig *pb.Signal) bool {
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	return l.m.cfg.Signals.SendSignal(ctx, l.peer.Account, l.peer.Device, sig) == nil
}
