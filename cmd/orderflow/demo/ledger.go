package demo

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/deadletter"
)

// headerOrigin is the header of a processed order that names the record it came from.
const headerOrigin = "origin"

// Topics are the topics that the demo looks at.
type Topics struct{ Orders, Processed, DeadLetters string }

// Ledger keeps account of what is on the broker: for each order, its outcomes. An order is known
// by its origin, the place of its record. It is safe for concurrent use.
type Ledger struct {
	topics Topics

	mu        sync.Mutex
	orders    map[string]bool
	processed map[string]int
	dead      map[string]int
	sample    *kgo.Record
	// seen is the next offset to come, of each partition that was read.
	seen map[string]map[int32]int64
}

// NewLedger makes an empty ledger.
func NewLedger(topics Topics) *Ledger {
	return &Ledger{
		topics: topics,
		orders: map[string]bool{}, processed: map[string]int{}, dead: map[string]int{},
		seen: map[string]map[int32]int64{},
	}
}

// Observe takes a record of one of the topics into account. Control records only move on what
// was seen.
func (l *Ledger) Observe(r *kgo.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen[r.Topic] == nil {
		l.seen[r.Topic] = map[int32]int64{}
	}
	l.seen[r.Topic][r.Partition] = r.Offset + 1
	if r.Attrs.IsControl() {
		return
	}
	switch r.Topic {
	case l.topics.Orders:
		l.orders[fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)] = true
	case l.topics.Processed:
		origin, _ := header(r, headerOrigin)
		l.processed[string(origin)]++
	case l.topics.DeadLetters:
		letter, _ := deadletter.Read(func(name string) ([]byte, bool) { return header(r, name) })
		l.dead[letter.ID]++
		if l.sample == nil {
			l.sample = r
		}
	}
}

// Reached reports whether everything before an offset of a partition was seen.
func (l *Ledger) Reached(topic string, partition int32, offset int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[topic][partition] >= offset
}

// Sample returns a dead letter, or nil if there was none.
func (l *Ledger) Sample() *kgo.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sample
}

// header returns the first value of a header. An outcome without it counts under the empty
// name, which belongs to no order.
func header(r *kgo.Record, name string) ([]byte, bool) {
	for _, h := range r.Headers {
		if h.Key == name {
			return h.Value, true
		}
	}
	return nil, false
}

// Balance is what the ledger adds up to. Orders are counted once each, whatever became of them.
type Balance struct {
	In, Processed, DeadLettered int
	// Missing orders have no outcome, Repeated ones have more than one.
	Missing, Repeated []string
	// Strange outcomes name an origin that is no order.
	Strange []string
}

// Balance adds up what was observed so far.
func (l *Ledger) Balance() Balance {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := Balance{In: len(l.orders), Processed: len(l.processed), DeadLettered: len(l.dead)}
	for origin := range l.orders {
		switch n := l.processed[origin] + l.dead[origin]; {
		case n == 0:
			b.Missing = append(b.Missing, origin)
		case n > 1:
			b.Repeated = append(b.Repeated, origin)
		}
	}
	strange := map[string]bool{}
	for _, outcomes := range []map[string]int{l.processed, l.dead} {
		for origin := range outcomes {
			if !l.orders[origin] {
				strange[origin] = true
			}
		}
	}
	b.Strange = slices.Collect(maps.Keys(strange))
	for _, list := range [][]string{b.Missing, b.Repeated, b.Strange} {
		slices.Sort(list)
	}
	return b
}

// Holds reports whether each order has exactly one outcome.
func (b Balance) Holds() bool {
	return b.In == b.Processed+b.DeadLettered && len(b.Missing)+len(b.Repeated)+len(b.Strange) == 0
}
