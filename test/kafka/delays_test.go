package kafka

import (
	"context"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/test/child"
)

func TestMostOrdersAreNotDelayedByTheFailing(t *testing.T) {
	r := newRun(t, 1)
	p := r.instance("")
	p.AwaitLog(t, "Input type kafka_transactional is now active", child.Patience)
	time.Sleep(3 * time.Second) // until the group has formed
	const orders = 2000
	delays := r.delays()
	begun := time.Now()
	require.NoError(t, <-r.stream(orders, 100*time.Millisecond))
	report := r.exactlyOnce(orders, child.Patience)
	took := time.Since(begun)
	require.Positive(t, report.DeadLettered)

	healthy := delays(report.Processed)
	median, p99 := healthy[len(healthy)/2], healthy[len(healthy)*99/100]
	t.Logf("%d orders, of which %d are dead letters, in %v", orders, report.DeadLettered, took.Round(time.Millisecond))
	t.Logf("healthy orders, from written to visible for a committed reader: median %v, p99 %v, max %v", median, p99, healthy[len(healthy)-1])
	for i, retry := range report.Retries {
		t.Logf("retry %d, later than promised: median %v, p99 %v, max %v", i+1, retry.Median, retry.P99, retry.Max)
		require.Equal(t, report.DeadLettered, retry.Count)
		require.Less(t, retry.Median, 100*time.Millisecond)
	}
	require.Less(t, took, 10*time.Second)
	require.Less(t, median, time.Second)
	require.Less(t, p99, 2*time.Second)
	require.NoError(t, p.Signal(syscall.SIGTERM))
}

// delays watches, from now on, how long orders take from their timestamp until a committed reader
// has their processed record. The function that it returns waits for n of them and sorts them.
func (r *run) delays() func(n int) []time.Duration {
	cl := r.cluster.Client(kgo.ConsumeTopics("orders", "orders-processed"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond))
	ctx, cancel := context.WithCancel(context.Background())
	r.t.Cleanup(cancel)
	found := make(chan time.Duration, 100_000) // so that nobody waits for who counts them
	go func() {
		written, visible := map[string]time.Time{}, map[string]time.Time{}
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			now := time.Now()
			fetches.EachRecord(func(rec *kgo.Record) {
				key := string(rec.Key)
				if rec.Topic == "orders" {
					written[key] = rec.Timestamp
				} else {
					visible[key] = now
				}
				if w, ok := written[key]; ok && !visible[key].IsZero() {
					found <- visible[key].Sub(w)
				}
			})
		}
	}()
	return func(n int) []time.Duration {
		r.t.Helper()
		over := time.After(10 * time.Second)
		var all []time.Duration
		for len(all) < n {
			select {
			case d := <-found:
				all = append(all, d)
			case <-over:
				r.t.Fatalf("a committed reader has seen %d of %d processed orders", len(all), n)
			}
		}
		slices.Sort(all)
		return all
	}
}
