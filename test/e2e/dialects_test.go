package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/deadletter"
)

// stale are the headers of failures that an order had in other systems.
func stale() []kgo.RecordHeader {
	return h("trace", "1", "kafka_dlt-exception-message", "old", "kafka_dlt-key-exception-fqcn", "old", "kafka_dlt-original-offset", "\x00\x00\x00\x00\x00\x00\x00\x09",
		"__connect.errors.topic", "old", "dead-letter-reason", "old", "__dlq.errors.message", "old", "dlq_error", "old", "trace", "2")
}

// The whole way: what the processor writes in a dialect is on the topic byte for byte, replaces
// what a record came with, and is what audit goes by.
func TestDeadLettersInTheDialectsOfOthers(t *testing.T) {
	t.Parallel()
	for _, run := range []struct {
		name, pipeline string
		dialect        deadletter.Dialect
	}{
		{"spring", consumer, deadletter.Spring},
		{"connect", consumer, deadletter.Connect},
		{"spring, at least once", atLeastOnce, deadletter.Spring},
	} {
		t.Run(run.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			bad := &kgo.Record{Key: []byte("bad"), Value: priced(0), Headers: stale()}
			w.produce(bad, &kgo.Record{Key: []byte("good"), Value: sound("good"), Headers: stale()})
			p := w.run(run.pipeline, map[string]string{"DLQ_DIALECT": string(run.dialect), "FAILURE_RATE": "0"})
			processed, dead := w.awaitOne("orders-processed"), w.awaitOne("orders-dlq")
			require.NoError(t, p.Terminate(patience))
			require.Equal(t, h("origin", "orders/0/1"), processed.Headers, "nothing of an older failure leaks")

			var said []deadletter.Header
			var kept []kgo.RecordHeader
			for _, header := range dead.Headers {
				if deadletter.IsOurs(header.Key) {
					said = append(said, deadletter.Header{Name: header.Key, Value: header.Value})
				} else {
					kept = append(kept, header)
				}
			}
			letter, ok := deadletter.Parse(said)
			require.True(t, ok)
			require.Equal(t, "orders/0/0", letter.ID)
			require.Equal(t, "orders/0/0", letter.Origin())
			require.Equal(t, "price_not_positive", letter.Code)
			require.Equal(t, "orderflow", letter.Group)
			require.Equal(t, bad.Timestamp.UTC(), letter.Timestamp)
			require.ElementsMatch(t, letter.Headers(run.dialect), said, "its own headers and no others")
			if run.pipeline == consumer {
				require.Equal(t, h("trace", "1", "trace", "2"), kept)
				require.True(t, w.audit().OK)
			} else {
				require.True(t, slices.ContainsFunc(kept, func(h kgo.RecordHeader) bool { return h.Key == "trace" }))
			}
		})
	}
}

// awaitOne waits for the one record of a topic, which this test's oracle is: the real one knows
// the native dialect alone.
func (w *world) awaitOne(topic string) *kgo.Record {
	w.t.Helper()
	for begin := time.Now(); time.Since(begin) < patience; time.Sleep(20 * time.Millisecond) {
		if records := w.committed(topic); len(records) > 0 {
			require.Len(w.t, records, 1)
			return records[0]
		}
	}
	w.t.Fatalf("no record on %s within %v", topic, patience)
	return nil
}
