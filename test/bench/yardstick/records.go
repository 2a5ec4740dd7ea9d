package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
)

// check decodes an order and tells what is wrong with it.
func (y *yardstick) check(w waiting) (order.Order, error) {
	o, err := y.decoder.Decode(w.rec.Value)
	if err != nil {
		return o, failure.NewPermanent("decode_failed", fmt.Errorf("decoding order: %w", err))
	}
	if err := order.Validate(o, maxPrice); err != nil {
		return o, err
	}
	if y.simulator.Fails(o.ID, len(w.attempts)+1) {
		return o, errSimulated
	}
	return o, nil
}

//lint:ignore ST1005 scripts rely on this text as it is
var errSimulated = failure.NewTransient(order.CodeSimulated, errors.New(order.TextSimulated))

func transient(err error) bool {
	class, _ := failure.Of(err)
	return class == failure.Transient
}

// deadLetter is the order as it came with what is known of its failure.
func (y *yardstick) deadLetter(w *waiting) *kgo.Record {
	class, code := failure.Of(w.err)
	text, stage := w.err.Error(), "order_validate"
	if class == failure.Transient {
		text = "Max retries exceeded: " + text
	}
	if code == "decode_failed" {
		stage = "order_decode"
	}
	letter := deadletter.Letter{
		Class: string(class), Code: code, Error: text, Stage: stage, Group: y.consumers,
		Attempts: len(w.attempts), AttemptTimes: w.attempts,
		FirstFailedAt: w.attempts[0], LastFailedAt: w.attempts[len(w.attempts)-1],
		Topic: w.rec.Topic, Partition: int(w.rec.Partition), Offset: w.rec.Offset, Timestamp: w.rec.Timestamp,
	}
	letter.Identify(func(string) (string, bool) { return "", false })
	headers := letter.Headers(deadletter.Native)
	rec := &kgo.Record{Topic: y.dlq, Key: w.rec.Key, Value: w.rec.Value, Headers: slices.Grow(slices.Clone(w.rec.Headers), len(headers))}
	for _, h := range headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
	}
	return rec
}

// produceState writes the waiting orders and aggregates of a partition that have changed.
func (y *yardstick) produceState(p *partition) {
	for offset, w := range p.changed {
		rec := &kgo.Record{Topic: y.state, Partition: p.number, Key: fmt.Appendf(nil, "waiting/%d/%d", p.number, offset)}
		if w != nil {
			rec.Value = w.encode()
		}
		y.produce(rec)
	}
	clear(p.changed)
	for product, g := range p.aggregates {
		if g.dirty {
			g.dirty = false
			value, _ := g.AppendBinary(nil) // never fails
			y.produce(&kgo.Record{Topic: y.state, Partition: p.number, Key: fmt.Appendf(nil, "aggregate/%d/%s", p.number, product), Value: value})
		}
	}
}

// encode writes all that is needed to go on with the order after a restart.
func (w *waiting) encode() []byte {
	b := binary.AppendVarint(nil, w.due.UnixMilli())
	b = binary.AppendUvarint(b, uint64(len(w.attempts)))
	for _, at := range w.attempts {
		b = binary.AppendVarint(b, at.UnixMilli())
	}
	b = appendBytes(b, w.err.Error())
	b = binary.AppendVarint(b, w.rec.Timestamp.UnixMilli())
	b = appendBytes(appendBytes(b, w.rec.Key), w.rec.Value)
	for _, h := range w.rec.Headers {
		b = appendBytes(appendBytes(b, h.Key), h.Value)
	}
	return b
}

func appendBytes[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// slab is memory for the records of one poll, so that a record costs no allocation of its own.
type slab struct {
	records []kgo.Record
	headers []kgo.RecordHeader
	bytes   []byte
}

func (s *slab) reserve(n int) {
	s.records, s.headers, s.bytes = make([]kgo.Record, n), make([]kgo.RecordHeader, n), make([]byte, 0, 96*n)
}

// record makes the record of a processed order.
func (s *slab) record(topic string, from *kgo.Record, o order.Order) *kgo.Record {
	if len(s.records) == 0 { // retries
		s.reserve(100)
	}
	start := len(s.bytes)
	s.bytes = appendJSON(s.bytes, o)
	value := s.bytes[start:len(s.bytes):len(s.bytes)]
	start = len(s.bytes)
	s.bytes = append(append(s.bytes, from.Topic...), '/')
	s.bytes = append(strconv.AppendInt(s.bytes, int64(from.Partition), 10), '/')
	s.bytes = strconv.AppendInt(s.bytes, from.Offset, 10)

	rec, headers := &s.records[0], s.headers[:1:1]
	s.records, s.headers = s.records[1:], s.headers[1:]
	headers[0] = kgo.RecordHeader{Key: "origin", Value: s.bytes[start:len(s.bytes):len(s.bytes)]}
	rec.Topic, rec.Key, rec.Value, rec.Headers = topic, from.Key, value, headers
	return rec
}

func appendJSON(b []byte, o order.Order) []byte {
	b = appendString(append(b, `{"orderId":`...), o.ID)
	b = appendString(append(b, `,"product":`...), o.Product)
	b = strconv.AppendFloat(append(b, `,"price":`...), o.Price, 'g', -1, 64)
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string never fails
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// queue holds orders that wait equally long: the first that came is the first that is due.
type queue struct{ orders []*waiting }

func (q *queue) push(w *waiting) { q.orders = append(q.orders, w) }

func (q *queue) pop() {
	q.orders[0] = nil
	q.orders = q.orders[1:]
}

func (q *queue) first() *waiting {
	if len(q.orders) == 0 {
		return nil
	}
	return q.orders[0]
}
