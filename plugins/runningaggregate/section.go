package runningaggregate

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/summary"
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
		rows := [][]string{
			{"", "count", "average", "min", "max", "total"},
			row("overall", groups.Overall()),
		}
		for key, p := range groups.All() {
			rows = append(rows, row("  "+printable(key), p))
		}
		fmt.Fprintln(w, title)
		writeTable(w, rows)
	}
}

func row(name string, p aggregate.Partial) []string {
	return []string{name, strconv.FormatInt(p.Count(), 10), p.Average().String(), p.Min().String(), p.Max().String(), p.Sum().String()}
}

// writeTable aligns the first column to the left and figures to the right.
func writeTable(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, cells := range rows {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, cells := range rows {
		var line strings.Builder
		fmt.Fprintf(&line, "  %-*s", widths[0], cells[0])
		for i, cell := range cells[1:] {
			fmt.Fprintf(&line, "  %*s", widths[i+1], cell)
		}
		fmt.Fprintln(w, line.String())
	}
}

// printable quotes a group's name that could harm the table or the terminal, since such names
// come from messages.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}
