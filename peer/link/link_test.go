package link

import (
	"testing"
)

func TestOpenAndExchange(t *testing.T) {
	_, a, b := pair(t, nil, nil)
	l := mustOpen(t, a, b)
	if again := mustOpen(t, a, b); again != l {
		t.Error("Open is not idempotent")
	}
	exchange(t, a, b)
	p := l.Path()
	if p.Kind != Direct || p.Protocol != "udp" || !p.RemoteAddress.IsValid() || p.Since.IsZero() {
		t.Errorf("path %+v", p)
	}
	rtt, err := l.Ping(testContext(t))
	if err != nil || rtt <= 0 {
		t.Errorf("ping %v, %v", rtt, err)
	}
}
