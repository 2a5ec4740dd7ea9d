package dlq

import (
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/orderflow/orderflow/internal/letters"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/redrive"
	"github.com/orderflow/orderflow/internal/terminal"
)

// showJSON is a dead letter as one JSON document. Bytes are base64, null where they are null.
type showJSON struct {
	Place       string        `json:"place"`
	ID          string        `json:"id"`
	State       string        `json:"state"` // open, redriven or parked
	Mark        *redrive.Mark `json:"mark"`
	Group       string        `json:"group"`
	Pattern     string        `json:"pattern"`
	Advice      string        `json:"advice"`
	Class       string        `json:"class"`
	Code        string        `json:"code"`
	Error       string        `json:"error"`
	Stage       string        `json:"stage"`
	Origin      string        `json:"origin"` // empty where it is not known
	FailedAt    string        `json:"failed_at"`
	Attempts    int           `json:"attempts"`
	Timeline    []attemptJSON `json:"timeline"`
	Redrives    int           `json:"redrives"`
	Order       *orderJSON    `json:"order"`
	Undecodable string        `json:"undecodable,omitempty"`
	Rules       rulesJSON     `json:"rules"`
	Key         []byte        `json:"key"`
	Value       []byte        `json:"value"`
	Headers     []headerJSON  `json:"headers"`
	Letters     []relatedJSON `json:"letters"`
}

type attemptJSON struct {
	At     string `json:"at"`
	WaitMS int64  `json:"wait_ms"` // since the attempt before
}

// orderJSON is an order whose price is text where JSON has no number for it.
type orderJSON struct {
	ID      string `json:"orderId"`
	Product string `json:"product"`
	Price   any    `json:"price"`
}

type rulesJSON struct {
	Passes bool   `json:"passes"`
	Code   string `json:"code,omitempty"`
	Text   string `json:"text,omitempty"`
}

// headerJSON has the value as text, or as base64 where it is none.
type headerJSON struct {
	Name   string  `json:"name"`
	Value  *string `json:"value"`
	Base64 []byte  `json:"base64,omitempty"`
}

type relatedJSON struct {
	Place    string `json:"place"`
	FailedAt string `json:"failed_at"`
	Code     string `json:"code"`
	State    string `json:"state"`
}

func (s *sighting) writeJSON(w io.Writer) error {
	l, g := s.letter, s.group()
	doc := showJSON{
		Place: l.Place.String(), ID: l.ID, State: stateWord(l), Mark: l.Mark, Group: g.ID, Pattern: g.Pattern, Advice: string(g.Advice()),
		Class: g.Class, Code: g.Code, Error: l.Error, Stage: l.Stage, Origin: l.Origin(), FailedAt: clock(l.At()),
		Attempts: l.Attempts, Timeline: []attemptJSON{}, Redrives: l.Redrives, Order: orderDocument(l.Order),
		Rules: rulesJSON{s.rule.passes, s.rule.code, s.rule.text}, Key: l.Record.Key, Value: l.Record.Value, Headers: []headerJSON{},
	}
	if l.Undecodable != nil {
		doc.Undecodable = l.Undecodable.Error()
	}
	for i, at := range l.AttemptTimes {
		a := attemptJSON{At: clock(at)}
		if i > 0 {
			a.WaitMS = at.Sub(l.AttemptTimes[i-1]).Milliseconds()
		}
		doc.Timeline = append(doc.Timeline, a)
	}
	for _, h := range l.Record.Headers {
		one := headerJSON{Name: h.Key}
		if text := string(h.Value); h.Value != nil && utf8.ValidString(text) {
			one.Value = &text
		} else {
			one.Base64 = h.Value
		}
		doc.Headers = append(doc.Headers, one)
	}
	for _, other := range s.all {
		doc.Letters = append(doc.Letters, relatedJSON{other.Place.String(), clock(other.At()), other.Code, stateWord(other)})
	}
	b, err := terminal.JSON(doc)
	if err != nil {
		return fmt.Errorf("encoding the letter: %w", err)
	}
	_, err = w.Write(b)
	return err
}

func stateWord(l *letters.Letter) string {
	if l.Mark == nil {
		return "open"
	}
	return l.Mark.Action
}

func orderDocument(o *order.Order) *orderJSON {
	if o == nil {
		return nil
	}
	doc := &orderJSON{ID: o.ID, Product: o.Product, Price: o.Price}
	if _, finite := worth(*o); !finite {
		doc.Price = fmt.Sprint(o.Price)
	}
	return doc
}
