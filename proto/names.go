package proto

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/bidirule"
	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// FoldUserName returns the form under which a user name is unique: PRECIS UsernameCaseMapped
// (RFC 8265 §3.3). It refuses what docs/PROTOCOL.md §3.1 refuses, with code name_invalid.
func FoldUserName(name string) (string, error) {
	if len(name) > 4*MaxUserName {
		return "", Errorf(nameInvalid, "a user name has at most %d characters", MaxUserName)
	}
	// The library's own UsernameCaseMapped applies the bidi rule (RFC 5893) to every name that is not
	// ASCII, where RFC 8265 wants it for names with right-to-left letters only.
	profile := precis.NewIdentifier(precis.FoldWidth, precis.LowerCase(), precis.Norm(norm.NFC))
	folded, err := profile.String(name)
	if err == nil && bidirule.DirectionString(folded) == bidi.RightToLeft && !bidirule.ValidString(folded) {
		return "", Errorf(nameInvalid, "a user name that is read from the right begins with a letter and ends with a letter or digit")
	}
	if err != nil {
		return "", Errorf(nameInvalid, "a user name has letters, digits, '.', '_' and '-' only, without spaces")
	}
	if n := utf8.RuneCountInString(folded); n < MinUserName || n > MaxUserName {
		return "", Errorf(nameInvalid, "a user name has %d to %d characters", MinUserName, MaxUserName)
	}
	for i, r := range folded {
		letter := unicode.IsLetter(r) || '0' <= r && r <= '9'
		if i == 0 && !letter {
			return "", Errorf(nameInvalid, "a user name starts with a letter or a digit")
		}
		if !letter && !ownMark(r) && r != '.' && r != '_' && r != '-' {
			return "", Errorf(nameInvalid, "a user name has letters, digits, '.', '_' and '-' only, without spaces")
		}
	}
	if !oneScript(folded) {
		return "", Errorf(nameInvalid, "a user name keeps to one script: letters of several look alike")
	}
	return folded, nil
}

// ownMark says whether r is a vowel sign or the like that belongs to a script. Accents that fit any
// letter and were not composed by NFC are none: "i" with another dot looks like "i".
func ownMark(r rune) bool { return unicode.Is(unicode.M, r) && !unicode.Is(unicode.Inherited, r) }

// oneScript says whether all letters and marks are of one script, where Han, Hiragana and Katakana
// count as one.
func oneScript(s string) bool {
	seen := ""
	for _, r := range s {
		if !unicode.IsLetter(r) && !ownMark(r) {
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

// scriptOf names a letter's script. Each rune has exactly one in the table.
func scriptOf(r rune) string {
	const japanese = "Han, Hiragana, Katakana"
	if r == 'ー' || unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana) { // the long vowel mark is of no script
		return japanese
	}
	if unicode.Is(unicode.Latin, r) {
		return "Latin"
	}
	for name, table := range unicode.Scripts {
		if unicode.Is(table, r) {
			return name
		}
	}
	return ""
}

// CleanNickname returns a nickname as it is kept: as PRECIS Nickname (RFC 8266 §2.3) enforces it, in NFKC
// with single spaces, case kept, but with the joiners that emoji need. Control, format, bidirectional and
// other invisible characters are refused (code name_invalid).
func CleanNickname(name string) (string, error) {
	if len(name) > 16*MaxNickname || !utf8.ValidString(name) {
		return "", Errorf(nameInvalid, "a name has 1 to %d characters", MaxNickname)
	}
	if err := checkVisible(name); err != nil {
		return "", err
	}
	name = strings.Join(strings.Fields(norm.NFKC.String(name)), " ")
	if err := checkVisible(name); err != nil {
		return "", err
	}
	if n := utf8.RuneCountInString(name); n < 1 || n > MaxNickname {
		return "", Errorf(nameInvalid, "a name has 1 to %d characters", MaxNickname)
	}
	if first, _ := utf8.DecodeRuneInString(name); unicode.Is(unicode.M, first) {
		return "", Errorf(nameInvalid, "a name does not start with an accent")
	}
	return name, nil
}

const (
	joiner         = '\u200d'
	emojiStyle     = '\ufe0f' // variation selector 16
	blankPattern   = '\u2800' // Braille without dots
	firstSkinTone  = '\U0001f3fb'
	lastSkinTone   = '\U0001f3ff'
	lineSeparator  = '\u2028'
	paragraphBreak = '\u2029'
)

// checkVisible refuses characters that show nothing, hide or reorder others.
func checkVisible(name string) error {
	runes := []rune(name)
	for i, r := range runes {
		ok := !unicode.In(r, unicode.C, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) &&
			r != lineSeparator && r != paragraphBreak && r != blankPattern
		switch r {
		case joiner:
			ok = i > 0 && joins(runes[i-1]) && i+1 < len(runes) && unicode.Is(unicode.So, runes[i+1])
		case emojiStyle:
			ok = i > 0 && !unicode.In(runes[i-1], unicode.Z, unicode.Variation_Selector)
		}
		if !ok {
			return Errorf(nameInvalid, "character %d of the name is invisible: take it out", i+1)
		}
	}
	return nil
}

// joins says whether r can end the first half of a joined emoji.
func joins(r rune) bool {
	return unicode.Is(unicode.So, r) || r == emojiStyle || firstSkinTone <= r && r <= lastSkinTone
}
