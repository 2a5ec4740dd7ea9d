package backoffretry

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

func TestWhatWaitsInASessionIsCountedUntilItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport(service.MockResources().Metrics(), 3)
		begun := time.Now()
		for i := range 1000 {
			r.waitUntil(2, begun.Add(time.Second+time.Duration(i)*time.Millisecond))
		}
		r.waitUntil(1, begun.Add(time.Hour))
		r.mu.Lock()
		require.LessOrEqual(t, len(r.leaving), 12, "timers")
		r.mu.Unlock()
		time.Sleep(time.Second)
		require.EqualValues(t, 1000, r.waits[1].Load(), "none is due")
		time.Sleep(500 * time.Millisecond)
		require.InDelta(t, 550, r.waits[1].Load(), 50, "half of them are")
		time.Sleep(600 * time.Millisecond)
		require.Zero(t, r.waits[1].Load())
		require.EqualValues(t, 1, r.waits[0].Load())
	})
}
