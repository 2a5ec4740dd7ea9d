// Package session is what a processor may ask of the transaction that its message is in:
// to have the message handed out again later, and to fold a value into the state of the
// message's partition. It knows neither the host nor Kafka, and nothing of orders.
//
// A message's context carries its Order. Since the host can swap the contexts of the messages
// in a batch, an Order is only ever taken by Of, which compares it with the place that the
// message's metadata names.
package session

import (
	"context"
	"time"
)

// Place is where a record is: what tells one order from another.
type Place struct {
	Topic     string
	Partition int32
	Offset    int64
}

// History is what was tried on an order so far. It survives crash and rebalance.
type History struct {
	// Attempts holds the time of each failed attempt, oldest first.
	Attempts []time.Time `json:"attempts,omitempty"`
	// Class, Code, Stage and Text describe the last failure.
	Class string `json:"class,omitempty"`
	Code  string `json:"code,omitempty"`
	Stage string `json:"stage,omitempty"`
	Text  string `json:"text,omitempty"`
	// Held is when the order was last put back untried, because of an outage. It is zero again
	// after the next attempt that counts.
	Held time.Time `json:"held,omitzero"`
	// Unanswered is how often in a row the order was put back because what was needed to judge it
	// did not answer. It is zero again after the next attempt that counts.
	Unanswered int `json:"unanswered,omitzero"`
}

// Accumulator is a state that values are folded into: one for each partition, name and group.
// It is used by one goroutine at a time.
type Accumulator interface {
	// Fold adds a value that the accumulator has accepted before, by Contribute.
	Fold(value any)
	// AppendBinary and UnmarshalBinary write and read the state.
	AppendBinary(b []byte) ([]byte, error)
	UnmarshalBinary(b []byte) error
}

// Order is a record that was handed out and has no outcome yet. Its methods are safe for
// concurrent use; what they do takes effect when the transaction commits, or never.
type Order interface {
	// History returns what was tried so far; the caller must not change its slices.
	History() History
	// SetHistory replaces the history.
	SetHistory(h History)
	// Wait asks for the record to be handed out again, as it first came, once due has passed.
	// The caller then drops the message.
	Wait(due time.Time)
	// Contribute folds value into the accumulator of the order's partition with this name and
	// group if the order ends as processed; fresh makes an empty accumulator.
	Contribute(name, group string, value any, fresh func() Accumulator)
	// Content returns the value of the record as it came, nil if it was null. It must not be
	// changed.
	Content() []byte
	// Session returns the session that handed out the order.
	Session() Session
}

// Session is the source of orders.
type Session interface {
	// Epoch changes whenever the state in memory was replaced: on an abort, and when
	// partitions come or go.
	Epoch() uint64
	// Accumulators calls fn for each accumulator of this name in the partitions that the
	// session owns. The accumulators must not be kept or changed.
	Accumulators(name string, fresh func() Accumulator, fn func(group string, a Accumulator))
	// Pause hands out nothing before until, and from then on one order at a time, waiting and
	// new ones in turn: until the next Pause, or Resume. What is in flight goes on. A session
	// that takes over from this one begins without a pause.
	Pause(until time.Time)
	// Resume ends a pause.
	Resume()
}

const (
	firstPutBack = time.Second
	mostPutBack  = 30 * time.Second
)

// PutBackPause is how long a message waits that has found no answer so often in a row before: 1 s,
// 2 s and so on, up to 30 s.
func PutBackPause(before int) time.Duration {
	pause := firstPutBack
	for range before {
		if pause *= 2; pause >= mostPutBack {
			return mostPutBack
		}
	}
	return pause
}

// PutBack makes an order wait because what was needed to judge it did not answer. That is no
// attempt. The caller then drops the message.
func PutBack(o Order, now time.Time, code, text string) {
	h := o.History()
	if len(h.Attempts) == 0 { // else the last attempt that counts is what it would fail with
		h.Code, h.Text = code, text
	}
	pause := PutBackPause(h.Unanswered)
	h.Unanswered++
	o.SetHistory(h)
	o.Wait(now.Add(pause))
}

type key struct{}

// Carrier is an order that is also the value of a message's context under Key.
type Carrier interface {
	Order
	// In returns the order at p if it belongs to the same session and is still without
	// outcome: this one, or the one that another message of the session carries.
	In(p Place) (Order, bool)
}

// Key is the context key under which a Carrier is found.
var Key any = key{}

// Of returns the order of a message with this context that metadata says is at p.
func Of(ctx context.Context, p Place) (Order, bool) {
	c, ok := ctx.Value(Key).(Carrier)
	if !ok {
		return nil, false
	}
	return c.In(p)
}

// Carried tells whether a message with this context came from a session.
func Carried(ctx context.Context) bool {
	_, ok := ctx.Value(Key).(Carrier)
	return ok
}

// PlaceOf reads the place from the metadata that Kafka inputs give a message. Only the types
// that an input sets count: a record header of the same name is a string.
func PlaceOf(meta func(string) (any, bool)) (Place, bool) {
	var p Place
	topic, _ := meta("kafka_topic")
	partition, _ := meta("kafka_partition")
	offset, _ := meta("kafka_offset")
	var ok bool
	if p.Topic, ok = topic.(string); !ok {
		return Place{}, false
	}
	n, ok := partition.(int)
	if !ok {
		return Place{}, false
	}
	p.Partition = int32(n)
	o, ok := offset.(int)
	if !ok {
		return Place{}, false
	}
	p.Offset = int64(o)
	return p, true
}
