// Package fingerprint tells failures of one kind from those of another by their texts: what
// differs from order to order is taken out, so that ten thousand failures are three groups.
package fingerprint

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxPattern is the most bytes of a pattern.
	MaxPattern = 200
	// maxLooked is how much of a text is looked at.
	maxLooked = 1024
	// gap stands for what was taken out, cut ends a pattern that was too long.
	gap = "*"
	cut = "…"
)

// ID is a short name of a group, the same in every process and release: of the class, the code and
// the pattern that its failures share.
func ID(class, code, pattern string) string {
	// With their lengths, so that no two differently divided texts are the same.
	sum := sha256.Sum256([]byte(strconv.Itoa(len(class)) + ":" + class + strconv.Itoa(len(code)) + ":" + code + pattern))
	return hex.EncodeToString(sum[:4])
}

// Pattern returns what texts of one kind have in common. Quoted values, numbers, ids, UUIDs, hex,
// times, addresses and paths are `*`; several of them in a row are one. It is one line of at most
// MaxPattern bytes, and its own pattern.
func Pattern(text string) string {
	if len(text) > maxLooked {
		text = text[:maxLooked]
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	// To take one thing out can show another, such as a quote whose end is now clear. Each round
	// leaves less, so that there is a last one.
	for {
		next := shorten(once(text))
		if next == text {
			return text
		}
		text = next
	}
}

var (
	// clipped is what is said of a value that was shortened in an error.
	clipped = regexp.MustCompile(`\*… \(\* bytes\)`)
	// row are gaps with nothing between them but signs of a list.
	row = regexp.MustCompile(`\*(?:[ ,;]*\*)+`)
	// dates are names that belong to a time if they stand beside a number.
	dates = strings.Fields("Mon Tue Wed Thu Fri Sat Sun Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec")
)

// once takes out what it finds in one round.
func once(text string) string {
	var out []byte
	for len(text) > 0 {
		if n := quoted(text, out); n > 0 {
			out = append(out, gap...)
			text = text[n:]
			continue
		}
		if n := strings.IndexFunc(text, func(r rune) bool { return !inWord(r) }); n != 0 {
			if n < 0 {
				n = len(text)
			}
			out = appendWord(out, text[:n])
			text = text[n:]
			continue
		}
		r, n := utf8.DecodeRuneInString(text)
		switch {
		case !unicode.IsSpace(r) && unicode.IsPrint(r):
			out = utf8.AppendRune(out, r)
		case len(out) > 0 && out[len(out)-1] != ' ':
			out = append(out, ' ')
		}
		text = text[n:]
	}
	s := strings.TrimSuffix(string(out), " ")
	if strings.Contains(s, "bytes)") {
		s = clipped.ReplaceAllString(s, gap)
	}
	return row.ReplaceAllString(s, gap)
}

// quoted returns the length of the quoted value at the start of a text that follows before, or 0.
// A quote that begins or ends inside a word is an apostrophe.
func quoted(text string, before []byte) int {
	mark := text[0]
	if mark != '"' && mark != '\'' && mark != '`' {
		return 0
	}
	if r, _ := utf8.DecodeLastRune(before); letter(r) {
		return 0
	}
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && mark == '"':
			i++
		case text[i] == mark:
			if r, _ := utf8.DecodeRuneInString(text[i+1:]); !letter(r) {
				return i + 1
			}
		}
	}
	return 0
}

func letter(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r))
}

// inWord tells whether a sign can be part of a number, id, time, address or path.
func inWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r) || strings.ContainsRune(`_-+.:/\@%~#&?`, r)
}

// appendWord appends a word, or a gap if it differs from order to order. Signs at its end are
// punctuation.
func appendWord(out []byte, w string) []byte {
	core := strings.TrimRight(w, ".:?")
	switch {
	case varies(core):
		return append(append(withoutDate(out), gap...), w[len(core):]...)
	case bytes.HasSuffix(out, []byte(gap+" ")) && slices.Contains(dates, core):
		return append(append(out, gap...), w[len(core):]...)
	}
	return append(out, w...)
}

// withoutDate cuts the name of a day or month off the end of what comes before a number.
func withoutDate(out []byte) []byte {
	before := bytes.TrimRight(out, ", ")
	for _, name := range dates {
		if rest, ok := bytes.CutSuffix(before, []byte(name)); ok && len(before) < len(out) {
			if r, _ := utf8.DecodeLastRune(rest); !inWord(r) || r == utf8.RuneError {
				return rest
			}
		}
	}
	return out
}

func varies(w string) bool {
	switch {
	case strings.ContainsFunc(w, unicode.IsDigit):
		return true
	case strings.Contains(w, "://"), strings.Count(w, "/") > 1, len(w) > 1 && w[0] == '/', strings.Contains(w, `:\`):
		return true
	case strings.Index(w, "@") > 0:
		return true
	}
	switch strings.ToLower(strings.TrimLeft(w, "+-")) {
	case "nan", "inf", "infinity":
		return true
	}
	return len(w) >= 8 && strings.Trim(w, "abcdefABCDEF-") == ""
}

// shorten cuts a pattern at a rune.
func shorten(s string) string {
	if len(s) <= MaxPattern {
		return s
	}
	end := MaxPattern - len(cut)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return strings.TrimRight(s[:end], " ") + cut
}
