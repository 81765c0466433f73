package proto

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// FoldUserName returns the form under which a user name is unique: PRECIS UsernameCaseMapped
// (RFC 8265 §3.3). It refuses what docs/PROTOCOL.md §3.1 refuses, with code name_invalid.
func FoldUserName(name string) (string, error) {
	if len(name) > 4*MaxUserName {
		return "", Errorf(nameInvalid, "a user name has at most %d characters", MaxUserName)
	}
	folded, err := precis.UsernameCaseMapped.String(name)
	if err != nil {
		return "", Errorf(nameInvalid, "a user name has letters, digits, '.', '_' and '-' only, without spaces")
	}
	if n := utf8.RuneCountInString(folded); n < MinUserName || n > MaxUserName {
		return "", Errorf(nameInvalid, "a user name has %d to %d characters", MinUserName, MaxUserName)
	}
	for i, r := range folded {
		letter := unicode.IsLetter(r) || unicode.IsDigit(r)
		mark := unicode.Is(unicode.M, r)
		if i == 0 && !letter {
			return "", Errorf(nameInvalid, "a user name starts with a letter or a digit")
		}
		if !letter && !mark && r != '.' && r != '_' && r != '-' {
			return "", Errorf(nameInvalid, "a user name has letters, digits, '.', '_' and '-' only, without spaces")
		}
	}
	if !oneScript(folded) {
		return "", Errorf(nameInvalid, "a user name keeps to one script: letters of several look alike")
	}
	return folded, nil
}

// oneScript says whether all letters are of one script. Han, Hiragana, Katakana and Bopomofo count as
// one, and so do Han and Hangul (Unicode TS 39, "Highly Restrictive" without Latin).
func oneScript(s string) bool {
	seen := ""
	for _, r := range s {
		if !unicode.IsLetter(r) {
			continue
		}
		name := scriptOf(r)
		if seen != "" && seen != name {
			return false
		}
		seen = name
	}
	return true
}

func scriptOf(r rune) string {
	if unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Bopomofo, unicode.Hangul) || r == 'ー' {
		return "CJK"
	}
	for _, s := range []struct {
		name  string
		table *unicode.RangeTable
	}{{"Latin", unicode.Latin}, {"Cyrillic", unicode.Cyrillic}, {"Greek", unicode.Greek}} {
		if unicode.Is(s.table, r) {
			return s.name
		}
	}
	for name, table := range unicode.Scripts {
		if unicode.Is(table, r) {
			return name
		}
	}
	return "none"
}

// CleanNickname returns a nickname as it is kept: PRECIS Nickname (RFC 8266 §2), which trims and
// folds spaces but keeps case. Control, format and bidirectional characters are refused (code
// name_invalid); a joiner inside an emoji is kept.
func CleanNickname(name string) (string, error) {
	if len(name) > 16*MaxNickname || !utf8.ValidString(name) {
		return "", Errorf(nameInvalid, "a name has at most %d characters", MaxNickname)
	}
	var previous rune
	for i, r := range name {
		joins := r == '\u200d' && unicode.Is(unicode.So, previous) || r == '\u200d' && previous == '\ufe0f'
		if !joins && (unicode.Is(unicode.C, r) || r == '\u2028' || r == '\u2029') {
			return "", Errorf(nameInvalid, "the name has an invisible character at byte %d: take it out", i)
		}
		previous = r
	}
	name = strings.Join(strings.Fields(name), " ")
	if n := utf8.RuneCountInString(name); n < 1 || n > MaxNickname {
		return "", Errorf(nameInvalid, "a name has 1 to %d characters", MaxNickname)
	}
	return name, nil
}

// ServerHost is the host name that passwords and log-ins are bound to: that of the server's URL in
// lower case without port; every name of the own machine is "localhost".
func ServerHost(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Hostname() == "" {
		return "", Errorf(malformed, "%q is not a server address", rawURL)
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if ip := net.ParseIP(host); ip != nil {
		addr, _ := netip.AddrFromSlice(ip)
		if addr.Unmap().IsLoopback() {
			return "localhost", nil
		}
		return addr.Unmap().String(), nil
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return "localhost", nil
	}
	return host, nil
}
