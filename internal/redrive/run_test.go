package redrive

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestARecordIsAMarkAnAuditRecordOrNeither(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	place := Place{"orders-dlq", 2, 5}
	mark, err := json.Marshal(Mark{Action: Redriven, ID: "orders/0/1", Target: "orders", Run: "r", At: at})
	require.NoError(t, err)
	run, err := json.Marshal(Run{ID: "r", By: "ann@host", Begun: at, Where: "true", Counts: Counts{Sent: 3}})
	require.NoError(t, err)
	require.NotContains(t, string(run), "ended", "it goes on")

	p, m, ok, err := ParseMark(place.Key(), mark)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, place, p)
	require.Equal(t, Mark{Redriven, "orders/0/1", "orders", "r", at}, m)

	r, ok, err := ParseRun(RunKey("r"), run)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 3, r.Sent)

	for name, c := range map[string]struct{ key, value []byte }{
		"an audit record as a mark": {RunKey("r"), run},
		"a tombstone":               {place.Key(), nil},
		"another key":               {[]byte("x"), mark},
	} {
		_, _, ok, err := ParseMark(c.key, c.value)
		require.NoError(t, err, name)
		require.False(t, ok, name)
	}
	_, ok, err = ParseRun(place.Key(), mark)
	require.NoError(t, err)
	require.False(t, ok)

	_, _, _, err = ParseMark([]byte("mark/x"), mark)
	require.ErrorContains(t, err, `parsing key of a mark: place "x"`)
	_, _, _, err = ParseMark(place.Key(), []byte("{"))
	require.ErrorContains(t, err, "decoding mark of orders-dlq/2/5")
	_, _, err = ParseRun(RunKey("r"), []byte("{"))
	require.ErrorContains(t, err, "decoding audit record of run r")
}
