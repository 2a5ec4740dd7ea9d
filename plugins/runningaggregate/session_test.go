package runningaggregate

import (
	"cmp"
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/session"
	"github.com/orderflow/orderflow/test/carried"
	"github.com/orderflow/orderflow/test/hostile"
)

func kept(t *testing.T, values ...string) session.Accumulator {
	f := &foldable{}
	for _, v := range values {
		d, err := aggregate.FromString(v)
		require.NoError(t, err)
		f.Fold(d)
	}
	return f
}

func TestAnOrderOfASessionIsContributedOnceAndShownAtOnce(t *testing.T) {
	r := newRig(t, byProduct+"name: revenue\nmax_groups: 1")
	source := &carried.Session{Kept: map[string]session.Accumulator{"Pen": kept(t, "2", "4")}}
	msg, order := source.Message(7, []byte(`{"product":"Pen","price":6}`))
	r.process(t, msg)

	six, err := aggregate.FromString("6")
	require.NoError(t, err)
	require.Equal(t, []carried.Contribution{{Name: "revenue", Group: "Pen", Value: six}}, order.Contributions)
	require.EqualValues(t, 3, meta(msg, "running_count"), "the two of before and this one")
	require.Equal(t, "4", meta(msg, "running_average"))

	msg, order = source.Message(8, []byte(`{"product":"Ink","price":6}`))
	r.process(t, msg)
	require.Equal(t, aggregate.Other, order.Contributions[0].Group, "the limit on groups holds in the session too")
}

func TestTheViewBeginsAnewWithTheSessionsState(t *testing.T) {
	r := newRig(t, byProduct)
	source := &carried.Session{}
	for offset := range 3 {
		msg, _ := source.Message(offset, []byte(`{"product":"Pen","price":6}`))
		r.process(t, msg)
		require.EqualValues(t, offset+1, meta(msg, "running_count"))
	}
	// An abort: of the three, one was committed.
	source.Generation++
	source.Kept = map[string]session.Accumulator{"Pen": kept(t, "6")}
	msg, _ := source.Message(1, []byte(`{"product":"Pen","price":6}`))
	r.process(t, msg)
	require.EqualValues(t, 2, meta(msg, "running_count"))
	require.Contains(t, r.summary(t), "overall      1", "the summary has what is committed")
}

// Of a group that is shown some messages may be in the rest, which other instances have filled.
func TestPartialFiguresAreCalledSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, byProduct)
		source := &carried.Session{Kept: map[string]session.Accumulator{"Pen": kept(t, "2", "4"), aggregate.Other: kept(t, "1", "1", "1")}}
		msg, _ := source.Message(7, []byte(`{"product":"Pen","price":6}`))
		r.process(t, msg)
		require.Equal(t, []string{`msg="Running aggregate" average=2.5 count=6 groups=2 groups_partial=true max=6 min=1 sum=15`}, sorted(lines(r)))
		require.NoError(t, r.Close(t.Context()))
		require.Equal(t, strings.TrimLeft(`
Aggregates
           count  average  min  max  total
  overall      5      1.8    1    4      9
    Pen        2        3    2    4      6
    other      3        1    1    1      3
  The figures of groups are partial, they may be too low: 3 messages are in "other", as are those of any group that an instance had no room for (max_groups).
`, "\n"), r.summary(t))
	})
}

// Whatever products are called, the summary has a row for each, the log a line, and labels are seen.
func TestHostileGroupsAreShownSafely(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t, byProduct+"log_interval: 0s")
		names := map[string]bool{}
		for range rapid.IntRange(1, 4).Draw(t, "orders") {
			name := hostile.UTF8().Draw(t, "product")
			names[cmp.Or(name, noGroup)] = true
			r.process(t, order(name, 1e308))
		}
		require.NoError(t, r.Close(context.Background()))
		summary := r.summary(t)
		hostile.Check(t, summary)
		rows := strings.Split(strings.TrimSuffix(summary, "\n"), "\n")
		require.Len(t, rows, 3+len(names))
		for i, row := range rows[2:] {
			require.Equal(t, i == 0, strings.HasPrefix(row, "  overall "), summary)
			require.Contains(t, row, "1e308")
		}
		hostile.Check(t, r.log.take())
	})
}
