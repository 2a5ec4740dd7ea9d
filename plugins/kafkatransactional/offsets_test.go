package kafkatransactional

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Nobody can tell what was in it; but it must not be taken for a state in which nothing waits.
func TestAStateThatWasDeletedIsMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 90)
		r := w.start(1, "")
		time.Sleep(settle)
		w.stop(r)
		r = w.start(1, "")
		time.Sleep(settle)
		w.stop(r)
		require.Zero(t, w.log.says("has no state of"))

		adm, compact := kadm.NewClient(w.cl), "compact"
		_, err := adm.DeleteTopic(t.Context(), "state")
		require.NoError(t, err)
		_, err = adm.CreateTopic(t.Context(), partitions, 1, map[string]*string{"cleanup.policy": &compact}, "state")
		require.NoError(t, err)
		w.produce(90, 30)
		r = w.start(1, "")
		time.Sleep(settle)
		w.stop(r)
		for partition := range partitions {
			require.Equal(t, 1, w.log.says(fmt.Sprintf("Topic state has no state of orders/%d, which the group has read up to offset 30", partition)))
		}
		require.Len(t, w.records("processed"), 120, "nothing is processed again")
		require.Equal(t, int64(30), w.total())
	})
}

// offsets notes the offsets that each transaction carries, by partition of the topic of orders.
func (w *world) offsets() func() []map[int32]int64 {
	var mu sync.Mutex
	var all []map[int32]int64
	w.cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		carried := map[int32]int64{}
		for _, topic := range req.(*kmsg.TxnOffsetCommitRequest).Topics {
			for _, p := range topic.Partitions {
				carried[p.Partition] = p.Offset
			}
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, carried)
		return nil, nil, false
	})
	return func() []map[int32]int64 {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// commits counts the transactions that clients wanted to commit.
func (w *world) commits() *atomic.Int64 { return w.ends(true) }

// aborts counts those that they have aborted.
func (w *world) aborts() *atomic.Int64 { return w.ends(false) }

func (w *world) ends(commit bool) *atomic.Int64 {
	return w.count(kmsg.EndTxn, func(req kmsg.Request) bool { return req.(*kmsg.EndTxnRequest).Commit == commit })
}

// count counts requests of a kind from now on.
func (w *world) count(key kmsg.Key, which func(kmsg.Request) bool) *atomic.Int64 {
	var n atomic.Int64
	w.cluster.ControlKey(int16(key), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if which(req) {
			n.Add(1)
		}
		return nil, nil, false
	})
	return &n
}

// The offsets of a transaction are what the group's generation is checked with.
func TestEveryTransactionCarriesTheOffsetsOfAllOwnedPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 30)
		offsets, commits := w.offsets(), w.commits()
		r := w.start(3, "")
		time.Sleep(settle)
		w.stop(r)
		w.once(30)
		all := offsets()
		require.Len(t, all, int(commits.Load()), "no transaction goes without")
		unmoved := 0
		for i, carried := range all {
			require.Len(t, carried, partitions, "%d: %v", i, carried)
			if i > 0 && maps.Equal(carried, all[i-1]) {
				unmoved++
			}
		}
		require.GreaterOrEqual(t, unmoved, 3, "each retry went in a transaction that read nothing new")
	})
}

// An instance that stood still does not know that others have its partitions. Nobody has fenced
// it here: the broker lets nobody look for what it left open. Only the offsets in its transaction
// tell the broker that it comes too late.
func TestAnInstanceThatStoodStillCommitsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeTransactions}, Err: kerr.TransactionalIDAuthorizationFailed, Count: -1})
		var still atomic.Bool
		w.cluster.ControlKey(int16(kmsg.Heartbeat), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			w.cluster.KeepControl()
			// It sends none while it stands still, and is surprised by no answer.
			if req := kreq.(*kmsg.HeartbeatRequest); still.Load() && strings.HasPrefix(req.MemberID, "instance-1") {
				return req.ResponseKind(), nil, true
			}
			return nil, nil, false
		})
		w.produce(0, 30)
		frozen := w.start(1, "transaction_timeout: 10m")
		time.Sleep(900 * time.Millisecond)
		require.Len(t, w.committed("processed"), 27, "the others wait")
		still.Store(true)
		w.slow(25 * time.Second)
		time.Sleep(2 * time.Second) // it has handed them out again, and stands still
		w.slow(0)
		successor := w.start(1, "")
		time.Sleep(15 * time.Second)
		w.once(30)
		time.Sleep(settle) // it has gone on and tried to commit
		still.Store(false)
		time.Sleep(settle)
		w.once(30)
		w.stop(frozen)
		w.stop(successor)
		w.once(30)
	})
}

// Without an offset of its own, a partition would be rewound by an abort to where its topic
// begins, whatever start_offset says.
func TestAnAbortBeforeTheFirstCommitGoesBackToTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 90)
		// The commit of where to begin is refused, so that the first order finds none.
		refused := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration, Count: 3})
		r := w.start(0, "start_offset: latest")
		time.Sleep(700 * time.Millisecond)
		w.produce(90, 60)
		time.Sleep(settle)
		w.stop(r)
		require.Equal(t, 3, refused.Hits())
		w.once(60)
	})
}

// The group's offsets are asked for at an assignment. What a client remembers of them later may
// be older than the state.
func TestARestoreAfterAnAbortIsOfTheOffsetsThatTheClientGoesOnFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 30)
		r := w.start(0, "")
		time.Sleep(settle)
		w.stop(r)

		in := w.input()
		c := in.client
		clear(c.parts)
		require.NoError(t, c.restoreOwned(t.Context()))
		clear(c.parts)
		tp := topicPartition{"orders", 1}
		require.ErrorContains(t, c.restore(t.Context(), map[topicPartition]int64{tp: 4}, nil, nil),
			"the state of orders/1 goes on at offset 10, but this client at 4")
		require.Empty(t, c.parts)
		require.NoError(t, in.Close(t.Context()))
	})
}
