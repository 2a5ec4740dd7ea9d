// Package carried makes messages that come from a session, without a broker: for tests of what
// processors ask of the transaction that a message is in.
package carried

import (
	"context"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/session"
)

// Session hands out orders. The zero value is ready to use.
type Session struct {
	Generation uint64 // what Epoch returns
	Kept       map[string]session.Accumulator
	Over       bool        // whether its transaction was aborted: then no order is found
	Pauses     []time.Time // what Pause was called with, zero for each Resume
}

// Epoch returns the generation.
func (s *Session) Epoch() uint64 { return s.Generation }

// Accumulators calls fn with what is kept.
func (s *Session) Accumulators(_ string, _ func() session.Accumulator, fn func(string, session.Accumulator)) {
	for group, a := range s.Kept {
		fn(group, a)
	}
}

// Pause is remembered.
func (s *Session) Pause(until time.Time) { s.Pauses = append(s.Pauses, until) }

// Resume is remembered.
func (s *Session) Resume() { s.Pauses = append(s.Pauses, time.Time{}) }

// Order remembers what processors asked of it.
type Order struct {
	Past          session.History
	Due           []time.Time // of each Wait
	Contributions []Contribution

	source  *Session
	place   session.Place
	content []byte
}

// Contribution is what one call of Contribute was given.
type Contribution struct {
	Name, Group string
	Value       any
}

var _ session.Carrier = (*Order)(nil)

// Message hands out the record at this offset of orders/0.
func (s *Session) Message(offset int, content []byte) (*service.Message, *Order) {
	o := &Order{source: s, place: session.Place{Topic: "orders", Offset: int64(offset)}, content: content}
	msg := service.NewMessageWithContext(context.WithValue(context.Background(), session.Key, session.Carrier(o)), content)
	msg.MetaSetMut("kafka_topic", "orders")
	msg.MetaSetMut("kafka_partition", 0)
	msg.MetaSetMut("kafka_offset", offset)
	return msg, o
}

// In finds the order if it is at p and its transaction is not over.
func (o *Order) In(p session.Place) (session.Order, bool) { return o, p == o.place && !o.source.Over }

// History returns the past.
func (o *Order) History() session.History { return o.Past }

// SetHistory replaces the past.
func (o *Order) SetHistory(h session.History) { o.Past = h }

// Wait is remembered.
func (o *Order) Wait(due time.Time) { o.Due = append(o.Due, due) }

// Contribute is remembered.
func (o *Order) Contribute(name, group string, value any, _ func() session.Accumulator) {
	o.Contributions = append(o.Contributions, Contribution{name, group, value})
}

// Content returns the record's value.
func (o *Order) Content() []byte { return o.content }

// Session returns the session that handed out the order.
func (o *Order) Session() session.Session { return o.source }
