package proto

import (
	"bytes"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

func sortMembers(m *pb.Commit) {
	slices.SortFunc(m.GetMembers(), func(a, b *pb.Member) int { return bytes.Compare(a.GetAccount(), b.GetAccount()) })
}

// forgeCommit signs a changed copy of a commit.
func forgeCommit(t *testing.T, by *person, body octets, change func(*pb.Commit)) octets {
	t.Helper()
	m := decode(t, body, &pb.Commit{})
	change(m)
	return encode(t, mustSign(t, by, LabelCommit, m))
}

func addMember(p *person) func(*pb.Commit) {
	return func(m *pb.Commit) {
		m.Members = append(m.Members, &pb.Member{Account: p.Account, IdentityKey: p.IdentityKey, Role: pb.Role_ROLE_MEMBER, Generation: 1})
		sortMembers(m)
	}
}

func negativePair(t *testing.T, w *world, v *vectors) []negativeVector {
	t.Helper()
	var out []negativeVector
	create, rekey := signedOf(t, v.Pair.Commits[0].Signed), signedOf(t, v.Pair.Commits[1].Signed)
	add := func(after int, why, code string, signed octets) {
		out = append(out, negativeVector{What: "commit", Why: why, Error: code, Chain: "pair", After: after, Signed: signed})
	}
	first := func(why, code string, by *person, change func(*pb.Commit)) {
		add(0, why, code, forgeCommit(t, by, create.GetBody(), change))
	}
	second := func(why, code string, by *person, change func(*pb.Commit)) {
		add(1, why, code, forgeCommit(t, by, rekey.GetBody(), change))
	}
	add(0, "the signature is flipped", "bad_signature", encode(t, flipSignature(create)))
	add(0, "it is not the first", "stale_head", v.Pair.Commits[1].Signed)
	add(2, "it was committed before", "stale_head", v.Pair.Commits[1].Signed)
	first("a ghost member in a pair", "forbidden", w.bob, addMember(w.mallory))
	first("another account in place of one", "forbidden", w.bob, func(m *pb.Commit) {
		m.Members[0].Account = w.mallory.Account
		sortMembers(m)
	})
	first("made by somebody who is in neither place", "forbidden", w.mallory, func(m *pb.Commit) { m.Account, m.Device = w.mallory.Account, w.mallory.Device })
	first("a device that signs is not the one named", "bad_signature", w.mallory, func(*pb.Commit) {})
	first("an unknown device", "not_found", w.bob, func(m *pb.Commit) { m.Device = flip(m.GetDevice(), 15) })
	first("an owner in a pair", "forbidden", w.bob, func(m *pb.Commit) { m.Members[0].Role = pb.Role_ROLE_OWNER })
	first("another suite", "unsupported", w.bob, func(m *pb.Commit) { m.Suite = 2 })
	first("another version", "unsupported", w.bob, func(m *pb.Commit) { m.Version = 2 })
	first("no change", "unsupported", w.bob, func(m *pb.Commit) { m.Change = nil })
	first("no kind", "unsupported", w.bob, func(m *pb.Commit) { m.Kind = 0 })
	first("another conversation", "malformed", w.bob, func(m *pb.Commit) { m.Conversation = flip(m.GetConversation(), 0) })
	first("epoch and number differ", "malformed", w.bob, func(m *pb.Commit) { m.Epoch = 2 })
	first("no time", "malformed", w.bob, func(m *pb.Commit) { m.TimeMs = 0 })
	first("a short key hash", "malformed", w.bob, func(m *pb.Commit) { m.EpochKeyHash = m.GetEpochKeyHash()[:31] })
	first("members are not sorted", "malformed", w.bob, func(m *pb.Commit) { m.Members[0], m.Members[1] = m.GetMembers()[1], m.GetMembers()[0] })
	first("a member twice", "malformed", w.bob, func(m *pb.Commit) { m.Members[1] = m.GetMembers()[0] })
	first("a member without generation", "malformed", w.bob, func(m *pb.Commit) { m.Members[0].Generation = 0 })
	first("a member of no role", "malformed", w.bob, func(m *pb.Commit) { m.Members[0].Role = 0 })
	first("a short identity key", "malformed", w.bob, func(m *pb.Commit) { m.Members[0].IdentityKey = m.GetMembers()[0].GetIdentityKey()[:31] })
	first("a first commit with a key before it", "malformed", w.bob, func(m *pb.Commit) { m.PreviousEpochKey = &pb.Sealed{} })
	first("a first commit that names one before", "stale_head", w.bob, func(m *pb.Commit) { m.Previous = make([]byte, HashSize) })
	first("a first commit that creates nothing", "malformed", w.bob, func(m *pb.Commit) { m.Change = &pb.Commit_Rekey_{Rekey: &pb.Commit_Rekey{}} })

	second("another commit before it", "stale_head", w.alice, func(m *pb.Commit) { m.Previous = flip(m.GetPrevious(), 0) })
	second("it skips a number", "stale_head", w.alice, func(m *pb.Commit) { m.Number, m.Epoch = 3, 3 })
	second("a ghost member", "forbidden", w.alice, addMember(w.mallory))
	second("a member is gone", "forbidden", w.alice, func(m *pb.Commit) { m.Members = m.GetMembers()[:1] })
	second("a member is another", "forbidden", w.alice, func(m *pb.Commit) {
		m.Members[1].Account = w.mallory.Account
		sortMembers(m)
	})
	second("a member has another identity", "forbidden", w.alice, func(m *pb.Commit) { m.Members[1].IdentityKey = w.mallory.IdentityKey })
	second("a member has another role", "forbidden", w.alice, func(m *pb.Commit) { m.Members[1].Role = pb.Role_ROLE_ADMIN })
	second("by nobody of them", "forbidden", w.mallory, func(m *pb.Commit) { m.Account, m.Device = w.mallory.Account, w.mallory.Device })
	second("another kind", "forbidden", w.alice, func(m *pb.Commit) { m.Kind = pb.ConversationKind_CONVERSATION_KIND_GROUP })
	second("it creates again", "malformed", w.alice, func(m *pb.Commit) { m.Change = &pb.Commit_Create_{Create: &pb.Commit_Create{}} })
	second("the previous key is sealed in a wrong form", "malformed", w.alice, func(m *pb.Commit) {
		m.PreviousEpochKey.Ciphertext = m.GetPreviousEpochKey().GetCiphertext()[:47]
	})
	second("a link in a pair", "forbidden", w.alice, func(m *pb.Commit) { m.Change = setLink(seeded("link"), 1, epochMS+1_000_000).GetChange() })
	second("somebody joins a pair", "forbidden", w.mallory, func(m *pb.Commit) {
		m.Account, m.Device, m.Change = w.mallory.Account, w.mallory.Device, w.joining(t, w.mallory).GetChange()
		addMember(w.mallory)(m)
	})
	lowered := decode(t, rekey.GetBody(), &pb.Commit{})
	lowered.Number, lowered.Epoch, lowered.Previous = 3, 3, w.pair.Head()
	for _, m := range lowered.GetMembers() {
		m.Generation = 1
	}
	add(2, "a generation falls back", "forbidden", encode(t, mustSign(t, w.alice, LabelCommit, lowered)))
	return out
}

// negativeGroup are commits after Bob joined, which carol and mallory would join too.
func negativeGroup(t *testing.T, w *world, v *vectors) []negativeVector {
	t.Helper()
	var out []negativeVector
	bodies := make([]octets, 0, len(v.Group.Commits))
	for _, c := range v.Group.Commits {
		bodies = append(bodies, signedOf(t, c.Signed).GetBody())
	}
	at := func(i int, why, code string, by *person, change func(*pb.Commit)) {
		out = append(out, negativeVector{
			What: "commit", Why: why, Error: code, Chain: "group", After: i, Signed: forgeCommit(t, by, bodies[i], change),
		})
	}
	join := func(m *pb.Commit) *pb.Commit_JoinByLink { return m.GetJoinByLink() }
	at(0, "two members at once", "forbidden", w.alice, addMember(w.bob))
	at(0, "its maker is no owner", "forbidden", w.alice, func(m *pb.Commit) { m.Members[0].Role = pb.Role_ROLE_ADMIN })
	at(0, "made for somebody else", "forbidden", w.bob, func(m *pb.Commit) { m.Account, m.Device = w.bob.Account, w.bob.Device })
	at(1, "a link without uses", "malformed", w.alice, func(m *pb.Commit) { m.GetSetLink().Link.Uses = 0 })
	at(1, "a link of too many uses", "malformed", w.alice, func(m *pb.Commit) { m.GetSetLink().Link.Uses = MaxInvitationUses + 1 })
	at(1, "a link without end", "malformed", w.alice, func(m *pb.Commit) { m.GetSetLink().Link.ExpiresMs = 0 })
	at(1, "a link that lasts too long", "malformed", w.alice, func(m *pb.Commit) {
		m.GetSetLink().Link.ExpiresMs = m.GetTimeMs() + uint64(MaxInvitationLife.Milliseconds()) + 1
	})
	at(1, "a link key that is none", "malformed", w.alice, func(m *pb.Commit) { m.GetSetLink().Link.LinkKey = []byte{1} })
	at(1, "no such link to revoke", "malformed", w.alice, func(m *pb.Commit) { m.GetSetLink().Revoke = true })
	at(1, "a link that adds a member", "forbidden", w.alice, addMember(w.mallory))
	at(2, "the link has expired", "expired", w.bob, func(m *pb.Commit) { m.TimeMs = epochMS + 1_000_001 })
	at(2, "a link that is not the group's", "forbidden", w.bob, func(m *pb.Commit) { join(m).LinkKey = w.mallory.SignKey })
	at(2, "the link key did not sign", "bad_signature", w.bob, func(m *pb.Commit) { join(m).LinkJoin = mustSign(t, w.mallory, LabelLinkJoin, &pb.LinkJoin{}) })
	at(2, "the link vouches for somebody else", "forbidden", w.bob, func(m *pb.Commit) { join(m).LinkJoin = w.groupJoin(t, w.carol) })
	at(2, "the link vouches for another account of the same identity", "forbidden", w.bob, func(m *pb.Commit) {
		join(m).LinkJoin, memberOf(m, w.bob).IdentityKey = w.groupJoin(t, w.carol), w.carol.IdentityKey
	})
	at(2, "the joiner takes a role", "forbidden", w.bob, func(m *pb.Commit) { memberOf(m, w.bob).Role = pb.Role_ROLE_ADMIN })
	at(2, "the joiner takes another identity", "forbidden", w.bob, func(m *pb.Commit) { memberOf(m, w.bob).IdentityKey = w.mallory.IdentityKey })
	at(2, "the joiner is not among the members", "forbidden", w.bob, func(m *pb.Commit) {
		memberOf(m, w.bob).IdentityKey, memberOf(m, w.bob).Account = w.carol.IdentityKey, w.carol.Account
		sortMembers(m)
	})
	at(2, "the joiner brings a ghost", "forbidden", w.bob, addMember(w.mallory))
	at(2, "the joiner raises somebody", "forbidden", w.bob, func(m *pb.Commit) { memberOf(m, w.alice).Role = pb.Role_ROLE_ADMIN })
	at(3, "a member who is no administrator adds a link", "forbidden", w.bob, func(m *pb.Commit) { m.Account, m.Device = w.bob.Account, w.bob.Device })
	at(3, "who is a member joins again", "forbidden", w.bob, func(m *pb.Commit) {
		m.Account, m.Device, m.Change = w.bob.Account, w.bob.Device, w.joining(t, w.bob).GetChange()
	})
	at(4, "a member who is no administrator revokes a link", "forbidden", w.bob, func(m *pb.Commit) { m.Account, m.Device = w.bob.Account, w.bob.Device })
	at(3, "a member replaces another", "forbidden", w.alice, func(m *pb.Commit) {
		memberOf(m, w.bob).IdentityKey, memberOf(m, w.bob).Account = w.carol.IdentityKey, w.carol.Account
		sortMembers(m)
	})
	return out
}

func memberOf(m *pb.Commit, p *person) *pb.Member {
	for _, member := range m.GetMembers() {
		if bytes.Equal(member.GetAccount(), p.Account) {
			return member
		}
	}
	return nil
}

func negativeGrants(t *testing.T, w *world, v *vectors) []negativeVector {
	t.Helper()
	first := v.Pair.Commits[0]
	bob := member(w.bob, 1)
	grant := func(epoch uint64, commit, key []byte) octets {
		g, err := GrantEpochKey(bob, w.pair.conversation, epoch, commit, key)
		if err != nil {
			t.Fatal(err)
		}
		return encode(t, g)
	}
	entry := func(why, code string, g octets) negativeVector {
		return negativeVector{
			What: "grant", Why: why, Error: code, Chain: "pair", After: 1, Account: w.bob.Account, PrivateKey: w.bob.AccountPrivate, Grant: g,
		}
	}
	good := decode(t, grant(1, first.Hash, first.EpochKey), &pb.Grant{})
	raised := proto.CloneOf(good)
	raised.Generation = 2
	flipped := proto.CloneOf(good)
	flipped.Ciphertext = flip(flipped.GetCiphertext(), 0)
	short := proto.CloneOf(good)
	short.Enc = short.GetEnc()[:31]
	posted := func(why string, change func(*pb.CommitPost)) negativeVector {
		p := &pb.CommitPost{Commit: signedOf(t, first.Signed)}
		for _, g := range first.Grants {
			p.Grants = append(p.Grants, decode(t, g.Grant, &pb.Grant{}))
		}
		change(p)
		return negativeVector{What: "commit_post", Why: why, Error: "malformed", Chain: "pair", CommitPost: encode(t, p)}
	}
	return []negativeVector{
		entry("a key that the commit does not name", "bad_signature", grant(1, first.Hash, seeded("another key"))),
		entry("the wrong epoch", "malformed", grant(2, first.Hash, first.EpochKey)),
		entry("another commit", "malformed", grant(1, v.Pair.Commits[1].Hash, first.EpochKey)),
		entry("another generation", "malformed", encode(t, raised)),
		entry("a flipped octet", "malformed", encode(t, flipped)),
		entry("a short encapsulated key", "malformed", encode(t, short)),
		posted("a grant is missing", func(p *pb.CommitPost) { p.Grants = p.GetGrants()[:1] }),
		posted("a member has two", func(p *pb.CommitPost) { p.Grants[1] = p.GetGrants()[0] }),
		posted("a grant for a ghost", func(p *pb.CommitPost) { p.Grants[1].Account = w.mallory.Account }),
		posted("a grant too many", func(p *pb.CommitPost) { p.Grants = append(p.Grants, good) }),
		posted("a grant of another generation", func(p *pb.CommitPost) { p.Grants[0].Generation = 2 }),
		posted("a cut grant", func(p *pb.CommitPost) { p.Grants[0].Ciphertext = p.GetGrants()[0].GetCiphertext()[1:] }),
	}
}
