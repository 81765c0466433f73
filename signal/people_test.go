package signal_test

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"net/http"
	"slices"
	"testing"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// person is an account with its keys.
type person struct {
	w        *world
	user     string
	id       proto.ID
	identity ed25519.PrivateKey
	key      *ecdh.PrivateKey // of the account
	list     *proto.DeviceList
	auth     []byte // secret that proves the password
	*device         // the first one
}

// device is a device with its keys and its session.
type device struct {
	id    proto.ID
	sign  ed25519.PrivateKey
	seal  *ecdh.PrivateKey
	token string
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func signKey() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(nil)
	return must(key, err)
}

func sealKey() *ecdh.PrivateKey { return must(ecdh.X25519().GenerateKey(rand.Reader)) }

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

func newDevice() *device { return &device{id: proto.NewID(), sign: signKey(), seal: sealKey()} }

func (d *device) keys() *pb.DeviceKeys {
	return &pb.DeviceKeys{Device: d.id.Bytes(), SignKey: public(d.sign), SealKey: d.seal.PublicKey().Bytes(), AddedMs: 1}
}

// newPerson makes keys and does not tell the server.
func (w *world) newPerson(user string) *person {
	p := &person{w: w, user: user, id: proto.NewID(), identity: signKey(), key: sealKey(), auth: proto.RandomKey(), device: newDevice()}
	p.take(&pb.DeviceList{
		Suite: proto.Suite, Account: p.id.Bytes(), Version: 1, IdentityKey: public(p.identity), Generation: 1,
		AccountKey: p.key.PublicKey().Bytes(), Devices: []*pb.DeviceKeys{p.keys()}, TimeMs: 1,
	})
	return p
}

// take signs a list and takes it for the newest.
func (p *person) take(l *pb.DeviceList) *pb.Signed {
	signed := must(proto.SignDeviceList(p.identity, l))
	p.list = must(proto.OpenDeviceList(signed))
	return signed
}

func sealed() *pb.Sealed {
	return must(proto.SealBytes(proto.RandomKey(), []byte("sealed"), proto.LabelKeyRing))
}

func (p *person) password() *pb.PasswordSetup {
	return &pb.PasswordSetup{Params: proto.NewPasswordParams("localhost"), AuthSecret: p.auth, WrappedMaster: sealed()}
}

func (p *person) registration() *pb.RegisterRequest {
	req := &pb.RegisterRequest{User: p.user, Nickname: "Nick " + p.user, DeviceList: p.list.Signed, DeviceName: "first"}
	if p.user != "" {
		req.Password, req.KeyRing = p.password(), sealed()
	}
	return req
}

func (w *world) post(path string, body *pb.RegisterRequest) response {
	return w.do(request{method: http.MethodPost, path: path, body: body})
}

// register makes an account.
func (w *world) register(user string) *person {
	w.t.Helper()
	p := w.newPerson(user)
	p.opened(w.post("/api/v1/register", p.registration()))
	return p
}

func (p *person) opened(r response) {
	r.t.Helper()
	out := &pb.SessionOpened{}
	r.want(http.StatusOK, out)
	if proto.ID(out.GetAccount()) != p.id || proto.ID(out.GetDevice()) != p.device.id || out.GetToken() == "" {
		r.t.Fatalf("not the session of the new device: %s", r.body)
	}
	p.token = out.GetToken()
}

func (p *person) loginRequest(auth []byte) request {
	return request{method: http.MethodPost, path: "/api/v1/login", body: &pb.LoginRequest{User: p.user, AuthSecret: auth}}
}

// login proves the password.
func (p *person) login() *pb.LoginGrant {
	p.w.t.Helper()
	grant := &pb.LoginGrant{}
	p.w.do(p.loginRequest(p.auth)).want(http.StatusOK, grant)
	return grant
}

// addDevice logs in on a new device.
func (p *person) addDevice() *device {
	p.w.t.Helper()
	d := newDevice()
	next := proto.NextDeviceList(p.list, 2)
	next.Devices = append(next.Devices, d.keys())
	out := &pb.SessionOpened{}
	p.w.do(request{method: http.MethodPut, path: "/api/v1/devices", body: &pb.UpdateDevices{
		Ticket: p.login().GetTicket(), DeviceList: p.take(next), NewDevice: d.id.Bytes(), DeviceName: "second",
	}}).want(http.StatusOK, out)
	d.token = out.GetToken()
	return d
}

// revocation is the update that drops devices, made by the first one.
func (p *person) revocation(drop ...proto.ID) *pb.UpdateDevices {
	next := proto.NextDeviceList(p.list, 3)
	next.Generation++
	key := sealKey()
	next.AccountKey = key.PublicKey().Bytes()
	req := &pb.UpdateDevices{KeyRing: sealed()}
	next.Devices = nil
	for _, d := range p.list.GetDevices() {
		if slices.Contains(drop, proto.ID(d.GetDevice())) {
			continue
		}
		next.Devices = append(next.Devices, d)
		req.GenerationGrants = append(req.GenerationGrants,
			must(proto.GrantGeneration(p.id, d, &pb.AccountKey{Generation: next.GetGeneration(), PrivateKey: key.Bytes()})))
	}
	p.key = key
	req.DeviceList = p.take(next)
	return req
}

func (p *person) member() proto.MemberKey {
	return proto.MemberKey{Account: p.id, IdentityKey: public(p.identity), Generation: p.list.GetGeneration(), AccountKey: p.list.GetAccountKey()}
}

// firstCommit starts the conversation with somebody.
func (p *person) firstCommit(with *person, join *pb.Signed) *pb.CommitPost {
	return must(proto.CreatePair(proto.Signer{Account: p.id, Device: p.device.id, Key: p.sign, TimeMS: 1}, p.member(), with.member(), join))
}

// connected makes two accounts with a socket each that are contacts.
func (w *world) connected() (a, b *person, sa, sb *socket) {
	w.t.Helper()
	a, b = w.register("anna"), w.register("berta")
	sa, sb = a.connect(a.device), b.connect(b.device)
	befriend(a, b, sa, sb)
	return a, b, sa, sb
}

func befriend(a, b *person, sa, sb *socket) {
	sa.t.Helper()
	sa.ok(askContact(b))
	sb.ok(acceptContact(a, b.firstCommit(a, nil)))
	sa.push("the first commit", isEvents) // is told of behind the answer
	sb.push("the first commit", isEvents)
}

func askContact(p *person) *pb.Frame {
	return &pb.Frame{Kind: &pb.Frame_AskContact{AskContact: &pb.AskContact{Account: p.id.Bytes(), Note: "hello"}}}
}

func acceptContact(p *person, first *pb.CommitPost) *pb.Frame {
	return &pb.Frame{Kind: &pb.Frame_AnswerContact{AnswerContact: &pb.AnswerContact{Account: p.id.Bytes(), Accept: true, FirstCommit: first}}}
}

func declineContact(p *person) *pb.Frame {
	return &pb.Frame{Kind: &pb.Frame_AnswerContact{AnswerContact: &pb.AnswerContact{Account: p.id.Bytes()}}}
}

// envelope is a message of the pair, with as many bytes of text.
func (p *person) envelope(with *person, epoch, counter uint64, text string) *pb.Frame {
	e := must(proto.SealEnvelope(proto.RandomKey(), &pb.Header{
		Version: proto.Version, Suite: proto.Suite, Conversation: proto.PairID(p.id, with.id).Bytes(), Epoch: epoch, Id: proto.NewID().Bytes(),
		Account: p.id.Bytes(), Device: p.device.id.Bytes(), Counter: counter, TimeMs: 1, Kind: uint32(pb.Kind_KIND_MESSAGE),
	}, &pb.Content{Kind: &pb.Content_Text_{Text: &pb.Content_Text{Body: text}}}, p.sign))
	return &pb.Frame{Kind: &pb.Frame_Post{Post: &pb.Post{Envelopes: []*pb.Envelope{e}}}}
}

// posted checks that the one envelope of a post was taken and returns its number, or its error code.
func posted(t testing.TB, f *pb.Frame) (uint64, pb.ErrorCode) {
	t.Helper()
	results := f.GetPosted().GetResults()
	if len(results) != 1 {
		t.Fatalf("not one result: %v", f)
	}
	return results[0].GetSeq(), results[0].GetError().GetCode()
}
