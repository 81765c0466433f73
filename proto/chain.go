package proto

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Chain is a conversation's membership, roles, links and epoch, computed from its commits alone. It is
// not safe for concurrent use.
type Chain struct {
	conversation ID
	state        *pb.ChainState
}

// NewChain is a conversation without commits.
func NewChain(conversation ID) *Chain {
	return &Chain{conversation: conversation, state: &pb.ChainState{Conversation: conversation.Bytes()}}
}

// RestoreChain reads what MarshalBinary wrote. It trusts it: it must come from the own store.
func RestoreChain(b []byte) (*Chain, error) {
	state := &pb.ChainState{}
	if err := Unmarshal(b, state); err != nil {
		return nil, err
	}
	id, err := IDFrom(state.GetConversation())
	if err != nil {
		return nil, err
	}
	return &Chain{conversation: id, state: state}, nil
}

// MarshalBinary writes the state, to be kept beside the conversation.
func (c *Chain) MarshalBinary() ([]byte, error) { return marshal("chain", c.state) }

// Conversation is the conversation's id.
func (c *Chain) Conversation() ID { return c.conversation }

// Kind is the conversation's, unspecified before the first commit.
func (c *Chain) Kind() pb.ConversationKind { return c.state.GetKind() }

// Suite is fixed by the first commit.
func (c *Chain) Suite() uint32 { return c.state.GetSuite() }

// Epoch is the one in force, 0 before the first commit. It equals the newest commit's number.
func (c *Chain) Epoch() uint64 { return c.state.GetNumber() }

// Head is the hash of the newest commit, nil before the first.
func (c *Chain) Head() []byte { return c.state.GetHead() }

// Members returns the members, sorted by account. They must not be changed.
func (c *Chain) Members() []*pb.Member { return c.state.GetMembers() }

// Member returns an account's entry.
func (c *Chain) Member(account ID) (*pb.Member, bool) {
	i, ok := slices.BinarySearchFunc(c.state.GetMembers(), account, func(m *pb.Member, id ID) int {
		return bytes.Compare(m.GetAccount(), id[:])
	})
	if !ok {
		return nil, false
	}
	return c.state.GetMembers()[i], true
}

// OpenGrant opens a grant of the epoch in force that came after its commit.
func (c *Chain) OpenGrant(accountKey []byte, account ID, g *pb.Grant) ([]byte, error) {
	return openGrant(accountKey, account, c.conversation, c.Epoch(), c.Head(), c.state.GetEpochKeyHash(), g)
}

// CheckEpochKey says whether a key is that of the epoch in force.
func (c *Chain) CheckEpochKey(key []byte) error {
	return checkEpochKey(c.conversation[:], c.Epoch(), key, c.state.GetEpochKeyHash())
}

// Check verifies a commit against the chain by the rules of docs/PROTOCOL.md §4. It does not change
// the chain. A commit that does not follow on the head fails with stale_head.
func (c *Chain) Check(s *pb.Signed, lookup Lookup) (*Commit, error) {
	m := &pb.Commit{}
	if err := Unmarshal(s.GetBody(), m); err != nil { // read to learn whose key to verify with
		return nil, err
	}
	if err := c.checkForm(m); err != nil {
		return nil, err
	}
	if err := c.checkPlace(m); err != nil {
		return nil, err
	}
	if err := verifyBy(lookup, m.GetAccount(), m.GetDevice(), LabelCommit, s); err != nil {
		return nil, err
	}
	if err := c.checkChange(m, ID(m.GetAccount())); err != nil {
		return nil, err
	}
	return &Commit{Commit: m, Hash: CommitHash(s.GetBody()), Signed: s}, nil
}

// checkForm checks a commit by itself.
func (c *Chain) checkForm(m *pb.Commit) error {
	switch {
	case m.GetVersion() != Version, m.GetSuite() != Suite, m.GetChange() == nil:
		return Errorf(unsupported, "this commit needs a newer Parley")
	case !bytes.Equal(m.GetConversation(), c.conversation[:]):
		return Errorf(malformed, "the commit is of another conversation")
	case m.GetEpoch() != m.GetNumber(), m.GetTimeMs() == 0, len(m.GetEpochKeyHash()) != HashSize:
		return Errorf(malformed, "the commit lacks epoch, time or key hash")
	case len(m.GetMembers()) == 0, len(m.GetMembers()) > MaxMembers:
		return Errorf(malformed, "a conversation has 1 to %d members", MaxMembers)
	}
	for i, member := range m.GetMembers() {
		if _, err := IDFrom(member.GetAccount()); err != nil {
			return err
		}
		if i > 0 && bytes.Compare(m.GetMembers()[i-1].GetAccount(), member.GetAccount()) >= 0 {
			return Errorf(malformed, "the members are not sorted, or one stands twice")
		}
		if len(member.GetIdentityKey()) != KeySize || member.GetGeneration() == 0 ||
			member.GetRole() < pb.Role_ROLE_MEMBER || member.GetRole() > pb.Role_ROLE_OWNER {
			return Errorf(malformed, "a member lacks identity key, generation or role")
		}
	}
	return nil
}

// checkPlace checks that a commit follows on the head.
func (c *Chain) checkPlace(m *pb.Commit) error {
	if m.GetNumber() != c.state.GetNumber()+1 || !bytes.Equal(m.GetPrevious(), c.state.GetHead()) {
		return Errorf(staleHead, "somebody else committed first: the newest commit is number %d", c.state.GetNumber())
	}
	first := m.GetNumber() == 1
	if _, create := m.GetChange().(*pb.Commit_Create_); create != first {
		return Errorf(malformed, "only the first commit creates a conversation")
	}
	if first {
		if m.GetPreviousEpochKey() != nil {
			return Errorf(malformed, "the first commit has no epoch before it")
		}
		return nil
	}
	if m.GetSuite() != c.state.GetSuite() || m.GetKind() != c.state.GetKind() {
		return Errorf(forbidden, "a commit may not change suite or kind")
	}
	if s := m.GetPreviousEpochKey(); s != nil && (len(s.GetNonce()) != NonceSize || len(s.GetCiphertext()) != KeySize+tagSize) {
		return Errorf(malformed, "the sealed previous key has the wrong form")
	}
	return nil
}

// checkChange checks that the signer may make this change and that it has just this effect.
func (c *Chain) checkChange(m *pb.Commit, signer ID) error {
	switch change := m.GetChange().(type) {
	case *pb.Commit_Create_:
		return checkCreate(m, signer)
	case *pb.Commit_Rekey_:
		if _, ok := c.Member(signer); !ok {
			return Errorf(forbidden, "only a member may re-key")
		}
		return c.checkSameMembers(m)
	case *pb.Commit_SetLink_:
		by, ok := c.Member(signer)
		if !ok || by.GetRole() < pb.Role_ROLE_ADMIN {
			return Errorf(forbidden, "only an administrator may change invitation links")
		}
		if err := c.checkSetLink(m, change.SetLink); err != nil {
			return err
		}
		return c.checkSameMembers(m)
	case *pb.Commit_JoinByLink_:
		return c.checkJoin(m, signer, change.JoinByLink)
	case *pb.Commit_NewIdentity_:
		return c.checkNewIdentity(m, signer, change.NewIdentity)
	}
	return Errorf(unsupported, "this commit needs a newer Parley")
}

func checkCreate(m *pb.Commit, signer ID) error {
	switch m.GetKind() {
	case pb.ConversationKind_CONVERSATION_KIND_PAIR:
		if len(m.GetMembers()) != 2 {
			return Errorf(forbidden, "a pair has two members")
		}
		a, b := m.GetMembers()[0], m.GetMembers()[1]
		if PairID(ID(a.GetAccount()), ID(b.GetAccount())) != ID(m.GetConversation()) {
			return Errorf(forbidden, "the pair has a member that does not belong to it")
		}
		if a.GetRole() != pb.Role_ROLE_MEMBER || b.GetRole() != pb.Role_ROLE_MEMBER {
			return Errorf(forbidden, "a pair has no roles")
		}
		if !bytes.Equal(a.GetAccount(), signer[:]) && !bytes.Equal(b.GetAccount(), signer[:]) {
			return Errorf(forbidden, "the pair was made by somebody else")
		}
		return nil
	case pb.ConversationKind_CONVERSATION_KIND_GROUP:
		only := m.GetMembers()[0]
		if len(m.GetMembers()) != 1 || only.GetRole() != pb.Role_ROLE_OWNER || !bytes.Equal(only.GetAccount(), signer[:]) {
			return Errorf(forbidden, "a new group has its maker as owner and nobody else")
		}
		return nil
	case pb.ConversationKind_CONVERSATION_KIND_UNSPECIFIED:
	}
	return Errorf(unsupported, "this kind of conversation needs a newer Parley")
}

// checkSetLink checks the link that is added, replaced or revoked.
func (c *Chain) checkSetLink(m *pb.Commit, change *pb.Commit_SetLink) error {
	link := change.GetLink()
	if err := check32("a link key", link.GetLinkKey()); err != nil {
		return err
	}
	known := c.link(link.GetLinkKey()) != nil
	switch {
	case change.GetRevoke() && !known:
		return Errorf(malformed, "there is no such invitation link to revoke")
	case change.GetRevoke():
		return nil
	case !known && len(c.state.GetLinks()) >= MaxChainLinks:
		return Errorf(tooLarge, "a conversation has at most %d invitation links: revoke one", MaxChainLinks)
	case link.GetUses() == 0, link.GetUses() > MaxInvitationUses:
		return Errorf(malformed, "an invitation link has 1 to %d uses", MaxInvitationUses)
	case link.GetExpiresMs() <= m.GetTimeMs(), link.GetExpiresMs()-m.GetTimeMs() > uint64(MaxInvitationLife.Milliseconds()): //nolint:gosec // a positive constant
		return Errorf(malformed, "an invitation link lasts up to 365 days")
	}
	return nil
}

// checkSameMembers allows nothing but higher generations.
func (c *Chain) checkSameMembers(m *pb.Commit) error {
	if len(m.GetMembers()) != len(c.state.GetMembers()) {
		return Errorf(forbidden, "this commit may not change members")
	}
	for i, now := range m.GetMembers() {
		if !sameMember(c.state.GetMembers()[i], now) {
			return Errorf(forbidden, "this commit may not change members")
		}
	}
	return nil
}

func sameMember(before, now *pb.Member) bool {
	return bytes.Equal(before.GetAccount(), now.GetAccount()) && bytes.Equal(before.GetIdentityKey(), now.GetIdentityKey()) &&
		before.GetRole() == now.GetRole() && now.GetGeneration() >= before.GetGeneration()
}

func (c *Chain) checkJoin(m *pb.Commit, signer ID, change *pb.Commit_JoinByLink) error {
	if c.state.GetKind() != pb.ConversationKind_CONVERSATION_KIND_GROUP {
		return Errorf(forbidden, "nobody joins a pair")
	}
	link := c.link(change.GetLinkKey())
	switch {
	case link == nil:
		return Errorf(forbidden, "this invitation link is not one of the conversation's, or was revoked")
	case link.GetApproval():
		return Errorf(forbidden, "joining by this link wants an administrator's approval")
	case m.GetTimeMs() > link.GetExpiresMs():
		return Errorf(expired, "this invitation link has expired")
	case link.GetUses() == 0:
		return Errorf(usedUp, "this invitation link is used up")
	}
	join, err := OpenLinkJoin(change.GetLinkKey(), change.GetLinkJoin())
	if err != nil {
		return err
	}
	if !bytes.Equal(join.GetAccount(), signer[:]) || !bytes.Equal(join.GetConversation(), c.conversation[:]) {
		return Errorf(forbidden, "the invitation link vouches for somebody else")
	}
	if _, member := c.Member(signer); member {
		return Errorf(forbidden, "the joiner is a member already")
	}
	rest := make([]*pb.Member, 0, len(m.GetMembers()))
	for _, now := range m.GetMembers() {
		if !bytes.Equal(now.GetAccount(), signer[:]) {
			rest = append(rest, now)
			continue
		}
		if now.GetRole() != pb.Role_ROLE_MEMBER || !bytes.Equal(now.GetIdentityKey(), join.GetIdentityKey()) {
			return Errorf(forbidden, "the joiner takes another role or identity")
		}
	}
	if len(rest) != len(m.GetMembers())-1 {
		return Errorf(forbidden, "the joiner is not among the members")
	}
	return c.checkSameMembers(&pb.Commit{Members: rest})
}

// checkNewIdentity allows the other member of a pair, and nobody else, to take the identity key that an account was reset
// to. The key of the epoch before is not sealed to it: what was written until now stays closed to the new identity.
func (c *Chain) checkNewIdentity(m *pb.Commit, signer ID, change *pb.Commit_NewIdentity) error {
	account, err := IDFrom(change.GetAccount())
	if err != nil {
		return err
	}
	_, known := c.Member(account)
	_, member := c.Member(signer)
	switch {
	case c.state.GetKind() != pb.ConversationKind_CONVERSATION_KIND_PAIR:
		return Errorf(forbidden, "a new identity is taken in pairs only")
	case !known, !member:
		return Errorf(forbidden, "only a member takes a new identity, of a member")
	case account == signer:
		return Errorf(forbidden, "a new identity is taken by the other member of a pair, not by its own account")
	case m.GetPreviousEpochKey() != nil:
		return Errorf(forbidden, "what was before stays closed to a new identity: its commit holds no previous key")
	case len(m.GetMembers()) != len(c.state.GetMembers()):
		return Errorf(forbidden, "this commit may not change members")
	}
	for i, now := range m.GetMembers() {
		before := proto.CloneOf(c.state.GetMembers()[i])
		if ID(before.GetAccount()) == account {
			if bytes.Equal(before.GetIdentityKey(), now.GetIdentityKey()) || now.GetGeneration() <= before.GetGeneration() {
				return Errorf(forbidden, "a new identity has another identity key and a higher generation")
			}
			before.IdentityKey = now.GetIdentityKey()
		}
		if !sameMember(before, now) {
			return Errorf(forbidden, "this commit may not change members")
		}
	}
	return nil
}

func (c *Chain) link(key []byte) *pb.LinkGrant {
	for _, l := range c.state.GetLinks() {
		if bytes.Equal(l.GetLinkKey(), key) {
			return l
		}
	}
	return nil
}

// Apply moves the chain on by a commit that Check accepted for just this state.
func (c *Chain) Apply(commit *Commit) {
	s := c.state
	s.Kind, s.Suite, s.Number, s.Head = commit.GetKind(), commit.GetSuite(), commit.GetNumber(), commit.Hash[:]
	s.EpochKeyHash, s.Members = commit.GetEpochKeyHash(), commit.GetMembers()
	switch change := commit.GetChange().(type) {
	case *pb.Commit_SetLink_:
		link := change.SetLink.GetLink()
		s.Links = slices.DeleteFunc(s.GetLinks(), func(l *pb.LinkGrant) bool { return bytes.Equal(l.GetLinkKey(), link.GetLinkKey()) })
		if !change.SetLink.GetRevoke() {
			s.Links = append(s.Links, proto.CloneOf(link))
		}
	case *pb.Commit_JoinByLink_:
		if link := c.link(change.JoinByLink.GetLinkKey()); link != nil {
			link.Uses--
		}
	}
}

// Clone copies the chain.
func (c *Chain) Clone() *Chain {
	return &Chain{conversation: c.conversation, state: proto.CloneOf(c.state)}
}
