package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/test/child"
	"github.com/orderflow/orderflow/test/kafka"
)

const (
	ordersTopic = "orders"
	partitions  = 6
	// quiet is how long nothing may change for a run to be over: longer than the longest wait of
	// a retry and the commit after it.
	quiet    = 6 * time.Second
	patience = 10 * time.Minute
)

// broker is Apache Kafka with a topic of orders, in which each run gets topics of its own.
type broker struct {
	t       *testing.T
	cluster *kafka.Cluster
	orders  int
	runs    int
}

// result is what one run took.
type result struct {
	outcomes int           // committed
	lasted   time.Duration // from the first to the last of them
	cpu      time.Duration // of the whole process, its start included
	peakMB   float64
}

func (r result) rate() float64 { return float64(r.outcomes-1) / r.lasted.Seconds() }

func (r result) String() string {
	return fmt.Sprintf("%.0f orders/s, %.1f CPU s, peak %.0f MB", r.rate(), r.cpu.Seconds(), r.peakMB)
}

// load writes the orders.
func (b *broker) load() {
	b.cluster.CreateTopic(ordersTopic, partitions, nil)
	cl := b.cluster.Client(kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	schema, err := order.ParseSchema(schemas.Order)
	require.NoError(b.t, err)
	enc, err := order.NewEncoder(schema)
	require.NoError(b.t, err)
	products := []string{"Laptop", "Mouse", "Keyboard", "Monitor", "Headphones", "Webcam", "Desk Lamp", "USB Cable"}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range b.orders {
		o := order.Order{ID: fmt.Sprintf("ORD-%08d", i), Product: products[rnd.IntN(len(products))], Price: float64(rnd.IntN(200_000)+1) / 100}
		value, err := enc.Append(nil, o)
		require.NoError(b.t, err)
		cl.Produce(b.t.Context(), &kgo.Record{Topic: ordersTopic, Key: []byte(o.ID), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				b.t.Errorf("loading orders: %v", err)
			}
		})
	}
	require.NoError(b.t, cl.Flush(b.t.Context()))
}

// measure runs a variant over all orders, with a group and topics of its own.
func (b *broker) measure(v variant, failureRate string) result {
	b.t.Helper()
	b.runs++
	name := func(what string) string { return fmt.Sprintf("run-%d-%s", b.runs, what) }
	processed, dlq := name("processed"), name("dlq")
	b.cluster.CreateTopic(processed, partitions, nil)
	b.cluster.CreateTopic(dlq, partitions, map[string]string{"max.message.bytes": "2097152"})
	b.cluster.CreateTopic(name("state"), partitions, map[string]string{"cleanup.policy": "compact", "max.message.bytes": "2097152"})

	p := v.start(b.t, map[string]string{
		"KAFKA_BROKERS": strings.Join(b.cluster.Addresses(), ","), "CONSUMER_GROUP": name("group"),
		"ORDERS_TOPIC": ordersTopic, "PROCESSED_TOPIC": processed, "DLQ_TOPIC": dlq, "STATE_TOPIC": name("state"),
		"FAILURE_RATE": failureRate, "HTTP_ADDRESS": "127.0.0.1:0",
	})
	b.await(p, name("group"), processed, dlq)
	var r result
	r.cpu, r.peakMB = usage(b.t, p.Pid())
	require.NoError(b.t, p.Terminate(30*time.Second))
	r.outcomes, r.lasted = b.read(processed, dlq)
	if v.name != stock || r.outcomes < b.orders {
		require.Equal(b.t, b.orders, r.outcomes, "each order has one outcome")
	}
	return r
}

// await returns when the group has committed all orders and no result was committed for a while.
func (b *broker) await(p *child.Process, group string, topics ...string) {
	b.t.Helper()
	adm := kadm.NewClient(b.cluster.Client())
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var committed, last int64
	for since := time.Now(); ; {
		select {
		case <-tick.C:
		case <-p.Done():
			b.t.Fatalf("%s ended:\n%s", p.LogPath(), p.Tail(20))
		case <-ctx.Done():
			b.t.Fatalf("%d of %d orders committed after %v:\n%s", committed, b.orders, patience, p.Tail(20))
		}
		// Both fail while the group is young.
		offsets, err := adm.FetchOffsets(ctx, group)
		if err != nil {
			continue
		}
		ends, err := adm.ListCommittedOffsets(ctx, topics...)
		if err != nil {
			continue
		}
		committed = 0
		offsets.Each(func(o kadm.OffsetResponse) { committed += max(0, o.At) })
		var now int64
		ends.Each(func(o kadm.ListedOffset) { now += o.Offset })
		if now != last {
			last, since = now, time.Now()
		}
		if committed >= int64(b.orders) && time.Since(since) > quiet {
			return
		}
	}
}

// read counts what a reader of committed records sees, and tells the time from the first record
// to the last, by when they were produced.
func (b *broker) read(topics ...string) (n int, lasted time.Duration) {
	b.t.Helper()
	cl := b.cluster.Client(kgo.ConsumeTopics(topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer cl.Close()
	var first, last time.Time
	for {
		// What is committed is there at once; a pause is the end, since markers come last.
		ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Second)
		fetches := cl.PollFetches(ctx)
		cancel()
		if fetches.NumRecords() == 0 {
			return n, last.Sub(first)
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			n++
			if first.IsZero() || rec.Timestamp.Before(first) {
				first = rec.Timestamp
			}
			if rec.Timestamp.After(last) {
				last = rec.Timestamp
			}
		})
	}
}

// usage reads the CPU time and the most memory that a process has used so far.
func usage(t *testing.T, pid int) (cpu time.Duration, peakMB float64) {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	// After the name in brackets; user and system time are fields 14 and 15, in ticks of 10 ms.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, field := range fields[11:13] {
		ticks, err := strconv.Atoi(field)
		require.NoError(t, err)
		cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(text), " kB"))
			require.NoError(t, err)
			peakMB = float64(kb) / 1024
		}
	}
	return cpu, peakMB
}
