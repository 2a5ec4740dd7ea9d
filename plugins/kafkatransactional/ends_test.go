package kafkatransactional

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The offsets of a transaction pass all that was polled, so all of it must have its outcome.
func TestACommitWaitsForWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.slow(2 * time.Second)
		w.produce(0, 90)
		commits := w.commits()
		r := w.start(1, "commit_interval: 500ms")
		time.Sleep(1500 * time.Millisecond)
		require.Zero(t, commits.Load())
		time.Sleep(settle)
		w.stop(r)
		w.once(90)
	})
}

// A commit that is refused costs its transaction only: a new client would be a new member of the
// group, so the next rebalance. One whose outcome nobody knows costs the client. Either way the
// state of the transaction, which is written by then, must go with it.
func TestATransactionThatIsNotCommittedLeavesNothingBehind(t *testing.T) {
	for name, c := range map[string]struct {
		fault   kfake.Fault
		clients int64 // that were thrown away
	}{
		"a stale generation":         {kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration}, 0},
		"a member that is forgotten": {kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.UnknownMemberID}, 0},
		"a rebalance":                {kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.RebalanceInProgress}, 0},
		"an epoch that is too old":   {kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "processed", Err: kerr.InvalidProducerEpoch}, 1},
		"fenced":                     {kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.ProducerFenced}, 1},
		"no transaction":             {kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.InvalidTxnState}, 1},
		"offsets not taken":          {kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.GroupAuthorizationFailed}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				w.produce(0, 90)
				r := w.start(2, "")
				time.Sleep(1200 * time.Millisecond)
				fault := w.cluster.Fault(c.fault)
				left := w.count(kmsg.LeaveGroup, func(kmsg.Request) bool { return true })
				w.produce(90, 90)
				time.Sleep(settle)
				require.Equal(t, 1, fault.Hits())
				require.Equal(t, c.clients, left.Load())
				w.stop(r)
				w.once(180)
			})
		})
	}
}

// What else the transaction has written would be committed without the record that failed.
func TestARecordThatIsNotTakenTakesItsTransactionAlong(t *testing.T) {
	for _, topic := range []string{"state", "processed"} {
		t.Run(topic, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				w.produce(0, 90)
				r := w.start(2, "")
				time.Sleep(1200 * time.Millisecond)
				fault := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.InvalidRecord})
				w.produce(90, 90)
				time.Sleep(settle)
				w.stop(r)
				require.Equal(t, 1, fault.Hits())
				w.once(180)
			})
		})
	}
}

// An order that waits for less than its batch takes must not be handed out while it is in flight.
func TestAnOrderIsNotHandedOutAgainBeforeItsBatchIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.slow(300 * time.Millisecond)
		w.produce(0, 90)
		r := w.run(func(id string) string {
			yaml := fmt.Sprintf(pipeline, strings.Join(w.cluster.ListenAddrs(), ","), id, "", 3)
			return strings.Replace(yaml, "wait: 1s", "wait: 10ms", 1)
		})
		time.Sleep(settle)
		w.stop(r)
		w.once(90)
	})
}

// noise is what no codec makes smaller.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// A topic may take less than it did when the client began. The broker's refusal takes along what
// stood behind the record, so nobody knows which it was: the next client asks the topic.
func TestALimitThatIsLoweredIsLearntFromTheFirstRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 30)
		r := w.routed("dlq")
		time.Sleep(5 * time.Second)
		w.limit("2000", "processed")
		large := &kgo.Record{Topic: "orders", Value: noise(3000)}
		require.NoError(t, w.cl.ProduceSync(t.Context(), large).FirstErr())
		w.produce(30, 30)
		time.Sleep(settle)
		require.Len(t, w.committed("processed"), 60)
		letters := w.records("dlq")
		require.Len(t, letters, 1)
		require.Equal(t, large.Value, letters[0].Value)
		w.stop(r)
	})
}

// Records that a topic would take one by one can be too many for it in one batch.
func TestABatchIsNoLargerThanItsTopicTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.limit("1000", "processed", "state")
		var recs []*kgo.Record
		for i := range 300 {
			recs = append(recs, &kgo.Record{Topic: "orders", Partition: int32(i % partitions), Value: noise(300)})
		}
		require.NoError(t, w.cl.ProduceSync(t.Context(), recs...).FirstErr())
		refused := w.aborts()
		r := w.start(0, "")
		time.Sleep(settle)
		w.stop(r)
		w.once(300)
		require.Zero(t, refused.Load())
	})
}

// A compacted topic takes no record without a key.
func TestWhatHasNoKeyIsRefusedAloneByACompactedTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		compact := "compact"
		_, err := kadm.NewClient(w.cl).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &compact}}, "processed")
		require.NoError(t, err)
		w.produce(0, 30)
		require.NoError(t, w.cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Value: []byte("no key")}).FirstErr())
		w.produce(30, 30)
		refused := w.aborts()
		r := w.routed("dlq")
		time.Sleep(settle)
		require.Len(t, w.committed("processed"), 60)
		letters := w.records("dlq")
		require.Len(t, letters, 1)
		require.Equal(t, "no key", string(letters[0].Value))
		w.stop(r)
		require.Zero(t, refused.Load())
	})
}
