package demo

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/shown"
)

// printSummaries shows what the pipelines said at their end.
func (s *session) printSummaries(out io.Writer) {
	for _, part := range []struct {
		title string
		child *child
	}{{"Producer", s.producer}, {"Consumer", s.consumer}, {"Dead-letter monitor", s.monitor}} {
		text := part.child.summary()
		if text == "" {
			text = "(nothing to report)"
		}
		fmt.Fprintf(out, "\n== %s\n%s\n", part.title, shown.Lines(text))
	}
}

// printDeadLetter shows a dead letter as a consumer of the topic gets it.
func printDeadLetter(out io.Writer, r *kgo.Record) {
	if r == nil {
		return
	}
	fmt.Fprintf(out, "\n== A dead letter, as it is on %s\n", r.Topic)
	fmt.Fprintf(out, "%-20s %s\n", "key", content(r.Key))
	fmt.Fprintf(out, "%-20s %d bytes, as the order came\n", "value", len(r.Value))
	// Ours first and in their order, which the broker need not have kept.
	rank := func(h kgo.RecordHeader) int {
		switch i := slices.Index(deadletter.Names, h.Key); {
		case i >= 0:
			return i
		case deadletter.IsOurs(h.Key):
			return len(deadletter.Names)
		default:
			return len(deadletter.Names) + 1
		}
	}
	headers := slices.Clone(r.Headers)
	slices.SortStableFunc(headers, func(a, b kgo.RecordHeader) int { return rank(a) - rank(b) })
	for _, h := range headers {
		fmt.Fprintf(out, "%-20s %s\n", shown.Text(h.Key), content(h.Value))
	}
}

// content is a key or header as people see it.
func content(b []byte) string {
	if b == nil {
		return "(null)"
	}
	return shown.Text(string(b))
}

// mostShown is how many orders of a kind are named when something does not add up.
const mostShown = 5

// printBalance shows whether the orders add up.
func printBalance(out io.Writer, b Balance) {
	result := "holds"
	if !b.Holds() {
		result = "does NOT hold"
	}
	fmt.Fprintf(out, "\n== Check, from the broker alone\nin %d = processed %d + dead-lettered %d: %s\n", b.In, b.Processed, b.DeadLettered, result)
	for _, list := range []struct {
		title   string
		origins []string
	}{{"orders without an outcome", b.Missing}, {"orders with more than one outcome", b.Repeated}, {"outcomes of no order", b.Strange}} {
		if n := len(list.origins); n > 0 {
			var some []string
			for _, origin := range list.origins[:min(n, mostShown)] {
				some = append(some, shown.Text(origin))
			}
			if n > mostShown {
				some = append(some, "…")
			}
			fmt.Fprintf(out, "%s: %d (%s)\n", list.title, n, strings.Join(some, ", "))
		}
	}
}
