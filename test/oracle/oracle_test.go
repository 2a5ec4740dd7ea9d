package oracle

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// world is a broker with the three topics.
type world struct {
	t      *testing.T
	opts   []kgo.Opt
	client *kgo.Client
}

func newWorld(t *testing.T) *world {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "orders", "orders-processed", "orders-dlq"))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	w := &world{t: t, opts: []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)}}
	w.client = w.newClient()
	return w
}

func (w *world) newClient(opts ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append(append(opts, w.opts...), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	require.NoError(w.t, err)
	w.t.Cleanup(client.Close)
	return client
}

func (w *world) write(records ...*kgo.Record) {
	w.t.Helper()
	require.NoError(w.t, w.client.ProduceSync(w.t.Context(), records...).FirstErr())
}

// order0 is an order on partition 0; i is its offset if they are written in their order.
func order0(i int) *kgo.Record {
	return &kgo.Record{
		Topic: "orders", Key: fmt.Appendf(nil, "id-%d", i), Value: fmt.Appendf(nil, "avro-%d", i),
		Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("a")}, {Key: "trace", Value: nil}},
	}
}

func processed(i int, product, price string) *kgo.Record {
	return &kgo.Record{
		Topic: "orders-processed", Key: fmt.Appendf(nil, "id-%d", i), Partition: int32(i % 2),
		Value:   fmt.Appendf(nil, `{"orderId":"id-%d","product":%q,"price":%s}`, i, product, price),
		Headers: []kgo.RecordHeader{{Key: "origin", Value: fmt.Appendf(nil, "orders/0/%d", i)}},
	}
}

const (
	exhausted = "2026-01-02T03:04:05.000Z,2026-01-02T03:04:06.010Z,2026-01-02T03:04:08.030Z,2026-01-02T03:04:12.060Z"
	tooSoon   = "2026-01-02T03:04:05.000Z,2026-01-02T03:04:06.000Z,2026-01-02T03:04:07.999Z,2026-01-02T03:04:12.000Z"
)

func deadLetter(i int, class, times string) *kgo.Record {
	r := order0(i)
	r.Topic = "orders-dlq"
	header := func(name string, value any) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: fmt.Append(nil, value)})
	}
	header("dlq_topic", "orders")
	header("dlq_partition", 0)
	header("dlq_offset", i)
	header("dlq_class", class)
	header("dlq_code", "simulated")
	header("dlq_error", "Max retries exceeded: Simulated processing failure")
	header("dlq_stage", "validate")
	header("dlq_attempts", strings.Count(times, ",")+1)
	header("dlq_attempt_times", times)
	return r
}

func setHeader(r *kgo.Record, name, value string) *kgo.Record {
	for i := range r.Headers {
		if r.Headers[i].Key == name {
			r.Headers[i].Value = []byte(value)
		}
	}
	return r
}

func TestAGoodRunIsExactlyOnce(t *testing.T) {
	w := newWorld(t)
	w.write(order0(0), order0(1), order0(2), order0(3))
	w.write(
		processed(0, "Book", "19.99"), processed(1, "Pen", "0.1"), processed(2, "Book", "1e2"),
		deadLetter(3, "transient", exhausted))

	report, err := New(Config{}, w.opts...).Read(t.Context())
	require.NoError(t, err)
	require.NoError(t, report.ExactlyOnce())
	require.Equal(t, "orders 4 = processed 3 + dead-lettered 1 + missing 0 (duplicates 0, strangers 0)", report.String())
	require.Equal(t, map[string]int{"transient": 1}, report.Classes)
	require.Equal(t, map[string]int{"simulated": 1}, report.Codes)

	var overs []time.Duration
	for _, retry := range report.Retries {
		require.Equal(t, 1, retry.Count)
		overs = append(overs, retry.Median)
	}
	require.Equal(t, []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 30 * time.Millisecond}, overs)

	require.Equal(t, Aggregates{
		Overall: Aggregate{Count: 3, Sum: "120.09", Min: "0.1", Max: "100", Average: "40.03"},
		Groups: map[string]Aggregate{
			"Book": {Count: 2, Sum: "119.99", Min: "19.99", Max: "100", Average: "59.995"},
			"Pen":  {Count: 1, Sum: "0.1", Min: "0.1", Max: "0.1", Average: "0.1"},
		},
	}, report.Aggregates)
}

func TestEachFaultIsFound(t *testing.T) {
	stripped := deadLetter(0, "transient", exhausted)
	stripped.Headers = stripped.Headers[1:]
	otherValue := deadLetter(0, "transient", exhausted)
	otherValue.Value = nil
	emptyKey := deadLetter(0, "transient", exhausted)
	emptyKey.Key = []byte{}

	for name, c := range map[string]struct {
		outcomes []*kgo.Record
		found    func(Report) int
	}{
		"an order without an outcome":          {nil, func(r Report) int { return r.Missing }},
		"an order that was processed twice":    {[]*kgo.Record{processed(0, "Pen", "1"), processed(0, "Pen", "1")}, func(r Report) int { return r.Duplicates }},
		"an order processed and dead-lettered": {[]*kgo.Record{processed(0, "Pen", "1"), deadLetter(0, "transient", exhausted)}, func(r Report) int { return r.Duplicates }},
		"an outcome of no order":               {[]*kgo.Record{processed(0, "Pen", "1"), processed(7, "Pen", "1")}, func(r Report) int { return r.Strangers }},
		"another key":                          {[]*kgo.Record{emptyKey}, func(r Report) int { return r.Altered }},
		"other bytes":                          {[]*kgo.Record{otherValue}, func(r Report) int { return r.Altered }},
		"one header less":                      {[]*kgo.Record{stripped}, func(r Report) int { return r.AlteredHeaders }},
		"no JSON":                              {[]*kgo.Record{processed(0, "Pen", "NaN")}, func(r Report) int { return r.Malformed }},
		"no origin":                            {[]*kgo.Record{processed(0, "Pen", "1"), setHeader(processed(0, "Pen", "1"), "origin", "orders/0")}, func(r Report) int { return r.Malformed }},
		"no code":                              {[]*kgo.Record{setHeader(deadLetter(0, "transient", exhausted), "dlq_code", "")}, func(r Report) int { return r.Malformed }},
		"attempts without their times":         {[]*kgo.Record{setHeader(deadLetter(0, "transient", exhausted), "dlq_attempts", "3")}, func(r Report) int { return r.Malformed }},
		"a time that is none":                  {[]*kgo.Record{deadLetter(0, "transient", "yesterday")}, func(r Report) int { return r.Malformed }},
		"five attempts":                        {[]*kgo.Record{deadLetter(0, "transient", exhausted+",2026-01-02T03:05:00.000Z")}, func(r Report) int { return r.TooManyAttempts }},
		"a transient failure tried once":       {[]*kgo.Record{deadLetter(0, "transient", "2026-01-02T03:04:05.000Z")}, func(r Report) int { return r.GivenUpEarly }},
		"a retry one millisecond early":        {[]*kgo.Record{deadLetter(0, "transient", tooSoon)}, func(r Report) int { return r.EarlyRetries }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write(order0(0))
			w.write(c.outcomes...)
			report, err := New(Config{}, w.opts...).Read(t.Context())
			require.NoError(t, err)
			require.Equal(t, 1, c.found(report), report.Examples)
			require.Error(t, report.ExactlyOnce())
			require.Len(t, report.Examples, 1, "one fault is one finding")
		})
	}
}

func TestADuplicateIsAllowedAtLeastOnce(t *testing.T) {
	w := newWorld(t)
	w.write(order0(0))
	w.write(processed(0, "Pen", "1"), processed(0, "Pen", "1"))
	report, err := New(Config{}, w.opts...).Read(t.Context())
	require.NoError(t, err)
	require.NoError(t, report.AtLeastOnce())
	require.ErrorContains(t, report.ExactlyOnce(), "duplicates: 1")
	require.EqualValues(t, 1, report.Aggregates.Overall.Count, "an order counts once")
}

func TestHeadersCanBeIgnored(t *testing.T) {
	w := newWorld(t)
	w.write(order0(0))
	letter := deadLetter(0, "permanent", "2026-01-02T03:04:05.000Z")
	letter.Headers = append(letter.Headers, kgo.RecordHeader{Key: "kafka_key", Value: letter.Key})
	w.write(letter)
	report, err := New(Config{IgnoreHeaders: true}, w.opts...).Read(t.Context())
	require.NoError(t, err)
	require.NoError(t, report.ExactlyOnce())
}

func TestAPermanentFailureNeedsOneAttempt(t *testing.T) {
	w := newWorld(t)
	w.write(order0(0))
	w.write(deadLetter(0, "permanent", "2026-01-02T03:04:05.000Z"))
	report, err := New(Config{}, w.opts...).Read(t.Context())
	require.NoError(t, err)
	require.NoError(t, report.ExactlyOnce())
}

func TestWhatWasAbortedDoesNotCount(t *testing.T) {
	w := newWorld(t)
	w.write(order0(0))
	transactional := w.newClient(kgo.TransactionalID("tx"))
	write := func(commit kgo.TransactionEndTry, r *kgo.Record) {
		require.NoError(t, transactional.BeginTransaction())
		require.NoError(t, transactional.ProduceSync(t.Context(), r).FirstErr())
		require.NoError(t, transactional.EndTransaction(t.Context(), commit))
	}
	judge := New(Config{}, w.opts...)

	write(kgo.TryAbort, processed(0, "Pen", "1")) // the partition ends in a marker now
	report, err := judge.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, report.Missing)

	write(kgo.TryCommit, processed(0, "Pen", "1"))
	report, err = judge.Read(t.Context())
	require.NoError(t, err)
	require.NoError(t, report.ExactlyOnce())
}

func TestAwaitReadsOnUntilAllIsThere(t *testing.T) {
	w := newWorld(t)
	judge := New(Config{}, w.opts...)
	done := make(chan error, 1)
	go func() {
		_, err := judge.AwaitOutcomes(t.Context(), 2)
		done <- err
	}()
	w.write(order0(0))
	w.write(processed(0, "Pen", "1"))
	w.write(order0(1))
	w.write(processed(1, "Pen", "1"))
	require.NoError(t, <-done)

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	report, err := judge.AwaitOutcomes(ctx, 3)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, 2, report.Orders)
}

func TestAMissingTopicIsAnError(t *testing.T) {
	w := newWorld(t)
	_, err := New(Config{DeadLetters: "elsewhere"}, w.opts...).Read(t.Context())
	require.ErrorContains(t, err, "asking for the ends of orders-processed, elsewhere")
}
