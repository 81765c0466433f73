package proto

import (
	"crypto/ed25519"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

type invitationVector struct {
	Text                 string `json:"text"`
	Link                 string `json:"link"`
	Code                 string `json:"code"`
	Secret               octets `json:"secret"`
	SealKey              octets `json:"seal_key"`
	LinkSeed             octets `json:"link_seed"`
	LinkKey              octets `json:"link_key"`
	Invitation           octets `json:"invitation"` // Signed, by Alice's device
	InvitationSecretPart octets `json:"InvitationSecretPart"`
	Sealed               octets `json:"Sealed"`
	LinkJoin             octets `json:"link_join"` // Signed, for Bob
	// Malformed are texts that are no invitation.
	Malformed []string `json:"malformed"`
}

type grantVector struct {
	Account    octets `json:"account"`
	PrivateKey octets `json:"private_key"`
	Grant      octets `json:"Grant"`
}

type commitVector struct {
	What             string        `json:"what"`
	Signed           octets        `json:"Signed"`
	Hash             octets        `json:"hash"`
	EpochKey         octets        `json:"epoch_key"`
	PreviousEpochKey octets        `json:"previous_epoch_key,omitempty"`
	Grants           []grantVector `json:"grants"`
	Members          []octets      `json:"members"` // resulting accounts
}

type chainVector struct {
	About        string         `json:"about"`
	Conversation octets         `json:"conversation"`
	Commits      []commitVector `json:"commits"`
}

func mustSign(t *testing.T, by *person, label string, m proto.Message) *pb.Signed {
	t.Helper()
	s, err := SignMessage(by.key(), label, m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func buildInvitation(t *testing.T, w *world, v *vectors) {
	t.Helper()
	w.invitation = NewInvitation()
	i := w.invitation
	part := &pb.InvitationSecretPart{Account: w.alice.Account, IdentityKey: w.alice.IdentityKey, Nickname: "爱丽丝"}
	sealed, err := i.Seal(part)
	if err != nil {
		t.Fatal(err)
	}
	key := i.LinkKey()
	text := i.String()
	v.Invitation = invitationVector{
		Text: text, Link: "https://chat.example" + i.Path(), Code: i.Code, Secret: i.secret,
		SealKey: Derive(i.secret, LabelInvitationSeal), LinkSeed: key.Seed(), LinkKey: publicOf(key),
		Invitation: encode(t, mustSign(t, w.alice, LabelInvitation, &pb.Invitation{
			Code: i.Code, Account: w.alice.Account, Device: w.alice.Device, LinkKey: publicOf(key), ExpiresMs: epochMS + 86_400_000, Uses: 1,
		})),
		InvitationSecretPart: encode(t, part), Sealed: encode(t, sealed), LinkJoin: encode(t, w.pairJoin(t)),
		Malformed: []string{
			"", i.Code, i.Code + ".", "." + text[17:], text[:len(text)-1], text + "a", "1" + text[1:], "https://chat.example/i/" + i.Code,
			"https://chat.example/x/" + i.Code + "#" + text[17:], "setup.abc",
		},
	}
}

// pairJoin is the invitation's word for Bob.
func (w *world) pairJoin(t *testing.T) *pb.Signed {
	t.Helper()
	pair := PairID(ID(w.alice.Account), ID(w.bob.Account))
	join, err := SignMessage(w.invitation.LinkKey(), LabelLinkJoin, &pb.LinkJoin{
		Code: w.invitation.Code, Account: w.bob.Account, IdentityKey: w.bob.IdentityKey, Conversation: pair.Bytes(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return join
}

// take checks a post against the chain, applies it, and returns its vector with the epoch key.
func (w *world) take(t *testing.T, c *Chain, what string, p *pb.CommitPost, previous []byte) commitVector {
	t.Helper()
	commit, err := c.CheckPost(p, w.device)
	if err != nil {
		t.Fatal(err)
	}
	out := commitVector{What: what, Signed: encode(t, commit.Signed), Hash: commit.Hash[:], PreviousEpochKey: previous}
	for i, g := range p.GetGrants() {
		private := w.accountPrivate(ID(g.GetAccount()), g.GetGeneration())
		if out.EpochKey, err = OpenGrant(private, ID(g.GetAccount()), commit, g); err != nil {
			t.Fatal(err)
		}
		out.Grants = append(out.Grants, grantVector{g.GetAccount(), private, encode(t, g)})
		out.Members = append(out.Members, commit.GetMembers()[i].GetAccount())
	}
	c.Apply(commit)
	return out
}

func (w *world) accountPrivate(account ID, generation uint32) []byte {
	for _, p := range w.people() {
		if ID(p.Account) == account {
			if generation == 1 {
				return p.AccountPrivate
			}
			return p.NextAccountPrivate
		}
	}
	return nil
}

func buildPair(t *testing.T, w *world, v *vectors) {
	t.Helper()
	post, err := CreatePair(w.bob.signer(epochMS+2000), member(w.alice, 1), member(w.bob, 1), w.pairJoin(t))
	if err != nil {
		t.Fatal(err)
	}
	w.pair = NewChain(PairID(ID(w.alice.Account), ID(w.bob.Account)))
	first := w.take(t, w.pair, "Bob creates the pair with Alice's invitation", post, nil)
	if post, err = Rekey(w.alice.signer(epochMS+3000), w.pair, []MemberKey{member(w.alice, 2), member(w.bob, 1)}, first.EpochKey); err != nil {
		t.Fatal(err)
	}
	second := w.take(t, w.pair, "Alice re-keys after she dropped her phone", post, first.EpochKey)
	w.pairKeys = [][]byte{first.EpochKey, second.EpochKey}
	v.Pair = chainVector{"the pair of Alice and Bob", w.pair.conversation.Bytes(), []commitVector{first, second}}
}

func (w *world) groupJoin(t *testing.T, p *person) *pb.Signed {
	t.Helper()
	join, err := SignMessage(w.groupLink, LabelLinkJoin, &pb.LinkJoin{
		Account: p.Account, IdentityKey: p.IdentityKey, Conversation: w.group.conversation.Bytes(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return join
}

// joining is the change by which p joins the group through its link.
func (w *world) joining(t *testing.T, p *person) *pb.Commit {
	t.Helper()
	return &pb.Commit{Change: &pb.Commit_JoinByLink_{JoinByLink: &pb.Commit_JoinByLink{
		LinkJoin: w.groupJoin(t, p), LinkKey: publicOf(w.groupLink),
	}}}
}

func setLink(key []byte, uses uint32, expiresMS uint64) *pb.Commit {
	return &pb.Commit{Change: &pb.Commit_SetLink_{SetLink: &pb.Commit_SetLink{
		Link: &pb.LinkGrant{LinkKey: key, Uses: uses, ExpiresMs: expiresMS},
	}}}
}

// roles gives Alice the group and makes others members.
func (w *world) roles(id ID) pb.Role {
	if id == ID(w.alice.Account) {
		return pb.Role_ROLE_OWNER
	}
	return pb.Role_ROLE_MEMBER
}

func buildGroup(t *testing.T, w *world, v *vectors) {
	t.Helper()
	w.group = NewChain(seededID("group"))
	w.groupLink = ed25519.NewKeyFromSeed(seeded("group link"))
	v.Group = chainVector{About: "a group of Alice, which Bob joins by a link of two uses", Conversation: w.group.conversation.Bytes()}
	var key []byte
	add := func(what string, by *person, timeMS, members int, m *pb.Commit, previous []byte) {
		p, err := post(by.signer(epochMS+uint64(timeMS)), m, []MemberKey{member(w.alice, 1), member(w.bob, 1)}[:members], w.roles, previous)
		if err != nil {
			t.Fatal(err)
		}
		c := w.take(t, w.group, what, p, previous)
		v.Group.Commits, key = append(v.Group.Commits, c), c.EpochKey
	}
	add("Alice creates the group", w.alice, 4000, 1, &pb.Commit{
		Conversation: w.group.conversation.Bytes(), Kind: pb.ConversationKind_CONVERSATION_KIND_GROUP, Number: 1,
		Change: &pb.Commit_Create_{Create: &pb.Commit_Create{}},
	}, nil)
	add("Alice adds a link", w.alice, 5000, 1, w.group.next(setLink(publicOf(w.groupLink), 2, epochMS+1_000_000)), key)
	add("Bob joins by the link", w.bob, 6000, 2, w.group.next(w.joining(t, w.bob)), nil)
	revoke := setLink(seeded("no link"), 1, epochMS+2_000_000)
	add("Alice adds another link", w.alice, 7000, 2, w.group.next(revoke), key)
	revoke = setLink(seeded("no link"), 0, 0)
	revoke.GetSetLink().Revoke = true
	add("Alice revokes it", w.alice, 8000, 2, w.group.next(revoke), key)
}
