package demo

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/orderflow/orderflow/internal/shown"
)

// progress is what the demo knows at a moment.
type progress struct {
	elapsed  time.Duration
	expected int
	balance  Balance
	gauges   gauges
}

// gauges is what the consumer's metrics tell.
type gauges struct {
	waiting int
	average float64
	// retries counts the retries by their number: [0] is how often a first retry was made.
	retries []int
}

// waits are the waits before the first, second and third retry in consumer.yaml.
var waits = []string{"1s", "2s", "4s"}

// line is what fits on a terminal; the least important comes last.
func (p progress) line() string {
	b := p.balance
	parts := []string{
		fmt.Sprintf("%5.1fs", p.elapsed.Seconds()),
		fmt.Sprintf("in %d/%d", b.In, p.expected),
		fmt.Sprintf("processed %d", b.Processed),
		fmt.Sprintf("dead %d", b.DeadLettered),
		"average " + average(p.gauges.average),
		"retries " + strings.Join(p.gauges.retriesByWait(), " "),
		fmt.Sprintf("waiting %d", p.gauges.waiting),
	}
	return strings.Join(parts, "  ")
}

// average has two decimals, and an exponent where people write one.
func average(f float64) string {
	if math.Abs(f) < 1e15 {
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
	return shown.Float(f)
}

func (g gauges) retriesByWait() []string {
	var parts []string
	for i := range max(len(waits), len(g.retries)) {
		name, n := fmt.Sprintf("#%d", i+1), 0
		if i < len(waits) {
			name = waits[i]
		}
		if i < len(g.retries) {
			n = g.retries[i]
		}
		parts = append(parts, fmt.Sprintf("%s:%d", name, n))
	}
	return parts
}

// Control sequences: anew clears the line, and has the terminal cut off what is too long for it
// instead of going on in the next line; wrap ends that.
const (
	anew = "\r\x1b[K\x1b[?7l"
	wrap = "\x1b[?7h"
)

// drawer shows the progress: on a terminal one line that is drawn anew, elsewhere a line each
// second if anything has changed. It has one user.
type drawer struct {
	out      io.Writer
	terminal bool

	drawn   bool // the cursor is in a line of ours
	shown   progress
	started bool
}

// draw shows p, or leaves it out if it is too soon or nothing new.
func (d *drawer) draw(p progress) {
	if d.terminal {
		fmt.Fprint(d.out, anew, p.line(), wrap)
		d.drawn = true
		return
	}
	if d.started && (p.elapsed-d.shown.elapsed < time.Second || p.sameAs(d.shown)) {
		return
	}
	d.print(p)
}

// finish shows the last state and leaves the line.
func (d *drawer) finish(p progress) {
	switch {
	case d.terminal:
		d.draw(p)
		fmt.Fprintln(d.out)
		d.drawn = false
	case !d.started || !p.sameAs(d.shown):
		d.print(p)
	}
}

// leave ends a line that is being drawn, so that other output starts on its own.
func (d *drawer) leave() {
	if d.drawn {
		fmt.Fprintln(d.out)
		d.drawn = false
	}
}

func (d *drawer) print(p progress) {
	fmt.Fprintln(d.out, p.line())
	d.shown, d.started = p, true
}

// sameAs compares all but the time.
func (p progress) sameAs(other progress) bool {
	p.elapsed = other.elapsed
	return p.line() == other.line()
}
