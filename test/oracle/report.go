package oracle

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// maxExamples bounds what a report tells of single records.
const maxExamples = 20

// Report is what a reader of committed records finds.
type Report struct {
	Orders, Processed, DeadLettered int

	Missing         int // orders without an outcome
	Duplicates      int // outcomes of orders that have one already
	Strangers       int // outcomes of no order
	Altered         int // outcomes with another key, dead letters with other bytes
	AlteredHeaders  int // dead letters that lack a header of the order, or have it otherwise
	Malformed       int // outcomes that cannot be read
	TooManyAttempts int
	GivenUpEarly    int // dead letters of transient failures with retries left
	EarlyRetries    int

	Classes, Codes map[string]int // dead letters by class and by code
	Retries        []Retry        // of the dead letters, first retry first
	Aggregates     Aggregates     // of the processed orders, each once
	Examples       []string       // the first findings, in words
}

// Retry tells how much longer than promised the dead letters waited for one retry.
type Retry struct {
	Count            int
	Min, Median, P99 time.Duration
	Max              time.Duration
}

// ExactlyOnce is nil when every order has exactly one outcome and all else was kept, too.
func (r Report) ExactlyOnce() error {
	return r.judge(r.AtLeastOnce(), map[string]int{"duplicates": r.Duplicates})
}

// AtLeastOnce is nil when every order has an outcome, and all else but "only one" was kept.
func (r Report) AtLeastOnce() error {
	return r.judge(nil, map[string]int{
		"missing":           r.Missing,
		"strangers":         r.Strangers,
		"altered":           r.Altered,
		"altered headers":   r.AlteredHeaders,
		"malformed":         r.Malformed,
		"too many attempts": r.TooManyAttempts,
		"given up early":    r.GivenUpEarly,
		"early retries":     r.EarlyRetries,
	})
}

func (r Report) judge(already error, findings map[string]int) error {
	var bad []string
	for _, name := range slices.Sorted(maps.Keys(findings)) {
		if n := findings[name]; n != 0 {
			bad = append(bad, fmt.Sprintf("%s: %d", name, n))
		}
	}
	if len(bad) == 0 {
		return already
	}
	return errors.Join(already, fmt.Errorf("%s; %v; for example:\n  %s",
		strings.Join(bad, ", "), r, strings.Join(r.Examples, "\n  ")))
}

// String is one line.
func (r Report) String() string {
	return fmt.Sprintf("orders %d = processed %d + dead-lettered %d + missing %d (duplicates %d, strangers %d)",
		r.Orders, r.Processed, r.DeadLettered, r.Missing, r.Duplicates, r.Strangers)
}

// find counts a finding and keeps the first ones in words.
func (o *Oracle) find(counter *int, format string, args ...any) {
	*counter++
	if len(o.report.Examples) < maxExamples {
		o.report.Examples = append(o.report.Examples, fmt.Sprintf(format, args...))
	}
}

// snapshot is the report as it is now; it does not change when the oracle reads on.
func (o *Oracle) snapshot() Report {
	r := o.report
	r.Classes, r.Codes = maps.Clone(r.Classes), maps.Clone(r.Codes)
	r.Examples = slices.Clone(r.Examples)
	if r.Missing > 0 && len(r.Examples) < maxExamples {
		r.Examples = append(r.Examples, o.missing(maxExamples-len(r.Examples))...)
	}
	r.Aggregates = o.aggregates()
	for _, overs := range o.overs {
		retry := Retry{Count: len(overs)}
		if sorted := slices.Sorted(slices.Values(overs)); len(sorted) > 0 {
			retry.Min, retry.Max = sorted[0], sorted[len(sorted)-1]
			retry.Median, retry.P99 = sorted[len(sorted)/2], sorted[len(sorted)*99/100]
		}
		r.Retries = append(r.Retries, retry)
	}
	return r
}

func (o *Oracle) missing(n int) []string {
	var examples []string
	for of, known := range o.orders {
		if known.outcomes == 0 {
			examples = append(examples, fmt.Sprintf("%s has no outcome", of))
		}
		if len(examples) == n {
			break
		}
	}
	slices.Sort(examples)
	return examples
}
