package runningaggregate

import (
	"fmt"
	"io"

	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/shown"
	"github.com/orderflow/orderflow/internal/summary"
	"github.com/orderflow/orderflow/internal/terminal"
)

// section makes the end-of-run table.
func section(name string, figures func() aggregate.Groups) summary.Section {
	title := "Aggregates"
	if name != "" {
		title += ": " + name
	}
	return func(w io.Writer) {
		groups := figures()
		if groups.Overall().Count() == 0 {
			return
		}
		t := terminal.Table{Left: 1, Indent: "  "}
		row := func(name string, p aggregate.Partial) {
			t.Row(name, p.Count(), shown.Number(p.Average()), shown.Number(p.Min()), shown.Number(p.Max()), shown.Number(p.Sum()))
		}
		t.Row("", "count", "average", "min", "max", "total")
		row("overall", groups.Overall())
		for key, p := range groups.All() {
			row("  "+shown.Text(key), p) // indented: none of them is the row above
		}
		fmt.Fprintln(w, title)
		t.Flush(w)
		if note := groups.Note(); note != "" {
			fmt.Fprintln(w, "  "+note)
		}
	}
}
