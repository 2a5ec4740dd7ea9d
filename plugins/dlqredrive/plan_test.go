package dlqredrive

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/letters"
)

func TestWhereALetterGoes(t *testing.T) {
	for _, c := range []struct {
		name    string
		plan    plan
		letter  deadletter.Letter
		without bool
		topic   string
		parked  bool
		reason  string
	}{
		{"to the topic that it came from", plan{maxRedrives: 3}, deadletter.Letter{Topic: "orders"}, false, "orders", false, ""},
		{"nowhere, if it does not say which that is", plan{maxRedrives: 3}, deadletter.Letter{}, false, "", false, reasonNoOrigin},
		{"to the target, if that is where it came from", plan{maxRedrives: 3, target: "orders"}, deadletter.Letter{Topic: "orders"}, false, "orders", false, ""},
		{"to the target, if it does not say where it came from", plan{maxRedrives: 3, target: "orders"}, deadletter.Letter{}, false, "orders", false, ""},
		{"to no other target", plan{maxRedrives: 3, target: "other"}, deadletter.Letter{Topic: "orders"}, false, "", false, reasonOtherTarget},
		{"to another target, if that is allowed", plan{maxRedrives: 3, target: "other", allowOther: true}, deadletter.Letter{Topic: "orders"}, false, "other", false, ""},
		{"nowhere without its record", plan{maxRedrives: 3, target: "orders"}, deadletter.Letter{Topic: "orders", Partition: 2, Offset: 9}, true, "", false, letters.CodeNoRecord},
		{"to the parking topic also without it", plan{parking: "parking"}, deadletter.Letter{}, true, "parking", true, ""},
		{"once more, if it may", plan{maxRedrives: 3, parking: "parking"}, deadletter.Letter{Topic: "orders", Redrives: 2}, false, "orders", false, ""},
		{"to the parking topic after that", plan{maxRedrives: 3, parking: "parking"}, deadletter.Letter{Topic: "orders", Redrives: 3}, false, "parking", true, ""},
		{"to the parking topic, even with nowhere else to go", plan{parking: "parking"}, deadletter.Letter{}, false, "parking", true, ""},
		{"to no topic that is no target, whatever it says", plan{maxRedrives: 3}, deadletter.Letter{Topic: "orders-state"}, false, "", false, reasonNotAllowed},
		{"to any of the targets", plan{maxRedrives: 3}, deadletter.Letter{Topic: "orders-eu"}, false, "orders-eu", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.plan.targets = []string{"orders", "orders-eu"}
			got := c.plan.route(c.letter, c.without)
			require.Equal(t, c.reason, got.reason)
			require.Equal(t, c.reason != "", got.err != nil)
			if c.reason == "" {
				require.Equal(t, route{topic: c.topic, parked: c.parked}, got)
			}
		})
	}
}

func TestALetterIsNamedByItsIDOrByItsPlace(t *testing.T) {
	p := plan{ids: map[string]bool{"orders/0/1": true, "dlq/2/3": true}}
	require.True(t, p.means("orders/0/1", "dlq/0/0"))
	require.True(t, p.means("orders/9/9", "dlq/2/3"))
	require.False(t, p.means("orders/9/9", "dlq/0/0"))
	require.True(t, (&plan{}).means("orders/9/9", "dlq/0/0"), "without names all are meant")
}

// Whatever the pauses between them, no window of time sees more than the rate allows.
func TestAPaceIsNeverExceeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0.5, 1000).Draw(t, "rate")
		p := newPace(rate)
		now := time.Unix(1_000_000_000, 0)
		var sent []time.Time
		for range rapid.IntRange(2, 50).Draw(t, "orders") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "pause")) / time.Duration(rate+1))
			now = now.Add(p.wait(now))
			p.take(now)
			sent = append(sent, now)
		}
		for i := range sent {
			for j := i + 1; j < len(sent); j++ {
				least := time.Duration(float64(j-i) * float64(time.Second) / rate)
				require.GreaterOrEqual(t, sent[j].Sub(sent[i]), least-time.Duration(j-i))
			}
		}
	})
}

func TestWithoutARateNothingWaits(t *testing.T) {
	p := newPace(0)
	now := time.Unix(1_000_000_000, 0)
	p.take(now)
	require.Zero(t, p.wait(now))
}
