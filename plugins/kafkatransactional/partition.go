package kafkatransactional

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/metadata"
	"github.com/orderflow/orderflow/internal/session"
)

// topicPartition names a source partition.
type topicPartition struct {
	topic     string
	partition int32
}

func (tp topicPartition) String() string { return fmt.Sprintf("%s/%d", tp.topic, tp.partition) }

// partition is the state of one source partition: which of its orders wait, and what was
// accumulated from it. It knows neither broker nor host. Its owner guards it with one lock.
//
// What is in memory is what the open transaction would commit. After an abort the whole
// object is thrown away and read again from the state topic; nothing is rolled back.
type partition struct {
	topicPartition
	place   metadata.Place
	waiting map[int64]*waiting
	bytes   int // that the records in waiting take
	due     dueHeap
	// ordering says which orders must not overtake each other, and queues has those that may
	// not; blocks has the keys whose last order is a dead letter, if they are to wait for it.
	ordering ordering
	queues   map[string]*queue
	blocks   map[string]block
	// written names the waiting orders whose record in the state topic is out of date, rewrite
	// the blocked keys of which the same is true.
	written     map[int64]struct{}
	rewrite     map[string]struct{}
	acc         map[accumulatorKey]*accumulator
	cleared     [][]byte // keys of state that is nothing to us
	ledger      Ledger
	ledgerDirty bool
}

// waiting is an order that has to be handed out again.
type waiting struct {
	rec     *kgo.Record
	hist    session.History
	due     time.Time
	refused int // how often the dead-letter leg could not take it
	stored  bool
	absent  bool // rec says only where the order is: it has to be read from its topic
	whole   int  // the bytes of the order
	size    int  // the bytes of rec
	index   int  // in the heap; -1 while it is in flight
}

type accumulatorKey struct{ name, group string }

type accumulator struct {
	// raw is what was restored; it is decoded when somebody who knows its type asks.
	raw   []byte
	place string // of its record in the state topic
	value session.Accumulator
	dirty bool
}

func newPartition(tp topicPartition, ledger Ledger, ordering ordering) *partition {
	return &partition{
		topicPartition: tp,
		place:          metadata.PlaceOf(tp.topic, tp.partition),
		ordering:       ordering,
		queues:         map[string]*queue{},
		blocks:         map[string]block{},
		waiting:        map[int64]*waiting{},
		written:        map[int64]struct{}{},
		rewrite:        map[string]struct{}{},
		acc:            map[accumulatorKey]*accumulator{},
		ledger:         ledger,
		ledgerDirty:    true,
	}
}

// hold makes the order at w.rec.Offset wait until w.due.
func (p *partition) hold(w *waiting) {
	offset := w.rec.Offset
	if old, ok := p.waiting[offset]; ok {
		w.stored = old.stored
		if old.index >= 0 {
			heap.Remove(&p.due, old.index)
		}
	}
	p.set(offset, w)
	p.written[offset] = struct{}{}
	heap.Push(&p.due, w)
}

// set makes w the order that waits at offset, or if it is nil, none.
func (p *partition) set(offset int64, w *waiting) {
	if old, ok := p.waiting[offset]; ok {
		p.bytes -= old.size
		delete(p.waiting, offset)
	}
	if w != nil {
		p.bytes += w.size
		p.waiting[offset] = w
	}
}

// putBack makes an order wait whose batch the pipeline has not answered: it is due at once,
// unless it had failed already.
func (p *partition) putBack(o *order, now time.Time) {
	if o.wait {
		now = o.due // its part of the answer is there, and a wait is never cut short
	}
	p.hold(o.waiting(now))
}

// end forgets the order at offset, which now has an outcome.
func (p *partition) end(offset int64) {
	w, ok := p.waiting[offset]
	if !ok {
		return
	}
	if w.index >= 0 {
		heap.Remove(&p.due, w.index)
	}
	p.set(offset, nil)
	if w.stored {
		p.written[offset] = struct{}{}
	} else {
		delete(p.written, offset)
	}
}

// take removes the next order that is due from the heap and returns it. It stays in waiting
// until its outcome is known.
func (p *partition) take(now time.Time) *waiting {
	if len(p.due) == 0 || p.due[0].due.After(now) {
		return nil
	}
	return heap.Pop(&p.due).(*waiting)
}

// nextDue returns when the next order is due, if one waits.
func (p *partition) nextDue() (time.Time, bool) {
	if len(p.due) == 0 {
		return time.Time{}, false
	}
	return p.due[0].due, true
}

// accumulatorFor returns the accumulator of this name and group.
func (p *partition) accumulatorFor(name, group string, fresh func() session.Accumulator) (*accumulator, error) {
	key := accumulatorKey{name, group}
	a, ok := p.acc[key]
	if !ok {
		a = &accumulator{value: fresh()}
		p.acc[key] = a
		return a, nil
	}
	if a.value == nil {
		v := fresh()
		if err := v.UnmarshalBinary(a.raw); err != nil {
			return nil, &errUndecodable{a.place, fmt.Errorf("decoding aggregate %q of %s, group %.200q: %w", name, p.topicPartition, group, err)}
		}
		a.value, a.raw = v, nil
	}
	return a, nil
}

// changes calls put with each state record that the transaction has to carry, and from then on
// takes them as written; a nil value is a tombstone. An order that would make a record of
// maxBytes or more is left in its topic.
func (p *partition) changes(maxBytes int, put func(key, value []byte)) error {
	for offset := range p.written {
		key := StateKey{Kind: KindWaiting, Topic: p.topic, Partition: p.partition, Offset: offset}.append(nil)
		w, ok := p.waiting[offset]
		if !ok {
			put(key, nil)
			continue
		}
		value, err := appendWaiting(nil, w, maxBytes)
		if err != nil {
			return err
		}
		w.stored = true
		put(key, value)
	}
	clear(p.written)
	if err := p.blockChanges(put); err != nil {
		return err
	}
	for k, a := range p.acc {
		if !a.dirty {
			continue
		}
		value := a.raw
		if a.value != nil {
			var err error
			value, err = a.value.AppendBinary(nil)
			if err != nil {
				return fmt.Errorf("encoding aggregate %s of %s: %w", k.name, p.topicPartition, err)
			}
		}
		a.dirty = false
		put(StateKey{Kind: KindAggregate, Topic: p.topic, Partition: p.partition, Name: k.name, Group: k.group}.append(nil), value)
	}
	for _, key := range p.cleared {
		put(key, nil)
	}
	p.cleared = nil
	if p.ledgerDirty {
		value, err := json.Marshal(p.ledger)
		if err != nil {
			return fmt.Errorf("encoding ledger of %s: %w", p.topicPartition, err)
		}
		p.ledgerDirty = false
		put(StateKey{Kind: KindLedger, Topic: p.topic, Partition: p.partition}.append(nil), value)
	}
	return nil
}

// restore applies one record of the state topic.
func (p *partition) restore(k StateKey, value []byte) error {
	switch k.Kind {
	case KindWaiting:
		if w, ok := p.waiting[k.Offset]; ok {
			heap.Remove(&p.due, w.index)
			p.set(k.Offset, nil)
		}
		if value == nil {
			return nil
		}
		w, err := decodeWaiting(k, value)
		if err != nil {
			return err
		}
		p.set(k.Offset, w)
		heap.Push(&p.due, w)
	case KindBlocked:
		return p.restoreBlock(k.Key, value)
	case KindAggregate:
		key := accumulatorKey{k.Name, k.Group}
		if value == nil {
			delete(p.acc, key)
			return nil
		}
		p.acc[key] = &accumulator{raw: value}
	case KindLedger:
		if value == nil {
			return nil
		}
		l, err := DecodeLedger(value)
		if err != nil {
			return err
		}
		if l.Group != p.ledger.Group {
			return fmt.Errorf("state of %s belongs to consumer group %q, not to %q: %w", p.topicPartition, l.Group, p.ledger.Group, errGroup)
		}
		p.ledger, p.ledgerDirty = l, false
	}
	return nil
}

// hasten makes a restored order due as much earlier as the clock was ahead of ours by which it
// waits. Else one that was hours ahead would make a wait of a second one of hours.
func (p *partition) hasten(w *waiting, ahead time.Duration) {
	if ahead > 0 && !w.due.IsZero() {
		w.due = w.due.Add(-ahead)
		heap.Fix(&p.due, w.index)
	}
}

// dueHeap is a heap of waiting orders, the one that is due first on top. Those that are due
// at the same moment come by offset.
type dueHeap []*waiting

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].rec.Offset < h[j].rec.Offset
	}
	return h[i].due.Before(h[j].due)
}

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *dueHeap) Push(x any) {
	w := x.(*waiting)
	w.index = len(*h)
	*h = append(*h, w)
}

func (h *dueHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	w.index = -1
	return w
}
