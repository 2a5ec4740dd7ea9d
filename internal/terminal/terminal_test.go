package terminal

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/rivo/uniseg"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/test/hostile"
)

func TestLines(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"text is shown as it is", "Größe 12", "Größe 12"},
		{"nothing is shown as such", "", "-"},
		{"what looks like nothing is not it", "-", `"-"`},
		{"a long one is cut", "0123456789x", "0123456789…"},
		{"one that fits is not", "0123456789", "0123456789"},
		{"a wide one is cut sooner", "日本語日本語", "日本語日本…"},
		{"not between a sign and its mark", "012345678e\u0301x", "012345678e\u0301…"},
		{"escape sequences lose their escape", "\x1b[2J", `"\x1b[2J"`},
		{"lines become one", "a\nb\rc", `"a\nb\rc"`},
		{"bytes that are no text", "a\xff", `"a\xff"`},
		{"text that would turn its direction", "a\u202e", `"a\u202e"`},
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
		{"nor a text that says so", []byte("(null)"), `"(null)"`},
		{"empty", []byte{}, `""`},
		{"a binary number", []byte("\x00\x00\x00\x07"), "0x00000007"},
		{"a text like one", []byte("0x07"), `"0x07"`},
		{"a few bytes that are no text", []byte("a\xff"), "0x61ff"},
		{"an escape sequence", []byte("\x1b[2J"), `"\x1b[2J"`},
		{"a long one", []byte("0123456789x"), "0123456789… (11 bytes)"},
		{"a long one, cut at a rune", []byte("012345678é"), "012345678… (11 bytes)"},
		{"a long one that is no text", []byte("\xff123456789x"), `"\xff123456789"… (11 bytes)`},
	} {
		t.Run(test.name, func(t *testing.T) { require.Equal(t, test.want, Value(test.value, 10)) })
	}
}

func TestATableIsAlignedByWhatATerminalShows(t *testing.T) {
	table := Table{Left: 2, Indent: "  "}
	table.Row("name", "unit", "count", "sum")
	table.Row("日本語", "", 3, "1.5")
	table.Row("e\u0301", "kg", 12345, "")
	table.Row("🛒", "box")
	var out bytes.Buffer
	require.NoError(t, table.Flush(&out))
	require.Equal(t, strings.TrimPrefix(`
  name    unit  count  sum
  日本語            3  1.5
  e`+"\u0301"+`       kg    12345
  🛒      box
`, "\n"), out.String())
	require.NoError(t, table.Flush(&out))
	require.Empty(t, table.Lines(), "it has forgotten them")
}

// Whatever is in its cells, a table has one line for each row, and the second column begins where
// that of all other rows does.
func TestNoCellMakesATableAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(hostile.Text(), 1, 5).Draw(t, "names")
		table := Table{Left: AllLeft}
		for _, name := range names {
			table.Row(Line(name, 40), "|", Value([]byte(name), 40))
		}
		lines := table.Lines()
		require.Len(t, lines, len(names))
		at := 0
		for i, line := range lines {
			hostile.Check(t, line)
			before := line[:len(Line(names[i], 40))]
			rest := strings.TrimLeft(line[len(before):], " ")
			require.True(t, strings.HasPrefix(rest, "|"), line)
			begin := uniseg.StringWidth(line[:len(line)-len(rest)])
			if i == 0 {
				at = begin
			}
			require.Equal(t, at, begin, "%q", lines)
		}
	})
}

func TestJSONIsExactAndSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := hostile.UTF8().Draw(t, "text")
		out, err := JSON([]string{text})
		require.NoError(t, err)
		hostile.Check(t, string(out))
		var back []string
		require.NoError(t, json.Unmarshal(out, &back))
		require.Equal(t, []string{text}, back)
	})
}

func FuzzNothingReachesTheScreenThatIsNotPrinted(f *testing.F) {
	f.Add("\x1b]0;title\x07", 5)
	f.Fuzz(func(t *testing.T, text string, most int) {
		most %= 1000
		for _, shown := range []string{Line(text, max(most, 0)), Value([]byte(text), max(most, 0))} {
			hostile.Check(t, shown)
			require.NotContains(t, shown, "\n")
		}
		require.LessOrEqual(t, uniseg.StringWidth(Line(text, max(most, 0))), max(most, 0)+1)
	})
}
