package dlq

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/fingerprint"
	"github.com/orderflow/orderflow/internal/letters"
	"github.com/orderflow/orderflow/internal/terminal"
	"github.com/orderflow/orderflow/internal/triage"
)

const (
	// mostBytes is how much of a value is shown, mostText of a text, mostHeader of a header.
	mostBytes  = 512
	mostText   = 4096
	mostHeader = 400
)

// group returns the letter's group and what can be done about it.
func (s *sighting) group() *triage.Group {
	g, _ := triage.NewGroups(1).Add(entry(s.letter))
	return g
}

// write writes all that is known of the letter, safe for a terminal whatever it holds.
func (s *sighting) write(w io.Writer) error {
	var b strings.Builder
	l, g := s.letter, s.group()
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "letter\t%s\n", l.Place)
	fmt.Fprintf(t, "state\t%s\n", state(l))
	fmt.Fprintf(t, "id\t%s\n", terminal.Line(l.ID, mostText))
	failed := terminal.Line(g.Code, mostText) + " (" + terminal.Line(g.Class, mostText) + ")"
	if l.Stage != "" {
		failed += " at " + terminal.Line(l.Stage, mostText)
	}
	fmt.Fprintf(t, "failure\t%s\n", failed)
	fmt.Fprintf(t, "error\t%s\n", terminal.Line(l.Error, mostText))
	fmt.Fprintf(t, "group\t%s: %s\n", g.ID, terminal.Line(g.Pattern, fingerprint.MaxPattern))
	fmt.Fprintf(t, "can be done\t%s\n", g.Advice())
	fmt.Fprintf(t, "record\t%s\n", record(l))
	fmt.Fprintf(t, "sent again\t%d times before\n", l.Redrives)
	fmt.Fprintf(t, "rules now\t%s\n", s.rule)
	t.Flush()

	s.writeAttempts(&b)
	s.writeOrder(&b)
	s.writeHeaders(&b)
	if len(s.all) > 1 {
		fmt.Fprintf(&b, "\nall letters of %s\n", terminal.Line(l.ID, mostText))
		for _, other := range s.all {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", other.Place, clock(other.At()), terminal.Line(other.Code, 80), state(other))
		}
		t.Flush()
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (v verdict) String() string {
	if v.passes {
		return "passes"
	}
	return v.code + ": " + terminal.Line(v.text, mostText)
}

func state(l *letters.Letter) string {
	if l.Mark == nil {
		return "open"
	}
	return fmt.Sprintf("%s %s to %s, run %s", terminal.Line(l.Mark.Action, 20), clock(l.Mark.At), terminal.Line(l.Mark.Target, 249), terminal.Line(l.Mark.Run, 80))
}

// record says which record failed, as far as that is known.
func record(l *letters.Letter) string {
	text := terminal.Line(l.Origin(), mostText)
	if !l.Timestamp.IsZero() {
		text += ", written " + clock(l.Timestamp)
	}
	if l.Group != "" {
		text += ", read by " + terminal.Line(l.Group, mostText)
	}
	return text
}

func (s *sighting) writeAttempts(b *strings.Builder) {
	l := s.letter
	fmt.Fprintf(b, "\nattempts\n")
	if len(l.AttemptTimes) == 0 {
		fmt.Fprintf(b, "  %d, their times are not known; the last one not after %s\n", l.Attempts, clock(l.At()))
		return
	}
	left := l.Attempts - len(l.AttemptTimes) // in the middle, see deadletter.MaxTimes
	for i, at := range l.AttemptTimes {
		number := i + 1
		if left > 0 && i >= len(l.AttemptTimes)/2 {
			if i == len(l.AttemptTimes)/2 {
				fmt.Fprintf(b, "  … %d more\n", left)
			}
			number += left
		}
		fmt.Fprintf(b, "  %d  %s", number, clock(at))
		if i > 0 {
			fmt.Fprintf(b, "  after %v", at.Sub(l.AttemptTimes[i-1]).Round(time.Millisecond))
		}
		b.WriteString("\n")
	}
}

// writeOrder writes the decoded order, and the bytes that it was decoded from.
func (s *sighting) writeOrder(b *strings.Builder) {
	l := s.letter
	b.WriteString("\norder\n")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	if l.Order == nil {
		fmt.Fprintf(t, "  cannot be decoded\t%s\n", terminal.Line(l.Undecodable.Error(), mostText))
	} else {
		price := fmt.Sprint(l.Order.Price)
		if d, err := aggregate.FromFloat(l.Order.Price); err == nil {
			price = d.String()
		}
		fmt.Fprintf(t, "  orderId\t%s\n  product\t%s\n  price\t%s\n", terminal.Line(l.Order.ID, mostText), terminal.Line(l.Order.Product, mostText), price)
	}
	fmt.Fprintf(t, "  key\t%s\n", terminal.Value(l.Record.Key, mostHeader))
	t.Flush()
	value := l.Record.Value
	if value == nil {
		b.WriteString("  the value is null\n")
		return
	}
	fmt.Fprintf(b, "  value, %d bytes\n", len(value))
	for line := range strings.Lines(hex.Dump(value[:min(len(value), mostBytes)])) {
		b.WriteString("    " + line)
	}
	if len(value) > mostBytes {
		fmt.Fprintf(b, "    … %d bytes more\n", len(value)-mostBytes)
	}
}

func (s *sighting) writeHeaders(b *strings.Builder) {
	b.WriteString("\nheaders\n")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, h := range s.letter.Record.Headers {
		fmt.Fprintf(t, "  %s\t%s\n", terminal.Line(h.Key, 120), terminal.Value(h.Value, mostHeader))
	}
	t.Flush()
}
