package link

import (
	"sync"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestNegotiateOverChannel adds a track to an open link while the server is away.
func TestNegotiateOverChannel(t *testing.T) {
	codecs := func(m *webrtc.MediaEngine, _ *interceptor.Registry) error { return m.RegisterDefaultCodecs() }
	tracks := make(chan string, 4)
	on := func(_ *Link, track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { tracks <- track.ID() }
	w, a, b := pair(t, func(c *Config) { c.Media = codecs }, func(c *Config) { c.Media, c.OnTrack = codecs, on })
	l := mustOpen(t, a, b)
	exchange(t, a, b)
	id := activeID(t, a, b)
	a.port.setDown(true)
	b.port.setDown(true)
	w.setFilter(func(_, _ *side, sig *pb.Signal) []*pb.Signal {
		t.Errorf("a signal through the dead server: %v", sig)
		return nil
	})
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "voice", "call")
	if err != nil {
		t.Fatal(err)
	}
	var sender *webrtc.RTPSender
	if err := l.Negotiate(testContext(t), func(pc *webrtc.PeerConnection) (err error) {
		sender, err = pc.AddTrack(track)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var pump sync.WaitGroup
	pump.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_ = writeSilence(track)
			}
		}
	})
	defer pump.Wait()
	defer close(stop)
	select {
	case got := <-tracks:
		if got != "voice" {
			t.Errorf("track %q", got)
		}
	case <-time.After(patience):
		t.Fatal("no track came")
	}
	if err := l.Negotiate(testContext(t), func(pc *webrtc.PeerConnection) error { return pc.RemoveTrack(sender) }); err != nil {
		t.Fatal(err)
	}
	exchange(t, a, b)
	if activeID(t, a, b) != id {
		t.Error("another session")
	}
}

func writeSilence(track *webrtc.TrackLocalStaticSample) error {
	return track.WriteSample(media.Sample{Data: []byte{0xf8, 0xff, 0xfe}, Duration: 20 * time.Millisecond})
}
