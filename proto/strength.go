package proto

import (
	_ "embed"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The 5,000 most common passwords of at least four characters, as leaks have shown and zxcvbn (Dropbox, MIT licence) collects them.
//
//go:embed common_passwords.txt
var commonPasswords string

const (
	commonTail   = 4  // digits and signs behind a common password that do not make it another one
	aboutLeast   = 4  // characters of a name that count as one
	restLeast    = 6  // characters that a password has beside a name, at least
	lettersLeast = 4  // different characters
	jumpsLeast   = 5  // places where a character is not the one before, its neighbour or part of a repetition
	goodJumps    = 9  // from here on a password is good …
	strongJumps  = 13 // … and strong
)

// PasswordWeakness says why a password is too weak, as a program reads it.
type PasswordWeakness string

// Why a password is too weak.
const (
	PasswordFine    PasswordWeakness = ""
	PasswordShort   PasswordWeakness = "short"
	PasswordCommon  PasswordWeakness = "common"    // many people use it
	PasswordAboutMe PasswordWeakness = "about-you" // little more than a name that others know
	PasswordSimple  PasswordWeakness = "simple"    // a repetition or a row of neighbours
)

// CheckPassword refuses a new password that is too short, too long or easily guessed (code weak_parameters). about are names
// that others know: of the user, of the server.
func CheckPassword(password string, about ...string) error {
	if utf8.RuneCountInString(password) > MaxPassword || !utf8.ValidString(password) {
		return Errorf(weak, "a password has at most %d characters", MaxPassword)
	}
	switch WeaknessOf(password, about...) {
	case PasswordFine:
		return nil
	case PasswordCommon:
		return Errorf(weak, "this is one of the passwords that are tried first: take several words that do not belong together")
	case PasswordAboutMe:
		return Errorf(weak, "a password that is little more than a name is guessed soon: take several words that do not belong together")
	case PasswordSimple:
		return Errorf(weak, "repetitions and rows of neighbours are guessed soon: take several words that do not belong together")
	case PasswordShort:
	}
	return Errorf(weak, "a password has at least %d characters", MinPassword)
}

// WeaknessOf says why a password is easily guessed, PasswordFine if it is not (docs/PROTOCOL.md §3).
func WeaknessOf(password string, about ...string) PasswordWeakness {
	p := plainPassword(password)
	n := utf8.RuneCountInString(p)
	if n < MinPassword {
		return PasswordShort
	}
	if isCommon(p) || isCommon(unit(p)) {
		return PasswordCommon
	}
	for _, name := range about {
		name = plainPassword(name)
		if length := utf8.RuneCountInString(name); length >= aboutLeast && strings.Contains(p, name) && n-length*strings.Count(p, name) < restLeast {
			return PasswordAboutMe
		}
	}
	if distinct(p) < lettersLeast || jumps(p) < jumpsLeast {
		return PasswordSimple
	}
	return PasswordFine
}

// PasswordScore is 0 for a weak password, 1 for a fair one, 2 for a good and 3 for a strong one.
func PasswordScore(password string, about ...string) int {
	if WeaknessOf(password, about...) != PasswordFine {
		return 0
	}
	score := 1
	switch n := jumps(plainPassword(password)); {
	case n >= strongJumps:
		score = 3
	case n >= goodJumps:
		score = 2
	}
	return score
}

// plainPassword is what counts of a password: capitals make it no better.
func plainPassword(s string) string { return strings.ToLower(norm.NFC.String(s)) }

// isCommon also sees through some digits and signs before or behind a common password.
func isCommon(p string) bool {
	if inList(p) {
		return true
	}
	filler := func(r rune) bool { return !unicode.IsLetter(r) }
	core := strings.TrimFunc(p, filler)
	return utf8.RuneCountInString(p)-utf8.RuneCountInString(core) <= commonTail && inList(core)
}

func inList(p string) bool {
	return p != "" && !strings.ContainsRune(p, '\n') && strings.Contains("\n"+commonPasswords, "\n"+p+"\n")
}

// unit is the shortest text of which p is a repetition, p itself if it is none.
func unit(p string) string {
	r := []rune(p)
	for n := 1; n <= len(r)/2; n++ {
		if len(r)%n == 0 && strings.Repeat(string(r[:n]), len(r)/n) == p {
			return string(r[:n])
		}
	}
	return p
}

func distinct(p string) int {
	seen := make(map[rune]bool)
	for _, r := range p {
		seen[r] = true
	}
	return len(seen)
}

// jumps counts the places of the repeated unit where a character does not follow from the one before: it is neither the same
// nor its neighbour in the alphabet or on the keyboard. Han and other characters of large scripts count twice.
func jumps(p string) int {
	n := 0
	before := rune(-1)
	for _, r := range unit(p) {
		if before < 0 || !follows(before, r) {
			n++
			if r >= 0x2e80 { // CJK and beyond: thousands to choose from
				n++
			}
		}
		before = r
	}
	return n
}

// keyRows are those of the usual keyboards.
func keyRows() [6]string {
	return [6]string{"`1234567890-=", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./", "qwertzuiop", "azertyuiop"}
}

func follows(a, b rune) bool {
	if d := a - b; d >= -1 && d <= 1 {
		return true
	}
	for _, row := range keyRows() {
		i, j := strings.IndexRune(row, a), strings.IndexRune(row, b)
		if i >= 0 && j >= 0 && (i-j == 1 || j-i == 1) {
			return true
		}
	}
	return false
}
