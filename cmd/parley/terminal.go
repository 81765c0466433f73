package main

import (
	"strings"
	"unicode"
)

// What others wrote is shown on a terminal only through text and line: control characters could move the cursor, change the
// title or paste into the shell, and characters that turn the direction of writing could make one name look like another.

// line makes a name or an error safe to show within one line.
func line(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return visible(r)
	}, s)
}

// text makes a message safe to show. Its second and later lines are indented, so that none looks like a message of its own.
func text(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return visible(r)
	}, s)
	return strings.ReplaceAll(s, "\n", "\n    ")
}

func visible(r rune) rune {
	switch {
	case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r), unicode.Is(unicode.Bidi_Control, r):
		return unicode.ReplacementChar
	}
	return r
}
