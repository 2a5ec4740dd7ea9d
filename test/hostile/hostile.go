// Package hostile makes texts as somebody writes them who wants to fool the person that reads them,
// for the tests of all that shows text from records.
package hostile

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// pieces are what a text is made of, beside any other.
var pieces = []string{
	"Pen", " ", "  ", "\t", "\n", "\r", "\r\n", "\v", "\f", "\x00", "\a", "\b", "\x7f", "\x1b", "\x1b[2J", "\x1b[1A", "\x1b]0;title\x07", "\x1b[31m",
	"\u0085", "\u009b", "\u009d", "\u00a0", "\u00ad", "\u034f", "\u061c", "\u115f", "\u180e", "\u200b", "\u200d", "\u200e", "\u200f",
	"\u2028", "\u2029", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2060", "\u2066", "\u2067", "\u2068", "\u2069", "\u2800", "\u3000", "\u3164",
	"\ufe0f", "\ufeff", "\uffa0", "\ufff9", "\ufffd", "\uffff", "\ue000", "\u0378", "\U000e0001", "\U000e0041", "\U000e0100", "\U0010ffff",
	"\u0301", "\u0301\u0302\u0303\u0304\u0305\u0306", "\u20dd", "\xff", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80",
	`"`, `'`, `\`, `\n`, "|", "…", "日本語", "עברית", "🖊", "é", "overall", "other", "none", "-", "(null)", "0x00", "overall  3  1.00  1.00  1.00  3.00",
}

// Text generates hostile texts, of any bytes.
func Text() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		piece := rapid.OneOf(rapid.SampledFrom(pieces), rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 4), func(b []byte) string { return string(b) }))
		return strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, "pieces"), "")
	})
}

// UTF8 generates hostile texts that are UTF-8, as those of an order are.
func UTF8() *rapid.Generator[string] {
	return rapid.Map(Text(), func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") })
}

// All is a text for each of the pieces alone, those that are UTF-8, where a test wants all of them.
func All() []string {
	return slices.DeleteFunc(slices.Clone(pieces), func(s string) bool { return !utf8.ValidString(s) })
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Check fails if output holds something, line breaks apart, that is not seen as a sign of its own.
// It does not ask the code under test.
func Check(t fataler, output string) {
	t.Helper()
	if !utf8.ValidString(output) {
		t.Fatalf("no UTF-8: %q", output)
	}
	marks := 0
	for _, r := range output {
		if r != '\n' && (!unicode.IsPrint(r) || unicode.In(r, unicode.C, unicode.Z, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) && r != ' ') {
			t.Fatalf("%U is not seen: %q", r, output)
		}
		if marks++; !unicode.Is(unicode.M, r) {
			marks = 0
		}
		if marks > 4 {
			t.Fatalf("a flood of marks: %q", output)
		}
	}
}
