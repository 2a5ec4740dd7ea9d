package dlqsummary

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/shown"
	"github.com/orderflow/orderflow/internal/terminal"
	"github.com/orderflow/orderflow/internal/triage"
)

// entry is one dead letter as the tally sees it.
type entry struct {
	triage.Entry
	about    string
	attempts int
	// undecodable tells that a mapping failed on it.
	undecodable bool
}

// tally groups dead letters and lists their orders. Its memory is bounded: that of the groups, and
// maxOrders orders; figures and totals count all. It is not safe for concurrent use.
type tally struct {
	maxOrders int

	undecodable int64
	groups      *triage.Groups
	orders      []entry
}

func newTally(maxGroups, maxOrders int) *tally {
	return &tally{maxOrders: maxOrders, groups: triage.NewGroups(maxGroups)}
}

// add counts an entry. It returns its group, and whether that is its first.
func (t *tally) add(e entry) (*triage.Group, bool) {
	if e.undecodable {
		t.undecodable++
	}
	if len(t.orders) < t.maxOrders {
		kept := e
		kept.Class, kept.Code, kept.Text, kept.Name = "", "", keep(e.Text), keep(e.Name)
		t.orders = append(t.orders, kept)
	}
	return t.groups.Add(e.Entry)
}

// line is the running state in one line.
func (t *tally) line() string {
	b := fmt.Sprintf("Dead letters: %d in %d groups", t.groups.Count(), t.groups.Len())
	if total := t.groups.Value(); total.Count() > 0 {
		b += ", total value " + shown.Number(total.Sum())
	}
	if t.undecodable > 0 {
		b += fmt.Sprintf(", undecodable %d", t.undecodable)
	}
	if top := t.groups.Sorted(); len(top) > 0 {
		b += fmt.Sprintf(", most: %d × %s", top[0].Count, terminal.Line(top[0].Pattern, 80))
	}
	return b
}

// announce is what is said of a new group, in one line.
func announce(g *triage.Group) string {
	return fmt.Sprintf("New group of dead letters: %s, %s (%s), %s, first seen %s, example %s; what can be done: %s",
		g.ID, terminal.Line(g.Code, 40), terminal.Line(g.Class, 20), terminal.Line(g.Pattern, 120), clock(g.First), terminal.Line(g.Example, 60), g.Advice())
}

// write writes the summary.
func (t *tally) write(w io.Writer, title string) {
	if t.groups.Count() == 0 {
		return
	}
	fmt.Fprintln(w, title)
	head := terminal.Table{Left: terminal.AllLeft, Indent: "  "}
	head.Row("count", t.groups.Count())
	if total := t.groups.Value(); total.Count() > 0 {
		head.Row("total value", shown.Number(total.Sum()))
	}
	if t.undecodable > 0 {
		head.Row("undecodable", t.undecodable)
	}
	head.Flush(w)

	groups := t.groups.Sorted()
	fmt.Fprintln(w, "  failures")
	table := terminal.Table{Left: terminal.AllLeft, Indent: "    "}
	for _, g := range groups {
		table.Row(g.Count, terminal.Line(g.Code, 40), terminal.Line(g.Class, 20), terminal.Line(g.Pattern, 120))
	}
	table.Flush(w)
	fmt.Fprintln(w, "  groups")
	for _, g := range groups {
		table.Row(g.ID, terminal.Line(g.Code, 40), percent(t.groups.Share(g)), "first "+clock(g.First), "last "+clock(g.Last), rate(g.Rate()),
			"example "+terminal.Line(g.Example, 60), "value "+sum(g.Value), g.Advice())
	}
	table.Flush(w)

	if t.maxOrders == 0 {
		return
	}
	fmt.Fprintln(w, "  orders")
	for _, e := range t.orders {
		value := terminal.Empty
		if e.HasValue {
			value = shown.Number(e.Value)
		}
		table.Row(terminal.Line(e.Name, 60), terminal.Line(e.about, 40), value, attempts(e.attempts), terminal.Line(e.Text, 120))
	}
	table.Flush(w)
	if more := t.groups.Count() - int64(len(t.orders)); more > 0 {
		fmt.Fprintf(w, "    and %d more\n", more)
	}
}

// keep cuts a text that stays in memory, and lets go of the message that it is a part of.
func keep(s string) string {
	if len(s) > maxKept {
		s = strings.ToValidUTF8(s[:maxKept], "") // not in the middle of a sign
	}
	return strings.Clone(s)
}

func sum(p aggregate.Partial) string {
	if p.Count() == 0 {
		return terminal.Empty
	}
	return shown.Number(p.Sum())
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

func rate(perMinute float64) string {
	if perMinute == 0 {
		return terminal.Empty
	}
	return fmt.Sprintf("%.1f/min", perMinute)
}

func attempts(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return strconv.Itoa(n) + " attempts"
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }
