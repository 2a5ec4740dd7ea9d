package kafkatransactional

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/test/bounded"
)

// mostOf is the limit with which an order is written as it was read: whole, or left in its topic.
func mostOf(w *waiting) int {
	if w.absent {
		return 0
	}
	return 1 << 20
}

// Whatever is in the state topic: it is refused with the name of the record, or the state that it
// makes is the same when it is written out and read again.
func FuzzRestore(f *testing.F) {
	tp := topicPartition{"orders", 3}
	whole, err := appendWaiting(nil, &waiting{rec: &kgo.Record{Key: []byte("k"), Value: []byte("v")}, due: time.UnixMilli(5)}, 1<<20)
	require.NoError(f, err)
	reference, err := appendWaiting(nil, &waiting{rec: &kgo.Record{}, due: time.UnixMilli(3), refused: 2}, 0)
	require.NoError(f, err)
	f.Add([]byte("waiting/orders/3/12"), whole, []byte("waiting/orders/3/12"), reference, false)
	f.Add([]byte("waiting/orders/3/12"), whole, []byte("waiting/orders/3/12"), []byte{}, true)
	f.Add([]byte("aggregate/orders/3/total/Pen"), []byte("1 1 5 5 5"), []byte("aggregate/orders/3/total/"), []byte{}, true)
	f.Add([]byte("ledger/orders/3"), []byte(`{"group":"g","start":7,"owner":{"member":"m"},"dropped":2}`), []byte("ledger/orders/3"), []byte(`null`), false)
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 []byte, tombstone bool) {
		if tombstone {
			value2 = nil
		}
		p := newPartition(tp, Ledger{Group: "g"}, ordering{by: orderingKey, holdKeys: true})
		for _, r := range [][2][]byte{{key1, value1}, {key2, value2}} {
			k, err := ParseStateKey(r[0])
			if err != nil {
				require.ErrorContains(t, err, "parsing state key ")
				continue
			}
			if (topicPartition{k.Topic, k.Partition}) != tp {
				continue // is another partition's
			}
			bounded.Memory(t, len(r[0])+len(r[1]), func() { err = p.restore(k, r[1]) })
			if err != nil {
				require.Regexp(t, `^decoding (waiting order|ledger)|^state of orders/3 belongs to consumer group `, err.Error())
			}
		}
		for i, w := range p.due {
			require.Equal(t, i, w.index)
		}
		require.Len(t, p.due, len(p.waiting))
		again := newPartition(tp, Ledger{Group: "g"}, ordering{by: orderingKey, holdKeys: true})
		for offset, w := range p.waiting {
			value, err := appendWaiting(nil, w, mostOf(w))
			require.NoError(t, err)
			require.NoError(t, again.restore(StateKey{Kind: KindWaiting, Topic: "orders", Partition: 3, Offset: offset}, value))
		}
		require.Len(t, again.waiting, len(p.waiting))
		for offset, w := range again.waiting {
			w.index = p.waiting[offset].index
		}
		require.Equal(t, p.waiting, again.waiting)
		p.arrange()
		require.NoError(t, p.changes(1<<20, func([]byte, []byte) {}))
	})
}

func FuzzDecodeLedger(f *testing.F) {
	f.Add([]byte(`{"group":"g","start":7,"owner":{"member":"m","transactional_id":"t"},"dropped":2}`))
	f.Add([]byte(`{"group":"\ud800","start":-1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var l Ledger
		var err error
		bounded.Memory(t, len(b), func() { l, err = DecodeLedger(b) })
		if err != nil {
			require.ErrorContains(t, err, "decoding ledger: ")
			return
		}
		p := newPartition(topicPartition{"orders", 3}, l, ordering{by: orderingNone})
		require.NoError(t, p.changes(1<<20, func(key, value []byte) {
			require.Equal(t, "ledger/orders/3", string(key))
			again, err := DecodeLedger(value)
			require.NoError(t, err)
			require.Equal(t, l, again)
		}))
	})
}
