package shown_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/shown"
	"github.com/orderflow/orderflow/test/hostile"
)

func TestTexts(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"what is seen stays", "Größe 12 – 한국어, 日本語, हिन्दी, 🖊", "Größe 12 – 한국어, 日本語, हिन्दी, 🖊"},
		{"Vietnamese in single parts", "Vie\u0323\u0302t", "Vie\u0323\u0302t"},
		{"nothing", "", `""`},
		{"an escape sequence", "\x1b[2JPen", `"\x1b[2JPen"`},
		{"line breaks and tabs", "a\nb\r\tc", `"a\nb\r\tc"`},
		{"a null and a delete", "a\x00\x7f", `"a\x00\x7f"`},
		{"controls beyond ASCII", "\u009b2J\u0085", `"\u009b2J\u0085"`},
		{"text that turns its surroundings around", "\u202egnp\u2066\u200f\u061c", `"\u202egnp\u2066\u200f\u061c"`},
		{"no width", "Pe\u200bn\ufeff\u00ad\u2060", `"Pe\u200bn\ufeff\u00ad\u2060"`},
		{"separators of lines and paragraphs", "a\u2028b\u2029", `"a\u2028b\u2029"`},
		{"invisible letters", "\u3164\u115f\u2800\ufe0f\U000e0041", `"\u3164\u115f\u2800\ufe0f\U000e0041"`},
		{"unusual blanks", "a\u00a0b\u3000c", `"a\u00a0b\u3000c"`},
		{"private and not assigned", "\ue000\u0378", `"\ue000\u0378"`},
		{"bytes that are no text", "a\xff\xc3", `"a\xff\xc3"`},
		{"a sign that stands for such bytes", "a\uFFFD", "a\uFFFD"},
		{"blanks at the ends", " a ", `" a "`},
		{"blanks as between columns", "Pen  3  9.99", `"Pen  3  9.99"`},
		{"what is quoted already", `"Pen"`, `"\"Pen\""`},
		{"a quote within", `12" screen, C:\new`, `12" screen, C:\new`},
		{"both", "12\"\n\\", `"12\"\n\\"`},
		{"a mark with nothing to stand on", "\u0301a", `"\u0301a"`},
		{"a mark that would stand on a blank", "a \u0301b", `"a \u0301b"`},
		{"a flood of marks", "e" + strings.Repeat("\u0301", 6), "\"e" + strings.Repeat("\u0301", 4) + `\u0301\u0301"`},
	} {
		t.Run(test.name, func(t *testing.T) { require.Equal(t, test.want, shown.Text(test.text)) })
	}
	require.Equal(t, `"Pen"`, shown.Quote("Pen"))
	require.Equal(t, "a\n\\x1b[2J\\tb \\u202e\\xff", shown.Lines("a\n\x1b[2J\tb \u202e\xff"))
	require.Equal(t, `{"a":"\u202eé\u007f\udb40\udc41"}`+"\n", string(shown.JSON([]byte("{\"a\":\"\u202eé\x7f\U000e0041\"}\n"))))
}

// Whatever it is, only what can be seen is shown, and what is shown tells what it is.
func TestWhatIsShownIsSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := hostile.Text().Draw(t, "text")
		for _, out := range []string{shown.Text(text), shown.Quote(text), strings.ReplaceAll(shown.Lines(text), "\n", "")} {
			hostile.Check(t, out)
		}
		back, err := strconv.Unquote(shown.Quote(text))
		require.NoError(t, err)
		require.Equal(t, text, back)
		if out := shown.Text(text); out != text {
			require.Equal(t, shown.Quote(text), out)
		} else {
			require.False(t, strings.HasPrefix(out, `"`))
		}

		document, err := json.Marshal(map[string]string{text: text})
		require.NoError(t, err)
		safe := shown.JSON(document)
		hostile.Check(t, string(safe))
		var is, was map[string]string
		require.NoError(t, json.Unmarshal(safe, &is))
		require.NoError(t, json.Unmarshal(document, &was))
		require.Equal(t, was, is)
	})
}

// Go's own idea of what is printed is a part of ours.
func TestNoRuneIsSeenThatIsNotPrinted(t *testing.T) {
	seen := 0
	for r := rune(0); r <= unicode.MaxRune; r++ {
		text := "a" + string(r) + "a"
		if !utf8.ValidRune(r) || shown.Text(text) != text {
			continue
		}
		seen++
		require.True(t, unicode.IsPrint(r), "%U", r)
		require.False(t, unicode.In(r, unicode.C, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point), "%U", r)
	}
	require.Greater(t, seen, 140_000, "all others are")
}

func FuzzText(f *testing.F) {
	f.Add("\x1b]0;title\x07")
	f.Fuzz(func(t *testing.T, text string) {
		hostile.Check(t, shown.Text(text))
		back, err := strconv.Unquote(shown.Quote(text))
		require.NoError(t, err)
		require.Equal(t, text, back)
	})
}
