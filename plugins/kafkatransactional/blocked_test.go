package kafkatransactional

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// event is the outcome of an order, or that keys were released although they were blocked.
type event struct {
	offset int64
	dead   bool
	held   bool // a dead letter that blocks its key

	released string // a key
	all      bool   // all keys
}

// blocked checks the order of the outcomes of each key, and returns which keys are blocked by
// which order in the end.
func (m *model) blocked(t *rapid.T) map[string]int64 {
	blocks := map[string]int64{}
	last := map[string]int64{}
	for _, e := range m.events {
		if e.all {
			clear(blocks)
			continue
		}
		if e.released != "" {
			delete(blocks, e.released)
			continue
		}
		name, ordered := m.part.queueOf(m.record(e.offset))
		if !ordered {
			continue
		}
		if dead, blocked := blocks[name]; !blocked {
			if before, ok := last[name]; ok && before > e.offset {
				t.Fatalf("order %d overtook order %d of %q", before, e.offset, name)
			}
			last[name] = e.offset
		} else if first, redriven := m.redriven[e.offset]; !redriven || first != dead {
			t.Fatalf("order %d went on, but %q is blocked by order %d", e.offset, name, dead)
		}
		delete(blocks, name)
		if e.held {
			blocks[name] = m.origin(e.offset)
		}
	}
	return blocks
}

// drain lets all happen that can. What waits after that must be held behind a dead letter.
func (m *model) drain(t *rapid.T) {
	for range 1000 {
		for w := m.part.take(m.now); w != nil; w = m.part.take(m.now) {
			m.hand(w.rec, w.hist)
		}
		for _, o := range m.inFlight {
			m.answer(o)
		}
		if len(m.inFlight) == 0 && len(m.part.due) == 0 {
			break
		}
		m.inFlight = nil
		m.now = m.now.Add(delays[2])
	}
	m.commit()
	m.check(t)
	blocks := m.blocked(t)
	for offset := range m.part.waiting {
		name, _ := m.part.queueOf(m.record(offset))
		dead, blocked := blocks[name]
		if first, redriven := m.redriven[offset]; !blocked || redriven && first == dead {
			t.Fatalf("order %d waits for nothing; %q is blocked: %v, by order %d", offset, name, blocked, dead)
		}
	}
	for name, q := range m.part.queues {
		if !q.busy && len(q.behind) == 0 {
			t.Fatalf("queue %q has nothing in it", name)
		}
	}
	if len(blocks) != len(m.part.blocks) {
		t.Fatalf("%v are blocked, not %v", m.part.blocks, blocks)
	}
}

// keyed is a partition that holds keys.
func keyed() *partition {
	return newPartition(topicPartition{"orders", 0}, Ledger{Group: "g"}, ordering{by: orderingKey, holdKeys: true})
}

func TestTheBlockedKeysThatTakeMostAreGivenUpFirst(t *testing.T) {
	for _, c := range []struct {
		name string
		most int
		want []string
	}{
		{"there is room", 10, nil},
		{"one too many: the key that holds most", 9, []string{"hot"}},
		{"of those that hold as much, the one blocked longest", 5, []string{"hot", "old"}},
		{"all but the one whose order was mended and is on its way", 0, []string{"hot", "old", "new"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := keyed()
			offset := int64(0)
			add := func(key string, headers ...kgo.RecordHeader) *kgo.Record {
				rec := &kgo.Record{Topic: "orders", Offset: offset, Key: []byte(key), Headers: headers}
				offset++
				p.admit(rec)
				return rec
			}
			for i, key := range []string{"old", "hot", "mended", "new"} {
				p.block(add(key), time.Unix(int64(i), 0))
			}
			for range 3 {
				add("hot")
			}
			add("mended")
			add("mended", kgo.RecordHeader{Key: "dlq_id", Value: []byte("orders/0/2")}, kgo.RecordHeader{Key: "dlq_redrives", Value: []byte("1")})
			add("new")
			add("old")
			var got []string
			for _, k := range giveUp(map[topicPartition]*partition{p.topicPartition: p}, c.most, 1<<20) {
				got = append(got, k.name)
			}
			require.Equal(t, c.want, got)
			require.Len(t, p.blocks, 4-len(got))
		})
	}
}

func TestAnOrderThatDiesAgainBlocksItsKeySinceItDiedFirst(t *testing.T) {
	p := keyed()
	first := &kgo.Record{Topic: "orders", Offset: 7, Key: []byte("k")}
	again := &kgo.Record{Topic: "orders", Offset: 9, Key: []byte("k"), Headers: []kgo.RecordHeader{
		{Key: "dlq_id", Value: []byte("orders/0/7")}, {Key: "dlq_redrives", Value: []byte("2")},
	}}
	require.True(t, p.admit(first))
	p.block(first, time.Unix(1, 0))
	require.True(t, p.admit(again))
	p.block(again, time.Unix(2, 0))
	require.Equal(t, map[string]block{"k": {ID: "orders/0/7", Since: time.Unix(1, 0).UTC()}}, p.blocks)
}

// Which of a redriven order's headers count is what dead letters go by, too.
func TestOnlyTheOrderThatAKeyWaitsForMendsIt(t *testing.T) {
	for _, c := range []struct {
		name    string
		headers []kgo.RecordHeader
		want    bool
	}{
		{"it was redriven", []kgo.RecordHeader{{Key: "dlq_id", Value: []byte("orders/0/0")}, {Key: "dlq_redrives", Value: []byte("1")}}, true},
		{"no header", nil, false},
		{"another order was redriven", []kgo.RecordHeader{{Key: "dlq_id", Value: []byte("orders/0/1")}, {Key: "dlq_redrives", Value: []byte("1")}}, false},
		{"the id alone, which any producer can write", []kgo.RecordHeader{{Key: "dlq_id", Value: []byte("orders/0/0")}}, false},
		{"redriven no times", []kgo.RecordHeader{{Key: "dlq_id", Value: []byte("orders/0/0")}, {Key: "dlq_redrives", Value: []byte("0")}}, false},
		{"of headers that repeat the last counts", []kgo.RecordHeader{
			{Key: "dlq_id", Value: []byte("orders/0/0")}, {Key: "dlq_redrives", Value: []byte("1")}, {Key: "dlq_id", Value: []byte("orders/0/1")},
		}, false},
		{"a header without a value is none", []kgo.RecordHeader{{Key: "dlq_id", Value: []byte("orders/0/0")}, {Key: "dlq_redrives"}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := keyed()
			dead := &kgo.Record{Topic: "orders", Key: []byte("k")}
			p.admit(dead)
			p.block(dead, time.Unix(1, 0))
			require.Equal(t, c.want, p.admit(&kgo.Record{Topic: "orders", Offset: 2, Key: []byte("k"), Headers: c.headers}))
		})
	}
}

// Its dead letter is sent again by the name of its place, since no redrive has sent the order.
func TestAnOrderThatOnlySaysThatItWasRedrivenIsWaitedForByItsPlace(t *testing.T) {
	p := keyed()
	claim := func(id string) []kgo.RecordHeader {
		return []kgo.RecordHeader{{Key: "dlq_id", Value: []byte(id)}, {Key: "dlq_redrives", Value: []byte("1")}}
	}
	forged := &kgo.Record{Topic: "orders", Offset: 7, Key: []byte("k"), Headers: claim("orders/0/3")}
	require.True(t, p.admit(forged))
	p.block(forged, time.Unix(1, 0))
	var stored []byte
	require.NoError(t, p.blockChanges(func(_, value []byte) { stored = value }))
	require.JSONEq(t, `{"dlq_id":"orders/0/3","origin":"orders/0/7","since":"1970-01-01T00:00:01Z"}`, string(stored))
	again := keyed()
	require.NoError(t, again.restoreBlock("k", stored))
	require.False(t, again.admit(&kgo.Record{Topic: "orders", Offset: 8, Key: []byte("k"), Headers: claim("orders/0/9")}))
	require.True(t, again.admit(&kgo.Record{Topic: "orders", Offset: 9, Key: []byte("k"), Headers: claim("orders/0/7")}))
}

// A key may be as large as a record; one that the state topic refuses would stop everything.
func TestALongKeyIsBlockedByItsHash(t *testing.T) {
	p := keyed()
	long, other := strings.Repeat("/", 1<<20), strings.Repeat("/", 1<<20)+"x"
	dead := &kgo.Record{Topic: "orders", Key: []byte(long)}
	require.True(t, p.admit(dead))
	p.block(dead, time.Unix(1, 0))
	require.False(t, p.admit(&kgo.Record{Topic: "orders", Offset: 1, Key: []byte(long)}))
	require.True(t, p.admit(&kgo.Record{Topic: "orders", Offset: 2, Key: []byte(other)}))
	size := 0
	require.NoError(t, p.blockChanges(func(key, value []byte) { size = len(key) + len(value) }))
	require.Positive(t, size)
	require.Less(t, size, 1000)
}
