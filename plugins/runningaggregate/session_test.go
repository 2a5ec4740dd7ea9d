package runningaggregate

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/session"
	"github.com/orderflow/orderflow/test/carried"
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
