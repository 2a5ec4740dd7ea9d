package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	_ "github.com/redpanda-data/connect/v4/public/components/prometheus"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/order"
	_ "github.com/orderflow/orderflow/plugins/all"
	"github.com/orderflow/orderflow/test/child"
)

// BenchmarkProcessors runs the processors of consumer.yaml, without Kafka and without failures,
// on batches of 1,000. An operation is one order.
func BenchmarkProcessors(b *testing.B) {
	const size = 1000
	b.Setenv("FAILURE_RATE", "0")
	text, err := os.ReadFile(filepath.Join(child.Root(b), "config/pipelines/consumer.yaml"))
	require.NoError(b, err)
	var config struct {
		Pipeline struct {
			Threads    int
			Processors []any
		}
		Metrics any
	}
	require.NoError(b, yaml.Unmarshal(text, &config))
	builder := service.NewStreamBuilder()
	builder.DisableLinting()
	builder.SetThreads(config.Pipeline.Threads)
	require.NoError(b, builder.SetLoggerYAML("level: OFF"))
	require.NoError(b, builder.SetMetricsYAML(asYAML(b, config.Metrics)))
	for _, p := range config.Pipeline.Processors {
		require.NoError(b, builder.AddProcessorYAML(asYAML(b, p)))
	}
	produce, err := builder.AddBatchProducerFunc()
	require.NoError(b, err)
	require.NoError(b, builder.AddBatchConsumerFunc(func(context.Context, service.MessageBatch) error { return nil }))
	stream, err := builder.Build()
	require.NoError(b, err)
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- stream.Run(ctx) }()

	schema, err := order.ParseSchema(schemas.Order)
	require.NoError(b, err)
	enc, err := order.NewEncoder(schema)
	require.NoError(b, err)
	value, err := enc.Append(nil, order.Order{ID: "ORD-00000001", Product: "Keyboard", Price: 419.87})
	require.NoError(b, err)
	b.ReportAllocs()
	b.ResetTimer()
	for sent := 0; sent < b.N; sent += size {
		batch := make(service.MessageBatch, min(size, b.N-sent))
		for i := range batch {
			batch[i] = located(value, sent+i)
		}
		require.NoError(b, produce(ctx, batch))
	}
	b.StopTimer()
	stop()
	<-done
}

func asYAML(b *testing.B, v any) string {
	text, err := yaml.Marshal(v)
	require.NoError(b, err)
	return string(text)
}

// located makes a message as the input does.
func located(value []byte, offset int) *service.Message {
	msg := service.NewMessage(value)
	for name, v := range map[string]any{
		"kafka_key": []byte(fmt.Sprint(offset)), "kafka_topic": ordersTopic, "kafka_partition": offset % partitions, "kafka_offset": offset,
		"kafka_timestamp_unix": int64(1_700_000_000), "kafka_timestamp_ms": int64(1_700_000_000_000), "kafka_tombstone_message": false, "attempt": 1,
	} {
		msg.MetaSetMut(name, v)
	}
	return msg
}
