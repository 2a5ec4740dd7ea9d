package demo

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/deadletter"
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
		fmt.Fprintf(out, "\n== %s\n%s\n", part.title, text)
	}
}

// printDeadLetter shows a dead letter as a consumer of the topic gets it.
func printDeadLetter(out io.Writer, r *kgo.Record) {
	if r == nil {
		return
	}
	fmt.Fprintf(out, "\n== A dead letter, as it is on %s\n", r.Topic)
	fmt.Fprintf(out, "%-20s %s\n", "key", printable(r.Key))
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
		fmt.Fprintf(out, "%-20s %s\n", h.Key, printable(h.Value))
	}
}

// printable shows text as it is, and anything else quoted.
func printable(b []byte) string {
	if b == nil {
		return "(null)"
	}
	if !utf8.Valid(b) || strings.ContainsFunc(string(b), func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(string(b))
	}
	return string(b)
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
			shown := strings.Join(list.origins[:min(n, mostShown)], ", ")
			if n > mostShown {
				shown += ", …"
			}
			fmt.Fprintf(out, "%s: %d (%s)\n", list.title, n, shown)
		}
	}
}
