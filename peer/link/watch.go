package link

import (
	"net"
	"slices"
	"strings"
	"time"

	"github.com/pion/transport/v5"
)

// sleepGap is how much further the wall clock may run than the monotonic one, which stands still while the machine
// sleeps, before it counts as having slept.
const sleepGap = 10 * time.Second

// networkWatch notices changes of this machine's addresses, and sleep. One goroutine owns it.
type networkWatch struct {
	net       transport.Net
	addresses string
	at        time.Time
}

func newNetworkWatch(n transport.Net) *networkWatch {
	w := &networkWatch{net: n, at: time.Now()}
	w.addresses = w.read()
	return w
}

// changed compares with the last call.
func (w *networkWatch) changed() bool {
	now := time.Now()
	slept := now.Round(0).Sub(w.at.Round(0))-now.Sub(w.at) > sleepGap
	w.at = now
	addresses := w.read()
	moved := addresses != w.addresses && addresses != ""
	w.addresses = addresses
	return slept || moved
}

func (w *networkWatch) read() string {
	interfaces, err := w.net.Interfaces()
	if err != nil {
		return w.addresses
	}
	var list []net.Addr
	for _, i := range interfaces {
		if a, err := i.Addrs(); err == nil {
			list = append(list, a...)
		}
	}
	text := make([]string, 0, len(list))
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && (n.IP.IsLoopback() || n.IP.IsLinkLocalUnicast()) {
			continue
		}
		text = append(text, a.String())
	}
	slices.Sort(text)
	return strings.Join(text, " ")
}
