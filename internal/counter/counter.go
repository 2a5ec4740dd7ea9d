// Package counter counts what happens once a message without the cost of a metric: the host
// looks up a counter's labels each time it is incremented, which takes longer than most of what
// is counted.
package counter

import (
	"sync/atomic"
	"time"
)

// delay is how much later than the count a metric may be. Nobody scrapes more often.
const delay = 100 * time.Millisecond

// Counter hands what was counted on to a metric, at most once in each delay. It is safe for
// concurrent use, and must not be copied.
type Counter struct {
	incr    func(int64)
	pending atomic.Int64
}

// New makes a counter in front of a metric; incr increases it.
func New(incr func(by int64)) *Counter { return &Counter{incr: incr} }

// Add counts n, which is positive.
func (c *Counter) Add(n int64) {
	if c.pending.Add(n) == n { // the first since the last time: nobody else has set a timer
		time.AfterFunc(delay, func() { c.incr(c.pending.Swap(0)) })
	}
}
