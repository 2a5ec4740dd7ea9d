package terminal

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/rivo/uniseg"
)

// AllLeft is for a table of texts alone.
const AllLeft = math.MaxInt

// Table lines up the cells of its rows, two blanks between them. Cells hold no line breaks.
type Table struct {
	// Left is how many columns are aligned to the left; those behind them are of figures.
	Left int
	// Indent begins each line.
	Indent string

	rows [][]string
}

// Row adds a row. A row may have fewer cells than others.
func (t *Table) Row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

// Lines returns the rows as lines, and forgets them. No line ends in blanks.
func (t *Table) Lines() []string {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if last := i == len(row)-1; !last || i >= t.Left { // nothing stands behind the last one
				widths[i] = max(widths[i], uniseg.StringWidth(cell))
			}
		}
	}
	lines := make([]string, 0, len(t.rows))
	for _, row := range t.rows {
		var b strings.Builder
		for i, cell := range row {
			if i > 0 {
				b.WriteString("  ")
			}
			room := strings.Repeat(" ", max(0, widths[i]-uniseg.StringWidth(cell)))
			if i < t.Left {
				b.WriteString(cell + room)
			} else {
				b.WriteString(room + cell)
			}
		}
		lines = append(lines, strings.TrimRight(t.Indent+b.String(), " "))
	}
	t.rows = nil
	return lines
}

// Flush writes the rows, and forgets them.
func (t *Table) Flush(w io.Writer) error {
	lines := t.Lines()
	if len(lines) == 0 {
		return nil
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}
