package kafkatransactional

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/session"
)

// put writes records of the state of orders/1.
func (w *world) put(recs ...*kgo.Record) {
	w.t.Helper()
	for _, rec := range recs {
		rec.Topic, rec.Partition = "state", 1
	}
	require.NoError(w.t, w.cl.ProduceSync(w.t.Context(), recs...).FirstErr())
}

func ledgerOf(t *testing.T, l Ledger) *kgo.Record {
	value, err := json.Marshal(l)
	require.NoError(t, err)
	return &kgo.Record{Key: StateKey{Kind: KindLedger, Topic: "orders", Partition: 1}.append(nil), Value: value}
}

func waitingOf(t *testing.T, rec *kgo.Record, due time.Time) *kgo.Record {
	value, err := appendWaiting(nil, &waiting{rec: rec, due: due, hist: session.History{}}, 1<<20)
	require.NoError(t, err)
	return &kgo.Record{Key: StateKey{Kind: KindWaiting, Topic: "orders", Partition: 1, Offset: rec.Offset}.append(nil), Value: value}
}

// begun has a group whose state and offset of orders/1 are at an offset.
func (w *world) begun(at int64) {
	w.put(ledgerOf(w.t, Ledger{Group: "g", Next: at, Owner: Owner{Member: "former"}}))
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: "orders", Partition: 1, At: at, LeaderEpoch: -1})
	require.NoError(w.t, kadm.NewClient(w.cl).CommitAllOffsets(w.t.Context(), "g", offsets))
}

// Both orders of one offset get their outcome: first the one that was read before the cut.
func TestAnOrderIsToldFromAFormerOneAtItsOffset(t *testing.T) {
	for name, c := range map[string]struct {
		value string
		block bool
	}{
		"which is processed":               {value: "former"},
		"which fails once more":            {value: "bad-former"},
		"which waits behind a blocked key": {value: "former", block: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				for i := range 8 {
					w.send("k", fmt.Sprintf("new-%d", i))
				}
				former := &kgo.Record{Topic: "orders", Partition: 1, Offset: 5, Key: []byte("k"), Value: []byte(c.value), Timestamp: time.Now()}
				w.put(waitingOf(t, former, time.Now().Add(3*time.Second)))
				if c.block {
					w.put(&kgo.Record{Key: StateKey{Kind: KindBlocked, Topic: "orders", Partition: 1, Key: "k"}.append(nil), Value: []byte(`{"dlq_id":"orders/1/2"}`)})
				}
				w.begun(5)
				r := w.hold(holdKey)
				time.Sleep(2 * settle)
				w.stop(r)
				require.Equal(t, []string{c.value, "new-5", "new-6", "new-7"}, w.outcomes("processed", "k"))
				require.EqualValues(t, 4, w.total())
				require.Empty(t, w.state("waiting"))
				require.Equal(t, 1, w.log.says("another order than that at offset 5 waits in the state"))
				if c.block {
					require.Equal(t, 1, w.log.says("A blocked key is given up, since the order at orders/1/5 waits behind it"))
				}
			})
		})
	}
}

// All that becomes of both may be in one transaction; the state must still forget the former one.
func TestAFormerOrderIsForgottenBeforeTheNewOneIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.send("k", "bad-new")
		w.put(waitingOf(t, &kgo.Record{Topic: "orders", Partition: 1, Key: []byte("k"), Value: []byte("former")}, time.Now().Add(3*time.Second)))
		w.begun(0)
		for range 2 {
			r := w.start(1, "commit_interval: 9s")
			time.Sleep(time.Minute)
			w.stop(r)
		}
		require.Equal(t, []string{"former", "bad-new"}, w.outcomes("processed", "k"))
		require.Empty(t, w.state("waiting"))
	})
}

// The same record is the same order.
func TestAnOrderThatWaitsIsNotReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.send("k", "order")
		rec := w.records("orders")[0]
		w.put(waitingOf(t, compact(rec), time.Now().Add(3*time.Second)))
		w.begun(0)
		r := w.start(0, "")
		time.Sleep(settle)
		w.stop(r)
		require.Equal(t, []string{"order"}, w.outcomes("processed", "k"))
		require.Zero(t, w.log.says("Transaction aborted"))
	})
}

// While the former order waits, only its own partition does too.
func TestAFormerOrderHoldsUpNoOtherPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 30)
		w.put(waitingOf(t, &kgo.Record{Topic: "orders", Partition: 1, Offset: 5, Value: []byte("former")}, time.Now().Add(time.Hour)))
		w.begun(5)
		r := w.start(0, "")
		time.Sleep(30 * time.Minute)
		w.produce(30, 30)
		time.Sleep(settle)
		require.Len(t, w.committed("processed"), 40)
		time.Sleep(time.Hour)
		w.stop(r)
		require.EqualValues(t, 60-5+1, w.total())
	})
}

// A clock that was two hours ahead has made an order wait for seconds; by ours they are two hours.
func TestAWaitIsNoLongerThanTheClockThatSetItMeant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		ahead := time.Now().Add(2 * time.Hour)
		for offset, due := range []time.Time{ahead.Add(20 * time.Second), ahead.Add(-time.Second), {}, time.Now().Add(time.Second)} {
			state := waitingOf(t, &kgo.Record{Topic: "orders", Partition: 1, Offset: int64(offset), Key: fmt.Append(nil, offset), Value: []byte("order")}, due)
			state.Timestamp = ahead
			if offset == 3 { // by a clock like ours
				state.Timestamp = time.Now()
			}
			w.put(state)
		}
		w.begun(0)
		r := w.start(0, "")
		time.Sleep(15 * time.Second)
		require.Len(t, w.committed("processed"), 3, "a wait is not cut short")
		time.Sleep(settle)
		require.Len(t, w.committed("processed"), 4)
		w.stop(r)
	})
}

// Whoever can write to the state topic must not get at the transactions of others.
func TestATransactionOfAnotherGroupIsNotEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		other := w.writer()
		defer other.Close()
		require.NoError(t, other.BeginTransaction())
		require.NoError(t, other.ProduceSync(t.Context(), &kgo.Record{Topic: "dlq", Value: []byte("theirs")}).FirstErr())
		time.Sleep(20 * time.Second) // it seems to be dead
		w.put(ledgerOf(t, Ledger{Group: "g", Owner: Owner{Member: "former", TransactionalID: "writer"}}))
		r := w.start(0, "")
		time.Sleep(settle)
		require.NoError(t, other.EndTransaction(t.Context(), kgo.TryCommit))
		require.Len(t, w.records("dlq"), 1)
		w.stop(r)
	})
}
