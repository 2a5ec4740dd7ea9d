package kafkatransactional

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/session"
)

// model is one source partition with a broker that is two maps and a number: what a committed
// transaction would leave behind. It hands out, waits, resolves, commits, aborts and crashes in
// any interleaving, and checks the guarantees after each commit.
type model struct {
	ordering ordering
	client   client
	now      time.Time

	// The broker: the topic of the orders, of which those that were redriven name what they
	// mend, and what is committed.
	end      int64
	redriven map[int64]int64
	state    map[string][]byte
	next     int64
	outcomes map[int64]int
	attempts map[int64][]time.Time
	events   []event

	// The open transaction.
	part        *partition
	polled      int64
	inFlight    []*order
	newEvents   []event
	newAttempts map[int64][]time.Time
}

var delays = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}

func newModel(ordering ordering) *model {
	m := &model{ordering: ordering, now: time.Unix(1000, 0), redriven: map[int64]int64{}, state: map[string][]byte{}, outcomes: map[int64]int{}, attempts: map[int64][]time.Time{}}
	m.restore()
	return m
}

// restore is what happens after an abort, a crash or a move to another instance.
func (m *model) restore() {
	m.part = newPartition(topicPartition{"orders", 0}, Ledger{Group: "g", Start: m.next}, m.ordering)
	for _, key := range slices.Sorted(maps.Keys(m.state)) {
		k, err := ParseStateKey([]byte(key))
		if err != nil {
			panic(err)
		}
		if err := m.part.restore(k, m.state[key]); err != nil {
			panic(err)
		}
	}
	m.polled, m.inFlight, m.newEvents = m.next, nil, nil
	m.part.arrange()
	if !m.ordering.holdKeys {
		m.newEvents = []event{{all: true}}
	}
	m.newAttempts = maps.Clone(m.attempts)
}

// origin is the order that the one at offset was at first.
func (m *model) origin(offset int64) int64 {
	if first, ok := m.redriven[offset]; ok {
		return first
	}
	return offset
}

// record is what the topic holds at an offset: an order of one of three keys.
func (m *model) record(offset int64) *kgo.Record {
	first := m.origin(offset)
	rec := &kgo.Record{Topic: "orders", Offset: offset, Key: fmt.Appendf(nil, "k%d", first%3), Timestamp: time.UnixMilli(offset)}
	if first != offset {
		rec.Headers = []kgo.RecordHeader{{Key: "dlq_id", Value: fmt.Appendf(nil, "orders/0/%d", first)}, {Key: "dlq_redrives", Value: []byte("1")}}
	}
	return rec
}

func (m *model) hand(rec *kgo.Record, h session.History) {
	m.inFlight = append(m.inFlight, &order{part: m.part, rec: rec, hist: h})
}

// fails is how often an order fails; from 4 on it ends as a dead letter.
func fails(offset int64) int { return int(offset*7) % 6 }

// answer is the pipeline: an attempt, and the answer to its batch.
func (m *model) answer(o *order) {
	m.attempt(o)
	if err := m.client.resolve(o); err != nil {
		panic(err)
	}
	if !o.wait {
		m.newEvents = append(m.newEvents, event{offset: o.rec.Offset, dead: o.deadLettered, held: o.deadLettered && m.ordering.holdKeys})
	}
}

// attempt is what processors and outputs do with an order before its batch is answered.
func (m *model) attempt(o *order) {
	tried := len(o.hist.Attempts)
	offset := o.rec.Offset
	if tried < fails(offset) {
		o.hist.Attempts = append(slices.Clone(o.hist.Attempts), m.now)
		m.newAttempts[offset] = o.hist.Attempts
		if tried < len(delays) {
			o.wait, o.due = true, m.now.Add(delays[tried])
		} else {
			o.deadLettered, o.produced = true, 1
		}
	} else {
		o.produced = 1
	}
	o.contributions = []contribution{{"total", "all", int64(1), func() session.Accumulator { return new(counter) }}}
}

func (m *model) commit() {
	err := m.part.changes(1<<20, func(key, value []byte) {
		if value == nil {
			delete(m.state, string(key))
		} else {
			m.state[string(key)] = value
		}
	})
	if err != nil {
		panic(err)
	}
	m.next = m.polled
	for _, e := range m.newEvents {
		if e.released == "" && !e.all {
			m.outcomes[e.offset]++
		}
	}
	m.events = append(m.events, m.newEvents...)
	m.newEvents = nil
	m.attempts = maps.Clone(m.newAttempts)
}

// check holds the committed state against G1 to G4.
func (m *model) check(t *rapid.T) {
	waiting := map[int64]bool{}
	var counted int64
	for key, value := range m.state {
		switch k, _ := ParseStateKey([]byte(key)); k.Kind {
		case KindWaiting:
			waiting[k.Offset] = true
		case KindAggregate:
			var c counter
			if err := c.UnmarshalBinary(value); err != nil {
				t.Fatal(err)
			}
			counted = c.n
		}
	}
	var processed int64
	for offset := range m.next {
		n := m.outcomes[offset]
		if waiting[offset] {
			n++
		}
		if n != 1 {
			t.Fatalf("order %d has %d outcomes, waiting: %v", offset, n, waiting[offset])
		}
		if m.outcomes[offset] == 1 && fails(offset) <= len(delays) {
			processed++
		}
	}
	if len(m.outcomes)+len(waiting) != int(m.next) {
		t.Fatalf("%d outcomes and %d waiting for %d orders", len(m.outcomes), len(waiting), m.next)
	}
	if counted != processed {
		t.Fatalf("%d are counted, %d are processed", counted, processed)
	}
	for offset, times := range m.attempts {
		if len(times) > 4 {
			t.Fatalf("order %d was tried %d times", offset, len(times))
		}
		for i := 1; i < len(times); i++ {
			if d := times[i].Sub(times[i-1]); d < delays[i-1] {
				t.Fatalf("order %d waited %v before retry %d", offset, d, i)
			}
		}
	}
	m.blocked(t)
}

func TestStateKeepsTheGuaranteesInAnyInterleaving(t *testing.T) {
	for name, ordering := range map[string]ordering{
		"none": {by: orderingNone}, "key": {by: orderingKey}, "partition": {by: orderingPartition},
		"key, held": {by: orderingKey, holdKeys: true},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := newModel(ordering)
				t.Repeat(map[string]func(*rapid.T){
					"poll": func(t *rapid.T) {
						for range rapid.IntRange(1, 5).Draw(t, "records") {
							rec := m.record(m.polled)
							m.polled++
							m.end = max(m.end, m.polled)
							if m.part.admit(rec) {
								m.hand(rec, session.History{})
							}
						}
					},
					"due": func(t *rapid.T) {
						for w := m.part.take(m.now); w != nil; w = m.part.take(m.now) {
							m.hand(w.rec, w.hist)
						}
					},
					"time passes": func(t *rapid.T) {
						m.now = m.now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
					},
					"answer": func(t *rapid.T) {
						if len(m.inFlight) == 0 {
							t.Skip()
						}
						i := rapid.IntRange(0, len(m.inFlight)-1).Draw(t, "which")
						o := m.inFlight[i]
						m.inFlight = slices.Delete(m.inFlight, i, i+1)
						m.answer(o)
					},
					"commit": func(t *rapid.T) {
						for _, o := range m.inFlight { // the barrier
							m.answer(o)
						}
						m.inFlight = nil
						m.commit()
						m.check(t)
					},
					"stop": func(t *rapid.T) { // what is in flight is put back, then a new life
						for _, o := range m.inFlight {
							if len(o.hist.Attempts) < min(fails(o.rec.Offset), len(delays)) && rapid.Bool().Draw(t, "has failed") {
								m.attempt(o)
							}
							m.part.putBack(o, m.now)
						}
						m.inFlight = nil
						m.commit()
						m.check(t)
						m.restore()
					},
					"abort, crash or move": func(*rapid.T) { m.restore() },
					"drain":                m.drain,
					"redrive": func(t *rapid.T) {
						var dead []int64
						for _, e := range m.events {
							if e.dead {
								dead = append(dead, m.origin(e.offset))
							}
						}
						if len(dead) == 0 {
							t.Skip()
						}
						m.redriven[m.end] = rapid.SampledFrom(dead).Draw(t, "which")
						m.end++
					},
					"give up": func(t *rapid.T) {
						most := rapid.IntRange(0, 5).Draw(t, "most")
						for _, k := range giveUp(map[topicPartition]*partition{m.part.topicPartition: m.part}, most, 1<<20) {
							m.newEvents = append(m.newEvents, event{released: k.name})
						}
						taken, idle := 0, 0
						for name := range m.part.blocks {
							taken++
							q := m.part.queues[name]
							if q == nil || !q.busy {
								idle++
							}
							if q != nil {
								taken += len(q.behind)
							}
						}
						if taken > most && idle > 0 {
							t.Fatalf("blocked keys take %d of %d places", taken, most)
						}
					},
					"change on_dead_letter": func(*rapid.T) {
						m.ordering.holdKeys = m.ordering.by == orderingKey && !m.ordering.holdKeys
						m.restore()
					},
				})
			})
		})
	}
}

func TestStateOfAnotherGroupIsRefused(t *testing.T) {
	p := newPartition(topicPartition{"orders", 3}, Ledger{Group: "mine"}, ordering{by: orderingNone})
	err := p.restore(StateKey{Kind: KindLedger, Topic: "orders", Partition: 3}, []byte(`{"group":"theirs"}`))
	require.EqualError(t, err, `state of orders/3 belongs to consumer group "theirs", not to "mine": give each group a state topic of its own`)
}
