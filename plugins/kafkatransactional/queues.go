package kafkatransactional

import (
	"container/heap"
	"crypto/sha256"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What may not overtake what.
const (
	orderingNone      = "none"
	orderingKey       = "key"
	orderingPartition = "partition"
)

// ordering says which orders keep their order.
type ordering struct {
	by string // what they have in common: orderingNone, orderingKey or orderingPartition
	// holdKeys makes the orders of a key wait until one of it that ended as a dead letter was
	// mended and came again.
	holdKeys bool
}

// maxQueueName bounds what a queue's name adds to a record of the state topic.
const maxQueueName = 256

// queue is the orders of one key, or of a whole partition, that must not overtake each other.
// It is there as long as one of them is on its way or behind.
type queue struct {
	busy bool // one of them is on its way: in flight, or waiting until it is due
	// behind has those that came after it, by offset. They wait too, but are not in the heap.
	behind []*waiting
}

// queueOf returns the name of the queue that an order stands in, if it stands in one. Records
// without a key have no order among each other. Long keys go by their hash: should two share
// it, they only share a queue.
func (p *partition) queueOf(rec *kgo.Record) (string, bool) {
	switch {
	case p.ordering.by == orderingPartition:
		return "", true
	case p.ordering.by == orderingNone || rec.Key == nil:
		return "", false
	case len(rec.Key) > maxQueueName:
		sum := sha256.Sum256(rec.Key)
		return string(sum[:]), true
	default:
		return string(rec.Key), true
	}
}

// admit tells whether a new order may go at once. If an earlier one of its queue is on its way,
// or is a dead letter that it does not mend, it waits.
func (p *partition) admit(rec *kgo.Record) bool {
	name, ordered := p.queueOf(rec)
	if !ordered {
		return true
	}
	q := p.queues[name]
	if q == nil {
		q = &queue{}
		p.queues[name] = q
	}
	if !q.busy && p.passes(name, rec) {
		q.busy = true
		return true
	}
	w := (&waiting{index: -1}).keep(rec, true)
	q.behind = append(q.behind, w)
	p.set(rec.Offset, w)
	p.written[rec.Offset] = struct{}{}
	return false
}

// release lets the next order of a queue go, after the one before it has ended well.
func (p *partition) release(rec *kgo.Record) {
	name, ordered := p.queueOf(rec)
	if !ordered {
		return
	}
	p.unblock(name) // of a blocked key only the order that mends it can have been on its way
	p.queues[name].busy = false
	p.advance(name)
}

// advance makes the next order of a queue that is not busy due, if one of it may go.
func (p *partition) advance(name string) {
	q := p.queues[name]
	i := slices.IndexFunc(q.behind, func(w *waiting) bool { return p.passes(name, w.rec) })
	if i < 0 {
		if len(q.behind) == 0 {
			delete(p.queues, name)
		}
		return
	}
	w := q.behind[i]
	if i == 0 { // a long queue is not moved up for each that goes
		q.behind[0] = nil
		q.behind = q.behind[1:]
	} else {
		q.behind = slices.Delete(q.behind, i, i+1)
	}
	q.busy = true
	heap.Push(&p.due, w)
}

// arrange puts orders into queues again after a restore. It tells whether it released keys that
// are not to be held any more.
func (p *partition) arrange() bool {
	var waiting []int64
	if p.ordering.by != orderingNone {
		waiting = slices.Sorted(maps.Keys(p.waiting))
	}
	for _, offset := range waiting {
		w := p.waiting[offset]
		name, ordered := p.queueOf(w.rec)
		if !ordered {
			continue
		}
		heap.Remove(&p.due, w.index)
		if p.queues[name] == nil {
			p.queues[name] = &queue{}
		}
		p.queues[name].behind = append(p.queues[name].behind, w)
	}
	released := false
	if !p.ordering.holdKeys {
		for name := range p.blocks {
			p.unblock(name)
			released = true
		}
	}
	for name := range p.queues {
		p.advance(name)
	}
	return released
}
