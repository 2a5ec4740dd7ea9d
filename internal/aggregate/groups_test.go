package aggregate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func keys(g Groups) []string {
	var all []string
	for key := range g.All() {
		all = append(all, key)
	}
	return all
}

func asJSON(t require.TestingT, v any) string {
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func TestGroupsAsJSON(t *testing.T) {
	require.Equal(t, `{"overall":{"count":0,"sum":"0","min":null,"max":null,"average":null},"groups":{}}`, asJSON(t, Groups{}))
	var g Groups
	g.Add("pen", mustParse(t, "1.50"))
	g.Add("ink", mustParse(t, "20"))
	g.Add("", mustParse(t, "3"))
	require.Equal(t, `{"overall":{"count":3,"sum":"24.5","min":"1.5","max":"20","average":"8.1667"},"groups":{`+
		`"ink":{"count":1,"sum":"20","min":"20","max":"20","average":"20"},`+
		`"pen":{"count":1,"sum":"1.5","min":"1.5","max":"1.5","average":"1.5"}}}`, asJSON(t, g))
}

func TestWhichGroupANumberIsCountedIn(t *testing.T) {
	long := strings.Repeat("x", MaxKey+1)
	for name, tt := range map[string]struct {
		most int
		keys []string
		want string // key:count
	}{
		"no limit":                                  {0, []string{"a", "b", "c", "a"}, "a:2 b:1 c:1"},
		"what exceeds the limit goes to other":      {2, []string{"a", "b", "c", "d", "b"}, "a:1 b:2 other:2"},
		"other takes no place of the limit":         {2, []string{"other", "a", "b", "c"}, "a:1 b:1 other:2"},
		"a group named other is that group":         {1, []string{"a", "other", "b"}, "a:1 other:2"},
		"a long key goes to other":                  {5, []string{long, long[1:]}, "other:1 " + long[1:] + ":1"},
		"bytes that are not UTF-8 are replaced":     {5, []string{"a\xff", "a\uFFFD", "a\xff"}, "a\uFFFD:3"},
		"a long key that grows by that, too":        {5, []string{strings.Repeat("\xfe,", 100)}, "other:1"},
		"the empty key is no group and no overflow": {1, []string{"", "a", ""}, "a:1"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewGroups(tt.most)
			for _, key := range tt.keys {
				g.Add(key, FromInt(1))
			}
			var got []string
			for key, p := range g.All() {
				got = append(got, fmt.Sprintf("%s:%d", key, p.Count()))
			}
			slices.Sort(got)
			want := strings.Split(tt.want, " ")
			slices.Sort(want)
			require.Equal(t, want, got)
			require.Equal(t, len(want), g.Len())
			require.EqualValues(t, len(tt.keys), g.Overall().Count())
		})
	}
}

func TestGroupsMergeIsAddInAnyPartition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "most")
		parts := make([]Groups, rapid.IntRange(1, 4).Draw(t, "parts"))
		for i := range parts {
			parts[i] = NewGroups(most)
		}
		whole, merged := NewGroups(0), NewGroups(most)
		for range rapid.IntRange(0, 40).Draw(t, "numbers") {
			key := rapid.SampledFrom([]string{"", "a", "b", "c", "d", Other}).Draw(t, "key")
			d, err := FromFloat(anyFloat().Draw(t, "value"))
			require.NoError(t, err)
			whole.Add(key, d)
			parts[rapid.IntRange(0, len(parts)-1).Draw(t, "part")].Add(key, d)
		}
		for _, part := range parts {
			merged.Merge(part)
		}
		require.Equal(t, asJSON(t, whole.Overall()), asJSON(t, merged.Overall()))
		if most == 0 {
			_, other := whole.Group(Other)
			require.Equal(t, other && whole.Len() > 1, merged.Partial(), "a group of that name and the rest cannot be told apart")
			require.False(t, whole.Partial(), "what was counted in one place has all of each group")
			require.Equal(t, asJSON(t, whole), strings.Replace(asJSON(t, merged), `,"partial":true`, "", 1))
		} else {
			require.LessOrEqual(t, merged.Len(), most+1)
		}
		var grouped, wanted int64
		for _, p := range merged.All() {
			grouped += p.Count()
		}
		for _, p := range whole.All() {
			wanted += p.Count()
		}
		require.Equal(t, wanted, grouped, "no number of a group is lost or counted twice")
	})
}

func TestMergePartial(t *testing.T) {
	g := NewGroups(1)
	g.MergePartial("a", partialOf(t, "1", "2"))
	g.MergePartial("b", partialOf(t, "3"))
	g.MergePartial("", partialOf(t, "4"))
	require.Equal(t, []string{"a", Other}, keys(g))
	require.Equal(t, "10", g.Overall().Sum().String())
	a, ok := g.Group("a")
	require.True(t, ok)
	require.EqualValues(t, 2, a.Count())
	_, ok = g.Group("b")
	require.False(t, ok)
}

// Two instances with room for one group each: of b the second has two numbers, and one is in the rest
// of the first.
func TestMergedGroupsAreCalledPartial(t *testing.T) {
	one, two, merged := NewGroups(1), NewGroups(1), NewGroups(0)
	for _, key := range []string{"a", "b"} {
		one.Add(key, mustParse(t, "1"))
	}
	two.Add("b", mustParse(t, "2"))
	two.Add("b", mustParse(t, "3"))
	require.Empty(t, one.Note())
	merged.Merge(two)
	require.False(t, merged.Partial())
	merged.Merge(one)
	require.True(t, merged.Partial())
	require.True(t, merged.Clone().Partial())
	require.Equal(t, `The figures of groups are partial, they may be too low: 1 messages are in "other", as are those of any group that an instance had no room for (max_groups).`, merged.Note())
	require.True(t, strings.HasSuffix(asJSON(t, merged), `}},"partial":true}`), asJSON(t, merged))

	o := NewOwner(1)
	o.Replace(merged)
	require.True(t, o.Snapshot().Partial(), "whoever goes on from it knows")

	alone := NewGroups(0)
	alone.MergePartial(Other, partialOf(t, "1"))
	require.False(t, alone.Partial(), "there are no figures that could be too low")
}

func TestOwnerAppliesAndReplaces(t *testing.T) {
	o := NewOwner(2)
	count, average := o.Apply("a", mustParse(t, "1"))
	require.EqualValues(t, 1, count)
	require.Equal(t, "1", average.String())
	count, average = o.Apply("b", mustParse(t, "2"))
	require.EqualValues(t, 2, count)
	require.Equal(t, "1.5", average.String())

	before := o.Snapshot()
	o.Apply("a", mustParse(t, "6"))
	require.EqualValues(t, 2, before.Overall().Count(), "a snapshot stays as it was")

	o.Replace(before)
	o.Apply("b", mustParse(t, "3"))
	require.Equal(t, "6", o.Snapshot().Overall().Sum().String())
	require.Equal(t, "3", before.Overall().Sum().String(), "the owner keeps a copy")

	var many Groups
	for _, key := range []string{"p", "q", "r"} {
		many.Add(key, FromInt(1))
	}
	o.Replace(many)
	require.Equal(t, []string{Other, "p", "q"}, keys(o.Snapshot()))
}

func TestOwnerFromManyGoroutines(t *testing.T) {
	o := NewOwner(0)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 500 {
				o.Apply(fmt.Sprint(i%3), FromInt(1))
				if i == 0 {
					_ = o.Snapshot()
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 4000, o.Snapshot().Overall().Count())
}

func BenchmarkOwnerApply(b *testing.B) {
	b.ReportAllocs()
	o, products := NewOwner(100), [...]string{"pen", "ink", "paper", "desk"}
	for i := 0; b.Loop(); i++ {
		d, _ := FromFloat(419.87)
		o.Apply(products[i%len(products)], d)
	}
}
