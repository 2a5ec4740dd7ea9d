// Package shown is how people get to see what came from elsewhere: texts of a record, a registry or
// a broker, which may hold anything, and numbers of any size. What is shown cannot move a cursor,
// turn its surroundings around, hide something or pass for a row of a table. What programs read is
// exact instead: see JSON.
package shown

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// maxMarks is how many combining marks one sign may have, as scripts in use need them. More of
// them would climb over the lines above.
const maxMarks = 4

// Text returns s as it is if all of it is seen: letters, digits and other signs, with single blanks
// between them. Anything else is quoted, see Quote, and so is what looks like a quoted text: no two
// texts are shown alike.
func Text(s string) string {
	plain := s != "" && s[0] != '"' && s[0] != ' ' && s[len(s)-1] != ' ' && !strings.Contains(s, "  ")
	for _, seen := range signs(s) {
		plain = plain && seen
	}
	if plain {
		return s
	}
	return Quote(s)
}

// Quote returns s between double quotes, as Go writes a string, with an escape for all that is not
// seen: control, format and invisible characters, unusual blanks, what is not assigned, bytes that
// are no UTF-8, and marks without a sign to stand on.
func Quote(s string) string {
	b := append(make([]byte, 0, len(s)+2), '"')
	for sign, seen := range signs(s) {
		switch {
		case sign == `"` || sign == `\`:
			b = append(append(b, '\\'), sign...)
		case seen:
			b = append(b, sign...)
		default:
			b = appendEscape(b, sign)
		}
	}
	return string(append(b, '"'))
}

// Err is an error for a line of the log: Text of it, which costs nothing where the line is not
// written.
func Err(err error) fmt.Stringer { return lazily{err} }

type lazily struct{ err error }

func (l lazily) String() string { return Text(l.err.Error()) }

// Lines returns a text of several lines, such as an error or the end of a log, with an escape for
// all that is not seen. Line breaks stay.
func Lines(s string) string {
	var b []byte
	for sign, seen := range signs(s) {
		if seen || sign == "\n" {
			b = append(b, sign...)
		} else {
			b = appendEscape(b, sign)
		}
	}
	return string(b)
}

// JSON returns a JSON document that says the same, in which all that is not seen is an escape: it can
// be printed on a terminal, and nothing of the data is lost.
func JSON(document []byte) []byte {
	b := make([]byte, 0, len(document))
	for sign, seen := range signs(string(document)) {
		r, _ := utf8.DecodeRuneInString(sign)
		switch {
		case seen || r < ' ': // which is between the values, and not in them
			b = append(b, sign...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return b
}

// signs goes through a text, sign by sign: bytes that are no UTF-8 are one each. It says of each
// whether it is seen.
func signs(s string) func(yield func(sign string, seen bool) bool) {
	return func(yield func(string, bool) bool) {
		room := 0 // for marks, on the sign before
		for len(s) > 0 {
			r, size := utf8.DecodeRuneInString(s)
			sees := isSeen(r) && (r != utf8.RuneError || size > 1)
			switch {
			case sees && unicode.Is(unicode.M, r):
				sees = room > 0
				room--
			case sees && r != ' ' && r != '"':
				room = maxMarks
			default:
				room = 0
			}
			if !yield(s[:size], sees) {
				return
			}
			s = s[size:]
		}
	}
}

// blank are signs that count as printed, and show nothing.
var blank = []rune{0x2800, 0x1d159} // a Braille cell without dots, a musical head without ink

func isSeen(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= ' ' && r < 0x7f
	}
	return unicode.IsPrint(r) && !slices.Contains(blank, r) &&
		!unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

func appendEscape(b []byte, sign string) []byte {
	r, size := utf8.DecodeRuneInString(sign)
	if r == utf8.RuneError && size == 1 {
		return fmt.Appendf(b, `\x%02x`, sign[0])
	}
	quoted := strconv.QuoteRuneToASCII(r)
	return append(b, quoted[1:len(quoted)-1]...)
}
