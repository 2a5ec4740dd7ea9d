package dlqredrive

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/orderflow/orderflow/internal/shown"
)

// Print writes what became of the letters, or what would become of them.
func (r Report) Print(w io.Writer, dryRun bool) {
	sent, parked := "sent", "parked"
	if dryRun {
		sent, parked = "would be sent", "would be parked"
	}
	row := func(n int64, text string) { fmt.Fprintf(w, "  %6d  %s\n", n, text) }
	row(r.Matched, "matched")
	row(r.Sent, sent)
	row(r.Parked, parked)
	for _, reason := range slices.Sorted(maps.Keys(r.Refused)) {
		row(r.Refused[reason], "refused: "+shown.Text(reason))
	}
	row(r.LeftOpen, "left open")
	if rest := r.Total - r.Passed; rest > 0 {
		row(rest, "not looked at, about")
	}
	if t := r.Undecoded; t.Letters > 0 {
		fmt.Fprintf(w, "Not decoded, so that `this` is null: %d letters, the first since: %s\n", t.Letters, shown.Text(t.Error))
	}
	if t := r.Unfiltered; t.Letters > 0 {
		fmt.Fprintf(w, "Not chosen since the filter failed: %d letters, on the first with: %s\n", t.Letters, shown.Text(t.Error))
	}
}
