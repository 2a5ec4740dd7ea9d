package kafkatransactional

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderflow/orderflow/internal/session"
)

// disconnected makes an input of a stream.
func (w *world) disconnected(res *service.Resources) *input {
	conf, err := inputSpec().ParseYAML(fmt.Sprintf("seed_brokers: [%q]\ntopics: [orders]\nconsumer_group: g\nstate_topic: state\n", w.cluster.ListenAddrs()[0]), nil)
	require.NoError(w.t, err)
	in, err := newInput(conf, res, []kgo.Opt{kgo.Dialer(w.net.DialContext)})
	require.NoError(w.t, err)
	return in
}

// input makes an input that owns all partitions, and whose loop only runs when the test reads.
func (w *world) input() *input {
	in := w.disconnected(service.MockResources())
	in.pace.limit = in.pace.most // of a pipeline that is known to be fast, since tests answer late
	require.NoError(w.t, in.Connect(w.t.Context()))
	time.Sleep(time.Second)
	require.Len(w.t, in.client.cl.CommittedOffsets()["orders"], partitions)
	return in
}

// readAll reads n orders, in however many batches they come, and returns what acknowledges them.
func readAll(t *testing.T, in *input, n int) (msgs service.MessageBatch, ack func()) {
	t.Helper()
	var acks []service.AckFunc
	for len(msgs) < n {
		batch, ack, err := in.ReadBatch(t.Context())
		require.NoError(t, err)
		msgs, acks = append(msgs, batch...), append(acks, ack)
	}
	require.Len(t, msgs, n)
	return msgs, func() {
		for _, ack := range acks {
			require.NoError(t, ack(t.Context(), nil))
		}
	}
}

// places are what the messages of a batch are.
func places(t *testing.T, msgs service.MessageBatch) []session.Place {
	var all []session.Place
	for _, msg := range msgs {
		p, ok := session.PlaceOf(msg.MetaGetImmut)
		require.True(t, ok)
		all = append(all, p)
	}
	return all
}

// waits lets an order of a partition wait.
func waits(p *partition, due time.Time) {
	p.hold(&waiting{rec: &kgo.Record{Topic: p.topic, Partition: p.partition, Offset: 1}, due: due})
}

// What is not ours is not handed out, and does not keep the loop from polling what is: a poll
// whose deadline has passed returns nothing, not even what is there.
func TestOrdersOfAPartitionThatIsNotOwnedStayWhereTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		in := w.input()
		c, now := in.client, time.Now()
		foreign := newPartition(topicPartition{"orders", 7}, Ledger{}, ordering{by: orderingNone})
		waits(foreign, now.Add(-time.Second))
		own := topicPartition{"orders", 1}
		c.mu.Lock()
		c.parts[foreign.topicPartition] = foreign
		waits(c.parts[own], now.Add(time.Minute))
		c.mu.Unlock()
		b, next, err := c.takeDue(now, 1000)
		require.NoError(t, err)
		require.Nil(t, b)
		require.Equal(t, now.Add(listPatience), next, "it is neither forgotten nor does it make the loop spin")

		b, _, err = c.takeDue(now.Add(time.Minute), 1000)
		require.NoError(t, err)
		require.Len(t, b.orders, 1)
		require.Equal(t, own, b.orders[0].part.topicPartition)
		require.Len(t, foreign.waiting, 1)
		b.ack(nil)
		require.NoError(t, in.Close(t.Context()))
	})
}

// A rebalance can take a partition away, and bring it back, between the moment in which an order
// is handed out and the commit. Its callbacks alone do not tell in time.
func TestACommitIsRefusedWhoseOrdersAreOfAStateThatIsNoLongerOurs(t *testing.T) {
	tp := topicPartition{"orders", 1}
	unlisted := topicPartition{"former", 0}
	for name, c := range map[string]struct {
		change  func(*client)
		refused bool
	}{
		"nothing has changed":                   {func(*client) {}, false},
		"taken away":                            {func(c *client) { delete(c.parts, tp) }, true},
		"brought back":                          {func(c *client) { c.parts[tp] = newPartition(tp, Ledger{Group: "g"}, ordering{by: orderingNone}) }, true},
		"polled from a partition without state": {func(c *client) { c.txn.used[tp] = nil; delete(c.parts, tp) }, true},
		"not in the group's list any more": {func(c *client) {
			c.parts[unlisted] = newPartition(unlisted, Ledger{}, ordering{by: orderingNone})
			c.txn.used[unlisted] = c.parts[unlisted]
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				w.produce(0, 30)
				in := w.input()
				commits := w.commits()
				first, ack := readAll(t, in, 30)
				in.client.mu.Lock()
				c.change(in.client)
				in.client.mu.Unlock()
				err := in.client.addOffsets(kmsg.NewPtrTxnOffsetCommitRequest())
				if c.refused {
					require.ErrorIs(t, err, kerr.RebalanceInProgress)
				} else {
					require.NoError(t, err)
				}

				ack()
				if c.refused {
					again, _ := readAll(t, in, 30)
					require.ElementsMatch(t, places(t, first), places(t, again))
					require.Zero(t, commits.Load())
				} else {
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					_, _, err := in.ReadBatch(ctx)
					require.ErrorIs(t, err, context.DeadlineExceeded, "nothing is left")
					require.Equal(t, int64(1), commits.Load())
				}
				require.NoError(t, in.Close(t.Context()))
			})
		})
	}
}

// A transaction that begins while the group rebalances would end with an abort. A join that
// brings nothing to an end must not hold the orders up for ever, though.
func TestNoTransactionBeginsWhileTheGroupRebalances(t *testing.T) {
	nothing, something := map[string][]int32{}, map[string][]int32{"orders": {7}}
	for name, c := range map[string]struct {
		taken map[string][]int32
		joins int
	}{
		"a join that takes nothing":                   {nothing, 1},
		"after partitions are taken two joins follow": {something, 2},
		"the end of the join is never told":           {nothing, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				w.produce(0, 30)
				in := w.input()
				in.client.onRevoked(t.Context(), in.client.cl, c.taken)
				var got atomic.Int64 // orders
				go func() {
					for got.Load() < 30 {
						batch, _, err := in.ReadBatch(t.Context())
						if err != nil {
							return
						}
						got.Add(int64(len(batch)))
					}
				}()
				for range c.joins {
					time.Sleep(2 * time.Second)
					require.Zero(t, got.Load())
					in.client.onAssigned(t.Context(), in.client.cl, nil)
				}
				if c.joins == 0 {
					time.Sleep(joinPatience - time.Second)
					require.Zero(t, got.Load())
				}
				time.Sleep(2 * time.Second)
				require.EqualValues(t, 30, got.Load())
				require.NoError(t, in.Close(t.Context()))
			})
		})
	}
}

// Whoever looks at the aggregates of an instance must not see those that others carry on.
func TestWhatOthersTakeOverIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		in := w.input()
		c := in.client
		before := c.Epoch()
		c.onRevoked(t.Context(), c.cl, map[string][]int32{"orders": {0, 2}})
		require.Equal(t, []topicPartition{{"orders", 1}}, slices.Collect(maps.Keys(c.parts)))
		require.Greater(t, c.Epoch(), before)
		c.onLost(t.Context(), c.cl, map[string][]int32{"orders": {1}})
		require.Empty(t, c.parts)
		require.NoError(t, in.Close(t.Context()))
	})
}

// The group session would abort the next transaction for a revocation that met none.
func TestARevocationBetweenTransactionsCostsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 90)
		first := w.start(1, "")
		time.Sleep(settle) // nothing is left to do
		second := w.start(1, "")
		time.Sleep(settle)
		aborts := w.aborts()
		w.produce(90, 90)
		time.Sleep(settle)
		require.Zero(t, aborts.Load())
		w.stop(second)
		w.stop(first)
		w.once(180)
	})
}

// A poll that held up rebalances would hold up the end of the transaction, too, once the session
// of the member has ended.
func TestAnInstanceWhoseSessionEndsInATransactionGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 90)
		r := w.start(1, "")
		time.Sleep(5 * time.Second)
		w.produce(90, 90)
		time.Sleep(300 * time.Millisecond) // a transaction is open
		r.link.Cut()
		time.Sleep(16 * time.Second)
		r.link.Mend()
		time.Sleep(settle)
		w.produce(180, 90)
		time.Sleep(settle)
		require.Len(t, w.committed("processed"), 270)
		w.stop(r)
		w.once(270)
	})
}

// A restore that fails says nothing of the state, and must not be taken for an empty one.
func TestARestoreThatFailsIsDoneAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 300)
		r := w.start(2, "")
		time.Sleep(1500 * time.Millisecond)
		w.stop(r)
		// Each restore fails, for as long as it takes: of one alone a rebalance might make nothing.
		failed := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: "state", Err: kerr.TopicAuthorizationFailed, Count: -1})
		commits := w.commits()
		w.produce(300, 30)
		r = w.start(2, "")
		time.Sleep(2 * settle)
		require.Greater(t, failed.Hits(), 1)
		require.Zero(t, commits.Load())
		failed.Remove()
		time.Sleep(2 * settle)
		w.stop(r)
		w.once(330)
	})
}

// What a rebalance has restored since the abort is newer than what the abort restores.
func TestARestoreAfterAnAbortReplacesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		in := w.input()
		c := in.client
		newer := c.parts[topicPartition{"orders", 1}]
		delete(c.parts, topicPartition{"orders", 0})
		require.NoError(t, c.restoreOwned(t.Context()))
		require.Len(t, c.parts, partitions)
		require.Same(t, newer, c.parts[newer.topicPartition])

		gone := topicPartition{"former", 0} // taken away while it was read
		require.NoError(t, c.restore(t.Context(), map[topicPartition]int64{gone: 0}, nil, nil))
		require.NotContains(t, c.parts, gone)
		require.NoError(t, in.Close(t.Context()))
	})
}
