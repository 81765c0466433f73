package proto

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// TestVectors opens and checks everything in the file, as the TypeScript tests do.
func TestVectors(t *testing.T) {
	v := readVectors(t)
	for name, check := range map[string]func(*testing.T, *vectors){
		"primitives": checkPrimitives, "texts": checkTexts, "password": checkPasswordVector, "accounts": checkAccounts,
		"invitation": checkInvitation, "chains": checkChains, "envelopes": checkEnvelopes, "links": checkLinks,
		"fragments": checkFragments, "negative": checkNegative, "safety": checkSafety, "recovery": checkRecovery,
		"settings": checkSettings, "device link": checkDeviceLink, "strengths": checkStrengths, "reset": checkReset,
	} {
		t.Run(name, func(t *testing.T) { check(t, v) })
	}
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s = %x, want %x", what, got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func checkPrimitives(t *testing.T, v *vectors) {
	t.Helper()
	for _, c := range v.Tuples {
		same(t, "tuple", Tuple(c.Label, byteList(c.Fields)...), c.Tuple)
		hash := Hash(c.Label, byteList(c.Fields)...)
		same(t, "hash", hash[:], c.Hash)
	}
	for _, c := range v.Derive {
		same(t, "derive", Derive(c.Key, c.Label, byteList(c.Fields)...), c.Out)
	}
	for _, c := range v.Sign {
		must(t, Verify(ed25519.PublicKey(c.Key), c.Label, c.Signature, byteList(c.Fields)...))
		same(t, "signature", Sign(ed25519.NewKeyFromSeed(c.Seed), c.Label, byteList(c.Fields)...), c.Signature)
	}
	for _, c := range v.Seal {
		plaintext, err := OpenBytes(c.Key, decode(t, c.Sealed, &pb.Sealed{}), c.Label, byteList(c.Fields)...)
		must(t, err)
		same(t, "plaintext", plaintext, c.Plaintext)
	}
	for _, c := range v.HPKE {
		plaintext, err := OpenFrom(c.PrivateKey, c.Enc, c.Info, c.Ciphertext)
		must(t, err)
		same(t, "plaintext", plaintext, c.Plaintext)
	}
}

func checkTexts(t *testing.T, v *vectors) {
	t.Helper()
	for _, set := range []struct {
		fold  func(string) (string, error)
		texts []textVector
	}{{FoldUserName, v.UserNames}, {CleanNickname, v.Nicknames}, {ServerHost, v.Hosts}} {
		for _, c := range set.texts {
			out, err := set.fold(c.In)
			if name := errorName(t, err); out != c.Out || name != c.Error {
				t.Errorf("%q gives %q, %q; want %q, %q", c.In, out, name, c.Out, c.Error)
			}
		}
	}
}

func checkPasswordVector(t *testing.T, v *vectors) {
	t.Helper()
	c := v.Password
	auth, wrap, err := PasswordSecrets(c.Password, c.Host, c.User, decode(t, c.PasswordParams, &pb.PasswordParams{}))
	must(t, err)
	same(t, "auth", auth, c.Auth)
	same(t, "wrap", wrap, c.Wrap)
	stored := StoredAuth(c.ServerSalt, auth)
	same(t, "stored", stored[:], c.Stored)
	for _, p := range c.Params {
		if name := errorName(t, CheckPasswordParams(decode(t, p.PasswordParams, &pb.PasswordParams{}))); name != p.Error {
			t.Errorf("parameters %x give %q, want %q", p.PasswordParams, name, p.Error)
		}
	}
}

func checkAccounts(t *testing.T, v *vectors) {
	t.Helper()
	a, alice := v.Accounts, v.People[0]
	lists := make([]*DeviceList, 0, len(a.DeviceLists))
	for _, c := range a.DeviceLists {
		l, err := OpenDeviceList(signedOf(t, c.Signed))
		must(t, err)
		same(t, "list hash", l.Hash[:], c.Hash)
		lists = append(lists, l)
	}
	must(t, lists[1].CheckSuccessor(lists[0]))
	must(t, lists[1].CheckSeen(lists[0]))
	must(t, lists[1].CheckSeen(lists[1]))
	master, err := UnwrapMaster(a.Wrap, ID(alice.Account), decode(t, a.WrappedMaster, &pb.Sealed{}))
	must(t, err)
	same(t, "master", master, a.Master)
	ring, err := OpenKeyRing(master, ID(alice.Account), decode(t, a.SealedKeyRing, &pb.Sealed{}))
	must(t, err)
	if !proto.Equal(ring, decode(t, a.KeyRing, &pb.KeyRing{})) {
		t.Error("the key ring is another")
	}
	must(t, CheckKeyRing(ring, lists[1].DeviceList))
	key, err := OpenGeneration(alice.SealPrivate, ID(alice.Account), decode(t, a.GenerationGrant, &pb.GenerationGrant{}))
	must(t, err)
	same(t, "generation 2", key, alice.NextAccountPrivate)
	login, err := OpenDeviceLogin(signedOf(t, a.Login), v.lookup)
	must(t, err)
	same(t, "nonce", login.GetNonce(), a.LoginNonce)
	if login.GetHost() != a.LoginHost {
		t.Errorf("host %q", login.GetHost())
	}
}

func (v *vectors) lookup(account, device ID) (ed25519.PublicKey, error) {
	for _, p := range v.People {
		if ID(p.Account) == account && ID(p.Device) == device {
			return ed25519.PublicKey(p.SignKey), nil
		}
	}
	return nil, Errorf(pb.ErrorCode_ERROR_CODE_NOT_FOUND, "no such device")
}

func checkInvitation(t *testing.T, v *vectors) {
	c := v.Invitation
	for _, text := range []string{c.Text, c.Link, " " + c.Text + "\n"} {
		i, err := ParseInvitation(text)
		must(t, err)
		if i.Code != c.Code || i.String() != c.Text {
			t.Errorf("%q reads as %q", text, i)
		}
		same(t, "secret", i.secret, c.Secret)
		same(t, "seal key", Derive(i.secret, LabelInvitationSeal), c.SealKey)
		same(t, "link seed", i.LinkKey().Seed(), c.LinkSeed)
		part, err := i.Open(decode(t, c.Sealed, &pb.Sealed{}))
		must(t, err)
		if !proto.Equal(part, decode(t, c.InvitationSecretPart, &pb.InvitationSecretPart{})) {
			t.Error("the sealed part is another")
		}
	}
	inv, err := OpenInvitation(signedOf(t, c.Invitation), v.lookup)
	must(t, err)
	same(t, "link key", inv.GetLinkKey(), c.LinkKey)
	join, err := OpenLinkJoin(ed25519.PublicKey(c.LinkKey), signedOf(t, c.LinkJoin))
	must(t, err)
	same(t, "joiner", join.GetAccount(), v.People[1].Account)
	for _, text := range c.Malformed {
		if i, err := ParseInvitation(text); errorName(t, err) != "malformed" {
			t.Errorf("%q reads as %v, %v", text, i, err)
		}
	}
}

func checkChains(t *testing.T, v *vectors) {
	for _, chain := range []chainVector{v.Pair, v.Group} {
		c := NewChain(ID(chain.Conversation))
		for _, want := range chain.Commits {
			checkCommitVector(t, v, c, want)
		}
	}
	same(t, "pair id", v.Pair.Conversation, PairID(ID(v.People[0].Account), ID(v.People[1].Account)).Bytes())
	same(t, "pair id", v.Pair.Conversation, PairID(ID(v.People[1].Account), ID(v.People[0].Account)).Bytes())
}

func checkCommitVector(t *testing.T, v *vectors, c *Chain, want commitVector) {
	t.Helper()
	commit, err := c.Check(signedOf(t, want.Signed), v.lookup)
	must(t, err)
	same(t, "hash", commit.Hash[:], want.Hash)
	must(t, commit.CheckEpochKey(want.EpochKey))
	for _, g := range want.Grants {
		key, err := OpenGrant(g.PrivateKey, ID(g.Account), commit, decode(t, g.Grant, &pb.Grant{}))
		must(t, err)
		same(t, "epoch key", key, want.EpochKey)
	}
	if len(want.PreviousEpochKey) > 0 {
		key, err := OpenPreviousEpochKey(want.EpochKey, commit)
		must(t, err)
		same(t, "previous epoch key", key, want.PreviousEpochKey)
		must(t, c.CheckEpochKey(key))
	}
	c.Apply(commit)
	if len(c.Members()) != len(want.Members) {
		t.Fatalf("%d members, want %d", len(c.Members()), len(want.Members))
	}
	for i, m := range c.Members() {
		same(t, "member", m.GetAccount(), want.Members[i])
	}
}

func checkEnvelopes(t *testing.T, v *vectors) {
	for _, c := range v.Envelopes {
		e := decode(t, c.Envelope, &pb.Envelope{})
		h, err := ParseEnvelope(e)
		must(t, err)
		same(t, "header", e.GetHeader(), c.Header)
		same(t, "message key", messageKey(c.EpochKey, c.Header), c.MessageKey)
		must(t, VerifyEnvelope(e, ed25519.PublicKey(c.SignKey)))
		content, err := OpenEnvelope(c.EpochKey, e)
		must(t, err)
		if !proto.Equal(content, decode(t, c.Content, &pb.Content{})) {
			t.Errorf("%s: content %v", c.What, content)
		}
		hash := EnvelopeHash(e)
		same(t, "hash", hash[:], c.Hash)
		key, err := v.lookup(ID(h.GetAccount()), ID(h.GetDevice()))
		must(t, err)
		same(t, "sender's key", key, c.SignKey)

		blank := decode(t, c.Blanked, &pb.Envelope{})
		if !IsBlank(blank) {
			t.Error("the blanked envelope has a body")
		}
		must(t, VerifyEnvelope(blank, ed25519.PublicKey(c.SignKey)))
		hash = EnvelopeHash(blank)
		same(t, "hash of the blanked", hash[:], c.Hash)
	}
}

func checkLinks(t *testing.T, v *vectors) {
	d, alice, bob := v.Descriptions, v.People[0], v.People[1]
	offer, answer := decode(t, d.Offer, &pb.Description{}), decode(t, d.Answer, &pb.Description{})
	_, err := OpenDescription(ed25519.PublicKey(alice.SignKey), offer)
	must(t, err)
	body, err := OpenDescription(ed25519.PublicKey(bob.SignKey), answer)
	must(t, err)
	hash := OfferHash(offer)
	same(t, "offer hash", hash[:], d.OfferHash)
	same(t, "offer hash in the answer", body.GetOfferHash(), d.OfferHash)
	for _, c := range []struct {
		d    *pb.Description
		want octets
	}{{offer, d.OfferPrint}, {answer, d.AnswerPrint}} {
		mark, err := FingerprintOf(c.d.GetSdp())
		must(t, err)
		same(t, "fingerprint", mark, c.want)
	}
	a, b := v.LinkProof.Alice.end(), v.LinkProof.Bob.end()
	link := ID(v.LinkProof.Link)
	must(t, VerifyLinkProof(ed25519.PublicKey(bob.SignKey), link, a, b, &pb.LinkProof{Signature: v.LinkProof.Bob.Proof}))
	must(t, VerifyLinkProof(ed25519.PublicKey(alice.SignKey), link, b, a, &pb.LinkProof{Signature: v.LinkProof.Alice.Proof}))
}

func (e linkEnd) end() LinkEnd {
	return LinkEnd{ID(e.Account), ID(e.Device), e.Fingerprint, e.Nonce, e.ListVersion}
}

func checkFragments(t *testing.T, v *vectors) {
	frame := longFrame()
	same(t, "frame", sum(frame), v.Fragments.Sum)
	var r Reassembler
	for i, p := range Fragments(frame) {
		want := v.Fragments.Pieces[i]
		same(t, "piece", sum(p), want.Sum)
		if len(p) != want.Size || p[0] != want.More {
			t.Errorf("piece %d has %d bytes and begins with %d", i, len(p), p[0])
		}
		got, err := r.Add(p)
		must(t, err)
		if last := i == len(v.Fragments.Pieces)-1; last != (got != nil) || last && !bytes.Equal(got, frame) {
			t.Errorf("piece %d gives %d bytes", i, len(got))
		}
	}
}

func checkNegative(t *testing.T, v *vectors) {
	for _, n := range v.Negative {
		t.Run(n.What+" "+n.Why, func(t *testing.T) {
			refuse, known := refusals()[n.What]
			if !known {
				t.Fatalf("unknown check %q", n.What)
			}
			if got := errorName(t, refuse(t, v, n)); got != n.Error {
				t.Errorf("error %q, want %q", got, n.Error)
			}
		})
	}
}

// refusals run the check that a negative vector names and return its error.
func refusals() map[string]func(*testing.T, *vectors, negativeVector) error {
	return map[string]func(*testing.T, *vectors, negativeVector) error{
		"device_list": refuseList,
		"commit": func(t *testing.T, v *vectors, n negativeVector) error {
			_, err := v.chain(t, n).Check(signedOf(t, n.Signed), v.lookup)
			return err
		},
		"commit_post": func(t *testing.T, v *vectors, n negativeVector) error {
			_, err := v.chain(t, n).CheckPost(decode(t, n.CommitPost, &pb.CommitPost{}), v.lookup)
			return err
		},
		"grant": func(t *testing.T, v *vectors, n negativeVector) error {
			before := n
			before.After--
			commit, err := v.chain(t, before).Check(signedOf(t, v.Pair.Commits[before.After].Signed), v.lookup)
			must(t, err)
			_, err = OpenGrant(n.PrivateKey, ID(n.Account), commit, decode(t, n.Grant, &pb.Grant{}))
			return err
		},
		"link_join": func(t *testing.T, _ *vectors, n negativeVector) error {
			_, err := OpenLinkJoin(ed25519.PublicKey(n.Key), signedOf(t, n.Signed))
			return err
		},
		"login": func(t *testing.T, v *vectors, n negativeVector) error {
			_, err := OpenDeviceLogin(signedOf(t, n.Signed), v.lookup)
			return err
		},
		"invitation": func(t *testing.T, v *vectors, n negativeVector) error {
			_, err := OpenInvitation(signedOf(t, n.Signed), v.lookup)
			return err
		},
		"envelope": refuseEnvelope,
		"description": func(t *testing.T, _ *vectors, n negativeVector) error {
			_, err := OpenDescription(ed25519.PublicKey(n.Key), decode(t, n.Description, &pb.Description{}))
			return err
		},
		"fingerprint": func(_ *testing.T, _ *vectors, n negativeVector) error {
			_, err := FingerprintOf(n.SDP)
			return err
		},
		"link_proof": func(_ *testing.T, v *vectors, n negativeVector) error {
			key := ed25519.PublicKey(v.LinkProof.Bob.SignKey)
			return VerifyLinkProof(key, ID(v.LinkProof.Link), v.LinkProof.Alice.end(), v.LinkProof.Bob.end(), &pb.LinkProof{Signature: n.Signature})
		},
		"sealed_key_ring": func(t *testing.T, _ *vectors, n negativeVector) error {
			_, err := OpenKeyRing(n.Key, ID(n.Account), decode(t, n.Sealed, &pb.Sealed{}))
			return err
		},
		"wrapped_master": func(t *testing.T, _ *vectors, n negativeVector) error {
			_, err := UnwrapMaster(n.Key, ID(n.Account), decode(t, n.Sealed, &pb.Sealed{}))
			return err
		},
		"key_ring": func(t *testing.T, _ *vectors, n negativeVector) error {
			list, err := OpenDeviceList(signedOf(t, n.Signed))
			must(t, err)
			return CheckKeyRing(decode(t, n.KeyRing, &pb.KeyRing{}), list.DeviceList)
		},
		"fragments": func(_ *testing.T, _ *vectors, n negativeVector) error {
			var r Reassembler
			for _, m := range n.Messages {
				if _, err := r.Add(m); err != nil {
					return err
				}
			}
			return nil
		},
		"nesting": func(_ *testing.T, _ *vectors, n negativeVector) error { return Unmarshal(n.Bytes, &pb.Frame{}) },
	}
}

// chain is the named one after its first n.After commits.
func (v *vectors) chain(t *testing.T, n negativeVector) *Chain {
	t.Helper()
	from := v.Pair
	switch n.Chain {
	case "group":
		from = v.Group
	case "reset":
		from = v.Reset.Pair
	}
	c := NewChain(ID(from.Conversation))
	for _, commit := range from.Commits[:n.After] {
		checked, err := c.Check(signedOf(t, commit.Signed), v.lookup)
		must(t, err)
		c.Apply(checked)
	}
	return c
}

func refuseList(t *testing.T, _ *vectors, n negativeVector) error {
	l, err := OpenDeviceList(signedOf(t, n.Signed))
	if err != nil {
		return err
	}
	if n.Previous != nil {
		previous, err := OpenDeviceList(signedOf(t, n.Previous))
		must(t, err)
		return l.CheckSuccessor(previous)
	}
	if n.Before != nil {
		before, err := OpenDeviceList(signedOf(t, n.Before))
		must(t, err)
		return l.CheckReset(before)
	}
	seen, err := OpenDeviceList(signedOf(t, n.Seen))
	must(t, err)
	return l.CheckSeen(seen)
}

func refuseEnvelope(t *testing.T, _ *vectors, n negativeVector) error {
	e := decode(t, n.Envelope, &pb.Envelope{})
	if _, err := ParseEnvelope(e); err != nil {
		return err
	}
	if err := VerifyEnvelope(e, ed25519.PublicKey(n.Key)); err != nil {
		return err
	}
	_, err := OpenEnvelope(n.EpochKey, e)
	return err
}
