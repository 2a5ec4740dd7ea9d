package dlq

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/fingerprint"
	"github.com/orderflow/orderflow/internal/letters"
	"github.com/orderflow/orderflow/internal/shown"
	"github.com/orderflow/orderflow/internal/terminal"
	"github.com/orderflow/orderflow/internal/triage"
)

const (
	// mostBytes is how much of a value is shown, mostText how wide a text is, mostHeader how much of
	// a header is shown. A text that the letter says of itself is shown in full, also if each byte
	// of it is an escape.
	mostBytes  = 512
	mostText   = 4 * deadletter.MaxText
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
	t := terminal.Table{Left: terminal.AllLeft}
	t.Row("letter", l.Place)
	t.Row("state", state(l))
	t.Row("id", terminal.Line(l.ID, mostText))
	failed := terminal.Line(g.Code, mostText) + " (" + terminal.Line(g.Class, mostText) + ")"
	if l.Stage != "" {
		failed += " at " + terminal.Line(l.Stage, mostText)
	}
	t.Row("failure", failed)
	t.Row("error", terminal.Line(l.Error, mostText))
	t.Row("group", g.ID+": "+terminal.Line(g.Pattern, fingerprint.MaxPattern))
	t.Row("can be done", g.Advice())
	t.Row("record", record(l))
	t.Row("sent again", fmt.Sprintf("%d times before", l.Redrives))
	t.Row("rules now", s.rule)
	t.Flush(&b)

	s.writeAttempts(&b)
	s.writeOrder(&b)
	s.writeHeaders(&b)
	if len(s.all) > 1 {
		fmt.Fprintf(&b, "\nall letters of %s\n", terminal.Line(l.ID, mostText))
		all := terminal.Table{Left: terminal.AllLeft, Indent: "  "}
		for _, other := range s.all {
			all.Row(other.Place, instant(other.At()), terminal.Line(other.Code, 80), state(other))
		}
		all.Flush(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// instant is a time in full.
func instant(t time.Time) string { return moment(t, timeFormat, terminal.Empty) }

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
	return fmt.Sprintf("%s %s to %s, run %s", terminal.Line(l.Mark.Action, 20), instant(l.Mark.At), terminal.Line(l.Mark.Target, 249), terminal.Line(l.Mark.Run, 80))
}

// record says which record failed, as far as that is known.
func record(l *letters.Letter) string {
	text := terminal.Line(l.Origin(), mostText)
	if !l.Timestamp.IsZero() {
		text += ", written " + instant(l.Timestamp)
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
		fmt.Fprintf(b, "  %d, their times are not known", l.Attempts)
		if at := l.At(); !at.IsZero() {
			fmt.Fprintf(b, "; the last one not after %s", instant(at))
		}
		b.WriteString("\n")
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
		fmt.Fprintf(b, "  %d  %s", number, instant(at))
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
	t := terminal.Table{Left: terminal.AllLeft, Indent: "  "}
	if l.Order == nil {
		t.Row("cannot be decoded", terminal.Line(l.Undecodable.Error(), mostText))
	} else {
		t.Row("orderId", terminal.Line(l.Order.ID, mostText))
		t.Row("product", terminal.Line(l.Order.Product, mostText))
		t.Row("price", shown.Float(l.Order.Price))
	}
	t.Row("key", terminal.Value(l.Record.Key, mostHeader))
	t.Flush(b)
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
	t := terminal.Table{Left: terminal.AllLeft, Indent: "  "}
	for _, h := range s.letter.Record.Headers {
		t.Row(terminal.Line(h.Key, 120), terminal.Value(h.Value, mostHeader))
	}
	t.Flush(b)
}
