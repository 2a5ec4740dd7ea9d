// Package terminal makes texts of unknown origin fit to be shown: a header or a value may hold
// anything, and what it holds must not rewrite what is on the screen.
package terminal

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Empty stands for a text that is empty.
const Empty = "-"

// Line returns s as one line of at most that many characters, with each control character and
// each byte that is no UTF-8 replaced.
func Line(s string, most int) string {
	if s == "" {
		return Empty
	}
	var b strings.Builder
	for _, r := range s {
		if most--; most < 0 {
			b.WriteString("…")
			break
		}
		if !strconv.IsPrint(r) {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return b.String()
}

// shortest is up to how many bytes a value that is no text is rather a number, shown in hex.
const shortest = 16

// Value shows bytes: text as it is, a few bytes that are no text in hex, anything else quoted, null
// as such, and of long ones only so many bytes and how many there are.
func Value(v []byte, most int) string {
	if v == nil {
		return "(null)"
	}
	if len(v) <= min(shortest, most) && (!utf8.Valid(v) || bytes.IndexByte(v, 0) >= 0) {
		return "0x" + hex.EncodeToString(v)
	}
	end := ""
	if len(v) > most {
		end = "… (" + strconv.Itoa(len(v)) + " bytes)"
		v = v[:most]
		for n := 0; n < utf8.UTFMax && len(v) > 0 && end != ""; n++ { // not in the middle of a rune
			if r, size := utf8.DecodeLastRune(v); r != utf8.RuneError || size > 1 {
				break
			}
			v = v[:len(v)-1]
		}
	}
	if !utf8.Valid(v) || strings.ContainsFunc(string(v), func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(string(v)) + end
	}
	return string(v) + end
}
