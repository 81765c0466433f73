package proto

import (
	"crypto/ed25519"
	"crypto/subtle"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// Commit is a commit that Chain.Check accepted.
type Commit struct {
	*pb.Commit
	Hash   [HashSize]byte
	Signed *pb.Signed
}

// CommitHash identifies a commit's exact body.
func CommitHash(body []byte) [HashSize]byte { return Hash(LabelCommitHash, body) }

// Signer is the device that makes a commit.
type Signer struct {
	Account, Device ID
	Key             ed25519.PrivateKey
	TimeMS          uint64
}

// MemberKey is what a commit needs of a member: who they are and what to seal the epoch key to.
type MemberKey struct {
	Account     ID
	IdentityKey []byte
	Generation  uint32
	AccountKey  []byte // X25519 public key of Generation
}

// CreatePair makes the first commit of two accounts with its grants. join is the proof of an
// invitation, nil without one.
func CreatePair(by Signer, a, b MemberKey, join *pb.Signed) (*pb.CommitPost, error) {
	members := []MemberKey{a, b}
	return post(by, &pb.Commit{
		Conversation: PairID(a.Account, b.Account).Bytes(), Kind: pb.ConversationKind_CONVERSATION_KIND_PAIR, Number: 1,
		Change: &pb.Commit_Create_{Create: &pb.Commit_Create{LinkJoin: join}},
	}, members, func(ID) pb.Role { return pb.Role_ROLE_MEMBER }, nil)
}

// Rekey makes a commit that changes nothing but the epoch key. keys are all members with their newest
// account keys; previous is the epoch key in force, which new members of the epoch can reach through it.
func Rekey(by Signer, c *Chain, keys []MemberKey, previous []byte) (*pb.CommitPost, error) {
	return post(by, c.next(&pb.Commit{Change: &pb.Commit_Rekey_{Rekey: &pb.Commit_Rekey{}}}), keys, func(id ID) pb.Role {
		m, _ := c.Member(id)
		return m.GetRole()
	}, previous)
}

// TakeIdentity makes the commit of a pair by which the signer takes the identity key that the other account was reset to.
// keys are as those of Rekey, with the new identity. The new identity cannot reach the epochs before.
func TakeIdentity(by Signer, c *Chain, account ID, keys []MemberKey) (*pb.CommitPost, error) {
	change := &pb.Commit_NewIdentity_{NewIdentity: &pb.Commit_NewIdentity{Account: account.Bytes()}}
	return post(by, c.next(&pb.Commit{Change: change}), keys, func(ID) pb.Role { return pb.Role_ROLE_MEMBER }, nil)
}

// next fills in what follows from the chain.
func (c *Chain) next(commit *pb.Commit) *pb.Commit {
	commit.Conversation, commit.Kind = c.conversation.Bytes(), c.state.GetKind()
	commit.Number, commit.Previous = c.state.GetNumber()+1, c.state.GetHead()
	return commit
}

func post(by Signer, commit *pb.Commit, members []MemberKey, role func(ID) pb.Role, previous []byte) (*pb.CommitPost, error) {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b MemberKey) int { return a.Account.Compare(b.Account) })
	key := RandomKey()
	commit.Version, commit.Suite, commit.Epoch = Version, Suite, commit.GetNumber()
	commit.Account, commit.Device, commit.TimeMs = by.Account.Bytes(), by.Device.Bytes(), by.TimeMS
	hash := epochKeyHash(commit.GetConversation(), commit.GetEpoch(), key)
	commit.EpochKeyHash = hash[:]
	for _, m := range members {
		commit.Members = append(commit.Members, &pb.Member{
			Account: m.Account.Bytes(), IdentityKey: m.IdentityKey, Role: role(m.Account), Generation: m.Generation,
		})
	}
	if previous != nil {
		sealed, err := sealPrevious(key, previous, commit.GetConversation(), commit.GetEpoch()-1)
		if err != nil {
			return nil, err
		}
		commit.PreviousEpochKey = sealed
	}
	signed, err := SignMessage(by.Key, LabelCommit, commit)
	if err != nil {
		return nil, err
	}
	head := CommitHash(signed.GetBody())
	out := &pb.CommitPost{Commit: signed}
	for _, m := range members {
		grant, err := GrantEpochKey(m, ID(commit.GetConversation()), commit.GetEpoch(), head[:], key)
		if err != nil {
			return nil, err
		}
		out.Grants = append(out.Grants, grant)
	}
	return out, nil
}

func epochKeyHash(conversation []byte, epoch uint64, key []byte) [HashSize]byte {
	return Hash(LabelEpochKey, conversation, U64(epoch), key)
}

func sealPrevious(key, previous, conversation []byte, epoch uint64) (*pb.Sealed, error) {
	return SealBytes(Derive(key, LabelHistory, conversation, U64(epoch)), previous, LabelHistory, conversation, U64(epoch))
}

// GrantEpochKey seals an epoch key to a member.
func GrantEpochKey(to MemberKey, conversation ID, epoch uint64, commit, key []byte) (*pb.Grant, error) {
	enc, ciphertext, err := SealTo(to.AccountKey, grantInfo(conversation, epoch, commit, to.Account, to.Generation), key)
	if err != nil {
		return nil, err
	}
	return &pb.Grant{Account: to.Account.Bytes(), Generation: to.Generation, Enc: enc, Ciphertext: ciphertext}, nil
}

func grantInfo(conversation ID, epoch uint64, commit []byte, account ID, generation uint32) []byte {
	return Tuple(LabelGrant, conversation[:], U64(epoch), commit, account[:], U32(generation))
}

// OpenGrant opens the account's grant of a commit with the account key of its generation. A key that
// the commit does not name is refused: only members make keys, never the server.
func OpenGrant(accountKey []byte, account ID, c *Commit, g *pb.Grant) ([]byte, error) {
	return openGrant(accountKey, account, ID(c.GetConversation()), c.GetEpoch(), c.Hash[:], c.GetEpochKeyHash(), g)
}

func openGrant(accountKey []byte, account, conversation ID, epoch uint64, commit, keyHash []byte, g *pb.Grant) ([]byte, error) {
	key, err := OpenFrom(accountKey, g.GetEnc(), grantInfo(conversation, epoch, commit, account, g.GetGeneration()), g.GetCiphertext())
	if err != nil {
		return nil, err
	}
	if err := checkEpochKey(conversation[:], epoch, key, keyHash); err != nil {
		return nil, err
	}
	return key, nil
}

func checkEpochKey(conversation []byte, epoch uint64, key, want []byte) error {
	if err := check32("an epoch key", key); err != nil {
		return err
	}
	hash := epochKeyHash(conversation, epoch, key)
	if subtle.ConstantTimeCompare(hash[:], want) != 1 {
		return Errorf(badSignature, "the key is not the one that the commit of epoch %d names", epoch)
	}
	return nil
}

// CheckEpochKey says whether a key is that of the epoch that the commit starts (code bad_signature).
func (c *Commit) CheckEpochKey(key []byte) error {
	return checkEpochKey(c.GetConversation(), c.GetEpoch(), key, c.GetEpochKeyHash())
}

// OpenPreviousEpochKey opens the key of the epoch before a commit with the key of its own. Whoever
// committed may have sealed a wrong one: the caller uses it only after CheckEpochKey of the commit
// before accepts it.
func OpenPreviousEpochKey(key []byte, c *Commit) ([]byte, error) {
	epoch := c.GetEpoch() - 1
	older, err := OpenBytes(Derive(key, LabelHistory, c.GetConversation(), U64(epoch)), c.GetPreviousEpochKey(), LabelHistory,
		c.GetConversation(), U64(epoch))
	if err != nil {
		return nil, err
	}
	if err := check32("an epoch key", older); err != nil {
		return nil, err
	}
	return older, nil
}

// checkGrants says whether a post has one grant of the right form for every member and none else.
func checkGrants(c *pb.Commit, grants []*pb.Grant) error {
	if len(grants) != len(c.GetMembers()) {
		return Errorf(malformed, "a commit needs one grant for each of its %d members, not %d", len(c.GetMembers()), len(grants))
	}
	granted := make(map[string]uint32, len(grants))
	for _, g := range grants {
		if err := CheckGrant(g); err != nil {
			return err
		}
		granted[string(g.GetAccount())] = g.GetGeneration()
	}
	for _, m := range c.GetMembers() {
		if granted[string(m.GetAccount())] != m.GetGeneration() { // never 0
			return Errorf(malformed, "a commit lacks a grant for a member")
		}
	}
	return nil
}

// CheckGrant checks a grant's form. Whether it opens, only its receiver can say.
func CheckGrant(g *pb.Grant) error {
	if _, err := IDFrom(g.GetAccount()); err != nil {
		return err
	}
	if g.GetGeneration() == 0 || len(g.GetEnc()) != KeySize || len(g.GetCiphertext()) != KeySize+tagSize {
		return Errorf(malformed, "a grant lacks generation, encapsulated key or sealed key")
	}
	return nil
}

// CheckPost checks a commit with its grants as the relay does before it stores them.
func (c *Chain) CheckPost(p *pb.CommitPost, lookup Lookup) (*Commit, error) {
	commit, err := c.Check(p.GetCommit(), lookup)
	if err != nil {
		return nil, err
	}
	if err := checkGrants(commit.Commit, p.GetGrants()); err != nil {
		return nil, err
	}
	return commit, nil
}

func marshal(what string, m proto.Message) ([]byte, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return b, nil
}
