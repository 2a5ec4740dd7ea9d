//go:build synctests

package simulation

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/committed"
)

// waits are those of consumer.yaml, before each retry.
var waits = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}

// history checks what the oracle does not see, in what was committed: the attempts of orders
// while they waited, when those came that passed in the end, the order of keys, and the sum.
type history struct {
	w        *world
	orders   map[string]*kgo.Record // by topic/partition/offset
	attempts map[string][]time.Time // by the same, the last that were committed
	outcomes map[string][]outcome   // by key
	wrong    []error
}

// outcome is a processed order or a dead letter.
type outcome struct {
	offset int64 // of the order
	rec    *kgo.Record
}

// history reads all topics and returns what is wrong.
func (w *world) history() error {
	h := &history{w: w, orders: map[string]*kgo.Record{}, attempts: map[string][]time.Time{}, outcomes: map[string][]outcome{}}
	for _, read := range []struct {
		topic string
		take  func(*kgo.Record) error
	}{
		{topicOrders, h.order}, {topicState, h.state}, {topicProcessed, h.processed}, {topicDLQ, h.deadLetter},
	} {
		ranges, err := committed.Stable(context.Background(), w.admin, read.topic)
		if err == nil {
			_, err = committed.Read(context.Background(), w.opts(), read.topic, ranges, read.take)
		}
		if err != nil {
			return err
		}
	}
	if w.plan.ordered {
		h.keys()
	}
	return errors.Join(h.wrong...)
}

func (h *history) find(format string, args ...any) {
	if len(h.wrong) < 10 {
		h.wrong = append(h.wrong, fmt.Errorf(format, args...))
	}
}

func (h *history) order(r *kgo.Record) error {
	h.orders[fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)] = r
	return nil
}

// state checks the attempts of an order that waits: once committed they are never forgotten,
// and the next is not due before its time.
func (h *history) state(r *kgo.Record) error {
	of, waiting := strings.CutPrefix(string(r.Key), "waiting/")
	if !waiting || r.Value == nil {
		return nil
	}
	// A version, the time when it is due, how often it was refused, and the history.
	b := r.Value[1:]
	due, n := binary.Varint(b)
	b = b[n:]
	refused, n := binary.Uvarint(b)
	b = b[n:]
	size, n := binary.Uvarint(b)
	var hist struct{ Attempts []time.Time }
	if err := json.Unmarshal(b[n:n+int(size)-1], &hist); err != nil {
		return fmt.Errorf("%s: %w", r.Key, err)
	}
	h.remember(of, hist.Attempts)
	if n := len(hist.Attempts); n > 0 && n <= len(waits) && refused == 0 {
		if early := hist.Attempts[n-1].Add(waits[n-1]).Truncate(time.Millisecond); time.UnixMilli(due).Before(early) {
			h.find("%s is due at %v after attempt %d, before %v", of, time.UnixMilli(due), n, early)
		}
	}
	return nil
}

// remember notes the attempts of an order: they go on from those that were committed before.
func (h *history) remember(of string, attempts []time.Time) {
	before := h.attempts[of]
	same := func(a, b time.Time) bool { return a.UnixMilli() == b.UnixMilli() }
	if len(attempts) < len(before) || !slices.EqualFunc(before, attempts[:len(before)], same) {
		h.find("%s: attempts %v were committed, and then %v", of, before, attempts)
	}
	h.attempts[of] = attempts
}

func (h *history) processed(r *kgo.Record) error {
	of := header(r, "origin")
	o := h.outcome(of, r)
	if o == nil {
		return nil
	}
	var body struct{ OrderID string }
	if err := json.Unmarshal(r.Value, &body); err != nil {
		return err
	}
	// An order that recovers has failed twice before.
	if took, least := r.Timestamp.Sub(o.Timestamp), waits[0]+waits[1]; h.w.retried[body.OrderID] && took < least {
		h.find("%s recovered after %v: before %v were over", of, took, least)
	}
	return nil
}

func (h *history) deadLetter(r *kgo.Record) error {
	of := header(r, "dlq_id")
	if h.outcome(of, r) == nil {
		return nil
	}
	var attempts []time.Time
	for text := range strings.SplitSeq(header(r, "dlq_attempt_times"), ",") {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return fmt.Errorf("dead letter of %s: %w", of, err)
		}
		attempts = append(attempts, at)
	}
	h.remember(of, attempts)
	return nil
}

// outcome notes an outcome of an order and returns the order.
func (h *history) outcome(of string, r *kgo.Record) *kgo.Record {
	o := h.orders[of]
	if o == nil {
		h.find("%s/%d/%d is the outcome of %s, which is no order", r.Topic, r.Partition, r.Offset, of)
		return nil
	}
	if !bytes.Equal(o.Key, r.Key) {
		h.find("the key of %s is %s, not %s", of, r.Key, o.Key)
	}
	h.outcomes[string(o.Key)] = append(h.outcomes[string(o.Key)], outcome{o.Offset, r})
	return o
}

// keys checks that the outcomes of each key come in the order of their orders.
func (h *history) keys() {
	for key, outcomes := range h.outcomes {
		slices.SortFunc(outcomes, func(a, b outcome) int { return int(a.offset - b.offset) })
		last := map[string]*kgo.Record{}
		for i, o := range outcomes {
			if before := last[o.rec.Topic]; before != nil && (before.Partition != o.rec.Partition || before.Offset > o.rec.Offset) {
				h.find("key %s: order %d is at %s/%d/%d, an earlier one at %d/%d", key, o.offset, o.rec.Topic, o.rec.Partition, o.rec.Offset, before.Partition, before.Offset)
			}
			last[o.rec.Topic] = o.rec
			if i > 0 && o.rec.Timestamp.Before(outcomes[i-1].rec.Timestamp) {
				h.find("key %s: order %d has overtaken order %d", key, o.offset, outcomes[i-1].offset)
			}
		}
	}
}

// header returns the last value of a header.
func header(r *kgo.Record, name string) string {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == name {
			return string(r.Headers[i].Value)
		}
	}
	return ""
}
