package link

import (
	"net"
	"testing"
	"time"

	"github.com/pion/transport/v5"
)

// TestNetworkWatch notices a changed address, its loss only when another is there, and sleep; not a clock that is set back, nor
// a slow machine.
func TestNetworkWatch(t *testing.T) {
	n, err := newSystemNet()
	if err != nil {
		t.Fatal(err)
	}
	address := "192.0.2.1/24"
	n.read = func() ([]*transport.Interface, error) {
		i := transport.NewInterface(net.Interface{Index: 1, Name: "test0", Flags: net.FlagUp})
		for _, a := range []string{"127.0.0.1/8", "fe80::1/64", address} {
			if a == "" {
				continue
			}
			ip, network, err := net.ParseCIDR(a)
			if err != nil {
				return nil, err
			}
			network.IP = ip
			i.AddAddress(network)
		}
		return []*transport.Interface{i}, nil
	}
	wall, awake := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), time.Duration(0)
	w := newWatch(n, func() (time.Time, time.Duration) { return wall, awake })
	for _, step := range []struct {
		name        string
		wall, awake time.Duration
		address     string
		want        bool
	}{
		{"nothing", 5 * time.Second, 5 * time.Second, address, false},
		{"another address", 5 * time.Second, 5 * time.Second, "198.51.100.7/24", true},
		{"the same again", 5 * time.Second, 5 * time.Second, "198.51.100.7/24", false},
		{"no address", 5 * time.Second, 5 * time.Second, "", false},
		{"back on the network", 5 * time.Second, 5 * time.Second, "198.51.100.7/24", true},
		{"an hour of sleep", time.Hour, 5 * time.Second, "198.51.100.7/24", true},
		{"awake", 5 * time.Second, 5 * time.Second, "198.51.100.7/24", false},
		{"a slow machine", time.Hour, time.Hour, "198.51.100.7/24", false},
		{"a clock that is set back", -time.Hour, 5 * time.Second, "198.51.100.7/24", false},
	} {
		n.forget()
		address, wall, awake = step.address, wall.Add(step.wall), awake+step.awake
		if got := w.changed(); got != step.want {
			t.Errorf("%s: changed %v, want %v", step.name, got, step.want)
		}
	}
}
