package turnsrv

import (
	"net/netip"
	"testing"
)

// BenchmarkRelay sends packets of 1,200 bytes over a channel to another client's allocation and its channel,
// one at a time: two relay steps for each.
func BenchmarkRelay(b *testing.B) {
	for _, network := range []string{"udp", "tcp"} {
		b.Run(network, func(b *testing.B) {
			s := serve(b, func(c *Config) { c.BytesPerSecond = -1 })
			x, y := dial(b, s, network, "ann"), dial(b, s, network, "bob")
			rx, ry := x.allocate(), y.allocate()
			if x.bind(0x4000, ry) != 0 || y.bind(0x4000, rx) != 0 {
				b.Fatal("no channel")
			}
			data := make([]byte, 1200)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				x.sendChannel(0x4000, data)
				y.receive()
			}
		})
	}
}

// BenchmarkPredicate judges one public address.
func BenchmarkPredicate(b *testing.B) {
	r := newRanges(nil, false)
	for _, text := range []string{"8.8.8.8", "2a00::1"} {
		a := addrOf(b, text)
		b.Run(text, func(b *testing.B) {
			for b.Loop() {
				if !r.permits(a) {
					b.Fatal("refused")
				}
			}
		})
	}
}

func addrOf(b *testing.B, text string) netip.Addr {
	b.Helper()
	a, err := netip.ParseAddr(text)
	if err != nil {
		b.Fatal(err)
	}
	return a
}
