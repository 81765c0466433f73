package main

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/encoding/protojson"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/peer"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// rogue is a person with a program of their own: it has the keys and the session of a profile that a real peer made, and
// speaks to the real server as it likes.
type rogue struct {
	t       *testing.T
	server  string
	account proto.ID
	device  proto.ID
	sign    ed25519.PrivateKey
	keys    []rogueKey // of the account, oldest first
	token   string
	dir     string
	counter uint64
}

type rogueKey struct {
	Generation uint32 `json:"generation"`
	Private    []byte `json:"private"`
}

// newRogue takes over a closed profile.
func newRogue(t *testing.T, server, dir string) *rogue {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "profile.json"))
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Account     proto.ID   `json:"account"`
		Device      proto.ID   `json:"device"`
		SignSeed    []byte     `json:"sign_seed"`
		AccountKeys []rogueKey `json:"account_keys"`
		Token       string     `json:"session_token"`
	}
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	return &rogue{
		t: t, server: server, account: p.Account, device: p.Device, sign: ed25519.NewKeyFromSeed(p.SignSeed), keys: p.AccountKeys,
		token: p.Token, dir: dir, counter: 1000,
	}
}

// stranger registers somebody whom nobody knows and takes the profile over.
func stranger(t *testing.T, server, user string) *rogue {
	t.Helper()
	dir := t.TempDir()
	if _, err := peer.Register(t.Context(), peer.Options{Dir: dir}, peer.Credentials{Server: server, User: user, Password: testPassword}); err != nil {
		t.Fatal(err)
	}
	return newRogue(t, server, dir)
}

// corrupt closes a peer and takes its profile over.
func corrupt(v *victim, server string) *rogue {
	v.t.Helper()
	if err := v.Close(); err != nil {
		v.t.Fatal(err)
	}
	return newRogue(v.t, server, v.dir)
}

// epochKey reads a key that the real peer had.
func (r *rogue) epochKey(conversation proto.ID, epoch uint64) (key []byte) {
	r.t.Helper()
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.Join(r.dir, "peer.db")}).EscapedPath())
	if err == nil {
		err = db.QueryRowContext(r.t.Context(), "SELECT key FROM epochs WHERE conversation = ? AND epoch = ?", conversation[:], epoch).Scan(&key)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return key
}

// envelope seals and signs a text, with what change does to its header.
func (r *rogue) envelope(conversation proto.ID, epoch uint64, key []byte, text string, change ...func(*pb.Header)) *pb.Envelope {
	r.t.Helper()
	r.counter++
	h := &pb.Header{
		Version: proto.Version, Suite: proto.Suite, Conversation: conversation.Bytes(), Epoch: epoch, Id: proto.NewID().Bytes(),
		Account: r.account.Bytes(), Device: r.device.Bytes(), Counter: r.counter, TimeMs: uint64(time.Now().UnixMilli()),
		Kind: uint32(pb.Kind_KIND_MESSAGE),
	}
	for _, c := range change {
		c(h)
	}
	return must(proto.SealEnvelope(key, h, &pb.Content{Kind: &pb.Content_Text_{Text: &pb.Content_Text{Body: text}}}, r.sign))
}

// signer is the rogue as the maker of a commit.
func (r *rogue) signer() proto.Signer {
	return proto.Signer{Account: r.account, Device: r.device, Key: r.sign, TimeMS: uint64(time.Now().UnixMilli())}
}

// rogueSocket is a connection without a program behind it.
type rogueSocket struct {
	t       *testing.T
	ws      *websocket.Conn
	request uint64
	pushed  []*pb.Frame
}

// connect opens a socket and says hello.
func (r *rogue) connect() *rogueSocket {
	r.t.Helper()
	dialer := websocket.Dialer{Subprotocols: []string{"parley.v1"}}
	ws, response, err := dialer.DialContext(r.t.Context(), "ws"+strings.TrimPrefix(r.server, "http")+"/api/v1/socket",
		http.Header{"Authorization": {"Bearer " + r.token}})
	if err != nil {
		r.t.Fatal(err)
	}
	_ = response.Body.Close()
	r.t.Cleanup(func() { _ = ws.Close() })
	s := &rogueSocket{t: r.t, ws: ws}
	if s.ask(&pb.Frame{Kind: &pb.Frame_Hello{Hello: &pb.Hello{Version: proto.Version, Client: "rogue"}}}).GetWelcome() == nil {
		r.t.Fatal("not welcome")
	}
	return s
}

func (s *rogueSocket) tell(f *pb.Frame) {
	s.t.Helper()
	if err := s.ws.WriteMessage(websocket.BinaryMessage, must(gproto.Marshal(f))); err != nil {
		s.t.Fatal(err)
	}
}

// ask sends a request and returns its answer; what comes before it is kept in pushed.
func (s *rogueSocket) ask(f *pb.Frame) *pb.Frame {
	s.t.Helper()
	s.request++
	f.Request = s.request
	s.tell(f)
	_ = s.ws.SetReadDeadline(time.Now().Add(patience))
	for {
		_, b, err := s.ws.ReadMessage()
		if err != nil {
			s.t.Fatal(err)
		}
		got := &pb.Frame{}
		if err := proto.Unmarshal(b, got); err != nil {
			s.t.Fatal(err)
		}
		if got.GetRequest() == s.request {
			return got
		}
		s.pushed = append(s.pushed, got)
	}
}

// posts sends one envelope and returns the number it got or why it was refused.
func (s *rogueSocket) posts(e *pb.Envelope) (uint64, pb.ErrorCode) {
	s.t.Helper()
	results := s.ask(&pb.Frame{Kind: &pb.Frame_Post{Post: &pb.Post{Envelopes: []*pb.Envelope{e}}}}).GetPosted().GetResults()
	if len(results) != 1 {
		s.t.Fatalf("%d results for one envelope", len(results))
	}
	return results[0].GetSeq(), results[0].GetError().GetCode()
}

// rest makes a REST request without a session and returns the status.
func (r *rogue) rest(method, path string, in, out gproto.Message) int {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.server+path, bytes.NewReader(must(protojson.Marshal(in))))
	if err != nil {
		r.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		r.t.Fatal(err)
	}
	if response.StatusCode == http.StatusOK && out != nil {
		if err := protojson.Unmarshal(b, out); err != nil {
			r.t.Fatal(err)
		}
	}
	return response.StatusCode
}

// ringOf opens an account's key ring with its password, as a device that logs in does.
func (r *rogue) ringOf(user string) (*pb.KeyRing, []byte, *pb.LoginGrant) {
	r.t.Helper()
	params, grant := &pb.PasswordParams{}, &pb.LoginGrant{}
	if code := r.rest(http.MethodPost, "/api/v1/login/params", &pb.LoginParamsRequest{User: user}, params); code != http.StatusOK {
		r.t.Fatalf("parameters: %d", code)
	}
	auth, wrap, err := proto.PasswordSecrets(testPassword, "localhost", user, params)
	if err != nil {
		r.t.Fatal(err)
	}
	if code := r.rest(http.MethodPost, "/api/v1/login", &pb.LoginRequest{User: user, AuthSecret: auth}, grant); code != http.StatusOK {
		r.t.Fatalf("log in: %d", code)
	}
	master := must(proto.UnwrapMaster(wrap, r.account, grant.GetWrappedMaster()))
	return must(proto.OpenKeyRing(master, r.account, grant.GetKeyRing())), master, grant
}

// revoke takes a device from the account: a new generation of its key, sealed to the devices that stay.
func (r *rogue) revoke(user string, device proto.ID) *proto.DeviceList {
	r.t.Helper()
	ring, master, grant := r.ringOf(user)
	list := must(proto.OpenDeviceList(grant.GetDeviceList()))
	next := proto.NextDeviceList(list, uint64(time.Now().UnixMilli()))
	next.Devices = nil
	for _, d := range list.GetDevices() {
		if proto.ID(d.GetDevice()) != device {
			next.Devices = append(next.Devices, d)
		}
	}
	key := must(ecdh.X25519().GenerateKey(nil))
	next.Generation++
	next.AccountKey = key.PublicKey().Bytes()
	account := &pb.AccountKey{Generation: next.GetGeneration(), PrivateKey: key.Bytes()}
	ring.Keys = append(ring.Keys, account)
	update := &pb.UpdateDevices{
		Ticket: grant.GetTicket(), DeviceList: must(proto.SignDeviceList(ed25519.NewKeyFromSeed(ring.GetIdentitySeed()), next)),
		KeyRing: must(proto.SealKeyRing(master, r.account, ring)),
	}
	for _, d := range next.GetDevices() {
		update.GenerationGrants = append(update.GenerationGrants, must(proto.GrantGeneration(r.account, d, account)))
	}
	if code := r.rest(http.MethodPut, "/api/v1/devices", update, nil); code != http.StatusOK && code != http.StatusNoContent {
		r.t.Fatalf("revoke: %d", code)
	}
	return must(proto.OpenDeviceList(update.GetDeviceList()))
}

// asMember is how an account stands in a commit, from a list of it.
func asMember(l *proto.DeviceList) proto.MemberKey {
	return proto.MemberKey{
		Account: proto.ID(l.GetAccount()), IdentityKey: l.GetIdentityKey(), Generation: l.GetGeneration(), AccountKey: l.GetAccountKey(),
	}
}
