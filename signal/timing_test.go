package signal_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/signal"
)

const (
	timingSamples = 200   // of each kind
	timingP       = 0.001 // the test fails below, twice in a row: one time in a million for each look-up if all is well
)

// TestTimingTellsNothing: how long an answer takes is the same for names and codes that exist and for those that do
// not. Both kinds are asked for in turns, so that whatever else the machine does slows both alike.
func TestTimingTellsNothing(t *testing.T) {
	w := newWorld(t)
	admin := w.register("admin")
	s := admin.connect(admin.device)
	invitation := w.invite(admin, s, 1000, 300*24*time.Hour).secret.Code
	anna := w.register("anna")
	anna.setRecovery(anna.token, &pb.SetRecovery{
		Ticket: anna.login().GetTicket(), Recovery: &pb.Recovery{AuthSecret: proto.RandomKey(), WrappedMaster: sealed()},
	}).want(http.StatusNoContent, nil)
	closed := newWorld(t, func(c *signal.Config) { c.Registration, c.Setup = signal.Invite, setupSecret })
	closed.administrator("anna")
	joiner := w.newPerson("joiner")
	registration := func(name string) *pb.RegisterRequest {
		req := joiner.registration()
		req.User = name
		return req
	}
	for name, ask := range map[string]func(exists bool){
		"login": func(exists bool) {
			w.serve(http.MethodPost, "/login", &pb.LoginRequest{User: named(exists), AuthSecret: admin.auth})
		},
		"recovery": func(exists bool) {
			w.serve(http.MethodPost, "/login/recovery", &pb.LoginRequest{User: named(exists), AuthSecret: admin.auth})
		},
		"reset": func(exists bool) {
			w.serve(http.MethodPost, "/reset/params", &pb.ResetParamsRequest{User: named(exists), Code: "guess"})
		},
		"params": func(exists bool) {
			w.serve(http.MethodPost, "/login/params", &pb.LoginParamsRequest{User: named(exists)})
		},
		"register": func(exists bool) { closed.serve(http.MethodPost, "/register", registration(named(exists))) },
		"invitation": func(exists bool) {
			code := invitation
			if !exists {
				code = "aaaaaaaaaaaaaaaa"
			}
			w.serve(http.MethodGet, "/invitations/"+code, nil)
		},
		"find": func(exists bool) {
			s.ask(&pb.Frame{Kind: &pb.Frame_FindAccount{FindAccount: &pb.FindAccount{Name: named(exists)}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := w.compare(ask)
			if p <= timingP {
				t.Logf("p = %g: once more", p)
				p = w.compare(ask)
			}
			if p <= timingP {
				t.Errorf("the time tells what exists: p = %g", p)
			}
		})
	}
}

// named is a name that exists or that does not, of the same length.
func named(exists bool) string {
	if exists {
		return "anna"
	}
	return "emma"
}

// serve answers a request without a network, so that little else than the server takes time.
func (w *world) serve(method, path string, body gproto.Message) {
	var b []byte
	if body != nil {
		b = must(protojson.Marshal(body))
	}
	r := httptest.NewRequestWithContext(w.t.Context(), method, "/api/v1"+path, bytes.NewReader(b))
	w.web.Config.Handler.ServeHTTP(httptest.NewRecorder(), r)
}

// compare takes samples of both kinds in random order and says how likely times so different are by chance.
func (w *world) compare(ask func(exists bool)) float64 {
	times := map[bool][]time.Duration{}
	for range timingSamples {
		first := rand.N(2) == 0
		for _, exists := range []bool{first, !first} {
			w.clock.advance(20 * time.Minute) // nobody has to wait for having failed
			start := time.Now()
			ask(exists)
			times[exists] = append(times[exists], time.Since(start))
		}
	}
	return mannWhitney(times[true], times[false])
}

// mannWhitney is the two-sided probability of the rank-sum test, by its normal approximation.
func mannWhitney(a, b []time.Duration) float64 {
	all := slices.Concat(a, b)
	slices.Sort(all)
	var ranks float64
	for _, d := range a {
		low, _ := slices.BinarySearch(all, d)
		high, _ := slices.BinarySearch(all, d+1)
		ranks += float64(low+high+1) / 2 // the middle of equal ones
	}
	n, m := float64(len(a)), float64(len(b))
	u := ranks - n*(n+1)/2
	z := (u - n*m/2) / math.Sqrt(n*m*(n+m+1)/12)
	return math.Erfc(math.Abs(z) / math.Sqrt2)
}

// TestMannWhitney: the test finds a difference, and none where there is none.
func TestMannWhitney(t *testing.T) {
	var a, same, later []time.Duration
	for i := range 200 {
		a, same = append(a, time.Duration(i)), append(same, time.Duration(i))
		later = append(later, time.Duration(i+40))
	}
	if p := mannWhitney(a, same); p < 0.99 {
		t.Errorf("of the same: %g", p)
	}
	if p := mannWhitney(a, later); p > timingP || p != mannWhitney(later, a) {
		t.Error(fmt.Sprint("of others: ", p))
	}
}
