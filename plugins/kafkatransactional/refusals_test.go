package kafkatransactional

import (
	"bytes"
	"context"
	"fmt"
	"strings"
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
)

// limit lowers what topics take.
func (w *world) limit(max string, topics ...string) {
	_, err := kadm.NewClient(w.cl).AlterTopicConfigs(w.t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &max}}, topics...)
	require.NoError(w.t, err)
}

func (w *world) routed(dlq string) *running {
	return w.run(func(id string) string {
		return fmt.Sprintf(strings.Replace(routed, "topic: late", "topic: "+dlq, 1), strings.Join(w.cluster.ListenAddrs(), ","), id)
	})
}

// An order that no topic takes, not even the one for the state, waits by reference.
func TestAnOrderTooLargeForEveryTopicStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.limit("3000", "processed", "state", "dlq")
		w.produce(0, 30)
		large := &kgo.Record{Topic: "orders", Key: []byte("large"), Value: bytes.Repeat([]byte("x"), 4000), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}}
		require.NoError(t, w.cl.ProduceSync(t.Context(), large).FirstErr())
		w.produce(30, 30)
		r := w.routed("dlq")
		time.Sleep(settle)
		require.Len(t, w.committed("processed"), 60)
		require.Empty(t, w.records("dlq"))
		w.stop(r)

		w.limit("1000000", "dlq")
		r = w.routed("dlq") // it is read from its topic again
		time.Sleep(2 * time.Minute)
		w.stop(r)
		letters := w.records("dlq")
		require.Len(t, letters, 1)
		require.Equal(t, large.Value, letters[0].Value)
		require.Equal(t, large.Key, letters[0].Key)
		require.Equal(t, large.Headers, letters[0].Headers[:1])
	})
}

// So does one that only has to stand in line.
func TestAnOrderTooLargeForTheStateKeepsItsPlaceInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.limit("3000", "state")
		for _, value := range []string{"bad-1", strings.Repeat("x", 4000), "good-3"} {
			require.NoError(t, w.cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Key: []byte("a"), Value: []byte(value)}).FirstErr())
		}
		r := w.start(2, "ordering: key")
		time.Sleep(700 * time.Millisecond)
		w.stop(r)
		r = w.start(2, "ordering: key")
		time.Sleep(settle)
		w.stop(r)
		var sizes []int
		for _, rec := range w.records("processed") {
			sizes = append(sizes, len(rec.Value))
		}
		require.Equal(t, []int{5, 4000, 6}, sizes)
		w.once(3)
	})
}

// An error in passing tells nothing of a topic: nothing may be dead-lettered for it.
func TestAMetadataErrorInPassingRefusesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		cl, err := kgo.NewClient(kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(w.net.DialContext))
		require.NoError(t, err)
		defer cl.Close()
		l := newLimits(kadm.NewClient(cl), "state")
		require.NoError(t, l.look(ctx, "processed"))
		var code atomic.Int32
		w.cluster.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
			w.cluster.KeepControl()
			resp := req.ResponseKind().(*kmsg.MetadataResponse)
			for _, rt := range req.(*kmsg.MetadataRequest).Topics {
				topic := kmsg.NewMetadataResponseTopic()
				topic.Topic, topic.ErrorCode = rt.Topic, int16(code.Load())
				resp.Topics = append(resp.Topics, topic)
			}
			return resp, nil, true
		})
		rec := &kgo.Record{Topic: "processed", Value: []byte("v")}
		for _, e := range []*kerr.Error{kerr.LeaderNotAvailable, kerr.TopicAuthorizationFailed} {
			code.Store(int32(e.Code))
			_ = l.look(ctx)
			require.NoError(t, l.check(ctx, rec), e.Message)
		}
	})
}

// A broker that is behind does not know a topic that is there. Two that do not are to be believed.
func TestATopicIsMissingWhenItWasMissingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		l := newLimits(kadm.NewClient(w.cl), "state")
		look := func(topics ...string) {
			time.Sleep(limitsAge) // the client remembers what it was told a moment ago
			require.NoError(t, l.look(t.Context(), topics...))
		}
		look("processed")
		rec := &kgo.Record{Topic: "processed", Value: []byte("v")}
		behind := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "processed", Err: kerr.UnknownTopicOrPartition, Count: -1})
		look()
		require.NoError(t, l.check(t.Context(), rec))
		look()
		require.EqualError(t, l.check(t.Context(), rec), `topic "processed" does not exist`)
		behind.Remove()
		time.Sleep(limitsAge)
		require.NoError(t, l.check(t.Context(), rec), "it is asked for again")
	})
}

// The broker may commit and say that it does not know. The client takes that for an abort.
func TestACommitThatIsTakenForAnAbortIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 300)
		var calls atomic.Int64
		w.cluster.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
			w.cluster.KeepControl()
			if calls.Add(1) != 3 {
				return nil, nil, false
			}
			end := *req.(*kmsg.EndTxnRequest)
			w.cluster.SleepControl(func() {
				resp, err := end.RequestWith(context.Background(), w.cl)
				require.NoError(t, err)
				require.NoError(t, kerr.ErrorForCode(resp.ErrorCode))
			})
			resp := end.ResponseKind().(*kmsg.EndTxnResponse)
			resp.ErrorCode = kerr.UnknownServerError.Code
			return resp, nil, true
		})
		r := w.start(0, "commit_interval: 300ms\n    batch_size: 50")
		for i := range 20 {
			w.produce(300+i*30, 30)
			time.Sleep(150 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		w.stop(r)
		require.Greater(t, calls.Load(), int64(3))
		w.once(900)
	})
}

// A batch of which some was produced must not be written again by a fallback.
func TestAWriteThatFailsForAnotherReasonDoomsTheTransaction(t *testing.T) {
	c := &client{wake: make(chan struct{}, 1)}
	c.txn = &transaction{}
	b := &batch{client: c, txn: c.txn, orders: make([]order, 1)}
	o := &b.orders[0]
	o.Context, o.batch, o.rec = context.Background(), b, &kgo.Record{}
	o.part = newPartition(topicPartition{"orders", 0}, Ledger{}, ordering{by: orderingNone})
	require.Error(t, (&output{}).doomed(o.message(), context.DeadlineExceeded))
	require.ErrorIs(t, c.txn.doomed, context.DeadlineExceeded)
}
