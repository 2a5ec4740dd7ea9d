package aggregate

import (
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// rat is the oracle: the number that a text means, by another library.
func rat(t require.TestingT, text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	require.True(t, ok, "not a number: %q", text)
	return r
}

func mustParse(t require.TestingT, text string) Decimal {
	d, err := FromString(text)
	require.NoError(t, err)
	return d
}

// prices are what the fast path is for; anyFloat is all of float64 that is finite.
func prices() *rapid.Generator[float64] {
	return rapid.Custom(func(t *rapid.T) float64 {
		return float64(rapid.Int64Range(-1e13, 1e13).Draw(t, "hundredths")) / 100
	})
}

func anyFloat() *rapid.Generator[float64] {
	return rapid.OneOf(
		prices(),
		rapid.Float64(),
		rapid.Float64Range(-1e10, 1e10),
		rapid.Custom(func(t *rapid.T) float64 {
			f := math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
			if math.IsNaN(f) || math.IsInf(f, 0) {
				return 0.1
			}
			return f
		}),
		rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 5e-324, -5e-324, math.MaxFloat64,
			-math.MaxFloat64, 1e15, 1e9, 999999999.999999, 1e-6, 1e-7, 0.1, 0.3, 1 << 53}),
	)
}

func TestParseTakesEveryKindOfNumber(t *testing.T) {
	for name, tt := range map[string]struct {
		value any
		want  string
	}{
		"a price":                               {19.99, "19.99"},
		"a whole float":                         {20.0, "20"},
		"a sum that binary floats get wrong":    {0.30000000000000004, "0.30000000000000004"},
		"negative zero":                         {math.Copysign(0, -1), "0"},
		"the smallest float":                    {5e-324, "0." + strings.Repeat("0", 323) + "5"},
		"the greatest float":                    {math.MaxFloat64, "17976931348623157" + strings.Repeat("0", 292)},
		"the last float of the fast path":       {999999999.999999, "999999999.999999"},
		"a float32, shortest in its own width":  {float32(0.1), "0.1"},
		"an int":                                {int(-7), "-7"},
		"an int32":                              {int32(7), "7"},
		"the greatest int64":                    {int64(math.MaxInt64), "9223372036854775807"},
		"the least int64":                       {int64(math.MinInt64), "-9223372036854775808"},
		"a uint32":                              {uint32(7), "7"},
		"the greatest uint64":                   {uint64(math.MaxUint64), "18446744073709551615"},
		"a json.Number":                         {json.Number("19.990"), "19.99"},
		"a json.Number with exponent":           {json.Number("1.5E+3"), "1500"},
		"a string":                              {"0019.5", "19.5"},
		"a string with seven decimals":          {"0.1234567", "0.1234567"},
		"a string with seven decimals, one cut": {"0.1234560", "0.123456"},
		"a string with a plus":                  {"+5", "5"},
		"a point without decimals":              {"5.", "5"},
		"a point without whole digits":          {".5", "0.5"},
		"twelve whole digits":                   {"999999999999.999999", "999999999999.999999"},
		"thirteen whole digits":                 {"-1000000000000", "-1000000000000"},
		"zero with an exponent":                 {"0e300", "0"},
		"the greatest exponent":                 {"1e400", "1" + strings.Repeat("0", 400)},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Parse(tt.value)
			require.NoError(t, err)
			require.Equal(t, tt.want, d.String())
			again, err := FromString(d.String())
			require.NoError(t, err)
			require.Zero(t, d.Cmp(again), "a number has one form")
			require.Equal(t, d.wide == nil, again.wide == nil)
		})
	}
}

func TestParseRefusesAndNamesTheValue(t *testing.T) {
	for name, tt := range map[string]struct {
		value any
		want  string
	}{
		"NaN":                {math.NaN(), `parsing number NaN: it is not finite`},
		"infinity":           {math.Inf(-1), `parsing number -Inf: it is not finite`},
		"float32 NaN":        {float32(math.NaN()), `parsing number "NaN": it is not finite`},
		"NaN as text":        {"NaN", `parsing number "NaN": it is not finite`},
		"infinity as text":   {json.Number("-Infinity"), `parsing number "-Infinity": it is not finite`},
		"a word":             {"abc", `parsing number "abc": it is no decimal number`},
		"nothing in it":      {"", `parsing number "": it is no decimal number`},
		"spaces":             {" 5", `parsing number " 5": it is no decimal number`},
		"hexadecimal":        {"0x10", `parsing number "0x10": it is no decimal number`},
		"underscores":        {"1_000", `parsing number "1_000": it is no decimal number`},
		"two points":         {"1.2.3", `parsing number "1.2.3": it is no decimal number`},
		"a sign alone":       {"-", `parsing number "-": it is no decimal number`},
		"too large":          {"1e401", `parsing number "1e401": its digits reach from 10^401 to 10^401, allowed is 10^400 to 10^-400`},
		"too fine":           {"1.5e-400", `parsing number "1.5e-400": its digits reach from 10^-400 to 10^-401, allowed is 10^400 to 10^-400`},
		"far too large":      {"1e99999999", `parsing number "1e99999999": its exponent is out of range, allowed is 10^400 to 10^-400`},
		"far too fine":       {"1e-99999999", `parsing number "1e-99999999": its exponent is out of range, allowed is 10^400 to 10^-400`},
		"beyond any integer": {"1e99999999999", `parsing number "1e99999999999": its exponent is out of range, allowed is 10^400 to 10^-400`},
		"a very long one":    {strings.Repeat("7", 2000), `parsing number "` + strings.Repeat("7", 64) + `"…: it is longer than 1024 characters`},
		"no value":           {nil, `parsing number: there is no value`},
		"a bool":             {true, `parsing number: a value of type bool is none`},
		"an object":          {map[string]any{}, `parsing number: a value of type map[string]interface {} is none`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(tt.value)
			require.EqualError(t, err, tt.want)
		})
	}
}

// The fast path of FromFloat must agree with strconv, bit for bit, wherever it answers.
func TestFromFloatIsTheShortestDecimal(t *testing.T) {
	check := func(t require.TestingT, f float64) {
		d, err := FromFloat(f)
		require.NoError(t, err)
		shortest := strconv.FormatFloat(f, 'e', -1, 64)
		require.Zero(t, rat(t, shortest).Cmp(rat(t, d.String())), "%s is not %s", d, shortest)
		require.Equal(t, f+0, d.Float64()+0) // +0: a decimal has no negative zero
	}
	check(t, 1.001) // times a million is less than 1001000
	rapid.Check(t, func(t *rapid.T) { check(t, anyFloat().Draw(t, "f")) })
}

func TestFromFloatNextToPrices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := prices().Draw(t, "price")
		for range rapid.IntRange(0, 3).Draw(t, "steps") {
			f = math.Nextafter(f, math.Inf(1))
		}
		d, err := FromFloat(f)
		require.NoError(t, err)
		require.Zero(t, rat(t, strconv.FormatFloat(f, 'e', -1, 64)).Cmp(rat(t, d.String())))
	})
}

func TestDecimalTextAndOrder(t *testing.T) {
	text := rapid.OneOf(
		rapid.StringMatching(`-?[0-9]{1,14}(\.[0-9]{1,8})?`),
		rapid.StringMatching(`-?[0-9]{1,20}(\.[0-9]{1,20})?(e-?[0-9]{1,2})?`),
	)
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		da, db := mustParse(t, a), mustParse(t, b)
		require.Zero(t, rat(t, a).Cmp(rat(t, da.String())))
		require.Equal(t, rat(t, a).Cmp(rat(t, b)), da.Cmp(db))
		require.NotContains(t, strings.ToLower(da.String()), "e")
		if strings.Contains(da.String(), ".") {
			require.NotEqual(t, byte('0'), da.String()[len(da.String())-1])
		}
		wide, err := parseWide(a, maxExponent)
		require.NoError(t, err)
		require.Equal(t, wide.wide == nil, da.wide == nil, "both parsers give one form")
		require.Equal(t, wide.micros, da.micros)
	})
}

func FuzzFromString(f *testing.F) {
	for _, s := range []string{"19.99", "-0", "1e400", "1e-400", ".5", "5.", "NaN", "999999999999.9999999", "1e", "--1", "1e-5000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := FromString(s)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(d.String()), 2*maxExponent+4)
		require.Zero(t, rat(t, s).Cmp(rat(t, d.String())))
		require.Zero(t, mustParse(t, d.String()).Cmp(d))
	})
}

func BenchmarkFromFloat(b *testing.B) {
	for name, f := range map[string]float64{"price": 419.87, "many digits": 0.30000000000000004} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = FromFloat(f)
			}
		})
	}
}

func BenchmarkFromString(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = FromString("419.87")
	}
}
