package proto

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"testing/cryptotest"

	"google.golang.org/protobuf/proto"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// update writes testdata/vectors.json anew: go test ./proto -run TestVectors -update.
var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorsFile = "testdata/vectors.json"

// octets stand in the vectors as hexadecimal digits.
type octets []byte

func (o octets) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(o)), nil }

func (o *octets) UnmarshalText(text []byte) (err error) {
	*o, err = hex.DecodeString(string(text))
	return err
}

func octetList(fields [][]byte) []octets {
	out := make([]octets, 0, len(fields))
	for _, f := range fields {
		out = append(out, f)
	}
	return out
}

func byteList(fields []octets) [][]byte {
	out := make([][]byte, 0, len(fields))
	for _, f := range fields {
		out = append(out, f)
	}
	return out
}

// encode is a message as it stands in the vectors.
func encode(t *testing.T, m proto.Message) octets {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// decode reads what encode wrote.
func decode[M proto.Message](t *testing.T, b octets, m M) M {
	t.Helper()
	if err := Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// vectors are what the Go and the TypeScript code must agree on. Octets are hexadecimal; fields named
// after a message of the schema hold its serialised form. Everything needed to make or open an object
// stands beside it or under people.
type vectors struct {
	About        string             `json:"about"`
	People       []person           `json:"people"`
	Tuples       []tupleVector      `json:"tuples"`
	Derive       []deriveVector     `json:"derive"`
	Sign         []signVector       `json:"sign"`
	Seal         []sealVector       `json:"seal"`
	HPKE         []hpkeVector       `json:"hpke"`
	UserNames    []textVector       `json:"user_names"`
	Nicknames    []textVector       `json:"nicknames"`
	Hosts        []textVector       `json:"hosts"`
	Password     passwordVector     `json:"password"`
	Accounts     accountVectors     `json:"accounts"`
	Invitation   invitationVector   `json:"invitation"`
	Pair         chainVector        `json:"pair"`
	Group        chainVector        `json:"group"`
	Envelopes    []envelopeVector   `json:"envelopes"`
	Descriptions descriptionVectors `json:"descriptions"`
	LinkProof    linkProofVector    `json:"link_proof"`
	Fragments    fragmentVector     `json:"fragments"`
	Safety       []safetyVector     `json:"safety"`
	Recovery     recoveryVector     `json:"recovery"`
	Strengths    []strengthVector   `json:"strengths"`
	Settings     []settingVector    `json:"settings"`
	DeviceLink   deviceLinkVector   `json:"device_link"`
	Reset        resetVector        `json:"reset"`
	Negative     []negativeVector   `json:"negative"`
}

func readVectors(t *testing.T) *vectors {
	t.Helper()
	b, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	v := &vectors{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVectorsAreCurrent makes the vectors anew, from fixed seeds. It fails when the code makes other
// bytes than it did, also after a change of toolchain that draws other random numbers: then TestVectors
// says whether the old ones still hold.
func TestVectorsAreCurrent(t *testing.T) {
	b, err := json.MarshalIndent(buildVectors(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, '\n')
	if *update {
		if err := os.WriteFile(vectorsFile, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	old, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(old, b) {
		t.Error("testdata/vectors.json is not what the code makes: see go test ./proto -run TestVectors -update")
	}
}

func buildVectors(t *testing.T) *vectors {
	t.Helper()
	w := newWorld(t)
	v := &vectors{
		About: "Test vectors of docs/PROTOCOL.md. Octets are hexadecimal; what is named after a message is its protobuf " +
			"serialisation. Every entry of negative must be refused with its error.",
	}
	// Every part draws from a seed of its own, so that a change of one leaves the others alone.
	for i, part := range []func(*testing.T, *world, *vectors){
		buildPrimitives, buildNames, buildPassword, buildAccounts, buildInvitation, buildPair, buildGroup,
		buildEnvelopes, buildDescriptions, buildLinkProof, buildFragments, buildNegative, buildSafety, buildRecovery, buildSettings,
		buildDeviceLink, buildStrengths, buildReset,
	} {
		t.Run("", func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, uint64(i)+1)
			part(t, w, v)
		})
	}
	v.People = w.people()
	return v
}

func errorName(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := AsError(err)
	if !ok {
		t.Fatalf("an error without a code: %v", err)
	}
	return e.Name()
}

func member(p *person, generation uint32) MemberKey {
	key := p.AccountKey
	if generation > 1 {
		key = p.NextAccountKey
	}
	return MemberKey{Account: ID(p.Account), IdentityKey: p.IdentityKey, Generation: generation, AccountKey: key}
}

func signedOf(t *testing.T, b octets) *pb.Signed {
	t.Helper()
	return decode(t, b, &pb.Signed{})
}
