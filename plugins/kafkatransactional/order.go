package kafkatransactional

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/metadata"
	"github.com/orderflow/orderflow/internal/session"
)

// batch is a set of orders that the pipeline was given together and answers together.
type batch struct {
	client *client
	txn    *transaction
	bytes  int // of its records
	polled int // how many orders were polled for it, the others having waited
	handed time.Time
	ahead  int  // how many orders were in the pipeline with it when it was handed out
	full   bool // it was as large as it could be then

	stamp metadata.Stamp // of the last message that was made

	mu     sync.Mutex // guards the orders while processors and outputs work on them
	orders []order
}

// order is a record that the pipeline works on. It is the context of its message too, so that
// handing one out costs no allocation of its own.
type order struct {
	context.Context
	batch *batch
	part  *partition
	rec   *kgo.Record

	hist    session.History
	refused int
	absent  bool // rec says only where it is
	shared  bool // rec shares its memory with others of a fetch
	wait    bool
	due     time.Time

	contributions []contribution
	first         [1]contribution // room for the one that most orders have
	produced      int
	deadLettered  bool
}

type contribution struct {
	name, group string
	value       any
	fresh       func() session.Accumulator
}

var _ session.Carrier = (*order)(nil)

// unsampled is what all orders' contexts begin with: a span that is not recorded and has no id.
// The host asks its tracer for a span for each message and stage. The tracer `none` answers with
// a new context each time, unless there is such a span; for any other tracer it is none at all.
var unsampled = trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{}))

// Value makes the order the context of its message.
func (o *order) Value(key any) any {
	if key == session.Key {
		return session.Carrier(o)
	}
	return o.Context.Value(key)
}

func (o *order) is(p session.Place) bool {
	return o.rec.Offset == p.Offset && o.rec.Partition == p.Partition && o.rec.Topic == p.Topic
}

// In finds the order at p. It is this one unless the host has swapped contexts.
func (o *order) In(p session.Place) (session.Order, bool) {
	if o.is(p) {
		return o, true
	}
	for i := range o.batch.orders {
		if other := &o.batch.orders[i]; other.is(p) {
			return other, true
		}
	}
	return o.batch.client.find(p)
}

// History returns what was tried so far.
func (o *order) History() session.History {
	o.batch.mu.Lock()
	defer o.batch.mu.Unlock()
	return o.hist
}

// SetHistory replaces the history.
func (o *order) SetHistory(h session.History) {
	o.batch.mu.Lock()
	defer o.batch.mu.Unlock()
	if len(h.Text) > maxHistoryText {
		h.Text = strings.ToValidUTF8(h.Text[:maxHistoryText], "") + "… (truncated)"
	}
	o.hist = h
}

// maxHistoryText bounds what the state keeps of an error's text.
const maxHistoryText = 4096

// Wait asks for the order to be handed out again.
func (o *order) Wait(due time.Time) {
	o.batch.mu.Lock()
	defer o.batch.mu.Unlock()
	o.wait, o.due = true, due
}

// Contribute remembers a value for the time when the order's outcome is known.
func (o *order) Contribute(name, group string, value any, fresh func() session.Accumulator) {
	o.batch.mu.Lock()
	defer o.batch.mu.Unlock()
	if o.contributions == nil {
		o.contributions = o.first[:0]
	}
	o.contributions = append(o.contributions, contribution{name, group, value, fresh})
}

// waiting makes the order wait until due.
func (o *order) waiting(due time.Time) *waiting {
	w := &waiting{hist: o.hist, due: due, refused: o.refused}
	if o.absent { // it was not read yet
		w.rec, w.absent, w.whole, w.size = o.rec, true, unknownSize, recordBytes(o.rec)
		return w
	}
	return w.keep(o.rec, o.shared)
}

// compact copies a record that was polled. Those of one fetch share their memory: to keep one
// would keep all of them.
func compact(rec *kgo.Record) *kgo.Record {
	size := len(rec.Key) + len(rec.Value)
	for _, h := range rec.Headers {
		size += len(h.Value)
	}
	b := make([]byte, 0, size)
	own := func(v []byte) []byte {
		if v == nil {
			return nil
		}
		begin := len(b)
		b = append(b, v...)
		return b[begin:len(b):len(b)]
	}
	kept := &kgo.Record{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Timestamp: rec.Timestamp}
	kept.Key, kept.Value = own(rec.Key), own(rec.Value)
	for _, h := range rec.Headers {
		kept.Headers = append(kept.Headers, kgo.RecordHeader{Key: strings.Clone(h.Key), Value: own(h.Value)})
	}
	return kept
}

// Content returns the record's value.
func (o *order) Content() []byte { return o.rec.Value }

// Session returns the client that handed out the order.
func (o *order) Session() session.Session { return o.batch.client }

// metaAttempt is the number of the attempt, which the record's metadata does not tell.
const metaAttempt = "attempt"

func (o *order) message() *service.Message {
	msg := service.NewMessageWithContext(o, o.rec.Value)
	o.batch.stamp = o.batch.stamp.At(o.rec.Timestamp)
	metadata.Set(msg, o.rec, o.part.place, o.batch.stamp)
	msg.MetaSetMut(metaAttempt, len(o.hist.Attempts)+1)
	if o.hist.Code == deadletter.CodeUnread {
		msg.SetError(failure.At(pluginName, failure.NewPermanent(deadletter.CodeUnread, errors.New(o.hist.Text))))
	}
	return msg
}
