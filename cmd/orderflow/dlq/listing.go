package dlq

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/orderflow/orderflow/internal/shown"
	"github.com/orderflow/orderflow/internal/terminal"
	"github.com/orderflow/orderflow/internal/triage"
)

const timeFormat = "2006-01-02T15:04:05.000Z"

// clock is a time in a JSON document, empty where it is not known.
func clock(t time.Time) string { return moment(t, timeFormat, "") }

// second is a time in a table, where a line has little room.
func second(t time.Time) string { return moment(t, time.RFC3339, terminal.Empty) }

func moment(t time.Time, format, unknown string) string {
	if t.IsZero() {
		return unknown
	}
	return t.UTC().Format(format)
}

// groupJSON is a group in the JSON document.
type groupJSON struct {
	ID        string  `json:"id"`
	Class     string  `json:"class"`
	Code      string  `json:"code"`
	Pattern   string  `json:"pattern"`
	Count     int64   `json:"count"`
	Share     float64 `json:"share"`
	Rate      float64 `json:"rate"` // letters a minute
	Value     string  `json:"value"`
	FirstSeen string  `json:"first_seen"`
	LastSeen  string  `json:"last_seen"`
	Example   string  `json:"example"`
	Advice    string  `json:"advice"`
}

// letterJSON is a single dead letter in the JSON document.
type letterJSON struct {
	ID       string     `json:"id"`
	Place    string     `json:"place"`
	Group    string     `json:"group"`
	Class    string     `json:"class"`
	Code     string     `json:"code"`
	Error    string     `json:"error"`
	Attempts int        `json:"attempts"`
	Redrives int        `json:"redrives"`
	FailedAt string     `json:"failed_at"`
	Order    *orderJSON `json:"order"`
}

func (l *list) writeJSON(w io.Writer) error {
	doc := struct {
		Open    int64        `json:"open"`
		Groups  []groupJSON  `json:"groups"`
		Letters []letterJSON `json:"letters,omitempty"`
	}{Open: l.groups.Count(), Groups: []groupJSON{}}
	for _, g := range l.groups.Sorted() {
		doc.Groups = append(doc.Groups, groupJSON{
			ID: g.ID, Class: g.Class, Code: g.Code, Pattern: g.Pattern, Count: g.Count,
			Share: round(l.groups.Share(g), 4), Rate: round(g.Rate(), 2), Value: g.Value.Sum().String(),
			FirstSeen: clock(g.First), LastSeen: clock(g.Last), Example: g.Example, Advice: string(g.Advice()),
		})
	}
	for _, s := range l.singles {
		one := letterJSON{
			ID: s.Letter.ID, Place: s.Place.String(), Group: s.Group.ID, Class: s.Group.Class, Code: s.Group.Code, Error: s.Error,
			Attempts: s.Attempts, Redrives: s.Redrives, FailedAt: clock(s.at), Order: orderDocument(s.Order),
		}
		doc.Letters = append(doc.Letters, one)
	}
	b, err := terminal.JSON(doc)
	if err != nil {
		return fmt.Errorf("encoding the list: %w", err)
	}
	_, err = w.Write(b)
	return err
}

func round(f float64, places int) float64 {
	shift := math.Pow10(places)
	return math.Round(f*shift) / shift
}

// write writes a table.
func (l *list) write(w io.Writer, topic string) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d open dead letters on %s in %d groups", l.groups.Count(), topic, l.groups.Len())
	if total := l.groups.Value(); total.Count() > 0 {
		fmt.Fprintf(&b, ", total value %s", shown.Number(total.Sum()))
	}
	b.WriteString("\n")
	switch {
	case l.groups.Count() == 0:
	case l.each:
		b.WriteString("\n")
		l.writeSingles(&b)
	default:
		b.WriteString("\n")
		l.writeGroups(&b)
	}
	_, err := b.WriteTo(w)
	return err
}

func (l *list) writeGroups(w io.Writer) {
	groups := l.groups.Sorted()
	t := terminal.Table{Left: terminal.AllLeft}
	t.Row("group", "count", "share", "rate", "first seen", "last seen", "value", "example", "can be done", "code")
	for _, g := range groups {
		t.Row(g.ID, g.Count, fmt.Sprintf("%.1f %%", 100*l.groups.Share(g)), rate(g), second(g.First), second(g.Last), value(g), terminal.Line(g.Example, 60), g.Advice(),
			terminal.Line(g.Code, 80)+" ("+terminal.Line(g.Class, 20)+")")
	}
	lines := t.Lines()
	fmt.Fprintln(w, lines[0])
	for i, line := range lines[1:] {
		fmt.Fprintf(w, "%s\n    %s\n", line, terminal.Line(groups[i].Pattern, 200))
	}
}

func (l *list) writeSingles(w io.Writer) {
	t := terminal.Table{Left: terminal.AllLeft}
	t.Row("id", "place", "failed at", "group", "order", "value", "code", "error")
	for _, s := range l.singles {
		id, price := terminal.Empty, terminal.Empty
		if s.Order != nil {
			id = terminal.Line(s.Order.ID, 40)
			if d, ok := worth(*s.Order); ok {
				price = shown.Number(d)
			}
		}
		t.Row(terminal.Line(s.Letter.ID, 60), s.Place, second(s.at), s.Group.ID, id, price, terminal.Line(s.Group.Code, 60), terminal.Line(s.Error, 120))
	}
	t.Flush(w)
}

func rate(g *triage.Group) string {
	if r := g.Rate(); r > 0 {
		return fmt.Sprintf("%.1f/min", r)
	}
	return terminal.Empty
}

func value(g *triage.Group) string {
	if g.Value.Count() == 0 {
		return terminal.Empty
	}
	return shown.Number(g.Value.Sum())
}
