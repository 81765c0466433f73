package proto

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

type strengthVector struct {
	Password string           `json:"password"`
	Weakness PasswordWeakness `json:"weakness,omitempty"`
	Score    int              `json:"score"`
}

// strengthAbout are the names that the vectors are judged beside.
var strengthAbout = []string{"mia", "Wang-Wei", "chat.example", ""}

var strengthSamples = map[string]PasswordWeakness{
	"": PasswordShort, "1234567": PasswordShort, "密码密码": PasswordShort,
	"password": PasswordCommon, "PassWord": PasswordCommon, "password1": PasswordCommon, "Password2026": PasswordCommon,
	"!!football!": PasswordCommon, "dragon1999": PasswordCommon, "dragondragon": PasswordCommon, "12345678": PasswordCommon,
	"qwertyuiop": PasswordCommon, "qwertyuiopqwertyuiop": PasswordCommon,
	"wang-wei": PasswordAboutMe, "Wang-Wei1987": PasswordAboutMe, "wang-weiwang-wei12": PasswordAboutMe, "chat.example!": PasswordAboutMe,
	"aaaaaaaaaaaaaaaa": PasswordSimple, "abcdefghijklmnop": PasswordSimple, "zyxwvutsrqpo": PasswordSimple, "xyxyxyxyxyxy": PasswordSimple,
	"abab-abab": PasswordSimple, "kx7kx7kx7kx7": PasswordSimple, "sdfghjklsdfghjkl": PasswordSimple, "密码密码密码密码": PasswordSimple,
	"correct horse battery": PasswordFine, "dragon938475620183": PasswordFine, "wang-wei likes tea": PasswordFine, "mia7#kQz": PasswordFine,
	"月亮船长绿茶": PasswordShort, "月亮船长绿茶书包": PasswordFine, "f3Qz9!kP": PasswordFine, "päron äpple": PasswordFine,
}

func buildStrengths(t *testing.T, _ *world, v *vectors) {
	t.Helper()
	for password := range strengthSamples {
		v.Strengths = append(v.Strengths, strengthVector{password, WeaknessOf(password, strengthAbout...), PasswordScore(password, strengthAbout...)})
	}
	slices.SortFunc(v.Strengths, func(a, b strengthVector) int { return strings.Compare(a.Password, b.Password) })
}

func checkStrengths(t *testing.T, v *vectors) {
	t.Helper()
	for _, c := range v.Strengths {
		if got := WeaknessOf(c.Password, strengthAbout...); got != c.Weakness || got != strengthSamples[c.Password] {
			t.Errorf("%q is %q, want %q", c.Password, got, c.Weakness)
		}
		if got := PasswordScore(c.Password, strengthAbout...); got != c.Score {
			t.Errorf("%q has score %d, want %d", c.Password, got, c.Score)
		}
	}
}

func TestCheckPassword(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("four words, or more ", MaxPassword/20+1)[:MaxPassword]
	for password, ok := range map[string]bool{
		"": false, "wrong staple\xff": false, "correct horse battery": true, long: true, long + "x": false, "12345678": false,
		"mountain tea": true, "mia.mia.mia.": false, strings.Repeat("x", MaxPassword): false,
	} {
		if err := CheckPassword(password, "mia."); (err == nil) != ok {
			t.Errorf("%.30q: %v", password, err)
		}
	}
}

func TestCommonPasswords(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(commonPasswords, "\n"), "\n")
	if len(lines) != 5000 || !slices.IsSorted(lines) {
		t.Errorf("%d lines, sorted: %v", len(lines), slices.IsSorted(lines))
	}
	for _, p := range lines {
		if utf8.RuneCountInString(p) < 4 || plainPassword(p) != p {
			t.Errorf("%q stands in the list", p)
		}
	}
}
