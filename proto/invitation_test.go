package proto

import (
	"crypto/ed25519"
	"strings"
	"testing"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func TestInvitationText(t *testing.T) {
	t.Parallel()
	i := NewInvitation()
	for _, text := range []string{i.String(), "https://chat.example:8443" + i.Path(), strings.ToUpper(i.String())} {
		got, err := ParseInvitation(text)
		must(t, err)
		if got.String() != i.String() {
			t.Errorf("%q reads as %q", text, got)
		}
	}
	must(t, CheckInvitationCode(i.Code))
	for _, code := range []string{"", i.Code[:15], i.Code + "a", strings.ToUpper(i.Code), strings.Repeat("1", 16), strings.Repeat("a", 5000)} {
		if err := CheckInvitationCode(code); !HasCode(err, malformed) || len(err.Error()) > 200 {
			t.Errorf("code %.20q: %v", code, err)
		}
	}
}

func TestInvitationsDiffer(t *testing.T) {
	t.Parallel()
	a, b := NewInvitation(), NewInvitation()
	part := &pb.InvitationSecretPart{Account: NewID().Bytes(), IdentityKey: RandomKey()}
	s, err := a.Seal(part)
	must(t, err)
	if _, err := b.Open(s); !HasCode(err, malformed) {
		t.Errorf("another invitation opened it: %v", err)
	}
	if _, err := (&InvitationSecret{Code: b.Code, secret: a.secret}).Open(s); !HasCode(err, malformed) {
		t.Errorf("it opened under another code: %v", err)
	}
	for name, part := range map[string]*pb.InvitationSecretPart{
		"no account":           {IdentityKey: RandomKey()},
		"a short key":          {Account: NewID().Bytes(), IdentityKey: []byte{1}},
		"a short conversation": {Account: NewID().Bytes(), IdentityKey: RandomKey(), Conversation: []byte{1}},
	} {
		s, err := a.Seal(part)
		must(t, err)
		if _, err := a.Open(s); !HasCode(err, malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseSetup(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"setup.abc": "abc", " setup.abc\n": "abc", "https://chat.example/setup#abc": "abc",
		"setup.": "", "https://chat.example/setup": "", "https://chat.example/i/setup#abc": "", "abc": "", "": "", "%zz": "",
	} {
		if got, ok := ParseSetup(text); got != want || ok != (want != "") {
			t.Errorf("%q gives %q, %v", text, got, ok)
		}
	}
}

func TestOpenInvitationChecksItsForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	i := NewInvitation()
	for name, c := range map[string]struct {
		change func(*pb.Invitation)
		ok     bool
	}{
		"a good one":           {func(*pb.Invitation) {}, true},
		"to a group":           {func(m *pb.Invitation) { m.Conversation = NewID().Bytes() }, true},
		"no code":              {func(m *pb.Invitation) { m.Code = "" }, false},
		"no uses":              {func(m *pb.Invitation) { m.Uses = 0 }, false},
		"no end":               {func(m *pb.Invitation) { m.ExpiresMs = 0 }, false},
		"a short link key":     {func(m *pb.Invitation) { m.LinkKey = m.GetLinkKey()[:31] }, false},
		"a short conversation": {func(m *pb.Invitation) { m.Conversation = []byte{1} }, false},
		"no device":            {func(m *pb.Invitation) { m.Device = nil }, false},
	} {
		m := &pb.Invitation{
			Code: i.Code, Account: w.alice.Account, Device: w.alice.Device, LinkKey: publicOf(i.LinkKey()), ExpiresMs: epochMS, Uses: 1,
		}
		c.change(m)
		if _, err := OpenInvitation(mustSign(t, w.alice, LabelInvitation, m), w.device); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenLinkJoinChecksItsForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, m := range map[string]*pb.LinkJoin{
		"no account":      {IdentityKey: RandomKey(), Conversation: NewID().Bytes()},
		"no conversation": {IdentityKey: RandomKey(), Account: NewID().Bytes()},
		"no identity":     {Account: NewID().Bytes(), Conversation: NewID().Bytes()},
	} {
		if _, err := OpenLinkJoin(ed25519.PublicKey(w.alice.SignKey), mustSign(t, w.alice, LabelLinkJoin, m)); !HasCode(err, malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
