package kafka_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/kafka"
)

func TestOneBrokerServesAndComesBackFromAFreeze(t *testing.T) {
	cluster := kafka.Start(t, kafka.Options{})
	cluster.CreateTopic("orders", 2, map[string]string{"max.message.bytes": "2000"})
	client := cluster.Client(kgo.ConsumeTopics("orders"))

	produce(t, client, 0, 10)
	require.Len(t, consume(t, client, 10), 10)

	cluster.Freeze(0)
	written := make(chan error, 1)
	client.Produce(t.Context(), &kgo.Record{Topic: "orders", Key: []byte("late")}, func(_ *kgo.Record, err error) { written <- err })
	select {
	case err := <-written:
		t.Fatalf("a frozen broker answered: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	cluster.Thaw(0)
	require.NoError(t, <-written)
}

func TestOneOfThreeBrokersIsKilledAndComesBack(t *testing.T) {
	cluster := kafka.Start(t, kafka.Options{Brokers: 3})
	cluster.CreateTopic("orders", 3, nil)
	client := cluster.Client(kgo.ConsumeTopics("orders"))

	produce(t, client, 0, 100)
	for victim := range 3 {
		cluster.Kill(victim)
		produce(t, client, 100*(victim+1), 100)
		cluster.Start(victim)
		cluster.AwaitInSync()
	}

	// Every acknowledged record is there, once.
	seen := consume(t, client, 400)
	require.Len(t, seen, 400)
	for i := range 400 {
		require.Equal(t, 1, seen[key(i)], key(i))
	}
}

func key(i int) string { return fmt.Sprintf("key-%03d", i) }

func produce(t *testing.T, client *kgo.Client, from, n int) {
	t.Helper()
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Topic: "orders", Key: []byte(key(from + i))})
	}
	ctx, cancel := context.WithTimeout(t.Context(), child.Patience)
	defer cancel()
	require.NoError(t, client.ProduceSync(ctx, records...).FirstErr())
}

func consume(t *testing.T, client *kgo.Client, n int) map[string]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), child.Patience)
	defer cancel()
	seen := map[string]int{}
	for total := 0; total < n; {
		fetches := client.PollFetches(ctx)
		require.NoError(t, fetches.Err0())
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Key)]++; total++ })
	}
	return seen
}
