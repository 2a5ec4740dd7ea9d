package redrive_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/redrive"
)

func TestAnAuditRecordIsReadAsItWasWritten(t *testing.T) {
	run := redrive.Run{
		ID: "r", By: "ann@host", Begun: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Where: "true",
		Counts: redrive.Counts{Matched: 5, Sent: 3, Refused: map[string]int64{"map_failed": 2}, LeftOpen: 2},
	}
	value, err := json.Marshal(run)
	require.NoError(t, err)
	require.NotContains(t, string(value), "ended", "it goes on")
	got, ok, err := redrive.ParseRun(redrive.RunKey("r"), value)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, run, got)
}

func TestWhatIsNoAuditRecordIsNone(t *testing.T) {
	mark := redrive.Place{Topic: "orders-dlq", Partition: 2, Offset: 5}.Key()
	for name, c := range map[string]struct{ key, value []byte }{
		"a mark": {mark, []byte("{}")}, "a tombstone": {redrive.RunKey("r"), nil}, "another key": {[]byte("x"), []byte("{}")},
	} {
		_, ok, err := redrive.ParseRun(c.key, c.value)
		require.NoError(t, err, name)
		require.False(t, ok, name)
	}
	_, _, err := redrive.ParseRun(redrive.RunKey("r"), []byte("{"))
	require.ErrorContains(t, err, "decoding audit record of run r")
}
