package dlqsummary

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/orderflow/orderflow/internal/aggregate"
)

// entry is one dead letter as the tally sees it.
type entry struct {
	class, code, err string
	id, about        string
	attempts         int
	at               time.Time
	value            aggregate.Decimal
	hasValue         bool
	undecodable      bool
}

// tally groups dead letters by class, code and error. Its memory is bounded: at most maxGroups
// groups and one for the rest, and maxOrders orders; figures and totals count all. It is not
// safe for concurrent use.
type tally struct {
	maxGroups, maxOrders int

	count, undecodable int64
	total              aggregate.Partial
	groups             map[groupKey]*group
	orders             []entry
}

type groupKey struct{ class, code, err string }

// other is the group of all that found no place of their own.
var other = groupKey{class: "-", code: "other", err: "(errors beyond max_groups)"}

type group struct {
	groupKey
	count       int64
	value       aggregate.Partial
	first, last time.Time
	example     string
}

func newTally(maxGroups, maxOrders int) *tally {
	return &tally{maxGroups: maxGroups, maxOrders: maxOrders, groups: map[groupKey]*group{}}
}

func (t *tally) add(e entry) {
	t.count++
	if e.undecodable {
		t.undecodable++
	}
	key := groupKey{e.class, e.code, e.err}
	g := t.groups[key]
	if g == nil && len(t.groups) >= t.maxGroups {
		key = other
		g = t.groups[key]
	}
	if g == nil {
		g = &group{groupKey: key, first: e.at, last: e.at, example: e.id}
		t.groups[key] = g
	}
	g.count++
	if e.at.Before(g.first) {
		g.first = e.at
	}
	if e.at.After(g.last) {
		g.last = e.at
	}
	if e.hasValue {
		g.value.Add(e.value)
		t.total.Add(e.value)
	}
	if len(t.orders) < t.maxOrders {
		t.orders = append(t.orders, e)
	}
}

// line is the running state in one line.
func (t *tally) line() string {
	b := fmt.Sprintf("Dead letters: %d in %d groups", t.count, len(t.groups))
	if t.total.Count() > 0 {
		b += ", total value " + t.total.Sum().String()
	}
	if t.undecodable > 0 {
		b += fmt.Sprintf(", undecodable %d", t.undecodable)
	}
	if top := t.sorted(); len(top) > 0 {
		b += fmt.Sprintf(", most: %d × %s", top[0].count, shown(top[0].err, 80))
	}
	return b
}

// sorted returns the groups, the largest first.
func (t *tally) sorted() []*group {
	groups := make([]*group, 0, len(t.groups))
	for _, g := range t.groups {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.class, b.class), cmp.Compare(a.code, b.code), cmp.Compare(a.err, b.err))
	})
	return groups
}

// write writes the summary.
func (t *tally) write(w io.Writer, title string) {
	if t.count == 0 {
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, title)
	fmt.Fprintf(tw, "  count\t%d\n", t.count)
	if t.total.Count() > 0 {
		fmt.Fprintf(tw, "  total value\t%s\n", t.total.Sum())
	}
	if t.undecodable > 0 {
		fmt.Fprintf(tw, "  undecodable\t%d\n", t.undecodable)
	}
	tw.Flush()

	fmt.Fprintln(w, "  failures")
	for _, g := range t.sorted() {
		fmt.Fprintf(tw, "    %d\t%s\t%s\t%s\n", g.count, shown(g.code, 40), shown(g.class, 20), shown(g.err, 120))
	}
	tw.Flush()
	fmt.Fprintln(w, "  groups")
	for _, g := range t.sorted() {
		fmt.Fprintf(tw, "    %s\tfirst %s\tlast %s\texample %s\tvalue %s\n", shown(g.code, 40), clock(g.first), clock(g.last), shown(g.example, 60), sum(g.value))
	}
	tw.Flush()

	if t.maxOrders == 0 {
		return
	}
	fmt.Fprintln(w, "  orders")
	for _, e := range t.orders {
		value := "-"
		if e.hasValue {
			value = e.value.String()
		}
		fmt.Fprintf(tw, "    %s\t%s\t%s\t%s\t%s\n", shown(e.id, 60), shown(e.about, 40), value, attempts(e.attempts), shown(e.err, 120))
	}
	tw.Flush()
	if more := t.count - int64(len(t.orders)); more > 0 {
		fmt.Fprintf(w, "    and %d more\n", more)
	}
}

func sum(p aggregate.Partial) string {
	if p.Count() == 0 {
		return "-"
	}
	return p.Sum().String()
}

func attempts(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return strconv.Itoa(n) + " attempts"
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// shown makes a text of unknown origin fit for a terminal: of one line, of at most most runes,
// and without control characters, which could rewrite what is on the screen.
func shown(s string, most int) string {
	if s == "" {
		return "-"
	}
	var b strings.Builder
	for _, r := range s {
		if most--; most < 0 {
			b.WriteString("…")
			break
		}
		if !strconv.IsPrint(r) {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return b.String()
}
