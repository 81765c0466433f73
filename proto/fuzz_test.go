package proto

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"os"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Every decoder of what comes from outside: it must neither panic nor take what it would not make.

// seeds are the vectors.
func seeds(f *testing.F) *vectors {
	f.Helper()
	b, err := os.ReadFile(vectorsFile)
	if err != nil {
		f.Fatal(err)
	}
	v := &vectors{}
	if err := json.Unmarshal(b, v); err != nil {
		f.Fatal(err)
	}
	return v
}

// body is the body of a Signed.
func body(f *testing.F, signed octets) []byte {
	f.Helper()
	s := &pb.Signed{}
	if err := Unmarshal(signed, s); err != nil {
		f.Fatal(err)
	}
	return s.GetBody()
}

func coded(t *testing.T, err error) {
	t.Helper()
	if _, ok := AsError(err); err != nil && !ok {
		t.Errorf("an error without a code: %v", err)
	}
}

// FuzzDeviceList signs any body with the identity key that it names, if that is Alice's.
func FuzzDeviceList(f *testing.F) {
	v := seeds(f)
	for _, l := range v.Accounts.DeviceLists {
		f.Add(body(f, l.Signed))
	}
	for _, n := range v.Negative {
		if n.What == "device_list" {
			f.Add(body(f, n.Signed))
		}
	}
	identity := ed25519.NewKeyFromSeed(v.People[0].IdentitySeed)
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := OpenDeviceList(&pb.Signed{Body: b, Signature: Sign(identity, LabelDeviceList, b)})
		if err != nil {
			coded(t, err)
			return
		}
		if len(l.GetDevices()) == 0 || len(l.GetDevices()) > MaxDevices || l.GetVersion() == 0 {
			t.Errorf("opened %v", l)
		}
		if err := l.CheckSeen(l); err != nil {
			t.Errorf("a list does not follow on itself: %v", err)
		}
		coded(t, l.CheckSuccessor(l))
	})
}

// FuzzCommit signs any body with Bob's device, after any number of the pair's commits.
func FuzzCommit(f *testing.F) {
	v := seeds(f)
	for i, c := range v.Pair.Commits {
		f.Add(body(f, c.Signed), byte(i))
	}
	for _, c := range v.Group.Commits {
		f.Add(body(f, c.Signed), byte(0))
	}
	for _, n := range v.Negative {
		if n.What == "commit" {
			f.Add(body(f, n.Signed), byte(n.After))
		}
	}
	key := ed25519.NewKeyFromSeed(v.People[1].SignSeed)
	lookup := func(ID, ID) (ed25519.PublicKey, error) { return ed25519.PublicKey(v.People[1].SignKey), nil }
	f.Fuzz(func(t *testing.T, b []byte, after byte) {
		c := v.chain(t, negativeVector{Chain: "pair", After: int(after) % 3})
		commit, err := c.Check(&pb.Signed{Body: b, Signature: Sign(key, LabelCommit, b)}, lookup)
		if err != nil {
			coded(t, err)
			return
		}
		members := len(c.Members())
		c.Apply(commit)
		if len(c.Members()) != 2 || members != 0 && members != 2 {
			t.Errorf("a pair of %d members", len(c.Members()))
		}
		if _, ok := c.Member(ID(v.People[0].Account)); !ok {
			t.Error("Alice is out of the pair")
		}
	})
}

func FuzzHeader(f *testing.F) {
	v := seeds(f)
	for _, e := range v.Envelopes {
		f.Add([]byte(e.Header))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			coded(t, err)
			return
		}
		again, err := proto.Marshal(h)
		must(t, err)
		if _, err := ParseHeader(again); err != nil {
			t.Errorf("a header taken once is refused when written again: %v", err)
		}
	})
}

// FuzzEnvelope takes any envelope apart, and opens any content sealed as it should be.
func FuzzEnvelope(f *testing.F) {
	v := seeds(f)
	for _, e := range v.Envelopes {
		f.Add([]byte(e.Envelope), []byte(e.Content))
		f.Add([]byte(e.Blanked), []byte(e.Content))
	}
	for _, n := range v.Negative {
		if n.What == "envelope" {
			f.Add([]byte(n.Envelope), []byte{})
		}
	}
	first := v.Envelopes[0]
	alice := ed25519.NewKeyFromSeed(first.SignSeed)
	f.Fuzz(func(t *testing.T, b, content []byte) {
		e := &pb.Envelope{}
		if err := Unmarshal(b, e); err != nil {
			coded(t, err)
			return
		}
		_, err := ParseEnvelope(e)
		coded(t, err)
		coded(t, VerifyEnvelope(e, ed25519.PublicKey(first.SignKey)))
		if EnvelopeHash(Blank(e)) != EnvelopeHash(e) {
			t.Error("the blanked envelope has another hash")
		}
		_, err = OpenEnvelope(first.EpochKey, e)
		coded(t, err)

		h := decode(t, first.Header, &pb.Header{})
		_, err = OpenEnvelope(first.EpochKey, sealAny(t, alice, first.EpochKey, first.Header, h.GetNonce(), content))
		coded(t, err)
	})
}

func FuzzFrame(f *testing.F) {
	v := seeds(f)
	post := &pb.Post{}
	for _, e := range v.Envelopes {
		env := &pb.Envelope{}
		if err := Unmarshal(e.Envelope, env); err != nil {
			f.Fatal(err)
		}
		post.Envelopes = append(post.Envelopes, env)
	}
	for _, m := range []*pb.Frame{
		{Request: 1, Kind: &pb.Frame_Post{Post: post}},
		{Kind: &pb.Frame_Error{Error: Errorf(malformed, "no").ToProto()}},
		{Kind: &pb.Frame_LinkOpen{LinkOpen: &pb.LinkOpen{Nonce: RandomKey()}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(groups(31))
	f.Add(groups(33))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &pb.Frame{}
		if err := Unmarshal(b, m); err != nil {
			coded(t, err)
			return
		}
		again, err := proto.Marshal(m)
		must(t, err)
		if err := Unmarshal(again, &pb.Frame{}); err != nil {
			t.Errorf("a frame taken once is refused when written again: %v", err)
		}
	})
}

// FuzzLinkDescription signs any body and text with Alice's device.
func FuzzLinkDescription(f *testing.F) {
	v := seeds(f)
	for _, b := range []octets{v.Descriptions.Offer, v.Descriptions.Answer} {
		d := &pb.Description{}
		if err := Unmarshal(b, d); err != nil {
			f.Fatal(err)
		}
		f.Add(d.GetBody().GetBody(), d.GetSdp())
	}
	for _, n := range v.Negative {
		if n.What == "fingerprint" {
			f.Add([]byte{}, n.SDP)
		}
	}
	key := ed25519.NewKeyFromSeed(v.People[0].SignSeed)
	f.Fuzz(func(t *testing.T, b []byte, text string) {
		_, err := OpenDescription(ed25519.PublicKey(publicOf(key)), &pb.Description{
			Body: &pb.Signed{Body: b, Signature: Sign(key, LabelDescription, b)}, Sdp: text,
		})
		coded(t, err)
		mark, err := FingerprintOf(text)
		coded(t, err)
		if err == nil && len(mark) != HashSize {
			t.Errorf("a fingerprint of %d bytes", len(mark))
		}
	})
}

// FuzzReassembler adds the pieces that 0xff octets separate.
func FuzzReassembler(f *testing.F) {
	f.Add([]byte{1, 2, 3, 0xff, 0, 4})
	f.Add([]byte{0xff})
	f.Add(bytes.Join(Fragments(make([]byte, 20_000)), []byte{0xff}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Reassembler
		for piece := range bytes.SplitSeq(b, []byte{0xff}) {
			frame, err := r.Add(piece)
			coded(t, err)
			if err != nil {
				return
			}
			if len(frame) > MaxFrame || len(r.partial) > MaxFrame || (frame == nil) != (piece[0] == 1) {
				t.Fatalf("piece %x gives %d bytes and keeps %d", piece, len(frame), len(r.partial))
			}
		}
	})
}

func FuzzInvitationCode(f *testing.F) {
	v := seeds(f)
	f.Add(v.Invitation.Text)
	f.Add(v.Invitation.Link)
	for _, s := range v.Invitation.Malformed {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		coded(t, CheckInvitationCode(s))
		ParseSetup(s)
		i, err := ParseInvitation(s)
		if err != nil {
			coded(t, err)
			return
		}
		again, err := ParseInvitation(i.String())
		if err != nil || again.String() != i.String() {
			t.Errorf("%q reads as %q, which reads as %v: %v", s, i, again, err)
		}
	})
}

func FuzzFoldUserName(f *testing.F) {
	for _, s := range append(append(userNames(), nicknames()...), hosts()...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, fold := range []func(string) (string, error){FoldUserName, CleanNickname} {
			folded, err := fold(s)
			if err != nil {
				coded(t, err)
				continue
			}
			if again, err := fold(folded); err != nil || again != folded {
				t.Errorf("%q becomes %q, which becomes %q: %v", s, folded, again, err)
			}
		}
		host, err := ServerHost("https://" + s)
		coded(t, err)
		if err == nil && !isHostName(host) && host != "localhost" && !bytes.ContainsAny([]byte(host), ".:") {
			t.Errorf("%q has host %q", s, host)
		}
	})
}
