package deliveryreport

import (
	"sync"
	"time"

	"github.com/DataDog/sketches-go/ddsketch"
)

const (
	// accuracy is the greatest relative error of a quantile.
	accuracy = 0.01
	// maxBins bounds the sketch: at this accuracy they span more than 17 powers of ten, which
	// no latency needs.
	maxBins = 2048
	// maxPending bounds the failed messages that are remembered until they are delivered.
	maxPending = 1 << 16
)

// tally counts deliveries and measures how long they took. It is safe for concurrent use.
//
// The host offers a failed message again, and nothing tells the output that it is the same
// one. So failed messages are remembered by a hash of their content, and an attempt at the same
// content takes the failure back until it fails itself. Equal contents are counted, not merged:
// two equal messages that failed need two more attempts.
type tally struct {
	mu             sync.Mutex
	delivered      int64
	failedAttempts int64
	total          time.Duration // of all latencies
	latencies      *ddsketch.DDSketch
	pending        map[uint64]int // failures by hash, not tried again since
	failed         int64          // the sum of pending, and what it had no place for
}

func newTally() *tally {
	latencies, err := ddsketch.LogCollapsingLowestDenseDDSketch(accuracy, maxBins)
	if err != nil {
		panic(err) // the two constants above are wrong
	}
	return &tally{latencies: latencies, pending: map[uint64]int{}}
}

// begin is called before messages, told by their hashes, are handed over.
func (t *tally) begin(hashes []uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.pending) == 0 {
		return
	}
	for _, hash := range hashes {
		switch n := t.pending[hash]; n {
		case 0:
			continue
		case 1:
			delete(t.pending, hash)
		default:
			t.pending[hash] = n - 1
		}
		t.failed--
	}
}

// end is called with what became of these messages: the error of each, nil if none failed.
func (t *tally) end(hashes []uint64, failures []error, latency time.Duration) (delivered, undelivered int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, hash := range hashes {
		if failures == nil || failures[i] == nil {
			delivered++
			continue
		}
		undelivered++
		t.failed++
		if n, ok := t.pending[hash]; ok || len(t.pending) < maxPending {
			t.pending[hash] = n + 1
		}
	}
	t.delivered += int64(delivered)
	t.failedAttempts += int64(undelivered)
	if delivered > 0 {
		t.total += latency * time.Duration(delivered)
		// It refuses only what is no number or beyond its range of 10^308; a duration is neither.
		_ = t.latencies.AddWithCount(max(latency, 0).Seconds(), float64(delivered))
	}
	return delivered, undelivered
}

// figures are what a report says.
type figures struct {
	produced       int64 // delivered
	failed         int64 // the last attempt failed
	failedAttempts int64
	average        time.Duration
	p50, p99       time.Duration
}

func (t *tally) figures() figures {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := figures{produced: t.delivered, failed: t.failed, failedAttempts: t.failedAttempts}
	if t.delivered > 0 {
		f.average = t.total / time.Duration(t.delivered)
		f.p50, f.p99 = t.quantile(0.5), t.quantile(0.99)
	}
	return f
}

func (t *tally) quantile(q float64) time.Duration {
	seconds, err := t.latencies.GetValueAtQuantile(q)
	if err != nil {
		return 0 // an empty sketch
	}
	return time.Duration(seconds * float64(time.Second))
}
