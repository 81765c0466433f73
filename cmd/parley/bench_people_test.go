package main

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/encoding/protojson"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// writer is an account with one device that speaks the protocol without being a whole peer: what a load generator can
// afford thousands of.
type writer struct {
	url      string
	token    string
	account  proto.ID
	device   proto.ID
	sign     ed25519.PrivateKey
	identity ed25519.PrivateKey
	key      *ecdh.PrivateKey
	mate     *writer // the one that it is in a conversation with
	epochKey []byte
	counter  uint64
}

// writers makes accounts that are contacts in pairs, each pair with its conversation.
func writers(b *testing.B, url string, n int) []*writer {
	b.Helper()
	all := make([]*writer, n)
	each(b, n, func(i int) (err error) {
		all[i], err = newWriter(b.Context(), url, fmt.Sprintf("u%d", i))
		return err
	})
	each(b, n/2, func(i int) error { return befriend(b.Context(), all[2*i], all[2*i+1]) })
	return all
}

// each runs do for 0 to n-1, some at a time.
func each(b *testing.B, n int, do func(i int) error) {
	b.Helper()
	const atOnce = 32
	var (
		tasks  sync.WaitGroup
		places = make(chan struct{}, atOnce)
		mu     sync.Mutex
		failed error
	)
	for i := range n {
		places <- struct{}{}
		tasks.Go(func() {
			defer func() { <-places }()
			if err := do(i); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = err
			}
		})
	}
	tasks.Wait()
	if failed != nil {
		b.Fatal(failed)
	}
}

func newWriter(ctx context.Context, url, user string) (*writer, error) {
	w := &writer{url: url, account: proto.NewID(), device: proto.NewID(), epochKey: proto.RandomKey()}
	var err error
	if w.key, err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	_, w.sign, _ = ed25519.GenerateKey(nil)
	_, w.identity, _ = ed25519.GenerateKey(nil)
	list, err := proto.SignDeviceList(w.identity, &pb.DeviceList{
		Suite: proto.Suite, Account: w.account.Bytes(), Version: 1, IdentityKey: public(w.identity), Generation: 1,
		AccountKey: w.key.PublicKey().Bytes(), TimeMs: 1,
		Devices: []*pb.DeviceKeys{{Device: w.device.Bytes(), SignKey: public(w.sign), SealKey: w.key.PublicKey().Bytes(), AddedMs: 1}},
	})
	if err != nil {
		return nil, err
	}
	sealed, err := proto.SealBytes(proto.RandomKey(), []byte("sealed"), proto.LabelKeyRing)
	if err != nil {
		return nil, err
	}
	opened := &pb.SessionOpened{}
	err = w.post(ctx, "/api/v1/register", &pb.RegisterRequest{
		User: user, Nickname: user, DeviceList: list, DeviceName: "load", KeyRing: sealed,
		Password: &pb.PasswordSetup{Params: proto.NewPasswordParams("localhost"), AuthSecret: proto.RandomKey(), WrappedMaster: sealed},
	}, opened)
	w.token = opened.GetToken()
	return w, err
}

func public(key ed25519.PrivateKey) ed25519.PublicKey {
	return key.Public().(ed25519.PublicKey)
}

func (w *writer) post(ctx context.Context, path string, in, out gproto.Message) error {
	body, err := protojson.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d: %s %w", path, res.StatusCode, text, err)
	}
	return protojson.Unmarshal(text, out)
}

// connect opens the device's socket and says hello.
func (w *writer) connect(ctx context.Context) (*websocket.Conn, error) {
	d := websocket.Dialer{Subprotocols: []string{"parley.v1"}, ReadBufferSize: 4096, WriteBufferSize: 1024}
	ws, res, err := d.DialContext(ctx, "ws"+strings.TrimPrefix(w.url, "http")+"/api/v1/socket", http.Header{"Authorization": {"Bearer " + w.token}})
	if err != nil {
		return nil, err
	}
	_ = res.Body.Close()
	_, err = ask(ws, &pb.Frame{Request: 1, Kind: &pb.Frame_Hello{Hello: &pb.Hello{Version: 1, Client: "bench"}}})
	return ws, err
}

// ask sends a request and returns its answer; what the server sends before it is passed over.
func ask(ws *websocket.Conn, f *pb.Frame) (*pb.Frame, error) {
	frame, err := gproto.Marshal(f)
	if err != nil {
		return nil, err
	}
	if err := ws.WriteMessage(websocket.BinaryMessage, frame); err != nil {
		return nil, err
	}
	for {
		_, b, err := ws.ReadMessage()
		if err != nil {
			return nil, err
		}
		answer := &pb.Frame{}
		if err := gproto.Unmarshal(b, answer); err != nil {
			return nil, err
		}
		if answer.GetRequest() == f.GetRequest() {
			if e := answer.GetError(); e != nil {
				return nil, proto.FromProto(e)
			}
			return answer, nil
		}
	}
}

func befriend(ctx context.Context, x, y *writer) error {
	x.mate, y.mate = y, x
	wx, err := x.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = wx.Close() }()
	wy, err := y.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = wy.Close() }()
	if _, err = ask(wx, &pb.Frame{Request: 2, Kind: &pb.Frame_AskContact{AskContact: &pb.AskContact{Account: y.account.Bytes()}}}); err != nil {
		return err
	}
	first, err := proto.CreatePair(proto.Signer{Account: y.account, Device: y.device, Key: y.sign, TimeMS: 1}, y.member(), x.member(), nil)
	if err != nil {
		return err
	}
	_, err = ask(wy, &pb.Frame{Request: 2, Kind: &pb.Frame_AnswerContact{AnswerContact: &pb.AnswerContact{
		Account: x.account.Bytes(), Accept: true, FirstCommit: first,
	}}})
	return err
}

func (w *writer) member() proto.MemberKey {
	return proto.MemberKey{Account: w.account, IdentityKey: public(w.identity), Generation: 1, AccountKey: w.key.PublicKey().Bytes()}
}

func (w *writer) conversation() proto.ID { return proto.PairID(w.account, w.mate.account) }

const bodySize = 350 // bytes of text in a message

// messages makes the next n messages.
func (w *writer) messages(n int) (*pb.Post, error) {
	post, text := &pb.Post{}, strings.Repeat("x", bodySize)
	for range n {
		w.counter++
		e, err := proto.SealEnvelope(w.epochKey, &pb.Header{
			Version: proto.Version, Suite: proto.Suite, Conversation: w.conversation().Bytes(), Epoch: 1, Id: proto.NewID().Bytes(),
			Account: w.account.Bytes(), Device: w.device.Bytes(), Counter: w.counter, TimeMs: 1, Kind: uint32(pb.Kind_KIND_MESSAGE),
		}, &pb.Content{Kind: &pb.Content_Text_{Text: &pb.Content_Text{Body: text}}}, w.sign)
		if err != nil {
			return nil, err
		}
		post.Envelopes = append(post.Envelopes, e)
	}
	return post, nil
}

// complete checks that the relay has exactly what this writer and its mate made, and the first commit.
func (w *writer) complete(ws *websocket.Conn) error {
	answer, err := ask(ws, &pb.Frame{Request: 1 << 20, Kind: &pb.Frame_Sync{Sync: &pb.Sync{Conversation: w.conversation().Bytes(), Limit: 1}}})
	if err != nil {
		return err
	}
	if head, want := answer.GetPage().GetHeadSeq(), 1+w.counter+w.mate.counter; head != want {
		return fmt.Errorf("the relay has %d numbers in a conversation, want %d", head, want)
	}
	return nil
}
