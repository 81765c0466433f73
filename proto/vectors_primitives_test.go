package proto

import (
	"bytes"
	"testing"
)

type tupleVector struct {
	Label  string   `json:"label"`
	Fields []octets `json:"fields"`
	Tuple  octets   `json:"tuple"`
	Hash   octets   `json:"hash"`
}

type deriveVector struct {
	Key    octets   `json:"key"`
	Label  string   `json:"label"`
	Fields []octets `json:"fields"`
	Out    octets   `json:"out"`
}

type signVector struct {
	Seed      octets   `json:"seed"`
	Key       octets   `json:"key"`
	Label     string   `json:"label"`
	Fields    []octets `json:"fields"`
	Signature octets   `json:"signature"`
}

type sealVector struct {
	Key       octets   `json:"key"`
	Label     string   `json:"label"`
	Fields    []octets `json:"fields"`
	Plaintext octets   `json:"plaintext"`
	Sealed    octets   `json:"Sealed"`
}

type hpkeVector struct {
	PrivateKey octets `json:"private_key"`
	PublicKey  octets `json:"public_key"`
	Info       octets `json:"info"`
	Plaintext  octets `json:"plaintext"`
	Enc        octets `json:"enc"`
	Ciphertext octets `json:"ciphertext"`
}

func buildPrimitives(t *testing.T, w *world, v *vectors) {
	t.Helper()
	for _, c := range []struct {
		label  string
		fields [][]byte
	}{
		{LabelAuth, nil},
		{LabelEpochKey, [][]byte{{}}},
		{LabelCommit, [][]byte{[]byte("a"), {}, []byte("bc")}},
		{LabelGrant, [][]byte{U32(1), U64(1 << 40), bytes.Repeat([]byte{0xff}, 300)}},
	} {
		hash := Hash(c.label, c.fields...)
		v.Tuples = append(v.Tuples, tupleVector{c.label, octetList(c.fields), Tuple(c.label, c.fields...), hash[:]})
		key := seeded("derive", c.label)
		v.Derive = append(v.Derive, deriveVector{key, c.label, octetList(c.fields), Derive(key, c.label, c.fields...)})
		v.Sign = append(v.Sign, signVector{
			w.alice.SignSeed, w.alice.SignKey, c.label, octetList(c.fields), Sign(w.alice.key(), c.label, c.fields...),
		})
		sealed, err := SealBytes(key, []byte("sealed text"), c.label, c.fields...)
		if err != nil {
			t.Fatal(err)
		}
		v.Seal = append(v.Seal, sealVector{key, c.label, octetList(c.fields), []byte("sealed text"), encode(t, sealed)})
	}
	for _, plaintext := range [][]byte{{}, seeded("hpke")} {
		info := Tuple(LabelGrant, plaintext)
		enc, ciphertext, err := SealTo(w.bob.SealKey, info, plaintext)
		if err != nil {
			t.Fatal(err)
		}
		v.HPKE = append(v.HPKE, hpkeVector{w.bob.SealPrivate, w.bob.SealKey, info, plaintext, enc, ciphertext})
	}
}

type fragmentVector struct {
	About  string     `json:"about"`
	Size   int        `json:"size"`
	Sum    octets     `json:"sha256"` // of the frame
	Pieces []fragment `json:"pieces"`
}

type fragment struct {
	Size int    `json:"size"`
	More byte   `json:"more"`
	Sum  octets `json:"sha256"`
}

// longFrame is the frame that the vector cuts: octet i is 7i mod 251.
func longFrame() []byte {
	frame := make([]byte, 40_000)
	for i := range frame {
		frame[i] = byte(7 * i % 251)
	}
	return frame
}

func buildFragments(_ *testing.T, _ *world, v *vectors) {
	frame := longFrame()
	v.Fragments = fragmentVector{About: "octet i of the frame is 7*i mod 251", Size: len(frame), Sum: sum(frame)}
	for _, p := range Fragments(frame) {
		v.Fragments.Pieces = append(v.Fragments.Pieces, fragment{len(p), p[0], sum(p)})
	}
}
