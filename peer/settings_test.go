package peer

import (
	"errors"
	"testing"

	gproto "google.golang.org/protobuf/proto"

	"github.com/parley-chat/parley/peer/local"
	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// sealed is a setting as another device of the account would write it under a generation of the account key.
func (s *someone) sealed(t *testing.T, key string, generation uint32, private []byte, value gproto.Message) *pb.Setting {
	t.Helper()
	b, err := proto.SealSetting(&pb.AccountKey{Generation: generation, PrivateKey: private}, s.Account(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	return &pb.Setting{Key: key, Value: b}
}

func (s *someone) gives(t *testing.T, settings ...*pb.Setting) {
	t.Helper()
	if err := s.applySettings(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
}

// TestSettings: what another device noted is in force here; what does not open is left alone, hides addresses, and opens when
// its key has come; what a newer Parley or the server made up changes nothing.
func TestSettings(t *testing.T) {
	mia, ben := newSomeone(t, "mia"), newSomeone(t, "ben")
	mia.learn(t, ben)
	own, _ := mia.profile.accountKey(1)
	key := proto.PersonSettingKey(ben.Account())
	mia.gives(t, mia.sealed(t, key, 1, own, &pb.PersonSetting{Nickname: "Benny", HideAddress: true}))
	contact, err := mia.Resolve(t.Context(), "benny")
	if err != nil || contact.Name() != "Benny" || !contact.HideAddress || !mia.addresses.hide(ben.Account()) || mia.addresses.hide(mia.Account()) {
		t.Errorf("%+v, %v", contact, err)
	}

	next, err := newX25519()
	if err != nil {
		t.Fatal(err)
	}
	mia.gives(t, mia.sealed(t, key, 2, next.Bytes(), &pb.PersonSetting{Nickname: "Ben 2"}), mia.sealed(t, proto.SettingLinks, 2, next.Bytes(), &pb.LinkSetting{}))
	contact, err = mia.contactByID(t.Context(), ben.Account())
	if err != nil || contact.Name() != "ben" || !contact.HideAddress || !mia.addresses.hide(mia.Account()) {
		t.Errorf("before its key has come: %+v, %v", contact, err)
	}
	if _, err := mia.SetNickname(t.Context(), ben.Account(), "mine"); !errors.Is(err, errSettingSealed) {
		t.Errorf("what does not open was changed: %v", err)
	}
	grant, err := proto.GrantGeneration(mia.Account(), mia.list.GetDevices()[0], &pb.AccountKey{Generation: 2, PrivateKey: next.Bytes()})
	if err != nil {
		t.Fatal(err)
	}
	if err := mia.takeGenerations(t.Context(), []*pb.GenerationGrant{grant}); err != nil {
		t.Fatal(err)
	}
	contact, err = mia.contactByID(t.Context(), ben.Account())
	if err != nil || contact.Name() != "Ben 2" || contact.HideAddress || mia.addresses.hide(ben.Account()) {
		t.Errorf("with its key: %+v, %v", contact, err)
	}

	mia.gives(t, &pb.Setting{Key: "later/thing", Value: []byte{1}}, &pb.Setting{Key: key, Value: []byte("made up")})
	mia.do(t, func(w *work) error {
		s, err := w.Setting("later/thing")
		if err != nil || s.Opened || len(s.Sealed) != 1 {
			t.Errorf("of a newer Parley: %+v, %v", s, err)
		}
		return nil
	})
	if contact, err = mia.contactByID(t.Context(), ben.Account()); err != nil || contact.Name() != "ben" || !mia.addresses.hide(ben.Account()) {
		t.Errorf("made up: %+v, %v", contact, err)
	}
	mia.gives(t, &pb.Setting{Key: key}) // emptied
	if contact, err = mia.contactByID(t.Context(), ben.Account()); err != nil || contact.HideAddress || mia.addresses.hide(ben.Account()) {
		t.Errorf("emptied: %+v, %v", contact, err)
	}
}

// TestSafetyStates: compared holds for the identity that was compared alone, and a change is seen before anything is sent.
func TestSafetyStates(t *testing.T) {
	key, other := []byte{1}, []byte{2}
	for name, test := range map[string]struct {
		p    local.Person
		want string
	}{
		"nothing known":         {local.Person{}, SafetyNotCompared},
		"seen":                  {local.Person{IdentityKey: key}, SafetyNotCompared},
		"compared":              {local.Person{IdentityKey: key, Setting: &pb.PersonSetting{ComparedKey: key, ComparedMs: 1}}, SafetyCompared},
		"another was compared":  {local.Person{IdentityKey: key, Setting: &pb.PersonSetting{ComparedKey: other}}, SafetyNotCompared},
		"changed":               {local.Person{IdentityKey: key, NewIdentity: other}, SafetyChanged},
		"changed, was compared": {local.Person{IdentityKey: key, NewIdentity: other, Setting: &pb.PersonSetting{ComparedKey: key}}, SafetyChanged},
	} {
		if got := safetyOf(&test.p); got.State != test.want || (got.Compared.IsZero() != (test.want != SafetyCompared)) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestPrivacyOverLinks: who hides typing does not see that of others over a link either, and whoever is blocked gets no link.
func TestPrivacyOverLinks(t *testing.T) {
	mia, ben, l := couple(t)
	typing := func() {
		t.Helper()
		if err := mia.onLinkTyping(t.Context(), ben.Account(), &pb.Typing{Conversation: l.id.Bytes()}); err != nil {
			t.Fatal(err)
		}
	}
	typing()
	if n := told[TypingEvent](take(mia.events)); n != 1 {
		t.Errorf("typing was told %d times", n)
	}
	mia.do(t, func(w *work) error { return w.takePrivacy(&pb.Privacy{HideTyping: true}) })
	typing()
	if n := told[TypingEvent](take(mia.events)); n != 0 {
		t.Error("typing was told although it is hidden")
	}
	lists := linkLists{mia.Client}
	if _, err := lists.known(t.Context(), ben.Account()); err != nil {
		t.Errorf("a contact: %v", err)
	}
	mia.do(t, func(w *work) error {
		p, err := w.person(ben.Account())
		p.Blocked = true
		return errors.Join(err, w.SavePerson(p))
	})
	if _, err := lists.known(t.Context(), ben.Account()); err == nil {
		t.Error("somebody blocked may open a link")
	}
}
