package redrive

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/redrive"
	"github.com/orderflow/orderflow/plugins/dlqredrive"
)

func sampled() *result {
	r := &result{dryRun: true, samples: []dlqredrive.Sample{
		{ID: "orders/0/1", Target: "orders", Before: map[string]any{"price": math.NaN()}, After: map[string]any{"price": 1.5}},
		{ID: "orders/0/2", Target: "orders-dlq-parking", Parked: true, Before: nil, After: nil},
	}}
	r.ID, r.Where = "20260102T030405Z-abcdef", "true"
	r.Counts = redrive.Counts{Matched: 5, Sent: 2, Parked: 1, Refused: map[string]int64{"map_failed": 1, "b": 1}, LeftOpen: 4}
	r.Targets, r.To = []string{"orders", "orders-eu"}, map[string]int64{"orders": 2, "orders-dlq-parking": 1}
	r.NotAllowed = map[string]int64{"": 2, "orders-state\x1b[2J\n": 3, strings.Repeat("x", 300): 1}
	r.Unfiltered = dlqredrive.Trouble{Letters: 2, Error: "cannot compare"}
	return r
}

func TestAResultIsPrinted(t *testing.T) {
	var out bytes.Buffer
	sampled().write(&out)
	require.Equal(t, strings.TrimLeft(`
orders/0/1 -> orders
  - map[price:NaN]
  + {"price":1.5}
orders/0/2 -> orders-dlq-parking
    null
and 1 more
Dry run, nothing was written
       5  matched
       2  would be sent
       1  would be parked
       1  refused: b
       1  refused: map_failed
       4  left open
Targets: orders, orders-eu
Would go to orders: 2 letters
Would go to orders-dlq-parking: 1 letters
No target is other topics: 2 letters name it
No target is "orders-state\x1b[2J\n": 3 letters name it
No target is "`+strings.Repeat("x", 249)+`": 1 letters name it
Not chosen since the filter failed: 2 letters, on the first with: cannot compare
`, "\n"), out.String())
}

// NaN has no JSON; what holds it is text.
func TestAResultIsOneJSONDocument(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, sampled().writeJSON(&out))
	var got map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &got))
	require.EqualValues(t, 2, got["sent"])
	require.Equal(t, true, got["dry_run"])
	require.Equal(t, map[string]any{"orders": 2.0, "orders-dlq-parking": 1.0}, got["to"])
	require.Equal(t, 3.0, got["not_allowed"].(map[string]any)["orders-state\x1b[2J\n"])
	require.Equal(t, "map[price:NaN]", got["samples"].([]any)[0].(map[string]any)["before"])

	out.Reset()
	require.NoError(t, (&result{}).writeJSON(&out))
	require.Contains(t, out.String(), `"refused":{}`, "scripts need not ask whether it is there")
}

func TestRunsArePrinted(t *testing.T) {
	begun := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var out bytes.Buffer
	require.NoError(t, writeRuns(&out, []redrive.Run{
		{ID: "a", By: "ann@host", Begun: begun, Ended: begun.Add(1500 * time.Millisecond), Where: "true", IDs: []string{"orders/0/1"}, Counts: redrive.Counts{Matched: 1, Sent: 1}},
		{ID: "b", By: "bob@host", Begun: begun, Where: "this.price < 0\n&& true", Map: "root.price = 1", Counts: redrive.Counts{Matched: 7, Sent: 3, Parked: 1, Refused: map[string]int64{"x": 1, "y": 2}}},
	}))
	lines := strings.Split(out.String(), "\n")
	require.Equal(t, "a    ann@host  2026-01-02T03:04:05Z  1.5s       1        1     0       0        orders/0/1", strings.TrimRight(lines[1], " "))
	require.Equal(t, "b    bob@host  2026-01-02T03:04:05Z  not ended  7        3     1       3        this.price < 0 && true  root.price = 1", lines[2])
}

func TestProgressIsDrawnOnATerminalAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		show(&dlqredrive.Watch{}, options{}, &out)()
		require.Empty(t, out.String())

		bar := newBar(&out)
		for passed := range int64(11) {
			time.Sleep(time.Second) // virtual
			r := dlqredrive.Report{Total: 20, Passed: passed}
			r.Sent = 3 * passed
			draw(bar, r, false)
		}
		require.Contains(t, out.String(), "30 sent")
		require.Contains(t, out.String(), "50%")
		require.Regexp(t, `\[1[01]s:1[01]s\]`, out.String(), "as long again as it has taken")
	})
}
