package storetest

import (
	"context"
	"crypto/ed25519"
	"slices"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/store"
)

// Conversation is a stored conversation with its chain.
type Conversation struct {
	ID     int64
	Public proto.ID
	Chain  *proto.Chain
	TimeMS uint64 // of commits that are made here; 0: 1

	owner *Person
}

// FirstCommit starts the pair of two people.
func (p *Person) FirstCommit(with *Person) *pb.CommitPost {
	return Must(proto.CreatePair(p.Signer(), p.MemberKey(), with.MemberKey(), nil))
}

// Prepare checks a commit as the relay does and moves the chain on.
func (p *Person) Prepare(chain *proto.Chain, post *pb.CommitPost) *store.NewCommit {
	p.t.Helper()
	commit, err := chain.CheckPost(post, Lookup(p.t, p.s))
	if err != nil {
		p.t.Fatal(err)
	}
	chain.Apply(commit)
	return &store.NewCommit{Commit: commit, Chain: Must(chain.MarshalBinary()), Grants: post.GetGrants()}
}

// Ask asks somebody to become a contact.
func (p *Person) Ask(who *Person) {
	p.t.Helper()
	if err := p.s.AskContact(p.t.Context(), p.Session.AccountID, who.Session.AccountID, "hello"); err != nil {
		p.t.Fatal(err)
	}
}

// Accept makes who asked a contact and returns their conversation.
func (p *Person) Accept(who *Person) *Conversation {
	p.t.Helper()
	chain := proto.NewChain(proto.PairID(p.ID, who.ID))
	if err := p.s.AcceptContact(p.t.Context(), p.Session.AccountID, who.Session.AccountID, p.Prepare(chain, p.FirstCommit(who))); err != nil {
		p.t.Fatal(err)
	}
	return p.conversation(chain)
}

func (p *Person) conversation(chain *proto.Chain) *Conversation {
	p.t.Helper()
	c, err := p.s.Conversation(p.t.Context(), chain.Conversation())
	if err != nil {
		p.t.Fatal(err)
	}
	return &Conversation{ID: c.ID, Public: c.Public, Chain: Must(proto.RestoreChain(c.Chain)), owner: p}
}

// Remove ends a contact or a request.
func (p *Person) Remove(who *Person) {
	p.t.Helper()
	if err := p.s.DeclineContact(p.t.Context(), p.Session.AccountID, who.Session.AccountID); err != nil {
		p.t.Fatal(err)
	}
}

// Befriend makes two people contacts.
func Befriend(a, b *Person) *Conversation {
	a.t.Helper()
	a.Ask(b)
	return b.Accept(a)
}

// NewGroup stores a group that p owns and is alone in.
func (p *Person) NewGroup() *Conversation {
	p.t.Helper()
	chain := proto.NewChain(proto.NewID())
	c := &Conversation{Public: chain.Conversation(), Chain: chain, owner: p}
	p.store(c, c.Change(p, &pb.Commit{Kind: pb.ConversationKind_CONVERSATION_KIND_GROUP, Change: &pb.Commit_Create_{Create: &pb.Commit_Create{}}}, p))
	return p.conversation(chain)
}

func (p *Person) store(c *Conversation, post *pb.CommitPost) *store.NewCommit {
	p.t.Helper()
	n := p.Prepare(c.Chain, post)
	if err := p.s.Commit(p.t.Context(), n); err != nil {
		p.t.Fatal(err)
	}
	return n
}

// Change makes a commit on the chain's head: change gives what is changed, members who is in it then. The
// owner of the conversation keeps that role, others are members.
func (c *Conversation) Change(by *Person, change *pb.Commit, members ...*Person) *pb.CommitPost {
	m := change
	m.Version, m.Suite, m.Conversation, m.Account, m.Device = proto.Version, proto.Suite, c.Public.Bytes(), by.ID.Bytes(), by.Device.ID.Bytes()
	if c.Chain.Epoch() > 0 {
		m.Kind = c.Chain.Kind()
	}
	m.Number, m.Previous = c.Chain.Epoch()+1, c.Chain.Head()
	m.Epoch = m.GetNumber()
	m.TimeMs = max(c.TimeMS, 1)
	key := proto.RandomKey()
	hash := proto.Hash(proto.LabelEpochKey, m.GetConversation(), proto.U64(m.GetEpoch()), key)
	m.EpochKeyHash = hash[:]
	members = slices.SortedFunc(slices.Values(members), func(a, b *Person) int { return a.ID.Compare(b.ID) })
	for _, p := range members {
		role := pb.Role_ROLE_MEMBER
		if p == c.owner && m.GetKind() == pb.ConversationKind_CONVERSATION_KIND_GROUP {
			role = pb.Role_ROLE_OWNER
		}
		m.Members = append(m.Members, &pb.Member{Account: p.ID.Bytes(), IdentityKey: public(p.Identity), Role: role, Generation: p.List.GetGeneration()})
	}
	signed := Must(proto.SignMessage(by.Sign, proto.LabelCommit, m))
	head := proto.CommitHash(signed.GetBody())
	post := &pb.CommitPost{Commit: signed}
	for _, p := range members {
		post.Grants = append(post.Grants, Must(proto.GrantEpochKey(p.MemberKey(), c.Public, m.GetEpoch(), head[:], key)))
	}
	return post
}

// Rekey makes a commit with a new epoch key.
func (c *Conversation) Rekey(by *Person, members ...*Person) *pb.CommitPost {
	return c.Change(by, &pb.Commit{Change: &pb.Commit_Rekey_{Rekey: &pb.Commit_Rekey{}}}, members...)
}

// Store stores a commit.
func (c *Conversation) Store(by *Person, post *pb.CommitPost) *store.NewCommit {
	by.t.Helper()
	return by.store(c, post)
}

// Link is the secret of an invitation link of a group.
type Link struct {
	Key     ed25519.PrivateKey
	Uses    uint32
	Expires uint64 // milliseconds
}

// NewLink makes the key of a link.
func NewLink(uses uint32, expires uint64) *Link { return &Link{signKey(), uses, expires} }

// SetLink makes the commit that adds a link.
func (c *Conversation) SetLink(by *Person, l *Link, members ...*Person) *pb.CommitPost {
	return c.Change(by, &pb.Commit{Change: &pb.Commit_SetLink_{SetLink: &pb.Commit_SetLink{Link: l.grant()}}}, members...)
}

// RevokeLink makes the commit that takes a link away.
func (c *Conversation) RevokeLink(by *Person, l *Link, members ...*Person) *pb.CommitPost {
	return c.Change(by, &pb.Commit{Change: &pb.Commit_SetLink_{SetLink: &pb.Commit_SetLink{Link: l.grant(), Revoke: true}}}, members...)
}

func (l *Link) grant() *pb.LinkGrant {
	return &pb.LinkGrant{LinkKey: public(l.Key), Uses: l.Uses, ExpiresMs: l.Expires}
}

// Join makes the commit by which somebody joins by a link; members are who is there before.
func (c *Conversation) Join(by *Person, l *Link, members ...*Person) *pb.CommitPost {
	vouched := Must(proto.SignMessage(l.Key, proto.LabelLinkJoin, &pb.LinkJoin{
		Account: by.ID.Bytes(), IdentityKey: public(by.Identity), Conversation: c.Public.Bytes(),
	}))
	return c.Change(by, &pb.Commit{Change: &pb.Commit_JoinByLink_{JoinByLink: &pb.Commit_JoinByLink{LinkJoin: vouched, LinkKey: public(l.Key)}}},
		append(slices.Clone(members), by)...)
}

// Header is that of the next envelope of a person's device.
func (p *Person) Header(c *Conversation, kind pb.Kind) *pb.Header {
	return p.HeaderBy(p.Device, c, kind)
}

// HeaderBy is that of one of a person's devices.
func (p *Person) HeaderBy(d *Device, c *Conversation, kind pb.Kind) *pb.Header {
	d.counters[c.Public]++
	h := &pb.Header{
		Version: proto.Version, Suite: proto.Suite, Conversation: c.Public.Bytes(), Epoch: c.Chain.Epoch(), Id: proto.NewID().Bytes(),
		Account: p.ID.Bytes(), Device: d.ID.Bytes(), Counter: d.counters[c.Public], TimeMs: 1, Kind: uint32(kind),
	}
	return h
}

// Envelope seals a text under some key.
func (d *Device) Envelope(h *pb.Header, text string) *pb.Envelope {
	content := &pb.Content{Kind: &pb.Content_Text_{Text: &pb.Content_Text{Body: text}}}
	switch pb.Kind(h.GetKind()) { //nolint:exhaustive // others are texts
	case pb.Kind_KIND_EDIT:
		content = &pb.Content{Kind: &pb.Content_Edit_{Edit: &pb.Content_Edit{Body: text}}}
	case pb.Kind_KIND_DELETE:
		content = &pb.Content{Kind: &pb.Content_Delete_{Delete: &pb.Content_Delete{}}}
	case pb.Kind_KIND_REACTION:
		content = &pb.Content{Kind: &pb.Content_Reaction_{Reaction: &pb.Content_Reaction{Emoji: text}}}
	}
	return Must(proto.SealEnvelope(proto.RandomKey(), h, content, d.Sign))
}

// Text is the envelope of a text by a person's first device.
func (p *Person) Text(c *Conversation, text string) *pb.Envelope {
	return p.Envelope(p.Header(c, pb.Kind_KIND_MESSAGE), text)
}

// Post is an envelope as it is stored.
func (p *Person) Post(c *Conversation, e *pb.Envelope) *store.Post {
	h := &pb.Header{}
	if err := proto.Unmarshal(e.GetHeader(), h); err != nil {
		p.t.Fatal(err)
	}
	hash := proto.EnvelopeHash(e)
	return &store.Post{
		Conversation: c.ID, Account: p.Session.AccountID, Device: p.Session.DeviceID, ID: proto.ID(h.GetId()), Epoch: h.GetEpoch(), Counter: h.GetCounter(),
		Kind: h.GetKind(), Counts: h.GetKind() < 64, Header: e.GetHeader(), Ciphertext: e.GetCiphertext(), CiphertextHash: proto.CiphertextHash(e),
		Signature: e.GetSignature(), Hash: hash[:], ReplacesDevice: h.GetReplaces().GetDevice(), ReplacesID: h.GetReplaces().GetId(),
	}
}

// Public is the link's key as the chain has it.
func (l *Link) Public() ed25519.PublicKey { return public(l.Key) }

// Posts stores posts and waits until they are durable.
func Posts(ctx context.Context, s *store.Store, posts []*store.Post) error {
	done := make(chan error, 1)
	if err := s.Posts(ctx, posts, func(err error) { done <- err }); err != nil {
		return err
	}
	return <-done
}
