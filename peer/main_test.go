package peer

import (
	"crypto/ed25519"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// someone is a client of which nothing runs, with what signs its account's device lists. These tests hand it what a relay or
// a link would; tests with a real server are in cmd/parley.
type someone struct {
	*Client
	identity ed25519.PrivateKey
	list     *proto.DeviceList
	events   *Subscription
}

func newSomeone(t *testing.T, name string) *someone {
	t.Helper()
	p, err := newProfile(t.TempDir(), "http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	hpke, err := newX25519()
	if err != nil {
		t.Fatal(err)
	}
	_, identity, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	p.keys.Account, p.keys.UserName, p.keys.AccountKeys = proto.NewID(), name, []accountKey{{1, hpke.Bytes()}}
	keys, err := p.deviceKeys(1)
	if err != nil {
		t.Fatal(err)
	}
	s := &someone{identity: identity}
	s.list = signList(t, identity, &pb.DeviceList{
		Suite: 1, Account: p.Account().Bytes(), Version: 1, IdentityKey: identity.Public().(ed25519.PublicKey), Generation: 1,
		AccountKey: hpke.PublicKey().Bytes(), Devices: []*pb.DeviceKeys{keys}, TimeMs: 1,
	})
	if err := p.save(); err != nil {
		t.Fatal(err)
	}
	if s.Client, err = newClient(t.Context(), Config{Options: Options{Dir: p.dir}, NoLinks: true}, p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.cancel()
		_ = s.store.Close()
	})
	s.learn(t, s)
	s.events = s.Subscribe()
	return s
}

func signList(t *testing.T, identity ed25519.PrivateKey, list *pb.DeviceList) *proto.DeviceList {
	t.Helper()
	signed, err := proto.SignDeviceList(identity, list)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := proto.OpenDeviceList(signed)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// learn makes somebody's list known, and them a contact.
func (s *someone) learn(t *testing.T, other *someone) {
	t.Helper()
	s.do(t, func(w *work) error {
		p, err := w.person(other.Account())
		if err != nil {
			return err
		}
		p.UserName, p.State = other.profile.UserName(), pb.ContactState_CONTACT_STATE_ACCEPTED
		return w.learnList(p, other.list.Signed)
	})
}

func (s *someone) do(t *testing.T, fn func(*work) error) {
	t.Helper()
	if err := s.update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// in runs fn with a conversation.
func (s *someone) in(t *testing.T, id proto.ID, fn func(*room) error) {
	t.Helper()
	s.do(t, func(w *work) error {
		r, err := w.room(id)
		if err != nil {
			return err
		}
		return fn(r)
	})
}

// shows is the conversation as it is shown: the texts, each with what is remarkable.
func (s *someone) shows(t *testing.T, id proto.ID) string {
	t.Helper()
	all, err := s.History(t.Context(), id, HistoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(all))
	for i, m := range all {
		out[i] = m.Text
		if m.Seq == 0 {
			out[i] += "?"
		}
		if m.Altered {
			out[i] += "!"
		}
		if m.State == StateOnlyHere || m.State == StateFailed {
			out[i] += " " + string(m.State)
		}
	}
	return strings.Join(out, "|")
}

// log is a conversation's sequence as a relay keeps it.
type log struct {
	id     proto.ID
	events []*pb.Event
	grants map[string][]*pb.Grant // by body of the commit
}

func (l *log) add(e *pb.Event) {
	e.Conversation, e.Seq, e.RelayMs = l.id.Bytes(), uint64(len(l.events)+1), nowMS()
	l.events = append(l.events, e)
}

func (l *log) commit(post *pb.CommitPost) {
	if l.grants == nil {
		l.grants = make(map[string][]*pb.Grant)
	}
	l.grants[string(post.GetCommit().GetBody())] = post.GetGrants()
	l.add(&pb.Event{Kind: &pb.Event_Commit{Commit: &pb.CommitEvent{Commit: post.GetCommit()}}})
}

func (l *log) post(env *pb.Envelope) {
	l.add(&pb.Event{Kind: &pb.Event_Envelope{Envelope: env}})
}

// cut is the log as an older copy of it.
func (l *log) cut(n int) *log { return &log{l.id, append([]*pb.Event(nil), l.events[:n]...), l.grants} }

// takes gives somebody what the log has beyond what they have, each commit with their own grant.
func (s *someone) takes(t *testing.T, l *log) error {
	t.Helper()
	events := make([]*pb.Event, len(l.events))
	for i, e := range l.events {
		events[i] = e
		if e.GetCommit() == nil {
			continue
		}
		for _, g := range l.grants[string(e.GetCommit().GetCommit().GetBody())] {
			if mustID(g.GetAccount()) == s.Account() {
				events[i] = &pb.Event{
					Conversation: e.GetConversation(), Seq: e.GetSeq(), RelayMs: e.GetRelayMs(),
					Kind: &pb.Event_Commit{Commit: &pb.CommitEvent{Commit: e.GetCommit().GetCommit(), Grant: g}},
				}
			}
		}
	}
	return s.storeEvents(t.Context(), l.id, events, uint64(len(events)), nil)
}

func (s *someone) mustTake(t *testing.T, l *log) {
	t.Helper()
	if err := s.takes(t, l); err != nil {
		t.Fatal(err)
	}
}

// gets hands over a message as a link from its sender does, and says whether it was taken.
func (s *someone) gets(t *testing.T, from *someone, env *pb.Envelope) bool {
	t.Helper()
	items, err := s.takeDirect(t.Context(), from.Account(), from.Device(), local.PathDirect, []*pb.Envelope{env})
	if err != nil {
		t.Fatal(err)
	}
	return !items[0].GetRefused()
}

// writes puts a text into the outbox and returns its envelope, nil if it could not be sealed.
func (s *someone) writes(t *testing.T, id proto.ID, text string) *pb.Envelope {
	t.Helper()
	m, err := s.SendText(t.Context(), id, text)
	if err != nil {
		t.Fatal(err)
	}
	return s.envelope(t, m)
}

func (s *someone) envelope(t *testing.T, m Message) (env *pb.Envelope) {
	t.Helper()
	s.do(t, func(w *work) error {
		stored, err := w.Message(m.Conversation, m.Device, m.ID)
		if err == nil {
			env = stored.Envelope
		}
		return err
	})
	return env
}

// rekeyed makes the next commit of a conversation.
func (s *someone) rekeyed(t *testing.T, id proto.ID) (post *pb.CommitPost) {
	t.Helper()
	s.in(t, id, func(r *room) error {
		key, err := r.epochKey()
		if err != nil {
			return err
		}
		var keys []proto.MemberKey
		for _, account := range r.members() {
			member, err := r.member(account)
			if err != nil {
				return err
			}
			keys = append(keys, member)
		}
		post, err = proto.Rekey(s.signer(), r.chain, keys, key)
		return err
	})
	return post
}

// couple is two contacts with their conversation in its first epoch.
func couple(t *testing.T) (mia, ben *someone, l *log) {
	t.Helper()
	mia, ben = newSomeone(t, "mia"), newSomeone(t, "ben")
	mia.learn(t, ben)
	ben.learn(t, mia)
	l = &log{id: proto.PairID(mia.Account(), ben.Account())}
	first, err := mia.firstCommit(t.Context(), ben.Account(), nil)
	if err != nil {
		t.Fatal(err)
	}
	l.commit(first)
	mia.mustTake(t, l)
	ben.mustTake(t, l)
	take(mia.events)
	take(ben.events)
	return mia, ben, l
}

// told counts events of a kind among those there are.
func told[E Event](events []Event) (n int) {
	for _, e := range events {
		if _, ok := e.(E); ok {
			n++
		}
	}
	return n
}
