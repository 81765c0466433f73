package signal_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/signal"
)

func TestICE(t *testing.T) {
	servers := &pb.IceServers{Servers: []*pb.IceServer{{Urls: []string{"turn:turn.example"}, Username: "u", Credential: "c"}}, ExpiresMs: 1}
	turn := &turnServer{servers: servers}
	w := newWorld(t, func(c *signal.Config) {
		c.ICE = turn
	})
	anna := w.register("anna")
	s := anna.connect(anna.device)
	if !gproto.Equal(s.welcome.GetIce(), servers) || !gproto.Equal(s.ok(ice()).GetIceServers(), servers) {
		t.Error("the servers are not the configured ones")
	}
	own := turnUser{anna.id, anna.device.id}
	if asked, _ := turn.seen(); len(asked) != 2 || asked[0] != own || asked[1] != own {
		t.Errorf("credentials were made for %v", asked)
	}
}

// turnUser is whom TURN credentials belong to.
type turnUser struct{ account, device proto.ID }

// turnServer notes whose credentials it makes and revokes.
type turnServer struct {
	servers *pb.IceServers

	mu             sync.Mutex
	asked, revoked []turnUser
}

func (s *turnServer) Servers(account, device proto.ID) *pb.IceServers {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, turnUser{account, device})
	return s.servers
}

func (s *turnServer) Revoke(account, device proto.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked = append(s.revoked, turnUser{account, device})
}

func (s *turnServer) seen() (asked, revoked []turnUser) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked), slices.Clone(s.revoked)
}

// TestICEEnds: a device's TURN credentials end with its session, and no other device's.
func TestICEEnds(t *testing.T) {
	turn := &turnServer{servers: &pb.IceServers{ExpiresMs: 1}}
	w := newWorld(t, func(c *signal.Config) { c.ICE = turn })
	anna := w.register("anna")
	second, third, fourth := anna.addDevice(), anna.addDevice(), anna.addDevice()
	is := func(what string, want ...*device) {
		t.Helper()
		_, revoked := turn.seen()
		var all []turnUser
		for _, d := range want {
			all = append(all, turnUser{anna.id, d.id})
		}
		if !slices.Equal(revoked, all) {
			t.Errorf("%s: credentials of %v ended, want those of %v", what, revoked, all)
		}
	}
	anna.connect(second)
	is("before")
	w.do(request{method: http.MethodDelete, path: "/api/v1/session", token: second.token}).want(http.StatusNoContent, nil)
	is("logging out", second)
	anna.update(anna.revocation(third.id), anna.token).want(http.StatusNoContent, nil) // third is not connected
	is("revoking", second, third)
	w.do(request{method: http.MethodPut, path: "/api/v1/password", token: anna.token, body: &pb.ChangePassword{
		Ticket: anna.login().GetTicket(), Password: anna.password(),
	}}).want(http.StatusNoContent, nil)
	is("a new password", second, third, fourth) // not of the device that sets it
	if got := anna.connect(anna.device).welcome.GetIce(); !gproto.Equal(got, turn.servers) {
		t.Errorf("the device that stays gets %v", got)
	}
	anna.delete(anna.token, anna.login().GetTicket()).want(http.StatusNoContent, nil)
	_, revoked := turn.seen()
	for _, d := range []*device{anna.device, second, third, fourth} {
		if !slices.Contains(revoked[3:], turnUser{anna.id, d.id}) {
			t.Errorf("after the deletion: %v", revoked)
		}
	}
}

// TestICEOfSuspended: the credentials of all devices end with a suspension.
func TestICEOfSuspended(t *testing.T) {
	turn := &turnServer{servers: &pb.IceServers{ExpiresMs: 1}}
	w := newWorld(t, func(c *signal.Config) { c.ICE, c.Setup = turn, setupSecret })
	admin, berta := w.administrator("anna"), w.register("berta")
	other := berta.addDevice()
	admin.admin(http.MethodPut, "/users/"+berta.id.String()+"/suspension", &pb.AdminSuspend{Suspended: true}).want(http.StatusNoContent, nil)
	_, revoked := turn.seen()
	if want := []turnUser{{berta.id, berta.device.id}, {berta.id, other.id}}; !slices.Equal(revoked, want) {
		t.Errorf("credentials of %v ended, want those of %v", revoked, want)
	}
}

// TestICEAfterTheEnd: credentials that are asked for while the session ends are not handed out: nothing would
// end them.
func TestICEAfterTheEnd(t *testing.T) {
	turn := &turnServer{servers: &pb.IceServers{ExpiresMs: 1}}
	w := newWorld(t, func(c *signal.Config) { c.ICE = turn })
	anna := w.register("anna")
	s := anna.connect(anna.device)
	turn.mu.Lock() // the server is about to make credentials
	s.tell(numbered(ice(), 99))
	session := must(w.store.SessionByToken(t.Context(), tokenHash(anna.token)))
	must(0, w.store.EndDevice(t.Context(), session.AccountID, session.DeviceID, session.Device))
	turn.mu.Unlock()
	s.closed(4401)
	for len(s.frames) > 0 {
		if f := <-s.frames; f.GetIceServers() != nil {
			t.Errorf("handed out: %v", f)
		}
	}
}
