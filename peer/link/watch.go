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
	clock     func() (wall time.Time, awake time.Duration)
	addresses string
	wall      time.Time
	awake     time.Duration
}

func newNetworkWatch(n transport.Net) *networkWatch {
	start := time.Now()
	return newWatch(n, func() (time.Time, time.Duration) { return time.Now().Round(0), time.Since(start) })
}

// newWatch takes a clock that tells the time of day and how long the machine has been awake.
func newWatch(n transport.Net, clock func() (wall time.Time, awake time.Duration)) *networkWatch {
	w := &networkWatch{net: n, clock: clock}
	w.wall, w.awake = clock()
	w.addresses = w.read()
	return w
}

// changed compares with the last call.
func (w *networkWatch) changed() bool {
	wall, awake := w.clock()
	slept := wall.Sub(w.wall)-(awake-w.awake) > sleepGap
	w.wall, w.awake = wall, awake
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
