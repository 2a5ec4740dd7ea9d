package kafkatransactional

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

const unreadPipeline = `
http: {enabled: false}
input:
  kafka_transactional:
    seed_brokers: [%s]
    topics: [orders]
    consumer_group: g
    state_topic: state
    session_timeout: 6s
    client_id: %s
    max_batch_bytes: 1MiB
    %s
pipeline:
  threads: 2
  processors:
    - flaky: {failures: 1, wait: 1s}
output:
  switch:
    cases:
      - check: errored()
        output:
          picky:
            output:
              kafka_transactional:
                topic: dlq
                outcome: dead_letter
                headers:
                  origin: ${! @kafka_topic }/${! @kafka_partition }/${! @kafka_offset }
                  why: ${! error() }
      - output:
          picky:
            output:
              kafka_transactional:
                topic: processed
                headers:
                  origin: ${! @kafka_topic }/${! @kafka_partition }/${! @kafka_offset }
`

// bomb writes a batch of so many records that has 2 MiB without its compression.
func (w *world) bomb(partition int32, records int) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(w.net.DialContext), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(8<<20), kgo.MaxBufferedRecords(1<<20), kgo.ProducerLinger(time.Second))
	require.NoError(w.t, err)
	defer cl.Close()
	var recs []*kgo.Record
	for range records {
		recs = append(recs, &kgo.Record{Topic: "orders", Partition: partition, Value: bytes.Repeat([]byte("0"), 2<<20/records)})
	}
	require.NoError(w.t, cl.ProduceSync(w.t.Context(), recs...).FirstErr())
}

func TestOrdersOfABatchThatIsTooLargeAreDeadLettersAndThoseBehindItGoOn(t *testing.T) {
	for name, c := range map[string]struct {
		records int
		letters int
		fields  string
		faults  func(w *world)
	}{
		"one record":                 {records: 1, letters: 1},
		"three":                      {records: 3, letters: 3},
		"more than are handed out":   {records: 1500, letters: 1000},
		"in the order of keys":       {records: 3, letters: 3, fields: "ordering: key"},
		"in the order of partitions": {records: 3, letters: 3, fields: "ordering: partition"},
		"while transactions are aborted": {records: 3, letters: 3, faults: func(w *world) {
			w.reject(1, 7)
			time.AfterFunc(20*time.Second, func() { w.reject(0.01, 8) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				w.produce(0, 30)
				w.bomb(1, c.records)
				w.produce(30, 30)
				if c.faults != nil {
					c.faults(w)
				}
				start := func() *running {
					return w.run(func(id string) string {
						return fmt.Sprintf(unreadPipeline, w.cluster.ListenAddrs()[0], id, c.fields)
					})
				}
				r := start()
				time.Sleep(2 * time.Minute)
				w.reject(0, 1)
				time.Sleep(time.Minute)
				w.stop(r)
				r = start() // the position is behind it
				w.produce(60, 30)
				time.Sleep(time.Minute)
				w.stop(r)

				w.once(90)
				letters := w.committed("dlq")
				require.Len(t, letters, c.letters)
				for i := range c.letters {
					require.Equal(t, 1, letters[fmt.Sprintf("orders/1/%d", 10+i)])
				}
				for _, rec := range w.records("dlq") {
					require.Nil(t, rec.Key)
					require.Empty(t, rec.Value)
					require.Equal(t, fmt.Sprintf("the batch of offsets 10 to %d has more than 1.0 MiB without its compression and was not read", 9+c.records), headerOf(rec, "why"))
				}
				l := w.ledger(1)
				require.EqualValues(t, 30+c.records, l.Next)
				if c.records > mostUnread {
					require.Equal(t, []Span{{10 + mostUnread, 10 + int64(c.records)}}, l.Skipped)
				} else {
					require.Empty(t, l.Skipped)
				}
			})
		})
	}
}

// ledger is that of a source partition as it is committed now.
func (w *world) ledger(partition int32) (l Ledger) {
	w.t.Helper()
	for _, rec := range w.records("state") {
		if k, err := ParseStateKey(rec.Key); err == nil && k.Kind == KindLedger && k.Partition == partition {
			l, err = DecodeLedger(rec.Value)
			require.NoError(w.t, err)
		}
	}
	return l
}

func headerOf(rec *kgo.Record, name string) string {
	for _, h := range rec.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}
