package aggregate

import (
	"encoding/json"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func partialOf(t require.TestingT, texts ...string) Partial {
	var p Partial
	for _, text := range texts {
		p.Add(mustParse(t, text))
	}
	return p
}

// record and fromRecord are the two directions of the encoding, for tests.
func record(p Partial) string {
	b, _ := p.AppendBinary(nil)
	return string(b)
}

func fromRecord(s string) (p Partial, err error) {
	err = p.UnmarshalBinary([]byte(s))
	return p, err
}

func TestPartialAsJSON(t *testing.T) {
	for name, tt := range map[string]struct {
		numbers []string
		want    string
	}{
		"none":                        {nil, `{"count":0,"sum":"0","min":null,"max":null,"average":null}`},
		"the example of the contract": {[]string{"19.98", "20", "19.99"}, `{"count":3,"sum":"59.97","min":"19.98","max":"20","average":"19.99"}`},
		"zeros at the end are cut":    {[]string{"10.50", "9.50"}, `{"count":2,"sum":"20","min":"9.5","max":"10.5","average":"10"}`},
		"half rounds down to even":    {[]string{"0.00005", "0"}, `{"count":2,"sum":"0.00005","min":"0","max":"0.00005","average":"0"}`},
		"half to even, from below":    {[]string{"0.0001", "0.0002"}, `{"count":2,"sum":"0.0003","min":"0.0001","max":"0.0002","average":"0.0002"}`},
		"half to even, from above":    {[]string{"0.0002", "0.0003"}, `{"count":2,"sum":"0.0005","min":"0.0002","max":"0.0003","average":"0.0002"}`},
		"half to even, negative":      {[]string{"-0.0001", "-0.0002"}, `{"count":2,"sum":"-0.0003","min":"-0.0002","max":"-0.0001","average":"-0.0002"}`},
		"thirds":                      {[]string{"1", "0", "0"}, `{"count":3,"sum":"1","min":"0","max":"1","average":"0.3333"}`},
		"no exponent, large":          {[]string{"1e20"}, `{"count":1,"sum":"100000000000000000000","min":"100000000000000000000","max":"100000000000000000000","average":"100000000000000000000"}`},
		"no exponent, small":          {[]string{"1e-9"}, `{"count":1,"sum":"0.000000001","min":"0.000000001","max":"0.000000001","average":"0"}`},
		"large and small cancel out":  {[]string{"1e20", "0.01", "-1e20"}, `{"count":3,"sum":"0.01","min":"-100000000000000000000","max":"100000000000000000000","average":"0.0033"}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.Marshal(partialOf(t, tt.numbers...))
			require.NoError(t, err)
			require.Equal(t, tt.want, string(got))
		})
	}
}

// roundHalfEven is the oracle for averages, written from the definition.
func roundHalfEven(r *big.Rat, places int64) *big.Rat {
	unit := new(big.Rat).SetInt(pow10(places))
	scaled := new(big.Rat).Mul(r, unit)
	low := new(big.Int).Div(scaled.Num(), scaled.Denom()) // rounds down, also below zero
	switch rest := new(big.Rat).Sub(scaled, new(big.Rat).SetInt(low)); rest.Cmp(big.NewRat(1, 2)) {
	case 1:
		low.Add(low, big.NewInt(1))
	case 0:
		if low.Bit(0) == 1 {
			low.Add(low, big.NewInt(1))
		}
	}
	return new(big.Rat).Quo(new(big.Rat).SetInt(low), unit)
}

// checkExact compares a Partial with what rational arithmetic says of the same numbers.
func checkExact(t require.TestingT, p Partial, numbers []*big.Rat) {
	require.EqualValues(t, len(numbers), p.Count())
	sum := new(big.Rat)
	for _, n := range numbers {
		sum.Add(sum, n)
	}
	require.Zero(t, sum.Cmp(rat(t, p.Sum().String())), "sum is %s", p.Sum())
	if len(numbers) == 0 {
		return
	}
	least, most := numbers[0], numbers[0]
	for _, n := range numbers {
		if n.Cmp(least) < 0 {
			least = n
		}
		if n.Cmp(most) > 0 {
			most = n
		}
	}
	require.Zero(t, least.Cmp(rat(t, p.Min().String())), "min is %s", p.Min())
	require.Zero(t, most.Cmp(rat(t, p.Max().String())), "max is %s", p.Max())
	average := roundHalfEven(sum.Quo(sum, big.NewRat(int64(len(numbers)), 1)), averagePlaces)
	require.Zero(t, average.Cmp(rat(t, p.Average().String())), "average is %s, want %s", p.Average(), average.FloatString(6))
}

func TestAddIsExact(t *testing.T) {
	for name, floats := range map[string]*rapid.Generator[float64]{"prices": prices(), "any float": anyFloat()} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				var p Partial
				var numbers []*big.Rat
				for _, f := range rapid.SliceOfN(floats, 0, 30).Draw(t, "floats") {
					d, err := FromFloat(f)
					require.NoError(t, err)
					require.NoError(t, p.AddFloat(f))
					numbers = append(numbers, rat(t, d.String()))
				}
				checkExact(t, p, numbers)
			})
		})
	}
}

func TestMergeIsAddInAnyPartitionAndOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		floats := rapid.SliceOfN(anyFloat(), 0, 30).Draw(t, "floats")
		var whole Partial
		parts := make([]Partial, rapid.IntRange(1, 5).Draw(t, "parts"))
		for _, f := range floats {
			require.NoError(t, whole.AddFloat(f))
			require.NoError(t, parts[rapid.IntRange(0, len(parts)-1).Draw(t, "part")].AddFloat(f))
		}
		kept := make([]string, len(parts))
		for i, p := range parts {
			kept[i] = record(p)
		}
		var merged Partial
		for _, i := range rapid.Permutation(indexes(len(parts))).Draw(t, "order") {
			read, err := fromRecord(kept[i])
			require.NoError(t, err)
			merged.Merge(read)
		}
		require.Equal(t, record(whole), record(merged))
		for i, p := range parts {
			require.Equal(t, kept[i], record(p), "merging changes only what it merges into")
		}
	})
}

func indexes(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// Each number fits the fast path, their sum does not fit an int64.
func TestSumBeyondTheFastPath(t *testing.T) {
	var p Partial
	var numbers []*big.Rat
	for _, text := range []string{"999999999999.999999", "-999999999999.999999"} {
		for range 25 {
			p.Add(mustParse(t, text))
			numbers = append(numbers, rat(t, text))
			checkExact(t, p, numbers)
		}
	}
	require.Equal(t, "0", p.Sum().String())
}

func TestCopiesAreIndependent(t *testing.T) {
	p := partialOf(t, "1e30", "0.1")
	kept := p
	p.Add(mustParse(t, "1e30"))
	p.Merge(p)
	require.Equal(t, "1000000000000000000000000000000.1", kept.Sum().String())
	require.Equal(t, "4000000000000000000000000000000.2", p.Sum().String())
}

func TestAverageOfAGreatCount(t *testing.T) {
	p, err := fromRecord("1 1000000000000000 500000000000000 0 1")
	require.NoError(t, err)
	require.Equal(t, "0.5", p.Average().String())
	p.Merge(p)
	require.Equal(t, "0.5", p.Average().String(), "a count beyond what a record can have")
}

func TestRecords(t *testing.T) {
	require.Equal(t, "1 0 0 0 0", record(Partial{}))
	b, err := partialOf(t, "19.98", "20", "19.99").AppendBinary([]byte("kept:"))
	require.NoError(t, err)
	require.Equal(t, "kept:1 3 59.97 19.98 20", string(b))
	for name, tt := range map[string]struct{ record, want string }{
		"nothing":                    {"", `parsing aggregate record "": its version is unknown, known is 1`},
		"a later version":            {"2 0", `parsing aggregate record "2 0": its version is unknown, known is 1`},
		"a field too few":            {"1 1 5 5", `parsing aggregate record "1 1 5 5": it has 4 fields instead of 5`},
		"a field too many":           {"1 1 5 5 5 5", `parsing aggregate record "1 1 5 5 5 5": it has 6 fields instead of 5`},
		"a negative count":           {"1 -1 5 5 5", `parsing aggregate record "1 -1 5 5 5": its count is not from 0 to 1000000000000000`},
		"a count too great":          {"1 1000000000000001 5 5 5", `parsing aggregate record "1 1000000000000001 5 5 5": its count is not from 0 to 1000000000000000`},
		"a sum that is none":         {"1 1 NaN 5 5", `parsing aggregate record "1 1 NaN 5 5": its sum: it is not finite`},
		"a minimum that is none":     {"1 1 5 x 5", `parsing aggregate record "1 1 5 x 5": its min: it is no decimal number`},
		"a maximum out of range":     {"1 1 5 5 1e500", `parsing aggregate record "1 1 5 5 1e500": its max: its digits reach from 10^500 to 10^500, allowed is 10^400 to 10^-400`},
		"min above max":              {"1 2 5 3 2", `parsing aggregate record "1 2 5 3 2": no numbers have that count, sum, min and max`},
		"a sum too small":            {"1 2 5 3 4", `parsing aggregate record "1 2 5 3 4": no numbers have that count, sum, min and max`},
		"a sum too large":            {"1 2 9 3 4", `parsing aggregate record "1 2 9 3 4": no numbers have that count, sum, min and max`},
		"a minimum of none":          {"1 0 0 -1 0", `parsing aggregate record "1 0 0 -1 0": no numbers have that count, sum, min and max`},
		"zeros at the end":           {"1 1 5.0 5 5", `parsing aggregate record "1 1 5.0 5 5": its numbers are not in plain, shortest notation`},
		"an exponent":                {"1 1 1e3 1000 1000", `parsing aggregate record "1 1 1e3 1000 1000": its numbers are not in plain, shortest notation`},
		"a count with a zero before": {"1 01 5 5 5", `parsing aggregate record "1 01 5 5 5": its numbers are not in plain, shortest notation`},
		"a great one": {"1 1 " + strings.Repeat("5", 5000), `parsing aggregate record "1 1 ` + strings.Repeat("5", 60) +
			`"…: it has 5004 bytes, at most 4096 are possible`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := fromRecord(tt.record)
			require.EqualError(t, err, tt.want)
		})
	}
}

func TestTheLargestRecordFits(t *testing.T) {
	var p Partial
	for _, text := range []string{"1e400", "-1e400", "9e400", "1e-400"} {
		p.Add(mustParse(t, text))
	}
	p.count = maxCount // the sum may be that of as many
	p.rest = mustParse(t, "9e400").apd()
	require.Less(t, len(record(p)), maxRecord)
	_, err := fromRecord(record(p))
	require.NoError(t, err)
}

func FuzzUnmarshalBinary(f *testing.F) {
	for _, s := range []string{"1 0 0 0 0", "1 3 59.97 19.98 20", "1 1 1e3 1000 1000", "1 2 -0 -1 1", "1 2 1000000000000000000000.1 0.1 1000000000000000000000"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := fromRecord(string(b))
		if err != nil {
			return
		}
		require.Equal(t, string(b), record(p))
		_, err = json.Marshal(p)
		require.NoError(t, err)
		if p.Count() > 0 {
			require.LessOrEqual(t, p.Min().Cmp(p.Max()), 0)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	prices := [...]float64{419.87, 19.99, 20, 0.5, 103.123456, 1e6, 250.1, 77.77}
	b.Run("prices", func(b *testing.B) {
		b.ReportAllocs()
		var p Partial
		for i := 0; b.Loop(); i++ {
			_ = p.AddFloat(prices[i%len(prices)])
		}
	})
	b.Run("prices after one great number", func(b *testing.B) {
		b.ReportAllocs()
		var p Partial
		_ = p.AddFloat(math.MaxFloat64)
		for i := 0; b.Loop(); i++ {
			_ = p.AddFloat(prices[i%len(prices)])
		}
	})
	b.Run("many digits", func(b *testing.B) {
		b.ReportAllocs()
		var p Partial
		for b.Loop() {
			_ = p.AddFloat(0.30000000000000004)
		}
	})
}

func BenchmarkAverage(b *testing.B) {
	b.ReportAllocs()
	p := partialOf(b, "19.98", "20", "19.99")
	for b.Loop() {
		_ = p.Average()
	}
}

func BenchmarkRecord(b *testing.B) {
	b.ReportAllocs()
	p, buffer := partialOf(b, "19.98", "20", "19.99"), make([]byte, 0, 64)
	for b.Loop() {
		buffer, _ = p.AppendBinary(buffer[:0])
	}
}
