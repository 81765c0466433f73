package link

import (
	"fmt"
	"sync"
	"time"

	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"
)

// interfacesLife is how long a list of interfaces is used again. Links that open or restart together ask once.
const interfacesLife = 250 * time.Millisecond

// systemNet is the operating system's network for all PeerConnections of a Manager. pion's own reads the interfaces once,
// when a PeerConnection is made, so that an ICE restart after moving to another network gathers the addresses of the old
// one; this one reads them when asked, and keeps one list instead of one per PeerConnection.
type systemNet struct {
	transport.Net // everything but interfaces and sockets to TURN servers
	sockets       *sockets

	read func() ([]*transport.Interface, error)

	mu   sync.Mutex
	list []*transport.Interface
	at   time.Time
}

func newSystemNet() (*systemNet, error) {
	base, err := stdnet.NewNet()
	if err != nil {
		return nil, fmt.Errorf("link: network interfaces: %w", err)
	}
	return &systemNet{Net: base, sockets: newSockets(), read: func() ([]*transport.Interface, error) {
		now, err := stdnet.NewNet()
		if err != nil {
			return nil, err
		}
		return now.Interfaces()
	}}, nil
}

// Interfaces returns the system's interfaces with their addresses.
func (n *systemNet) Interfaces() ([]*transport.Interface, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.list != nil && time.Since(n.at) < interfacesLife {
		return n.list, nil
	}
	list, err := n.read()
	if err != nil {
		return nil, fmt.Errorf("network interfaces: %w", err)
	}
	n.list, n.at = list, time.Now()
	return list, nil
}

// InterfaceByIndex returns one of Interfaces.
func (n *systemNet) InterfaceByIndex(index int) (*transport.Interface, error) {
	return n.find(func(i *transport.Interface) bool { return i.Index == index })
}

// InterfaceByName returns one of Interfaces.
func (n *systemNet) InterfaceByName(name string) (*transport.Interface, error) {
	return n.find(func(i *transport.Interface) bool { return i.Name == name })
}

func (n *systemNet) find(is func(*transport.Interface) bool) (*transport.Interface, error) {
	list, err := n.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		if is(i) {
			return i, nil
		}
	}
	return nil, transport.ErrInterfaceNotFound
}

// forget makes the next question go to the system.
func (n *systemNet) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = nil
}
