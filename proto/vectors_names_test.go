package proto

import (
	"strings"
	"testing"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// textVector is a text with its folded form, or the name of the error that it is refused with.
type textVector struct {
	In    string `json:"in"`
	Out   string `json:"out,omitempty"`
	Error string `json:"error,omitempty"`
}

type paramsVector struct {
	PasswordParams octets `json:"PasswordParams"`
	Error          string `json:"error,omitempty"`
}

type passwordVector struct {
	Password       string         `json:"password"`
	Host           string         `json:"host"`
	User           string         `json:"user"`
	PasswordParams octets         `json:"PasswordParams"`
	Salt           octets         `json:"salt"` // of Argon2id
	Auth           octets         `json:"auth"`
	Wrap           octets         `json:"wrap"`
	ServerSalt     octets         `json:"server_salt"`
	Stored         octets         `json:"stored"`
	Params         []paramsVector `json:"params"`
}

func buildTexts(t *testing.T, fold func(string) (string, error), in []string) []textVector {
	t.Helper()
	out := make([]textVector, 0, len(in))
	for _, s := range in {
		folded, err := fold(s)
		out = append(out, textVector{s, folded, errorName(t, err)})
	}
	return out
}

func buildNames(t *testing.T, _ *world, v *vectors) {
	t.Helper()
	v.UserNames = buildTexts(t, FoldUserName, userNames())
	v.Nicknames = buildTexts(t, CleanNickname, nicknames())
	v.Hosts = buildTexts(t, ServerHost, hosts())
}

func buildPassword(t *testing.T, _ *world, v *vectors) {
	t.Helper()
	p := &pb.PasswordParams{MemoryKib: 65536, Time: 3, Parallelism: 1, Salt: seeded("salt")[:16], Host: "chat.example"}
	// The password is decomposed and the name in capitals, to show that both are normalised.
	const password, user = "Blume\u0308n und Ba\u0308ume", "Ａlice"
	auth, wrap, err := PasswordSecrets(password, "chat.example", user, p)
	if err != nil {
		t.Fatal(err)
	}
	folded, err := FoldUserName(user)
	if err != nil {
		t.Fatal(err)
	}
	salt := Hash(LabelPassword, []byte("chat.example"), []byte(folded), p.GetSalt())
	serverSalt := seeded("server salt")[:16]
	stored := StoredAuth(serverSalt, auth)
	v.Password = passwordVector{
		Password: password, Host: "chat.example", User: user, PasswordParams: encode(t, p),
		Salt: salt[:], Auth: auth, Wrap: wrap, ServerSalt: serverSalt, Stored: stored[:],
	}
	for _, c := range passwordParams() {
		v.Password.Params = append(v.Password.Params, paramsVector{encode(t, c), errorName(t, CheckPasswordParams(c))})
	}
}

// passwordParams are parameters at and beyond every limit.
func passwordParams() []*pb.PasswordParams {
	with := func(change func(*pb.PasswordParams)) *pb.PasswordParams {
		p := &pb.PasswordParams{MemoryKib: 65536, Time: 3, Parallelism: 1, Salt: make([]byte, 16)}
		change(p)
		return p
	}
	return []*pb.PasswordParams{
		with(func(*pb.PasswordParams) {}),
		with(func(p *pb.PasswordParams) { p.MemoryKib = 65535 }),
		with(func(p *pb.PasswordParams) { p.MemoryKib = 1 << 20 }),
		with(func(p *pb.PasswordParams) { p.MemoryKib = 1<<20 + 1 }),
		with(func(p *pb.PasswordParams) { p.Time = 2 }),
		with(func(p *pb.PasswordParams) { p.Time = 16 }),
		with(func(p *pb.PasswordParams) { p.Time = 17 }),
		with(func(p *pb.PasswordParams) { p.Parallelism = 0 }),
		with(func(p *pb.PasswordParams) { p.Parallelism = 4 }),
		with(func(p *pb.PasswordParams) { p.Parallelism = 5 }),
		with(func(p *pb.PasswordParams) { p.Salt = make([]byte, 15) }),
		with(func(p *pb.PasswordParams) { p.Salt = make([]byte, 64) }),
		with(func(p *pb.PasswordParams) { p.Salt = make([]byte, 65) }),
	}
}

func userNames() []string {
	return []string{
		"alice", "Alice", "ALICE.b_c-1", "Ａｌｉｃｅ", "小明", "さくらカー", "山田タロー", "анна", "ΝΙΚΟΣ", "Straße", "Zoe\u0308", "สวัสดี", "42", "ali",
		"김철수", "ñandú", "שלום", "שלום1", "محمد", "1שלום", "שלום-", "ａ１＿－．", "小明_", "1小明", "alice_", strings.Repeat("a", 32),
		"", "a", strings.Repeat("a", 32) + "a", ".alice", "-alice", "_a", "al ice", "alice!", "al/ice", "аlice", "alicе", "小明abc", "김山",
		"admi\u0307n", "İstanbul", "ali\u200dce", "ali\u202ece", "a\u0301\u0301b", "١٢٣", "ab\u0661", "alice\u0000", "\u0e31\u0e31", "o\u02bcb", "1\u03012", "①②", "😀😀",
	}
}

func nicknames() []string {
	return []string{
		"Alice", "  Alice \u3000 Müller ", "小明 🌸", "ﬁne", "Ⅷ", "Ｗｉｄｅ", "👩‍💻", "👩🏽‍💻 dev", "❤️", "🏴‍☠️", "1️⃣", "e\u0301", "O'Brien (work)", "\u00a0x\u00a0",
		"\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", strings.Repeat("字", 64),
		"", "   ", strings.Repeat("字", 65), "a\u0000b", "a\tb", "a\nb", "a\u200db", "\u200d", "👩\u200d", "\u200d💻", "a\u200bb", "\u202eabc", "a\u2066b", "\ufeff", "\u3164", "\uffa0", "\u2800",
		"\u034f", "a\ufe0f\ufe0f", "\ufe0f", "\u2028", "\U000e0041", "\u0301a", "a\u00adb", "\ue000",
	}
}

func hosts() []string {
	return []string{
		"https://chat.example", "https://Chat.Example:8443/path?x#y", "https://chat.example./", "http://localhost:8080", "http://LOCALHOST",
		"http://a.localhost:1", "http://127.0.0.1:8080", "http://127.9.8.7", "http://[::1]:8080", "https://192.0.2.7", "https://[2001:DB8:0:0:0:0:0:7]:443",
		"http://[::ffff:127.0.0.1]", "https://[::ffff:192.0.2.7]/", "https://xn--bcher-kva.example", "https://a_b.example", "wss://chat.example/api/v1/socket",
		"", "chat.example", "https://", "https://bücher.example", "https://127.1", "https://chat.example.1", "https://a%20b.example", "://x",
	}
}
