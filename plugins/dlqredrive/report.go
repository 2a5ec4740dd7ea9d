package dlqredrive

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/orderflow/orderflow/internal/shown"
)

// maxName is how many characters the name of a topic has at most.
const maxName = 249

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
	verb := "Went"
	if dryRun {
		verb = "Would go"
		fmt.Fprintf(w, "Targets: %s\n", strings.Join(r.Targets, ", "))
	}
	for _, topic := range slices.Sorted(maps.Keys(r.To)) {
		fmt.Fprintf(w, "%s to %s: %d letters\n", verb, topic, r.To[topic])
	}
	// The names come from the letters.
	for _, topic := range slices.Sorted(maps.Keys(r.NotAllowed)) {
		name := "other topics"
		if topic != "" {
			name = shown.Quote(fmt.Sprintf("%.*s", maxName, topic))
		}
		fmt.Fprintf(w, "No target is %s: %d letters name it\n", name, r.NotAllowed[topic])
	}
	if t := r.Undecoded; t.Letters > 0 {
		fmt.Fprintf(w, "Not decoded, so that `this` is null: %d letters, the first since: %s\n", t.Letters, shown.Text(t.Error))
	}
	if t := r.Unfiltered; t.Letters > 0 {
		fmt.Fprintf(w, "Not chosen since the filter failed: %d letters, on the first with: %s\n", t.Letters, shown.Text(t.Error))
	}
}
