package kafkatransactional

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

func TestWhereToGoOn(t *testing.T) {
	for _, c := range []struct {
		name      string
		next      int64 // of the state
		at        int64 // of the group
		forgotten bool
		log       Span
		want      int64
	}{
		{"as it was committed", 20, 20, false, Span{0, 30}, 20},
		{"at the end", 20, 20, false, Span{0, 20}, 20},
		{"reset backwards", 20, 5, false, Span{0, 30}, 5},
		{"reset forwards", 20, 25, false, Span{0, 30}, 25},
		{"reset to the end", 20, 30, false, Span{0, 30}, 30},
		{"reset behind the end", 20, 31, false, Span{0, 30}, 20},
		{"reset behind the end, without a state", unknownOffset, 31, false, Span{0, 30}, 30},
		{"reset behind the end, after retention was faster", 5, 31, false, Span{10, 30}, 10},
		{"reset to before the beginning", 20, 0, false, Span{10, 30}, 10},
		{"retention was faster", 20, 20, false, Span{25, 30}, 25},
		{"retention has left nothing", 20, 20, false, Span{30, 30}, 30},
		{"the log was cut", 20, 20, false, Span{0, 15}, 15},
		{"the log was cut, and the offset reset behind its former end", 20, 99, false, Span{0, 15}, 15},
		{"the log was cut, and the offset reset to before that", 20, 3, false, Span{0, 15}, 3},
		{"the log was cut to less than retention had left", 20, 20, false, Span{30, 30}, 30},
		{"forgotten, to begin at the start", 20, 0, true, Span{0, 30}, 20},
		{"forgotten, to begin at the end", 20, 30, true, Span{0, 30}, 20},
		{"forgotten, and retention was faster", 20, 30, true, Span{25, 30}, 25},
		{"forgotten, and the log was cut", 20, 0, true, Span{0, 15}, 15},
		{"never read", unknownOffset, 7, true, Span{0, 30}, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := Ledger{Next: c.next}
			require.Equal(t, c.want, l.goOn(c.at, c.forgotten, c.log))
		})
	}
}

// Whatever was done to log and offsets, what is read next is there, and nothing is read again
// that nobody has asked for.
func TestWhereToGoOnIsInTheLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.Int64Range(0, 50).Draw(t, "from")
		log := Span{from, from + rapid.Int64Range(0, 50).Draw(t, "records")}
		l := Ledger{Next: rapid.Int64Range(unknownOffset, 120).Draw(t, "next")}
		at := rapid.Int64Range(0, 120).Draw(t, "at")
		forgotten := rapid.Bool().Draw(t, "forgotten")
		to := l.goOn(at, forgotten, log)
		require.GreaterOrEqual(t, to, log.From)
		require.LessOrEqual(t, to, log.To)
		if asked := !forgotten && at <= log.To; !asked && l.Next != unknownOffset {
			require.GreaterOrEqual(t, to, min(l.Next, log.To))
		}
	})
}

// lag is what the group has still to read, as other tools show it, and its offsets are those of
// the state.
func (w *world) lag() (sum int64) {
	adm := kadm.NewClient(w.cl)
	ends, err := adm.ListEndOffsets(w.t.Context(), "orders")
	require.NoError(w.t, err)
	group, err := adm.FetchOffsetsForTopics(w.t.Context(), "g", "orders")
	require.NoError(w.t, err)
	var committed int64
	group.Each(func(o kadm.OffsetResponse) {
		end, _ := ends.Lookup(o.Topic, o.Partition)
		sum += end.Offset - o.At
		committed += o.At
	})
	require.Equal(w.t, w.ledgers().Next, committed)
	return sum
}

// retain deletes all before at.
func (w *world) retain(at int64) {
	var offsets kadm.Offsets
	for partition := range int32(partitions) {
		offsets.Add(kadm.Offset{Topic: "orders", Partition: partition, At: at, LeaderEpoch: -1})
	}
	_, err := kadm.NewClient(w.cl).DeleteRecords(w.t.Context(), offsets)
	require.NoError(w.t, err)
}

func TestAnOffsetBehindTheEndCountsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 30)
		r := w.start(2, "")
		time.Sleep(settle)
		w.stop(r)
		for i, at := range []int64{11, 1000} {
			w.reset(at)
			aborts := w.aborts()
			r = w.start(2, "")
			time.Sleep(settle)
			for partition := range partitions {
				require.Equal(t, 1, w.log.says(fmt.Sprintf("The offset of orders/%d was reset to %d, behind the end of its log at %d: going on at %d, as its state says", partition, at, 10*(i+1), 10*(i+1))))
			}
			require.Zero(t, w.lag(), "the offsets are mended though nothing new has come")
			w.produce(30*(i+1), 30)
			time.Sleep(settle)
			w.stop(r)
			w.once(30 * (i + 2))
			require.Zero(t, w.lag())
			require.Zero(t, aborts.Load())
		}
		require.Equal(t, Ledger{Next: 90}, w.ledgers(), "nothing was skipped nor read again")
	})
}

// What was written between the offset of the state and the end was not read yet.
func TestAnOffsetBehindTheEndSkipsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 30)
		r := w.start(2, "")
		time.Sleep(settle)
		w.stop(r)
		w.produce(30, 30)
		w.reset(21)
		r = w.start(2, "")
		time.Sleep(settle)
		w.stop(r)
		w.once(60)
		require.Equal(t, Ledger{Next: 60}, w.ledgers())
	})
}

func TestAnOffsetBehindTheEndWithoutAStateIsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 30)
		w.reset(1000)
		r := w.start(2, "")
		time.Sleep(settle)
		w.produce(30, 30)
		time.Sleep(settle)
		w.stop(r)
		w.once(30)
		require.Zero(t, w.lag())
		for _, rec := range w.records("state") {
			if k, _ := ParseStateKey(rec.Key); k.Kind == KindLedger {
				l, err := DecodeLedger(rec.Value)
				require.NoError(t, err)
				require.EqualValues(t, 10, l.Start, "what was before is not missing")
			}
		}
	})
}

// What was deleted is lost, and only the rest of the way was skipped.
func TestAResetForwardsBeyondWhatRetentionDeletedSkipsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 30)
		r := w.start(2, "")
		time.Sleep(settle)
		w.stop(r)
		w.produce(30, 60)
		w.retain(15)
		w.reset(20)
		r = w.start(2, "")
		time.Sleep(settle)
		w.stop(r)
		w.once(30 + 30)
		require.Equal(t, Ledger{Next: 90, Skipped: []Span{{15, 20}, {15, 20}, {15, 20}}}, w.ledgers())
		for partition := range partitions {
			require.Equal(t, 1, w.log.says(fmt.Sprintf("Lost to retention: orders/%d deleted offsets 10 to 14 before they were read, 5 records at most", partition)))
			require.Equal(t, 1, w.log.says(fmt.Sprintf("The offset of orders/%d was reset from 15 to 20: orders between are skipped", partition)))
		}
	})
}

// A new leader may not know yet how far the log is committed. That is no cut.
func TestALogWhoseEndIsNotKnownYetIsNotTakenForCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 30)
		r := w.start(2, "")
		time.Sleep(settle)
		w.stop(r)
		var lagging atomic.Bool
		lagging.Store(true)
		w.cluster.ControlKey(int16(kmsg.ListOffsets), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			w.cluster.KeepControl()
			req := kreq.(*kmsg.ListOffsetsRequest)
			if !lagging.Load() || req.Topics[0].Topic != "orders" || req.Topics[0].Partitions[0].Timestamp != -1 {
				return nil, nil, false
			}
			resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
			topic := kmsg.NewListOffsetsResponseTopic()
			topic.Topic = "orders"
			for _, rp := range req.Topics[0].Partitions {
				p := kmsg.NewListOffsetsResponseTopicPartition()
				p.Partition, p.Offset = rp.Partition, 7
				topic.Partitions = append(topic.Partitions, p)
			}
			resp.Topics = append(resp.Topics, topic)
			return resp, nil, true
		})
		w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetForLeaderEpoch}, Err: kerr.UnknownServerError, Count: 1})
		r = w.start(2, "")
		time.Sleep(settle)
		w.produce(30, 30)
		time.Sleep(settle)
		w.stop(r)
		lagging.Store(false)
		w.once(60)
		require.Equal(t, Ledger{Next: 60}, w.ledgers())
		require.Equal(t, 1, w.log.says("asking where the log of"))
		require.Zero(t, w.log.says("as an unclean leader election does"))
	})
}

// A consumer that does not get on is overtaken: what is left is read from its beginning.
func TestRetentionThatOvertakesTheConsumer(t *testing.T) {
	for name, left := range map[string]int64{"some is left": 25, "nothing is left": 30} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				w.produce(0, 3) // one of them fails for a minute
				r := w.start(60, "max_waiting: 1")
				time.Sleep(settle)
				// No fetch under way may bring what is about to be deleted.
				unread := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "orders", Err: kerr.NotLeaderForPartition, Count: -1})
				time.Sleep(2 * time.Second)
				w.produce(3, 87)
				w.retain(left)
				unread.Remove()
				time.Sleep(3 * time.Minute)
				for i := range partitions {
					require.Equal(t, 1, w.log.says(fmt.Sprintf("Lost to retention: orders/%d deleted offsets", i)), i)
				}
				require.Zero(t, w.lag())
				w.produce(90, 3)
				time.Sleep(3 * time.Minute)
				w.stop(r)
				w.once(len(w.committed("processed")))
				for partition := range int64(partitions) {
					for offset := left; offset < 31; offset++ {
						require.Contains(t, w.committed("processed"), fmt.Sprintf("orders/%d/%d", partition, offset))
					}
				}
			})
		})
	}
}

// cut makes the broker answer that the log was cut at an offset in an epoch before this one: the
// records from there on are others than those that were read.
func (w *world) cut(at int64) {
	w.cluster.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		req := kreq.(*kmsg.OffsetForLeaderEpochRequest)
		resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		for _, rt := range req.Topics {
			topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
			topic.Topic = rt.Topic
			for _, rp := range rt.Partitions {
				p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				p.Partition, p.LeaderEpoch, p.EndOffset = rp.Partition, rp.LeaderEpoch, at
				topic.Partitions = append(topic.Partitions, p)
			}
			resp.Topics = append(resp.Topics, topic)
		}
		return resp, nil, true
	})
}

func TestALogThatWasCutIsReadFromThere(t *testing.T) {
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("while running: %v", running), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				w.produce(0, 30)
				r := w.start(0, "")
				time.Sleep(settle)
				if !running {
					w.stop(r)
				}
				w.cut(8) // of 10
				if running {
					w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "orders", Err: kerr.FencedLeaderEpoch, Count: 1})
				} else {
					r = w.start(0, "")
				}
				w.produce(30, 3)
				time.Sleep(settle)
				w.stop(r)
				for partition := range partitions {
					require.Equal(t, 1, w.log.says(fmt.Sprintf("The log of orders/%d was cut at 8, as an unclean leader election does, after it had been read up to 10: going on at 8, where all orders are new", partition)))
				}
				require.EqualValues(t, 30+6+3, w.total())
				require.Equal(t, Ledger{Next: 33, Reread: 6}, w.ledgers())
			})
		})
	}
}

// Whoever sets offsets may do so with an epoch that has nothing to do with them.
func TestAResetWithAnyEpochIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 30)
		r := w.start(0, "")
		time.Sleep(settle)
		w.stop(r)
		w.produce(30, 30)
		w.cut(8)
		var offsets kadm.Offsets
		for partition := range int32(partitions) {
			offsets.Add(kadm.Offset{Topic: "orders", Partition: partition, At: 15})
		}
		require.NoError(t, kadm.NewClient(w.cl).CommitAllOffsets(t.Context(), "g", offsets))
		r = w.start(0, "")
		time.Sleep(settle)
		w.stop(r)
		w.once(45)
		require.Equal(t, Ledger{Next: 60, Skipped: []Span{{10, 15}, {10, 15}, {10, 15}}}, w.ledgers())
	})
}

// writer writes orders to all partitions in transactions.
func (w *world) writer() *kgo.Client {
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(w.net.DialContext), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("writer"))
	require.NoError(w.t, err)
	return cl
}

// transaction writes n good orders to each partition.
func (w *world) transaction(cl *kgo.Client, n int, end kgo.TransactionEndTry) {
	require.NoError(w.t, cl.BeginTransaction())
	var recs []*kgo.Record
	for i := range n * partitions {
		recs = append(recs, &kgo.Record{Topic: "orders", Partition: int32(i % partitions), Value: []byte("good")})
	}
	require.NoError(w.t, cl.ProduceSync(w.t.Context(), recs...).FirstErr())
	require.NoError(w.t, cl.EndTransaction(w.t.Context(), end))
}

// Whoever watches the lag must not see work where there is none.
func TestTheLagEndsBehindWhatIsNoOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		cl := w.writer()
		defer cl.Close()
		commits, aborts := w.commits(), w.aborts()
		w.transaction(cl, 500, kgo.TryAbort) // before the group has read anything
		ours := aborts.Load()
		r := w.start(2, "batch_size: 7")
		time.Sleep(settle)
		require.Zero(t, w.lag())

		w.transaction(cl, 500, kgo.TryAbort)
		time.Sleep(3 * time.Second)
		require.Zero(t, w.lag(), "aborted")
		ours++

		w.transaction(cl, 10, kgo.TryCommit)
		time.Sleep(3 * time.Second)
		require.Zero(t, w.lag(), "a marker")

		before := commits.Load()
		time.Sleep(time.Hour)
		require.Equal(t, before, commits.Load(), "nothing is committed while nothing comes")
		for range 100 { // one at a time, far more often than we commit
			w.transaction(cl, 1, kgo.TryAbort)
			time.Sleep(20 * time.Millisecond)
		}
		ours += 100
		time.Sleep(3 * time.Second)
		require.Zero(t, w.lag())
		require.LessOrEqual(t, commits.Load()-before, int64(5), "one for each interval of 500 ms")
		w.stop(r)
		w.once(30)
		require.Equal(t, ours, aborts.Load(), "none is ours")
	})
}

// A marker is no order: it is not counted as read again, and takes no place of one that waits.
func TestMarkersAreNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		cl := w.writer()
		defer cl.Close()
		for range 20 {
			w.transaction(cl, 1, kgo.TryCommit)
		}
		r := w.start(2, "max_waiting: 1")
		time.Sleep(settle)
		w.stop(r)
		w.once(60)
		w.reset(10) // of 40
		r = w.start(2, "ordering: key\n    batch_size: 1\n    max_waiting: 1")
		time.Sleep(settle)
		w.stop(r)
		require.EqualValues(t, 60+45, w.total())
		require.Equal(t, Ledger{Next: 120, Reread: 45}, w.ledgers())
	})
}

// Retention is said once, whatever the offset was set to meanwhile, and nothing else is.
func TestAResetToWhatRetentionHasDeletedIsNoReset(t *testing.T) {
	for _, at := range []int64{0, 10, 12, 15} { // the state says 10
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				w.produce(0, 30)
				r := w.start(2, "")
				time.Sleep(settle)
				w.stop(r)
				w.produce(30, 60)
				w.retain(15)
				w.reset(at)
				r = w.start(2, "")
				time.Sleep(settle)
				w.stop(r)
				w.once(30 + 45)
				require.Equal(t, Ledger{Next: 90}, w.ledgers())
				require.Zero(t, w.lag())
				require.Equal(t, partitions, w.log.says("Lost to retention: "))
				require.Zero(t, w.log.says("was reset"))
			})
		})
	}
}
