package shown_test

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/shown"
)

type decimal string

func (d decimal) String() string { return string(d) }

func TestNumbers(t *testing.T) {
	for _, test := range []struct{ name, plain, want string }{
		{"nought", "0", "0"},
		{"money", "19.99", "19.99"},
		{"a million and a cent", "1000000.01", "1000000.01"},
		{"the largest that is written out", "-999999999999999.999999", "-999999999999999.999999"},
		{"one more digit", "1000000000000000", "1e15"},
		{"what a float can hold", "1" + strings.Repeat("0", 308), "1e308"},
		{"a large sum with cents", "1" + strings.Repeat("0", 307) + "5.25", "1e308"},
		{"all digits of a large float", "17976931348623157" + strings.Repeat("0", 292), "1.7976931348623157e308"},
		{"a millionth", "0.000001", "0.000001"},
		{"less than that", "-0.0000009", "-9e-7"},
		{"the least that a float can hold", "0." + strings.Repeat("0", 323) + "5", "5e-324"},
		{"a long fraction", "12.3456789012345678901234567", "12.3456789012345678901"},
		{"a long fraction of nines", "9." + strings.Repeat("9", 40), "10"},
	} {
		t.Run(test.name, func(t *testing.T) { require.Equal(t, test.want, shown.Number(decimal(test.plain))) })
	}
	for f, want := range map[float64]string{
		1e6: "1000000", 1000000.01: "1000000.01", 1e308: "1e308", -0.1: "-0.1", math.Inf(1): "+Inf", 1e15: "1e15", 1e-7: "1e-7", 123456789.125: "123456789.125",
	} {
		require.Equal(t, want, shown.Float(f))
	}
	require.Equal(t, "NaN", shown.Float(math.NaN()))
}

// What is shown of a float is the float, in a width that fits a table.
func TestAFloatIsShownInFull(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.Float64().Draw(t, "f")
		out := shown.Float(f)
		require.LessOrEqual(t, len(out), 31)
		back, err := strconv.ParseFloat(out, 64)
		require.NoError(t, err)
		require.Equal(t, f, back)
	})
}

// A number of any length is shown in a width that fits a table, and right in its first 20 digits.
func TestALongNumberIsRounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.StringMatching(`-?(0|[1-9][0-9]{0,400})(\.[0-9]{0,400}[1-9])?`).Draw(t, "number")
		out := shown.Number(decimal(plain))
		require.LessOrEqual(t, len(out), 31)
		want, ok := new(big.Rat).SetString(plain)
		require.True(t, ok)
		got, ok := new(big.Rat).SetString(out)
		require.True(t, ok, out)
		off := new(big.Rat).Sub(want, got)
		off.Mul(off.Abs(off), new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(15), nil)))
		require.LessOrEqual(t, off.Cmp(new(big.Rat).Abs(want)), 0, "%s is not %s", out, plain)
	})
}
