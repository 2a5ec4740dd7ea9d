package deliveryreport

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var errRefused = errors.New("refused")

func TestWhatCountsAsProducedAndFailed(t *testing.T) {
	type step struct {
		hashes []uint64
		failed []int // places in hashes
	}
	for name, tt := range map[string]struct {
		steps                            []step
		produced, failed, failedAttempts int64
	}{
		"nothing happened":                     {},
		"all delivered":                        {steps: []step{{hashes: []uint64{1, 2, 3}}}, produced: 3},
		"one failed and never came again":      {steps: []step{{[]uint64{1, 2}, []int{1}}}, produced: 1, failed: 1, failedAttempts: 1},
		"one failed and was delivered later":   {steps: []step{{[]uint64{1, 2}, []int{1}}, {hashes: []uint64{2}}}, produced: 2, failedAttempts: 1},
		"one failed twice, then was delivered": {steps: []step{{[]uint64{1}, []int{0}}, {[]uint64{1}, []int{0}}, {hashes: []uint64{1}}}, produced: 1, failedAttempts: 2},
		"equal ones failed, one came again":    {steps: []step{{[]uint64{1, 1}, []int{0, 1}}, {hashes: []uint64{1}}}, produced: 1, failed: 1, failedAttempts: 2},
		"equal ones failed, both came again":   {steps: []step{{[]uint64{1, 1}, []int{0, 1}}, {hashes: []uint64{1, 1}}}, produced: 2, failedAttempts: 2},
		"another one was delivered":            {steps: []step{{[]uint64{1}, []int{0}}, {hashes: []uint64{2}}}, produced: 1, failed: 1, failedAttempts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			tally := newTally()
			for _, s := range tt.steps {
				var failures []error
				if s.failed != nil {
					failures = make([]error, len(s.hashes))
				}
				for _, i := range s.failed {
					failures[i] = errRefused
				}
				tally.begin(s.hashes)
				delivered, undelivered := tally.end(s.hashes, failures, time.Millisecond)
				require.Equal(t, len(s.hashes)-len(s.failed), delivered)
				require.Equal(t, len(s.failed), undelivered)
			}
			f := tally.figures()
			require.Equal(t, tt.produced, f.produced, "produced")
			require.Equal(t, tt.failed, f.failed, "failed")
			require.Equal(t, tt.failedAttempts, f.failedAttempts, "failed attempts")
		})
	}
}

// However a host offers messages again and again: what is failed at the end is what failed and
// was not delivered. Where contents are equal, one that was not tried before may stand in for one
// that failed, so there can be less, never more.
func TestFailedIsWhatWasNotDelivered(t *testing.T) {
	for name, contents := range map[string]int{"distinct contents": 1000, "equal contents": 3} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				tally := newTally()
				total := rapid.IntRange(0, 30).Draw(t, "messages")
				var waiting []int
				for i := range total {
					waiting = append(waiting, i)
				}
				attempts, tried := 0, map[int]bool{}
				for range rapid.IntRange(0, 20).Draw(t, "batches") {
					n := rapid.IntRange(0, len(waiting)).Draw(t, "size")
					batch := waiting[:n:n]
					waiting = slices.Clone(waiting[n:])
					hashes, failures := make([]uint64, n), make([]error, n)
					for i, id := range batch {
						hashes[i], tried[id] = uint64(id%contents), true
						if rapid.Bool().Draw(t, "fails") {
							failures[i] = errRefused
							attempts++
							waiting = append(waiting, id)
						}
					}
					tally.begin(hashes)
					tally.end(hashes, failures, time.Millisecond)
				}
				var undelivered int64
				for _, id := range waiting {
					if tried[id] {
						undelivered++
					}
				}
				f := tally.figures()
				require.EqualValues(t, total-len(waiting), f.produced)
				require.EqualValues(t, attempts, f.failedAttempts)
				if contents > total {
					require.Equal(t, undelivered, f.failed)
				}
				require.LessOrEqual(t, f.failed, undelivered)
			})
		})
	}
}

func TestMemoryOfFailuresIsBounded(t *testing.T) {
	tally := newTally()
	hashes, failures := make([]uint64, maxPending+100), make([]error, maxPending+100)
	for i := range hashes {
		hashes[i], failures[i] = uint64(i), errRefused
	}
	tally.end(hashes, failures, 0)
	require.Len(t, tally.pending, maxPending)
	require.EqualValues(t, maxPending+100, tally.figures().failed)
	tally.begin(hashes)
	require.Empty(t, tally.pending)
	require.EqualValues(t, 100, tally.figures().failed, "those without a place stay failed")
}

func TestLatencies(t *testing.T) {
	tally := newTally()
	require.Equal(t, figures{}, tally.figures())
	for i := range 100 {
		tally.end([]uint64{1}, nil, time.Duration(i+1)*time.Millisecond)
	}
	tally.end([]uint64{1}, []error{errRefused}, time.Hour)
	f := tally.figures()
	require.Equal(t, 50500*time.Microsecond, f.average, "a failure has no latency")
	require.InEpsilon(t, 50*time.Millisecond, f.p50, 2*accuracy)
	require.InEpsilon(t, 99*time.Millisecond, f.p99, 2*accuracy)
}

func TestQuantilesAreWithinTheirAccuracy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tally := newTally()
		var all []time.Duration
		for range rapid.IntRange(1, 200).Draw(t, "batches") {
			d := time.Duration(math.Exp(rapid.Float64Range(0, 30).Draw(t, "log ns")))
			n := rapid.IntRange(1, 5).Draw(t, "messages")
			tally.end(make([]uint64, n), nil, d)
			for range n {
				all = append(all, d)
			}
		}
		slices.Sort(all)
		f := tally.figures()
		for q, got := range map[float64]time.Duration{0.5: f.p50, 0.99: f.p99} {
			exact := all[int(q*float64(len(all)-1))]
			require.InDelta(t, exact, got, accuracy*float64(exact)+1, "quantile %v", q)
		}
	})
}

func TestTallyFromManyGoroutines(t *testing.T) {
	tally := newTally()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			hash := []uint64{uint64(g % 2)}
			for i := range 200 {
				tally.begin(hash)
				tally.end(hash, []error{map[bool]error{true: errRefused}[i%2 == 0]}, time.Millisecond)
			}
		})
	}
	wg.Wait()
	f := tally.figures()
	require.Equal(t, "800 800 0", fmt.Sprint(f.produced, f.failedAttempts, f.failed))
}
