package link

import (
	"context"
	"crypto/ecdsa"
	nist "crypto/elliptic"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/pion/dtls/v3/pkg/crypto/elliptic"
	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

const (
	disconnectedAfter = 5 * time.Second  // without a packet on the path
	failedAfter       = 20 * time.Second // more; by then several restarts have been tried
	keepalive         = 2 * time.Second

	// Pairs that are not host–host wait this long for a better one. pion's 500 ms, 1 s and 2 s made every relayed link
	// take two seconds; a direct path that is slower than the relay's by more than this is found again by upgrade.
	srflxWait = 50 * time.Millisecond
	prflxWait = 100 * time.Millisecond
	relayWait = 200 * time.Millisecond

	// sctpRTOMax bounds how long SCTP sleeps after a path came back (RFC 9260's 60 s is for hosts with other things to do).
	sctpRTOMax = 2 * time.Second

	certificatePool   = 4              // ready ones
	refillAfter       = time.Second    // after one was taken, so that making the next does not slow the handshake down
	certificateMaxAge = 24 * time.Hour // a ready one that is older is thrown away; pion's are valid for a month
)

// newAPI returns what makes PeerConnections; one serves all sessions with the same policy.
func newAPI(cfg *Config, relayOnly bool) (*webrtc.API, error) {
	var s webrtc.SettingEngine
	s.LoggerFactory = newLoggerFactory(cfg.Logger)
	s.DetachDataChannels()
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6}) // TURN over TCP is apart from it
	s.DisableActiveTCP(true)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled) // resolver does it, once per Manager instead of per session
	s.SetICETimeouts(disconnectedAfter, failedAfter, keepalive)
	s.SetHostAcceptanceMinWait(0)
	if relayOnly {
		s.SetRelayAcceptanceMinWait(0)
		s.SetSrflxAcceptanceMinWait(0)
		s.SetPrflxAcceptanceMinWait(0)
	} else {
		s.SetRelayAcceptanceMinWait(relayWait)
		s.SetSrflxAcceptanceMinWait(srflxWait)
		s.SetPrflxAcceptanceMinWait(prflxWait)
	}
	s.SetRemoteIPFilter(remoteIPFilter(cfg.AllowLoopback))
	s.SetIncludeLoopbackCandidate(cfg.AllowLoopback)
	s.SetDTLSInsecureSkipHelloVerify(true) // behind ICE nobody reaches DTLS from a forged address
	// Go computes P-256, which the certificates are of anyway, twice as fast as X25519.
	s.SetDTLSEllipticCurves(elliptic.P256, elliptic.X25519, elliptic.P384)
	s.EnableSctpSnap(true)
	s.EnableSCTPZeroChecksum(true)
	s.SetSCTPRTOMax(sctpRTOMax)
	s.SetNet(cfg.Net)
	media := &webrtc.MediaEngine{}
	interceptors := &interceptor.Registry{}
	if cfg.Media != nil {
		if err := cfg.Media(media, interceptors); err != nil {
			return nil, fmt.Errorf("link: media: %w", err)
		}
	}
	return webrtc.NewAPI(webrtc.WithSettingEngine(s), webrtc.WithMediaEngine(media),
		webrtc.WithInterceptorRegistry(interceptors)), nil
}

// certificates holds DTLS certificates made ahead of time, so that opening a link does not wait for one and yet every
// PeerConnection has its own: one shared by all would let two contacts see that they talk to the same device.
type certificates struct {
	ready chan *webrtc.Certificate
	taken chan struct{} // told when one was taken
}

func newCertificates() *certificates {
	return &certificates{ready: make(chan *webrtc.Certificate, certificatePool), taken: make(chan struct{}, 1)}
}

// take returns a ready certificate, or makes one.
func (c *certificates) take() (*webrtc.Certificate, error) {
	defer func() {
		select {
		case c.taken <- struct{}{}:
		default:
		}
	}()
	for {
		select {
		case cert := <-c.ready:
			if time.Until(cert.Expires()) < 28*24*time.Hour-certificateMaxAge {
				continue
			}
			return cert, nil
		default:
			return newCertificate()
		}
	}
}

// fill makes certificates until the pool is full.
func (c *certificates) fill(ctx context.Context) error {
	for ctx.Err() == nil && len(c.ready) < cap(c.ready) {
		cert, err := newCertificate()
		if err != nil {
			return err
		}
		select {
		case c.ready <- cert:
		default:
			return nil
		}
	}
	return nil
}

func newCertificate() (*webrtc.Certificate, error) {
	key, err := ecdsa.GenerateKey(nist.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("DTLS key: %w", err)
	}
	cert, err := webrtc.GenerateCertificate(key)
	if err != nil {
		return nil, fmt.Errorf("DTLS certificate: %w", err)
	}
	return cert, nil
}

// iceServers converts what the server sent.
func iceServers(s *pb.IceServers) []webrtc.ICEServer {
	out := make([]webrtc.ICEServer, 0, len(s.GetServers()))
	for _, server := range s.GetServers() {
		out = append(out, webrtc.ICEServer{
			URLs: server.GetUrls(), Username: server.GetUsername(), Credential: server.GetCredential(),
		})
	}
	return out
}
