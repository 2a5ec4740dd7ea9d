// Package breaker tells an outage from orders that fail for reasons of their own: if nearly all
// orders fail for transient reasons, the fault is not theirs. While the breaker is open no order
// is tried but one at a time, as a probe; the breaker closes when some of them have passed.
//
// What counts is the first attempt of each order, and the first after it was held. Retries do
// not: at the end of a run only orders that fail for ever are left, and their retries look just
// like an outage. An order that fails permanently counts neither way, since most rules are checked
// without asking anybody. In an outage, a window after its beginning at the latest, all attempts
// in the window have failed; so the breaker opens within a window and the time between two
// orders, if a window has room for Min of them.
//
// A service that hangs answers too few orders for that. So the row of failures since something
// passed last, be it a retry, counts as well. It opens the breaker if it has Min first attempts
// and is as long as a window, or if it has n fewer of them, at least 2, is Min/n windows long, and
// failing attempts, retries included, took half of that time or more. Orders that fail for reasons
// of their own do so at once, or others pass in between.
//
// No order may die of an outage before the breaker is open. If the retries of an order take
// longer than that (7 s: 1 s, 2 s, 4 s; against a window of 6 s and an order each half second,
// 6.5 s), its last attempt comes too late for it. The case that is left is an order that was tried
// before: by a process that has ended, or before the breaker closed. Therefore:
//
//   - An order that was held carries the time of it. A breaker that meets one, held later than it
//     has closed last (a restart, an order taken over from another instance), opens at once.
//   - After the first failure since the start, until something passes, and after closing, there
//     is a probation of a little more than a window, in which no failed attempt is an order's last.
//   - The same holds while failing attempts fill the time, until the row is long enough.
//
// This leaves open: an outage in which each order fails at once and that has fewer than Min new
// orders in a window; one that meets a single order; and an order that had failed for its own
// reasons before, and fails once more in the seconds until the breaker opens.
//
// A share of failing orders that is high but no outage opens it rarely. With a ratio of 0.95 and a
// minimum of 12, 100 orders at 2 a second open it at some time with a probability of 2e-9 if
// 15 % fail, 1e-5 if 30 % do, and 0.6 % if half of them do; more orders a second make it less. At
// a slower pace, where the row decides, it is 1e-8, 4e-5 and 1.1 %. Then a few probes close it again,
// and the price is their time.
package breaker

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The breaker closes when enough of the last probes have passed. One alone may pass by luck in a
// partial outage. But they need not pass in a row: probes are waiting orders and new ones in turn,
// and of those that wait none may be left but orders that fail for ever.
const (
	enough = 3
	last   = 1<<6 - 1 // six, as a mask
)

// fewest is how many orders have to fail in a row at least: one tells nothing of the others.
const fewest = 2

// Config says when a breaker opens.
type Config struct {
	// Ratio is the share of failed first attempts that opens it, above 0 and at most 1.
	Ratio float64
	// Window is how far back attempts count.
	Window time.Duration
	// Min is how many attempts there have to be in the window, or in a row.
	Min int
	// Probe is the time from a failed probe to the next.
	Probe time.Duration
	// Codes are those of the failures that an outage has; empty: all.
	Codes []string
}

// Reason is why a breaker is open.
type Reason struct {
	// Failed and Tried are the first attempts in this time when it opened. All are 0 if the orders
	// were held already.
	Failed, Tried int64
	Within        time.Duration
	// Code is the most frequent code of the failures, and Share how many of them had it, 0 to 1.
	Code  string
	Share float64
	// Text is the last error.
	Text string
}

// Breaker is safe for concurrent use. It reads no clock: the times passed in should not go back.
type Breaker struct {
	conf Config
	open atomic.Bool
	// passes counts attempts that passed and are not in the window yet. They come in with the
	// next failure, dated by it: later than they were, so that the breaker opens later at most,
	// and at no price while nothing fails.
	passes atomic.Int64
	// answered tells whether a retry has passed since the last failure.
	answered atomic.Bool

	mu     sync.Mutex
	window window
	row    row
	reason Reason
	since  time.Time
	closed time.Time // when it closed last; zero: never
	// watch is when the probation began: with the first failure, or when the breaker closed. It
	// ends early if something passes and the breaker was never open: sound tells so.
	watch   time.Time
	sound   bool
	probing bool
	next    time.Time // of the next probe
	probes  uint      // a bit for each of the last probes, 1 if it passed
}

// New makes a closed breaker.
func New(c Config) *Breaker {
	return &Breaker{conf: c, window: window{span: c.Window}}
}

// Open tells whether orders are to be held. It costs an atomic load.
func (b *Breaker) Open() bool { return b.open.Load() }

// State returns since when and why the breaker is open, or a zero time.
func (b *Breaker) State() (since time.Time, why Reason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open.Load() {
		return time.Time{}, Reason{}
	}
	return b.since, b.reason
}

// Recall takes note of an order that was held at some time, by whomever, and tells whether the
// breaker has opened because of it.
func (b *Breaker) Recall(held, now time.Time, code, text string) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open.Load() || !held.After(b.closed) {
		return false
	}
	b.trip(now, Reason{Code: code, Share: 1, Text: text})
	b.next = now
	return true
}

// Admit decides on an order that has come while the breaker is open: whether it is the probe, and
// if not, when to ask again. One that is the probe has to be answered by Passed, Failed or Undone.
func (b *Breaker) Admit(now time.Time) (probe bool, again time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open.Load():
		return false, now
	case !b.probing && !now.Before(b.next):
		b.probing, b.next = true, now.Add(b.conf.Probe)
		return true, time.Time{}
	case b.probing && !now.Before(b.next): // it takes its time
		b.next = now.Add(b.conf.Probe)
	}
	return false, b.next
}

// Counted counts an attempt that passed and was no probe, if it was a first one.
func (b *Breaker) Counted() { b.passes.Add(1) }

// Answered takes note of a retry that passed and was no probe.
func (b *Breaker) Answered() {
	if !b.answered.Load() { // so that threads do not write to it in turn
		b.answered.Store(true)
	}
}

// Passed takes the success of a probe, and tells whether it has closed the breaker and how long
// that was open. The next probe may follow at once.
func (b *Breaker) Passed(now time.Time) (closed bool, after time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing, b.next = false, now
	if b.probes = b.probes<<1 | 1; bits.OnesCount(b.probes&last) < enough || !b.open.Load() {
		return false, 0
	}
	b.open.Store(false)
	b.passes.Store(0)
	b.window, b.row = window{span: b.conf.Window}, row{}
	b.closed, b.watch = now, now
	return true, now.Sub(b.since)
}

// Undone takes back a probe that told nothing: it was interrupted, or failed permanently.
func (b *Breaker) Undone(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing, b.next = false, now
}

// Matters tells whether an outage has failures with this code. Others show that somebody answers.
func (b *Breaker) Matters(code string) bool {
	return len(b.conf.Codes) == 0 || slices.Contains(b.conf.Codes, code)
}

// Verdict is what a failure means.
type Verdict int

const (
	// Own: the failure is the order's own.
	Own Verdict = iota
	// Opened: the breaker has opened because of it. The attempt is not the order's fault.
	Opened
	// Outage: the breaker was open. The attempt is not the order's fault.
	Outage
)

// Failed takes a transient failure whose code matters, of an attempt that took so long; first tells
// whether the attempt counts. Unless the failure is the order's own, it says when to ask Admit
// about the order again.
func (b *Breaker) Failed(now time.Time, took time.Duration, probe, first bool, code, text string) (v Verdict, again time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if probe {
		b.probing, b.probes, b.next = false, b.probes<<1, now.Add(b.conf.Probe)
	}
	if b.open.Load() {
		b.reason.Text = text
		return Outage, b.next
	}
	if b.watch.IsZero() {
		b.watch = now
	}
	passed := b.passes.Swap(0)
	b.sound = b.sound || passed > 0
	b.window.pass(now, passed)
	if b.answered.Swap(false) || passed > 0 {
		b.row = row{}
	}
	b.row.fail(now, took, first, code)
	if first {
		b.window.fail(now, code)
	}
	why, outage := b.judge(now, first)
	if !outage {
		return Own, time.Time{}
	}
	why.Text = text
	b.trip(now, why)
	return Opened, b.next
}

// judge tells whether the failures so far look like an outage. b.mu must be held.
func (b *Breaker) judge(now time.Time, first bool) (why Reason, outage bool) {
	failed, tried := b.window.failed, b.window.failed+b.window.passed
	if first && tried >= int64(b.conf.Min) && float64(failed) >= b.conf.Ratio*float64(tried) {
		code, share := mostFrequent(b.window.codes())
		return Reason{Failed: failed, Tried: tried, Within: b.conf.Window, Code: code, Share: share}, true
	}
	many := first && b.row.orders >= int64(b.conf.Min)
	if (!many && !b.hangs(now)) || now.Before(b.due()) {
		return Reason{}, false
	}
	code, share := mostFrequent(b.row.codes)
	return Reason{Failed: b.row.orders, Tried: b.row.orders, Within: now.Sub(b.row.begin), Code: code, Share: share}, true
}

// hangs tells whether failures fill the time, as those of a service that hangs do. b.mu must be held.
func (b *Breaker) hangs(now time.Time) bool {
	return b.row.orders >= min(fewest, int64(b.conf.Min)) && b.row.busy(now)
}

// due returns when the row of failures, of at least one order, is long enough for an outage: the
// fewer orders are in it, the longer it has to be. b.mu must be held.
func (b *Breaker) due() time.Time {
	windows := max(1, float64(b.conf.Min)/float64(b.row.orders))
	return b.row.begin.Add(time.Duration(windows * float64(b.conf.Window)))
}

// trip opens the breaker. b.mu must be held.
func (b *Breaker) trip(now time.Time, why Reason) {
	b.reason, b.since, b.probes, b.probing = why, now, 0, false
	b.next = now.Add(b.conf.Probe)
	b.open.Store(true)
}

// Probation returns when the probation ends, and false if there is none: a failed attempt that
// would be the last of its order, and took so long, is then to be tried again at that time.
func (b *Breaker) Probation(now time.Time, took time.Duration) (until time.Time, on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watch.IsZero() {
		return time.Time{}, false
	}
	settled := b.closed.IsZero() && (b.sound || b.passes.Load() > 0)
	if !settled {
		until = b.watch.Add(b.conf.Window + b.conf.Window/12)
	}
	if due := b.due(); b.hangs(now) && due.After(until) {
		// Soon enough that the attempts of two threads go on filling the time.
		soon := now.Add(max(2*took, b.conf.Probe))
		if until = soon; due.Before(soon) {
			until = due
		}
	}
	return until, now.Before(until)
}
