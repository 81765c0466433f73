package turnsrv

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

// patience is how long a test waits for what must come; nothing is concluded from its passing.
const patience = 10 * time.Second

// testSecret is the secret of test servers.
func testSecret() []byte { return []byte("0123456789abcdef") }

// serve starts a server on loopback and ends it with the test.
func serve(t testing.TB, change func(*Config)) *Server {
	t.Helper()
	cfg := Config{
		ListenUDP: []string{"127.0.0.1:0"}, ListenTCP: []string{"127.0.0.1:0"},
		AllowLoopback: true, Secrets: Secrets{Current: testSecret()},
	}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(context.Background()) }()
	t.Cleanup(func() {
		s.Close()
		select {
		case err := <-ended:
			if err != nil && !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Serve does not return")
		}
	})
	return s
}

// client speaks STUN byte for byte, so that it can also say what no library would.
type client struct {
	t      testing.TB
	conn   net.Conn
	stream *bufio.Reader // nil: UDP
	buf    []byte

	username, password string
	realm              stun.Realm
	nonce              stun.Nonce
	waiting            [][]byte // frames that were not the answer
}

// dial connects to a server; network is udp or tcp.
func dial(t testing.TB, s *Server, network, user string) *client {
	t.Helper()
	var to net.Addr = s.UDPAddr()
	if network == "tcp" {
		to = s.TCPAddr()
	}
	c := dialAddr(t, network, to.String())
	if user != "" {
		c.username, c.password, _ = s.Credentials(user, time.Now())
	}
	return c
}

func dialAddr(t testing.TB, network, to string) *client {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), network, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{t: t, conn: conn}
	if network == "tcp" {
		c.stream = bufio.NewReaderSize(conn, 1<<16)
	}
	return c
}

// read returns the next frame, or nil when none comes before the deadline or the connection ends.
func (c *client) read(deadline time.Time) []byte {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(deadline); err != nil {
		return nil
	}
	if c.stream != nil {
		frame, err := readFrame(c.stream)
		if err != nil {
			return nil
		}
		return slices.Clone(frame)
	}
	if c.buf == nil {
		c.buf = make([]byte, 2*maxFrame)
	}
	n, err := c.conn.Read(c.buf)
	if err != nil {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.t.Log(err)
		}
		return nil
	}
	return slices.Clone(c.buf[:n])
}

func (c *client) write(frame []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(frame); err != nil {
		c.t.Fatal(err)
	}
}

// exchange sends a message and returns its answer.
func (c *client) exchange(m *stun.Message) *stun.Message {
	c.t.Helper()
	c.write(m.Raw)
	deadline := time.Now().Add(patience)
	for {
		frame := c.read(deadline)
		if frame == nil {
			c.t.Fatalf("no answer to %v", m.Type)
		}
		answer := new(stun.Message)
		if !stun.IsMessage(frame) || stun.Decode(frame, answer) != nil || answer.TransactionID != m.TransactionID {
			c.waiting = append(c.waiting, frame)
			continue
		}
		return answer
	}
}

// fetchNonce asks for realm and nonce as a client does that has none.
func (c *client) fetchNonce() {
	c.t.Helper()
	answer := c.exchange(build(c.t, stun.MethodAllocate, transportUDP()))
	if code := codeOf(answer); code != stun.CodeUnauthorized {
		c.t.Fatalf("first Allocate: %v, want 401", code)
	}
	if c.realm.GetFrom(answer) != nil || c.nonce.GetFrom(answer) != nil {
		c.t.Fatal("a 401 without realm or nonce")
	}
}

// request sends an authenticated request and returns its answer.
func (c *client) request(method stun.Method, setters ...stun.Setter) *stun.Message {
	c.t.Helper()
	if c.nonce == nil {
		c.fetchNonce()
	}
	return c.exchange(build(c.t, method, append(setters, c.credentials()...)...))
}

func (c *client) credentials() []stun.Setter {
	return []stun.Setter{
		stun.NewUsername(c.username), c.realm, c.nonce,
		stun.NewLongTermIntegrity(c.username, c.realm.String(), c.password), stun.Fingerprint,
	}
}

// allocate makes an allocation and returns its relayed address.
func (c *client) allocate(setters ...stun.Setter) netip.AddrPort {
	c.t.Helper()
	answer := c.request(stun.MethodAllocate, append(setters, transportUDP())...)
	var relayed stun.XORMappedAddress
	if answer.Type.Class != stun.ClassSuccessResponse || relayed.GetFromAs(answer, stun.AttrXORRelayedAddress) != nil {
		c.t.Fatalf("Allocate: %v", codeOf(answer))
	}
	ip, _ := netip.AddrFromSlice(relayed.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(relayed.Port))
}

// allocateCode tries to allocate and returns the error code, 0 for success.
func (c *client) allocateCode() stun.ErrorCode {
	c.t.Helper()
	return codeOf(c.request(stun.MethodAllocate, transportUDP()))
}

func (c *client) permit(peer netip.AddrPort) stun.ErrorCode {
	c.t.Helper()
	return codeOf(c.request(stun.MethodCreatePermission, xorPeer(peer)))
}

func (c *client) bind(number uint16, peer netip.AddrPort) stun.ErrorCode {
	c.t.Helper()
	return codeOf(c.request(stun.MethodChannelBind, channelNumber(number), xorPeer(peer)))
}

func (c *client) refresh(seconds uint32) stun.ErrorCode {
	c.t.Helper()
	return codeOf(c.request(stun.MethodRefresh, lifetime(seconds)))
}

// sendTo sends a Send indication.
func (c *client) sendTo(peer netip.AddrPort, data []byte) {
	c.t.Helper()
	m, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication),
		xorPeer(peer), raw{stun.AttrData, data})
	if err != nil {
		c.t.Fatal(err)
	}
	c.write(m.Raw)
}

// sendChannel sends ChannelData.
func (c *client) sendChannel(number uint16, data []byte) {
	c.t.Helper()
	frame := binary.BigEndian.AppendUint16(nil, number)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(data)))
	frame = append(frame, data...)
	for len(frame)%4 != 0 {
		frame = append(frame, 0)
	}
	c.write(frame)
}

// receive returns the data of the next Data indication or ChannelData message.
func (c *client) receive() []byte {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		var frame []byte
		if len(c.waiting) > 0 {
			frame, c.waiting = c.waiting[0], c.waiting[1:]
		} else {
			frame = c.read(deadline)
		}
		if frame == nil {
			c.t.Fatal("no data came")
		}
		if isChannelData(frame) {
			return frame[4 : 4+int(binary.BigEndian.Uint16(frame[2:]))]
		}
		m := new(stun.Message)
		if stun.Decode(frame, m) == nil && m.Type == stun.NewType(stun.MethodData, stun.ClassIndication) {
			data, err := m.Get(stun.AttrData)
			if err != nil {
				c.t.Fatal(err)
			}
			return data
		}
	}
}

// expect fails unless the next data is this.
func (c *client) expect(want []byte) {
	c.t.Helper()
	if got := c.receive(); !bytes.Equal(got, want) {
		c.t.Fatalf("got %d bytes %.20q, want %d bytes %.20q", len(got), got, len(want), want)
	}
}

func build(t testing.TB, method stun.Method, setters ...stun.Setter) *stun.Message {
	t.Helper()
	m, err := stun.Build(append([]stun.Setter{
		stun.TransactionID, stun.NewType(method, stun.ClassRequest),
	}, setters...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// raw is an attribute of any content.
type raw struct {
	kind  stun.AttrType
	value []byte
}

func (r raw) AddTo(m *stun.Message) error {
	m.Add(r.kind, r.value)
	return nil
}

func transportUDP() stun.Setter {
	return raw{stun.AttrRequestedTransport, []byte{protoUDP, 0, 0, 0}}
}

func family(f byte) stun.Setter { return raw{stun.AttrRequestedAddressFamily, []byte{f, 0, 0, 0}} }

func lifetime(seconds uint32) stun.Setter {
	return raw{stun.AttrLifetime, binary.BigEndian.AppendUint32(nil, seconds)}
}

func channelNumber(n uint16) stun.Setter {
	return raw{stun.AttrChannelNumber, binary.BigEndian.AppendUint32(nil, uint32(n)<<16)}
}

// xorPeer is XOR-PEER-ADDRESS, with an IPv4-mapped address as IPv6.
type xorPeer netip.AddrPort

func (p xorPeer) AddTo(m *stun.Message) error {
	peer := netip.AddrPort(p)
	var mask [16]byte
	binary.BigEndian.PutUint32(mask[:], stunCookie)
	copy(mask[4:], m.TransactionID[:])
	value := []byte{0, familyIPv6}
	if peer.Addr().Is4() {
		value[1] = familyIPv4
	}
	value = binary.BigEndian.AppendUint16(value, peer.Port()^binary.BigEndian.Uint16(mask[:]))
	for i, b := range peer.Addr().AsSlice() {
		value = append(value, b^mask[i])
	}
	m.Add(stun.AttrXORPeerAddress, value)
	return nil
}

// codeOf returns an answer's error code, 0 for success.
func codeOf(m *stun.Message) stun.ErrorCode {
	if m.Type.Class == stun.ClassSuccessResponse {
		return 0
	}
	var code stun.ErrorCodeAttribute
	if code.GetFrom(m) != nil {
		return -1
	}
	return code.Code
}

// eventually waits for a state that another goroutine brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("never came: %s", what)
		case <-tick.C:
		}
	}
}
