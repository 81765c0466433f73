package proto

import (
	"strings"
	"testing"
)

type safetyVector struct {
	A      string `json:"a"` // names of people
	B      string `json:"b"`
	Number string `json:"number"`
	Text   string `json:"text"`
}

type recoveryVector struct {
	Code  string       `json:"code"`
	Host  string       `json:"host"`
	Auth  octets       `json:"auth"`
	Wrap  octets       `json:"wrap"`
	Typed []textVector `json:"typed"` // out: the code as it is written down
	Bytes octets       `json:"bytes"` // of the code, without its checksum
}

func buildSafety(t *testing.T, w *world, v *vectors) {
	t.Helper()
	for _, pair := range [][2]*person{{w.alice, w.bob}, {w.bob, w.alice}, {w.alice, w.carol}} {
		number, err := SafetyNumber(pair[0].safetyEnd(), pair[1].safetyEnd())
		if err != nil {
			t.Fatal(err)
		}
		v.Safety = append(v.Safety, safetyVector{pair[0].Name, pair[1].Name, number, SafetyText(number)})
	}
}

func (p *person) safetyEnd() SafetyEnd { return SafetyEnd{ID(p.Account), p.IdentityKey} }

func buildRecovery(t *testing.T, _ *world, v *vectors) {
	t.Helper()
	c := NewRecoveryCode()
	for !strings.Contains(c.String(), "o") || !strings.Contains(c.String(), "l") || !strings.Contains(c.String(), "b") {
		c = NewRecoveryCode() // one with letters that look like digits
	}
	code := c.String()
	auth, wrap := c.Secrets("chat.example")
	wrong := "a" + code[1:]
	if wrong == code {
		wrong = "b" + code[1:]
	}
	v.Recovery = recoveryVector{Code: code, Host: "chat.example", Auth: auth, Wrap: wrap, Bytes: c.secret[:]}
	for _, typed := range []string{
		code, strings.ToUpper(code), strings.ReplaceAll(code, "-", ""), strings.ReplaceAll(code, "-", " — "),
		strings.NewReplacer("o", "0", "l", "1", "b", "8").Replace(code), "\u3000" + code + "\n",
		wrong, code[:len(code)-1], code + "a", strings.Replace(code, code[:1], "9", 1), "", "恢复码",
	} {
		parsed, err := ParseRecoveryCode(typed)
		out := ""
		if err == nil {
			out = parsed.String()
		}
		v.Recovery.Typed = append(v.Recovery.Typed, textVector{In: typed, Out: out, Error: errorName(t, err)})
	}
}

func checkSafety(t *testing.T, v *vectors) {
	t.Helper()
	people := make(map[string]SafetyEnd)
	for _, p := range v.People {
		people[p.Name] = p.safetyEnd()
	}
	for _, c := range v.Safety {
		number, err := SafetyNumber(people[c.A], people[c.B])
		if err != nil || number != c.Number || SafetyText(number) != c.Text {
			t.Errorf("%s and %s: %q, %v", c.A, c.B, number, err)
		}
	}
	if v.Safety[0].Number != v.Safety[1].Number || v.Safety[0].Number == v.Safety[2].Number {
		t.Error("a safety number depends on the order, or not on the people")
	}
}

func checkRecovery(t *testing.T, v *vectors) {
	t.Helper()
	for _, c := range v.Recovery.Typed {
		parsed, err := ParseRecoveryCode(c.In)
		if name := errorName(t, err); name != c.Error {
			t.Errorf("%q: %v", c.In, err)
		}
		if err == nil && parsed.String() != c.Out {
			t.Errorf("%q became %q", c.In, parsed)
		}
	}
	c, err := ParseRecoveryCode(v.Recovery.Code)
	if err != nil {
		t.Fatal(err)
	}
	auth, wrap := c.Secrets(v.Recovery.Host)
	if string(auth) != string(v.Recovery.Auth) || string(wrap) != string(v.Recovery.Wrap) || string(c.secret[:]) != string(v.Recovery.Bytes) {
		t.Error("other secrets")
	}
}

func TestMatchSafety(t *testing.T) {
	number, err := SafetyNumber(SafetyEnd{NewID(), RandomKey()}, SafetyEnd{NewID(), RandomKey()})
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Map(func(r rune) rune {
		if r == ' ' {
			return r
		}
		return '0' + (r-'0'+1)%10
	}, number)
	for text, want := range map[string]bool{
		number: true, SafetyText(number): true, " " + strings.ReplaceAll(number, " ", "\n"): true, other: false,
	} {
		if got, err := MatchSafety(number, text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", number[1:], number + "1", "https://chat.example/i/abc#def", strings.Replace(number, " ", "x", 1)} {
		if _, err := MatchSafety(number, text); err == nil {
			t.Errorf("%q passes for a safety number", text)
		}
	}
	if _, err := SafetyNumber(SafetyEnd{NewID(), nil}, SafetyEnd{NewID(), RandomKey()}); err == nil {
		t.Error("a number of nobody's key")
	}
}
