// Package backoff is a schedule of retries: how many there are and how long to wait before
// each. It reads no clock and no random source; whoever asks passes the randomness in.
package backoff

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Schedule says how long to wait before each retry. It is immutable and safe for concurrent
// use. The zero value has no retries.
type Schedule struct {
	delays []time.Duration
	jitter float64
}

// Default waits exactly 1 s, 2 s and 4 s, and then gives up.
func Default() Schedule {
	return Schedule{delays: []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}}
}

// List waits as long as each of the delays in turn, without jitter.
func List(delays ...time.Duration) (Schedule, error) {
	if len(delays) == 0 {
		return Schedule{}, fmt.Errorf("field delays: []: want at least one delay")
	}
	for i, d := range delays {
		if d <= 0 {
			return Schedule{}, fmt.Errorf("field delays.%d: %v: want a duration above 0", i, d)
		}
	}
	return Schedule{delays: slices.Clone(delays)}, nil
}

// MaxRetries bounds the length of an exponential schedule.
const MaxRetries = 1000

// Exponential describes a schedule whose delays grow by a factor.
type Exponential struct {
	// Initial is the delay before the first retry.
	Initial time.Duration
	// Multiplier is the factor from one delay to the next, at least 1.
	Multiplier float64
	// Max is the longest delay, before jitter; 0 is no limit.
	Max time.Duration
	// Jitter spreads each delay evenly over delay × (1 ± Jitter), 0 to 1.
	Jitter float64
	// Retries is how often to try again, 1 to MaxRetries.
	Retries int
}

// Schedule returns the schedule, or an error that names the field that is wrong.
func (e Exponential) Schedule() (Schedule, error) {
	switch {
	case e.Initial <= 0:
		return Schedule{}, fmt.Errorf("field initial_interval: %v: want a duration above 0", e.Initial)
	case !(e.Multiplier >= 1) || math.IsInf(e.Multiplier, 0): // written so that NaN is refused
		return Schedule{}, fmt.Errorf("field multiplier: %v: want a finite number of at least 1", e.Multiplier)
	case e.Max < 0 || (e.Max > 0 && e.Max < e.Initial):
		return Schedule{}, fmt.Errorf("field max_interval: %v: want a duration of at least initial_interval (%v)", e.Max, e.Initial)
	case !(e.Jitter >= 0 && e.Jitter <= 1):
		return Schedule{}, fmt.Errorf("field jitter: %v: want a number from 0 to 1", e.Jitter)
	case e.Retries < 1 || e.Retries > MaxRetries:
		return Schedule{}, fmt.Errorf("field max_retries: %d: want a number from 1 to %d", e.Retries, MaxRetries)
	}
	s := Schedule{delays: make([]time.Duration, e.Retries), jitter: e.Jitter}
	for i := range s.delays {
		d := duration(float64(e.Initial) * math.Pow(e.Multiplier, float64(i)))
		if e.Max > 0 {
			d = min(d, e.Max)
		}
		s.delays[i] = d
	}
	return s, nil
}

// Retries returns how many retries there are after the first attempt.
func (s Schedule) Retries() int { return len(s.delays) }

// Total returns how long all retries take together, without jitter.
func (s Schedule) Total() time.Duration {
	var sum time.Duration
	for _, d := range s.delays {
		if sum += d; sum < 0 {
			return math.MaxInt64
		}
	}
	return sum
}

// Delay returns how long to wait before retry number retry, counted from 1, and false when
// there is no such retry. rnd returns a number in [0,1); it is only called if there is jitter.
func (s Schedule) Delay(retry int, rnd func() float64) (time.Duration, bool) {
	if retry < 1 || retry > len(s.delays) {
		return 0, false
	}
	d := s.delays[retry-1]
	if s.jitter > 0 {
		d = duration(float64(d) * (1 + s.jitter*(2*rnd()-1)))
	}
	return d, true
}

// duration converts nanoseconds, at most the longest duration that there is.
func duration(ns float64) time.Duration {
	if ns >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(ns)
}
