package kafkatransactional

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// produceLarge writes orders of so many bytes that fail when they are tried first.
func (w *world) produceLarge(n, size int) {
	w.t.Helper()
	for i := range n {
		rec := &kgo.Record{
			Topic: "orders", Partition: int32(i % partitions), Key: fmt.Appendf(nil, "k%d", i),
			Value: append(fmt.Appendf(nil, "bad-%d-", i), bytes.Repeat([]byte("x"), size)...), Headers: []kgo.RecordHeader{{Key: "h", Value: nil}},
		}
		require.NoError(w.t, w.cl.ProduceSync(w.t.Context(), rec).FirstErr())
	}
}

func TestLargeOrdersWaitByReferenceAndComeWhole(t *testing.T) {
	for _, ordering := range []string{orderingNone, orderingKey, orderingPartition} {
		t.Run(ordering, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				w.produceLarge(30, largeOrder)
				w.produce(30, 30)
				r := w.start(2, "ordering: "+ordering)
				time.Sleep(1200 * time.Millisecond) // virtual: they wait
				for _, rec := range w.records("state") {
					require.Less(t, len(rec.Value), 1000, "state record %s", rec.Key)
				}
				w.stop(r)
				r = w.start(2, "ordering: "+ordering) // and after a restore they still do
				time.Sleep(1500 * time.Millisecond)   // they have failed again, and wait again
				require.Less(t, w.gauges.waitingBytes.Load(), int64(largeOrder), "none of them is kept whole")
				time.Sleep(5 * time.Minute)
				w.stop(r)
				w.once(60)
				sizes := map[int]int{}
				for _, rec := range w.records("processed") {
					if strings.HasPrefix(string(rec.Value), "bad-") && len(rec.Value) > 1000 {
						sizes[len(bytes.TrimLeft(rec.Value, "bad-0123456789"))]++
					}
				}
				require.Equal(t, map[int]int{largeOrder: 30}, sizes)
			})
		})
	}
}

// What is written to the topic of a large order is not there any more when it is due.
func TestALargeOrderThatIsGoneIsCountedAsDropped(t *testing.T) {
	for _, ordering := range []string{orderingNone, orderingKey} {
		t.Run(ordering, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				w.produceLarge(3, largeOrder)
				r := w.start(1, "ordering: "+ordering)
				time.Sleep(900 * time.Millisecond)
				_, err := kadm.NewClient(w.cl).DeleteRecords(t.Context(), kadm.Offsets{"orders": {1: kadm.Offset{Topic: "orders", Partition: 1, At: 1}}})
				require.NoError(t, err)
				time.Sleep(time.Minute)
				w.stop(r)
				require.Len(t, w.committed("processed"), 2)
				require.Equal(t, 1, w.log.says("Order orders/1/0 is gone"))
				dropped := map[int32]int64{}
				for _, rec := range w.records("state") {
					k, err := ParseStateKey(rec.Key)
					require.NoError(t, err)
					if k.Kind == KindLedger {
						l, err := DecodeLedger(rec.Value)
						require.NoError(t, err)
						dropped[k.Partition] = l.Dropped
					}
				}
				require.Equal(t, map[int32]int64{0: 0, 1: 1, 2: 0}, dropped)
			})
		})
	}
}

// The number of orders is not all that takes memory.
func TestFetchingPausesWhenWhatWaitsTakesTooManyBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		const size = largeOrder - 100 // not large: each takes memory
		w.produceLarge(60, size)
		r := w.start(1, "max_waiting_bytes: 1MiB\n    batch_size: 4") // it is noticed after a batch
		time.Sleep(900 * time.Millisecond)
		waiting := 0
		for _, rec := range w.records("state") {
			if k, err := ParseStateKey(rec.Key); err == nil && k.Kind == KindWaiting && rec.Value != nil {
				waiting++
			}
		}
		require.GreaterOrEqual(t, waiting, 1<<20/largeOrder)
		require.Less(t, waiting, 40)
		time.Sleep(5 * time.Minute)
		w.stop(r)
		w.once(60)
	})
}
