package backoffretry

import (
	"time"

	"github.com/orderflow/orderflow/internal/backoff"
	"github.com/orderflow/orderflow/internal/failure"
)

// verdict is what becomes of a message whose attempt failed.
type verdict int

const (
	// again: try once more, after a delay.
	again verdict = iota
	// hopeless: the failure is permanent.
	hopeless
	// exhausted: it might have passed, but all retries are used up.
	exhausted
)

// policy decides on retries. It has no state, so a message may be tried by several processes,
// one attempt each.
type policy struct {
	schedule backoff.Schedule
	// random returns a number in [0,1), for jitter.
	random func() float64
}

// next decides what follows the failure of an attempt, counted from 1. Of a message that is to
// be tried again it says how long to wait from the moment of the failure.
func (p policy) next(err error, attempt int) (verdict, time.Duration) {
	if class, _ := failure.Of(err); class == failure.Permanent {
		return hopeless, 0
	}
	delay, ok := p.schedule.Delay(attempt, p.random)
	if !ok {
		return exhausted, 0
	}
	return again, delay
}

// retriesExceeded is the error of a message that has used up its retries.
type retriesExceeded struct{ cause error }

func (e *retriesExceeded) Error() string { return "Max retries exceeded: " + e.cause.Error() }
func (e *retriesExceeded) Unwrap() error { return e.cause }
