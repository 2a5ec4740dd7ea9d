package terminal

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestLines(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"text is shown as it is", "Größe 12", "Größe 12"},
		{"nothing is shown as such", "", "-"},
		{"a long one is cut", "0123456789x", "0123456789…"},
		{"one that fits is not", "0123456789", "0123456789"},
		{"escape sequences lose their escape", "\x1b[2J", "\uFFFD[2J"},
		{"lines become one", "a\nb\r\tc", "a\uFFFDb\uFFFD\uFFFDc"},
		{"bytes that are no text", "a\xff", "a\uFFFD"},
		{"text that would turn its direction", "a\u202eb", "a\uFFFDb"},
	} {
		t.Run(test.name, func(t *testing.T) { require.Equal(t, test.want, Line(test.text, 10)) })
	}
}

func TestValues(t *testing.T) {
	for _, test := range []struct {
		name  string
		value []byte
		want  string
	}{
		{"text", []byte("Größe"), "Größe"},
		{"null is not empty", nil, "(null)"},
		{"empty", []byte{}, ""},
		{"a binary number", []byte("\x00\x00\x00\x07"), "0x00000007"},
		{"a few bytes that are no text", []byte("a\xff"), "0x61ff"},
		{"an escape sequence", []byte("\x1b[2J"), `"\x1b[2J"`},
		{"a long one", []byte("0123456789x"), "0123456789… (11 bytes)"},
		{"a long one, cut at a rune", []byte("012345678é"), "012345678… (11 bytes)"},
		{"a long one that is no text", []byte("\xff123456789x"), `"\xff123456789"… (11 bytes)`},
	} {
		t.Run(test.name, func(t *testing.T) { require.Equal(t, test.want, Value(test.value, 10)) })
	}
}

func FuzzNothingReachesTheScreenThatIsNotPrinted(f *testing.F) {
	f.Add("\x1b]0;title\x07", 5)
	f.Fuzz(func(t *testing.T, text string, most int) {
		most %= 1000
		for _, shown := range []string{Line(text, max(most, 0)), Value([]byte(text), max(most, 0))} {
			require.True(t, utf8.ValidString(shown))
			require.False(t, strings.ContainsFunc(shown, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }))
		}
	})
}
