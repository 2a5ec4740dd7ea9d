package triage

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/aggregate"
)

func at(second int) time.Time { return time.Date(2026, 11, 22, 9, 0, second, 0, time.UTC) }

func entry(class, code, text string, second int) Entry {
	value, _ := aggregate.FromString("0.1")
	return Entry{Class: class, Code: code, Text: text, At: at(second), Name: fmt.Sprintf("orders/0/%d", second), Value: value, HasValue: true, Decodable: true}
}

func TestTenThousandFailuresAreThreeGroups(t *testing.T) {
	gs := NewGroups(100)
	created := 0
	for i := range 10_000 {
		e := entry("transient", "simulated_failure", "Max retries exceeded: Simulated processing failure", i%60)
		switch {
		case i%10 < 3:
			e = entry("permanent", "price_not_positive", fmt.Sprintf("validating order %q: field price: -%d is not above 0", fmt.Sprint("order-", i), i), i%60)
		case i%10 == 3:
			e = Entry{Class: "permanent", Code: "decode_failed", Text: fmt.Sprintf("decoding order: %d bytes: field orderId: unexpected end", i), At: at(i % 60), Name: "x"}
		}
		if _, isNew := gs.Add(e); isNew {
			created++
		}
	}
	require.Equal(t, 3, created)
	all := gs.Sorted()
	require.Len(t, all, 3)
	require.Equal(t, []int64{6000, 3000, 1000}, []int64{all[0].Count, all[1].Count, all[2].Count})
	require.Equal(t, []Advice{SendAgain, Mend, None}, []Advice{all[0].Advice(), all[1].Advice(), all[2].Advice()})
	require.Equal(t, "validating order *: field price: * is not above *", all[1].Pattern)
	require.Equal(t, []string{"600", "300"}, []string{all[0].Value.Sum().String(), all[1].Value.Sum().String()})
	require.Zero(t, all[2].Value.Count())
	require.Equal(t, "900", gs.Value().Sum().String())
	require.InDelta(t, 0.6, gs.Share(all[0]), 1e-9)
	require.Equal(t, at(0), all[1].First)
	require.Equal(t, at(3), all[2].First)
	require.InDelta(t, 6000/(55.0/60), all[0].Rate(), 1e-6, "from the 4th to the 59th second")
	require.Equal(t, "orders/0/4", all[0].Example, "the first that came")
}

func TestAGroupOfOneMomentHasNoRate(t *testing.T) {
	gs := NewGroups(1)
	g, _ := gs.Add(entry("transient", "a", "b", 1))
	require.Zero(t, g.Rate())
}

func TestGroupsBeyondTheLimitAreOne(t *testing.T) {
	gs := NewGroups(2)
	for _, code := range []string{"a", "b", "c", "d", "a", "c"} {
		gs.Add(entry("permanent", code, "bad", 1))
	}
	require.Equal(t, 2, gs.Len())
	all := gs.Sorted()
	require.Len(t, all, 3)
	require.Equal(t, Other, all[0].ID)
	require.EqualValues(t, 3, all[0].Count)
	require.Equal(t, Look, all[0].Advice())
}

func TestAdvice(t *testing.T) {
	for _, test := range []struct {
		name, class, code string
		decodable         bool
		want              Advice
	}{
		{"what may have passed is sent again", "transient", "timeout", true, SendAgain},
		{"also where it cannot be read: the consumer may", "transient", "unclassified", false, SendAgain},
		{"an order that breaks a rule is mended", "permanent", "price_not_positive", true, Mend},
		{"bytes that nobody can read are lost", "permanent", "decode_failed", false, None},
		{"bytes that can be read by now are mended, or just sent", "permanent", "decode_failed", true, Mend},
		{"a schema that is missing comes first", "permanent", "unknown_schema_id", false, Wait},
		{"also where it might have come: the retries were too few", "transient", "unknown_schema_id", false, Wait},
		{"so does a right to a schema", "transient", "schema_refused", false, Wait},
		{"so does a schema that the registry refuses", "permanent", "schema_refused", false, Wait},
		{"so does a subject without the schema", "permanent", "schema_not_registered", true, Wait},
		{"so does a reader that is behind", "permanent", "schema_incompatible", false, Wait},
		{"so does a registry that nobody has configured", "permanent", "registry_missing", false, Wait},
		{"also where it can be read by now", "permanent", "registry_missing", true, Wait},
		{"a registry that did not answer may do so now", "transient", "registry_unavailable", false, SendAgain},
		{"a topic that refuses comes first", "permanent", "output_refused", true, Wait},
		{"another system's failure has no class", "", "java.lang.IllegalStateException", true, Look},
		{"nor has one of an unknown class", "odd", "x", false, Look},
	} {
		t.Run(test.name, func(t *testing.T) { require.Equal(t, test.want, Advise(test.class, test.code, test.decodable)) })
	}
}

func TestAnUnknownTimeIsNoTime(t *testing.T) {
	gs := NewGroups(1)
	g, _ := gs.Add(Entry{})
	require.True(t, g.First.IsZero() && g.Last.IsZero())
	require.Zero(t, g.Rate())
	early, late := time.UnixMilli(1).UTC(), time.UnixMilli(60_001).UTC()
	for _, at := range []time.Time{late, {}, early} {
		gs.Add(Entry{At: at})
	}
	require.Equal(t, [2]time.Time{early, late}, [2]time.Time{g.First, g.Last})
	require.Equal(t, 4.0, g.Rate())
}

func TestNothingCanBeDoneWithoutARecord(t *testing.T) {
	gs := NewGroups(1)
	g, _ := gs.Add(Entry{NoRecord: true})
	require.Equal(t, None, g.Advice())
	gs.Add(Entry{Decodable: true})
	require.Equal(t, Look, g.Advice(), "one of them has one")
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	gs := NewGroups(1)
	long := strings.Repeat("é\xff", 100_000)
	g, _ := gs.Add(Entry{Class: long, Code: long, Text: long, Name: strings.Repeat("é", 100_000)})
	require.LessOrEqual(t, len(g.Class)+len(g.Code)+len(g.Pattern)+len(g.Example), 4*maxKept)
	require.True(t, utf8.ValidString(g.Example))
	g, _ = NewGroups(1).Add(Entry{})
	require.Equal(t, [2]string{Unknown, Unknown}, [2]string{g.Class, g.Code})
}

func TestCountsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gs := NewGroups(rapid.IntRange(1, 5).Draw(t, "most"))
		n := rapid.IntRange(0, 40).Draw(t, "letters")
		for range n {
			gs.Add(entry(rapid.SampledFrom([]string{"permanent", "transient", ""}).Draw(t, "class"), rapid.StringMatching("[a-c]?").Draw(t, "code"), rapid.StringMatching("[a-b ]{0,3}").Draw(t, "text"), n))
		}
		var sum int64
		for _, g := range gs.Sorted() {
			sum += g.Count
		}
		require.EqualValues(t, n, sum)
		require.Equal(t, sum, gs.Count())
	})
}
