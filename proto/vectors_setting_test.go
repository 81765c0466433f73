package proto

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

type settingVector struct {
	Key           string `json:"key"`
	Person        octets `json:"person,omitempty"` // whom it is about
	PersonSetting octets `json:"PersonSetting,omitempty"`
	LinkSetting   octets `json:"LinkSetting,omitempty"`
	Sealed        octets `json:"SealedSetting"` // by Alice, generation 2
}

type deviceLinkVector struct {
	Text      string       `json:"text"`
	Path      string       `json:"path"`
	Code      string       `json:"code"`
	Account   octets       `json:"account"`
	DeviceAsk octets       `json:"DeviceAsk"`
	Sealed    octets       `json:"Sealed"`
	Read      []textVector `json:"read"` // out: the form for the command line
}

func (w *world) newestKey() *pb.AccountKey {
	return &pb.AccountKey{Generation: 2, PrivateKey: w.alice.NextAccountPrivate}
}

func buildSettings(t *testing.T, w *world, v *vectors) {
	t.Helper()
	a := ID(w.alice.Account)
	seal := func(key string, m proto.Message) octets {
		b, err := SealSetting(w.newestKey(), a, key, m)
		must(t, err)
		return b
	}
	person := &pb.PersonSetting{Nickname: "老王", HideAddress: true, ComparedKey: w.bob.IdentityKey, ComparedMs: epochMS, AcceptedKey: w.carol.IdentityKey}
	links := &pb.LinkSetting{HideAddress: true}
	key := PersonSettingKey(ID(w.bob.Account))
	v.Settings = []settingVector{
		{Key: key, Person: w.bob.Account, PersonSetting: encode(t, person), Sealed: seal(key, person)},
		{Key: SettingLinks, LinkSetting: encode(t, links), Sealed: seal(SettingLinks, links)},
	}
}

func checkSettings(t *testing.T, v *vectors) {
	t.Helper()
	alice := v.People[0]
	find := func(generation uint32) []byte {
		if generation != 2 {
			return nil
		}
		return alice.NextAccountPrivate
	}
	a := ID(alice.Account)
	for _, c := range v.Settings {
		var value proto.Message = &pb.LinkSetting{}
		want := c.LinkSetting
		if c.Person != nil {
			value, want = &pb.PersonSetting{}, c.PersonSetting
		}
		must(t, OpenSetting(find, a, c.Key, c.Sealed, value))
		same(t, c.Key, encode(t, value), want)
		if person, ok := PersonOfSetting(c.Key); ok != (c.Person != nil) || ok && person != ID(c.Person) {
			t.Errorf("%s is about %s, %v", c.Key, person, ok)
		}
		for name, err := range map[string]error{
			"as another setting":    OpenSetting(find, a, c.Key+"x", c.Sealed, &pb.PersonSetting{}),
			"as another account's":  OpenSetting(find, ID(v.People[1].Account), c.Key, c.Sealed, &pb.PersonSetting{}),
			"with another's key":    OpenSetting(func(uint32) []byte { return alice.AccountPrivate }, a, c.Key, c.Sealed, &pb.PersonSetting{}),
			"with nothing to open":  OpenSetting(find, a, c.Key, nil, &pb.PersonSetting{}),
			"with an octet changed": OpenSetting(find, a, c.Key, flip(c.Sealed, len(c.Sealed)-1), &pb.PersonSetting{}),
		} {
			if err == nil {
				t.Errorf("%s opens %s", c.Key, name)
			}
		}
		if err := OpenSetting(func(uint32) []byte { return nil }, a, c.Key, c.Sealed, value); !HasCode(err, pb.ErrorCode_ERROR_CODE_NOT_FOUND) {
			t.Errorf("without the key: %v", err)
		}
	}
	for _, key := range []string{"", "person", "person/", "person/x", "links"} {
		if person, ok := PersonOfSetting(key); ok {
			t.Errorf("%q is about %s", key, person)
		}
	}
}

func buildDeviceLink(t *testing.T, w *world, v *vectors) {
	t.Helper()
	l := NewDeviceLink(base32Text(randomBytes(invitationCodeBytes)), ID(w.alice.Account))
	ask := &pb.DeviceAsk{Keys: w.phone.deviceKeys(), Name: "Alice’s phone"}
	sealed, err := l.Seal(ask)
	must(t, err)
	v.DeviceLink = deviceLinkVector{
		Text: l.String(), Path: l.Path(), Code: l.Code, Account: l.Account[:], DeviceAsk: encode(t, ask), Sealed: encode(t, sealed),
	}
	text := l.String()
	for _, in := range []string{
		text, strings.ToUpper(text), " " + text + "\n", "https://chat.example" + l.Path(), "https://chat.example:8443" + l.Path(),
		text[:len(text)-1], text + "a", l.Code, l.Code + "." + base32Text(l.secret), "https://chat.example/i/" + l.Code + "#" + l.fragment(),
		"https://chat.example/d/" + l.Code, "", "二维码",
	} {
		parsed, err := ParseDeviceLink(in)
		out := ""
		if err == nil {
			out = parsed.String()
		}
		v.DeviceLink.Read = append(v.DeviceLink.Read, textVector{In: in, Out: out, Error: errorName(t, err)})
	}
}

func checkDeviceLink(t *testing.T, v *vectors) {
	t.Helper()
	c := v.DeviceLink
	for _, r := range c.Read {
		l, err := ParseDeviceLink(r.In)
		if name := errorName(t, err); name != r.Error {
			t.Errorf("%q: %v", r.In, err)
		}
		if err == nil && (l.String() != r.Out || l.Path() != c.Path || l.Account != ID(c.Account)) {
			t.Errorf("%q became %s of %s", r.In, l, l.Account)
		}
	}
	l, err := ParseDeviceLink(c.Text)
	must(t, err)
	sealed := decode(t, c.Sealed, &pb.Sealed{})
	ask, err := l.Open(sealed)
	must(t, err)
	same(t, "ask", encode(t, ask), c.DeviceAsk)
	if _, err := NewDeviceLink(l.Code, l.Account).Open(sealed); !HasCode(err, malformed) {
		t.Errorf("with another secret: %v", err)
	}
	short, err := l.Seal(&pb.DeviceAsk{Keys: &pb.DeviceKeys{Device: ask.GetKeys().GetDevice(), SignKey: ask.GetKeys().GetSignKey()}})
	must(t, err)
	if _, err := l.Open(short); !HasCode(err, malformed) {
		t.Errorf("a device without a key to seal for: %v", err)
	}
}
