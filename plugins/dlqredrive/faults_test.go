package dlqredrive

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderflow/orderflow/internal/redrive"
)

// once asserts that n orders were sent, each once, that their letters alone are marked, and that
// the counts say so.
func (w *world) once(n int, counts redrive.Counts) {
	w.t.Helper()
	seen := map[string]bool{}
	for _, r := range w.records("orders") {
		require.False(w.t, seen[string(r.Key)], "%s was sent twice", r.Key)
		seen[string(r.Key)] = true
	}
	require.Len(w.t, seen, n)
	marks, _ := w.marks()
	require.Len(w.t, marks, n)
	for _, l := range w.records("dlq") {
		_, marked := marks[redrive.Place{Topic: l.Topic, Partition: l.Partition, Offset: l.Offset}]
		require.Equal(w.t, seen[string(l.Key)], marked, "%s", l.Key)
	}
	require.EqualValues(w.t, n, counts.Sent)
}

func TestALinkThatBreaksLosesAndRepeatsNothing(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				w.letters(300)
				r := w.start(fmt.Sprintf("batch_size: %d", 1+rnd.IntN(100)), "rate: 100\n        where: this.price < -50", "")
				for range 1 + rnd.IntN(6) {
					time.Sleep(time.Duration(rnd.IntN(800)) * time.Millisecond) // virtual
					r.link.Cut()
					time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
					r.link.Mend()
				}
				require.NoError(t, <-r.done)
				require.NoError(t, r.watch.Err())
				w.once(250, r.watch.Report().Counts)
				require.EqualValues(t, 50, r.watch.Report().LeftOpen)
			})
		})
	}
}

func TestALongOutageIsWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(100)
		r := w.start("", "rate: 20", "")
		time.Sleep(2 * time.Second) // virtual
		r.link.Cut()
		time.Sleep(5 * time.Minute) // the broker has given up the transaction
		r.link.Mend()
		require.NoError(t, <-r.done)
		require.NoError(t, r.watch.Err())
		w.once(100, r.watch.Report().Counts)
	})
}

func TestAStopDuringAnOutageIsShort(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(100)
		r := w.start("", "rate: 20", "")
		time.Sleep(2 * time.Second) // virtual
		r.link.Cut()
		time.Sleep(time.Second)
		begun := time.Now()
		_ = r.stream.StopWithin(30 * time.Second)
		<-r.done
		require.Less(t, time.Since(begun), 15*time.Second)
		r.link.Mend()
		w.run("", "", "")
		w.once(100, redrive.Counts{Sent: 100})
	})
}

func TestACommitWhoseAnswerIsLostIsAskedFor(t *testing.T) {
	for name, done := range map[string]bool{"it was committed": true, "it was not": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.letters(100)
				var calls atomic.Int32
				w.cluster.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
					w.cluster.KeepControl()
					if calls.Add(1) != 3 {
						return nil, nil, false
					}
					end := *req.(*kmsg.EndTxnRequest)
					if done {
						w.cluster.SleepControl(func() {
							resp, err := end.RequestWith(context.Background(), w.cl)
							require.NoError(t, err)
							require.NoError(t, kerr.ErrorForCode(resp.ErrorCode))
						})
					}
					resp := end.ResponseKind().(*kmsg.EndTxnResponse)
					resp.ErrorCode = kerr.UnknownServerError.Code
					return resp, nil, true
				})
				got := w.run("batch_size: 10", "", "")
				w.once(100, got.Counts)
				require.EqualValues(t, 100, got.Matched)
			})
		})
	}
}

func TestTheFirstRedriveWaitsUntilItsTopicsAreSeen(t *testing.T) {
	for name, behind := range map[string]time.Duration{
		"the client remembers that they were missing": 0,
		"a broker has not heard of them yet":          2 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.letters(10)
				var made time.Time
				w.cluster.ControlKey(int16(kmsg.CreateTopics), func(kmsg.Request) (kmsg.Response, error, bool) {
					w.cluster.KeepControl()
					made = time.Now()
					return nil, nil, false
				})
				w.cluster.ControlKey(int16(kmsg.Metadata), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
					w.cluster.KeepControl()
					req := kreq.(*kmsg.MetadataRequest)
					if time.Since(made) >= behind || len(req.Topics) != 1 {
						return nil, nil, false
					}
					resp := req.ResponseKind().(*kmsg.MetadataResponse)
					host, port, _ := net.SplitHostPort(w.cluster.ListenAddrs()[0])
					n, _ := strconv.Atoi(port)
					resp.Brokers = append(resp.Brokers, kmsg.MetadataResponseBroker{NodeID: 0, Host: host, Port: int32(n)})
					topic := kmsg.NewMetadataResponseTopic()
					topic.Topic, topic.ErrorCode = req.Topics[0].Topic, kerr.UnknownTopicOrPartition.Code
					resp.Topics = append(resp.Topics, topic)
					return resp, nil, true
				})
				begun := time.Now()
				r := w.start("", "", "")
				require.NoError(t, <-r.done)
				require.NoError(t, r.watch.Err())
				require.Empty(t, r.log.complaints())
				w.once(10, r.watch.Report().Counts)
				require.GreaterOrEqual(t, time.Since(begun), behind)
			})
		})
	}
}

func TestARecordThatTheBrokerRefusesStaysOpenAndSpoilsNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(49)
		require.NoError(t, w.cl.ProduceSync(t.Context(), &kgo.Record{Topic: "dlq", Key: []byte("poison"), Headers: []kgo.RecordHeader{{Key: "dlq_topic", Value: []byte("orders")}}}).FirstErr())
		w.cluster.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			w.cluster.KeepControl()
			req := kreq.(*kmsg.ProduceRequest)
			resp := req.ResponseKind().(*kmsg.ProduceResponse)
			poisoned := false
			for _, rt := range req.Topics {
				topic := kmsg.NewProduceResponseTopic()
				topic.Topic, topic.TopicID = rt.Topic, rt.TopicID
				for _, rp := range rt.Partitions {
					partition := kmsg.NewProduceResponseTopicPartition()
					partition.Partition, partition.ErrorCode = rp.Partition, kerr.InvalidRecord.Code
					topic.Partitions = append(topic.Partitions, partition)
					poisoned = poisoned || bytes.Contains(rp.Records, []byte("poison"))
				}
				resp.Topics = append(resp.Topics, topic)
			}
			return resp, nil, poisoned
		})
		got := w.run("batch_size: 20", "", "")
		require.Equal(t, redrive.Counts{Matched: 50, Sent: 49, LeftOpen: 1, Refused: map[string]int64{reasonTopic: 1}}, got.Counts)
		w.once(49, got.Counts)
	})
}

func TestARecordThatIsTooLargeForItsTopicStaysOpen(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(5)
		limit := "400"
		_, err := kadm.NewClient(w.cl).CreateTopic(t.Context(), 1, 1, map[string]*string{"max.message.bytes": &limit}, "small")
		require.NoError(t, err)
		require.NoError(t, w.cl.ProduceSync(t.Context(), &kgo.Record{Topic: "dlq", Key: []byte("large"), Value: bytes.Repeat([]byte("x"), 500)}).FirstErr())
		got := w.run("", "", "target: small\n    allow_other_target: true")
		require.Equal(t, redrive.Counts{Matched: 6, Sent: 5, LeftOpen: 1, Refused: map[string]int64{reasonTopic: 1}}, got.Counts)
		require.Len(t, w.records("small"), 5)
	})
}

func TestALetterThatHasNowhereToGoStaysOpen(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.letters(2)
		require.NoError(t, w.cl.ProduceSync(t.Context(),
			&kgo.Record{Topic: "dlq", Key: []byte("a")},
			&kgo.Record{Topic: "dlq", Key: []byte("b"), Headers: []kgo.RecordHeader{{Key: "dlq_topic", Value: []byte("gone")}}}).FirstErr())
		require.Equal(t, map[string]int64{reasonNoTarget: 1, reasonOtherTarget: 3}, w.run("dry_run: true", "", "target: other").Refused)
		require.Equal(t, map[string]int64{reasonNoOrigin: 1, reasonNoTarget: 1}, w.run("", "", "targets: [ orders, gone ]").Refused)
		require.Equal(t, map[string]int64{reasonOtherTarget: 1}, w.run("", "", "target: orders").Refused)
		w.once(3, redrive.Counts{Sent: 3})
		require.EqualValues(t, 1, w.run("", "", "target: orders\n    allow_other_target: true").Sent)
		w.once(4, redrive.Counts{Sent: 4})
	})
}
