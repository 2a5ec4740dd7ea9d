package kafkatransactional

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

func TestARecordThatIsKeptSharesNoMemory(t *testing.T) {
	fetched := []byte("keyvaluefirstsecond")
	rec := &kgo.Record{
		Topic: "orders", Partition: 3, Offset: 42, Timestamp: time.UnixMilli(1234),
		Key: fetched[0:3], Value: fetched[3:8],
		Headers: []kgo.RecordHeader{{Key: "h", Value: fetched[8:13]}, {Key: "h", Value: nil}, {Key: "h", Value: []byte{}}, {Key: "g", Value: fetched[13:]}},
	}
	kept := compact(rec)
	clear(fetched)
	require.Equal(t, &kgo.Record{
		Topic: "orders", Partition: 3, Offset: 42, Timestamp: time.UnixMilli(1234),
		Key: []byte("key"), Value: []byte("value"),
		Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("first")}, {Key: "h", Value: nil}, {Key: "h", Value: []byte{}}, {Key: "g", Value: []byte("second")}},
	}, kept)
	require.Equal(t, len(kept.Key), cap(kept.Key), "whoever appends to one must not write into the next")

	none := compact(&kgo.Record{})
	require.Nil(t, none.Key)
	require.Nil(t, none.Value)
	require.Empty(t, none.Headers)
}

// Both sides of the bargain with the host's tracers: see unsampled.
func TestAnOrdersContextCostsNoSpanAndJoinsNoTrace(t *testing.T) {
	ctx, span := noop.NewTracerProvider().Tracer("").Start(unsampled, "stage")
	require.Equal(t, unsampled, ctx, "the tracer `none` makes no context of its own")
	require.False(t, span.IsRecording())
	require.False(t, trace.SpanContextFromContext(unsampled).IsValid(), "no trace to be a part of")
}

func BenchmarkMessage(b *testing.B) {
	for name, apart := range map[string]time.Duration{"written together": 0, "written apart": time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			p := newPartition(topicPartition{"orders", 3}, Ledger{}, ordering{})
			now := time.Now()
			orders := &batch{orders: make([]order, 1000)}
			for i := range orders.orders {
				orders.orders[i] = order{Context: unsampled, batch: orders, part: p, rec: &kgo.Record{
					Topic: "orders", Partition: 3, Offset: 1_000_000 + int64(i), Timestamp: now.Add(time.Duration(i) * apart), Key: []byte("k"), Value: []byte("v"),
					Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("a")}},
				}}
			}
			b.ReportAllocs()
			for n := range b.N {
				orders.orders[n%len(orders.orders)].message()
			}
		})
	}
}
