package link

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const patience = 15 * time.Second // for what should happen at once

// identity is an account with its key and devices.
type identity struct {
	account proto.ID
	key     ed25519.PrivateKey
	list    *proto.DeviceList
	devices map[proto.ID]ed25519.PrivateKey
}

func newIdentity(t testing.TB, devices ...proto.ID) *identity {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	i := &identity{account: proto.NewID(), key: key, devices: make(map[proto.ID]ed25519.PrivateKey)}
	for _, d := range devices {
		_, k, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		i.devices[d] = k
	}
	i.sign(t, 1, devices...)
	return i
}

// sign makes version n of the list with these devices.
func (i *identity) sign(t testing.TB, version uint64, devices ...proto.ID) {
	t.Helper()
	public, ok := i.key.Public().(ed25519.PublicKey)
	if !ok {
		t.Fatal("not Ed25519")
	}
	list := &pb.DeviceList{
		Suite: 1, Account: i.account.Bytes(), Version: version, IdentityKey: public, Generation: 1,
		AccountKey: make([]byte, 32), TimeMs: 1,
	}
	if version > 1 {
		list.Previous = i.list.Hash[:]
	}
	for n, d := range devices {
		seal := make([]byte, 32)
		seal[0], seal[1] = byte(n+1), 7
		device, ok := i.devices[d].Public().(ed25519.PublicKey)
		if !ok {
			t.Fatal("not Ed25519")
		}
		list.Devices = append(list.Devices, &pb.DeviceKeys{Device: d.Bytes(), SignKey: device, SealKey: seal, AddedMs: 1})
	}
	signed, err := proto.SignDeviceList(i.key, list)
	if err != nil {
		t.Fatal(err)
	}
	if i.list, err = proto.OpenDeviceList(signed); err != nil {
		t.Fatal(err)
	}
}

// book is a Lists in memory: pins at first sight, keeps the highest version.
type book struct {
	own *proto.DeviceList

	mu    sync.Mutex
	known map[proto.ID]*proto.DeviceList
}

func (b *book) learn(id *identity) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known[id.account] = id.list
}

func (b *book) Own() *proto.DeviceList { return b.own }

func (b *book) Lookup(_ context.Context, account, _ proto.ID) (*proto.DeviceList, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l, ok := b.known[account]; ok {
		return l, nil
	}
	return nil, errors.New("no list of this account")
}

func (b *book) Offer(_ context.Context, l *proto.DeviceList) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	id, err := proto.IDFrom(l.GetAccount())
	if err != nil {
		return err
	}
	if known := b.known[id]; known.GetVersion() > l.GetVersion() {
		return fmt.Errorf("list %d is lower than %d", l.GetVersion(), known.GetVersion())
	}
	b.known[id] = l
	return nil
}

// event is a state or a frame that a side saw.
type event struct {
	link  *Link
	state State
	frame *pb.Frame
}

// side is a Manager with what it needs.
type side struct {
	*Manager
	name   string
	self   peerID
	id     *identity
	book   *book
	port   *port
	states chan event
	frames chan event
}

// wires is the signaling server of tests: it carries signals between sides, in order, unless a filter says otherwise.
type wires struct {
	mu     sync.Mutex
	sides  map[proto.ID]*side
	rogues map[proto.ID]func(sig *pb.Signal)                 // in place of a side
	filter func(from, to *side, sig *pb.Signal) []*pb.Signal // nil: as is
}

// port is a side's socket. Signals go through a goroutine per port, as on a real socket.
type port struct {
	w     *wires
	queue chan delivery
	done  chan struct{}

	mu   sync.Mutex
	self *side
	down bool
}

type delivery struct {
	account, device proto.ID
	sig             *pb.Signal
}

func newWires(t testing.TB) *wires {
	t.Helper()
	return &wires{sides: make(map[proto.ID]*side), rogues: make(map[proto.ID]func(*pb.Signal))}
}

func (p *port) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *port) Connected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.down
}

var errSocketDown = errors.New("socket is down")

func (p *port) SendSignal(_ context.Context, account, device proto.ID, sig *pb.Signal) error {
	if !p.Connected() {
		return errSocketDown
	}
	clone, ok := protobuf.Clone(sig).(*pb.Signal)
	if !ok {
		return errors.New("clone")
	}
	select {
	case p.queue <- delivery{account, device, clone}:
		return nil
	default:
		return errors.New("socket queue full")
	}
}

func (p *port) run() {
	defer close(p.done)
	for d := range p.queue {
		p.w.deliver(p.self, d)
	}
}

func (w *wires) deliver(from *side, d delivery) {
	w.mu.Lock()
	to, filter, rogue := w.sides[d.device], w.filter, w.rogues[d.device]
	w.mu.Unlock()
	if rogue != nil {
		rogue(d.sig)
		return
	}
	if to == nil || !to.port.Connected() {
		from.SignalFailed(d.account, d.device, d.sig.GetLink(), &proto.Error{Code: pb.ErrorCode_ERROR_CODE_OFFLINE, Message: "offline"})
		return
	}
	out := []*pb.Signal{d.sig}
	if filter != nil {
		out = filter(from, to, d.sig)
	}
	for _, sig := range out {
		to.HandleSignal(from.self.Account, from.self.Device, sig)
	}
}

func (w *wires) setFilter(f func(from, to *side, sig *pb.Signal) []*pb.Signal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.filter = f
}

// unplug takes a side off the server.
func (w *wires) unplug(s *side) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.sides, s.self.Device)
}

func testLogger() *slog.Logger {
	if os.Getenv("LINK_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// post puts an event into a channel, in place of the oldest if nobody reads.
func post(c chan event, e event) {
	for {
		select {
		case c <- e:
			return
		default:
		}
		select {
		case <-c:
		default:
		}
	}
}

// add makes a side for a device of an identity.
func (w *wires) add(t testing.TB, name string, id *identity, dev proto.ID, change func(*Config)) *side {
	t.Helper()
	s := &side{
		name: name, self: peerID{id.account, dev}, id: id,
		book:   &book{own: id.list, known: make(map[proto.ID]*proto.DeviceList)},
		port:   &port{w: w, queue: make(chan delivery, 512), done: make(chan struct{})},
		states: make(chan event, 256), frames: make(chan event, 256),
	}
	s.port.self = s
	cfg := Config{
		Self: Self{Account: id.account, Device: dev, Key: id.devices[dev]}, Lists: s.book, Signals: s.port,
		AllowLoopback: true, IdleTimeout: -1,
		OnState: func(l *Link, st State) { post(s.states, event{link: l, state: st}) },
		OnFrame: func(l *Link, f *pb.Frame) { post(s.frames, event{link: l, frame: f}) },
	}
	if log := testLogger(); log != nil {
		cfg.Logger = log.With("side", name)
	}
	if change != nil {
		change(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Manager = m
	w.mu.Lock()
	w.sides[dev] = s
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- m.Serve(ctx) }()
	go s.port.run()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("%s: Serve: %v", name, err)
		}
		if err := m.Close(); err != nil {
			t.Errorf("%s: Close: %v", name, err)
		}
		close(s.port.queue)
		<-s.port.done
	})
	return s
}

// know makes two sides know each other's lists.
func know(a, b *side) {
	a.book.learn(b.id)
	b.book.learn(a.id)
}

// pair returns two sides on loopback that know each other; the first has the smaller device id, so it is polite.
func pair(t testing.TB, changeA, changeB func(*Config)) (w *wires, polite, impolite *side) {
	t.Helper()
	w = newWires(t)
	da, db := proto.NewID(), proto.NewID()
	da[0], db[0] = 1, 2
	polite = w.add(t, "polite", newIdentity(t, da), da, changeA)
	impolite = w.add(t, "impolite", newIdentity(t, db), db, changeB)
	know(polite, impolite)
	return w, polite, impolite
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func mustOpen(t testing.TB, from, to *side) *Link {
	t.Helper()
	l, err := from.Open(testContext(t), to.self.Account, to.self.Device)
	if err != nil {
		t.Fatalf("%s opens to %s: %v", from.name, to.name, err)
	}
	return l
}

// until waits for a state of a side.
func until(t testing.TB, s *side, what string, is func(State) bool) event {
	t.Helper()
	return untilIn(t, s, what, patience, is)
}

func untilIn(t testing.TB, s *side, what string, within time.Duration, is func(State) bool) event {
	t.Helper()
	timeout := time.After(within)
	for {
		select {
		case e := <-s.states:
			if is(e.state) {
				return e
			}
		case <-timeout:
			t.Fatalf("%s: never %s", s.name, what)
		}
	}
}

func isPhase(p Phase) func(State) bool { return func(s State) bool { return s.Phase == p } }

func typing(n byte) *pb.Frame {
	return &pb.Frame{Kind: &pb.Frame_Typing{Typing: &pb.Typing{Conversation: []byte{n}}}}
}

// exchange sends a frame each way and waits for both.
func exchange(t testing.TB, a, b *side) {
	t.Helper()
	for _, way := range [][2]*side{{a, b}, {b, a}} {
		l := mustOpen(t, way[0], way[1])
		if err := l.Send(testContext(t), typing(9)); err != nil {
			t.Fatalf("%s sends: %v", way[0].name, err)
		}
		select {
		case <-way[1].frames:
		case <-time.After(patience):
			t.Fatalf("%s got no frame", way[1].name)
		}
	}
}
