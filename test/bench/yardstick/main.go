// Command yardstick does what config/pipelines/consumer.yaml does, in the same transactions, by
// hand: franz-go and this project's ideas, no host, one loop. It shows what the host costs.
//
// It is made to be fast, not to be used. What the pipeline does for correctness in the face of
// faults is left out: it restores nothing (a run begins with a group and a state topic of its
// own), a rebalance or an abort ends it, and there are no metrics.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/aggregate"
	"github.com/orderflow/orderflow/internal/order"
)

const (
	maxPrice  = 1_000_000
	batchSize = 2000
)

// delays are the waits before the retries.
var delays = [...]time.Duration{time.Second, 2 * time.Second, 4 * time.Second}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "yardstick:", err)
		os.Exit(1)
	}
}

func env(name, otherwise string) string { return cmp.Or(os.Getenv(name), otherwise) }

// yardstick is used by one goroutine; only failed is set by others.
type yardstick struct {
	group                 *kgo.GroupTransactSession
	consumers             string // the name of the group
	processed, dlq, state string // topics
	commitInterval        time.Duration
	decoder               *order.Decoder
	simulator             order.Simulator
	failed                atomic.Pointer[error] // of a produce
	began                 time.Time             // of the open transaction; zero if none is open
	parts                 map[int32]*partition
	retries               [len(delays)]queue // by retry: all of one queue wait equally long
	out                   slab
	promise               func(*kgo.Record, error)
}

// partition is the state of one source partition.
type partition struct {
	number     int32
	aggregates map[string]*group
	changed    map[int64]*waiting // by offset, since the last commit; nil: it waits no more
}

type group struct {
	aggregate.Partial
	dirty bool
}

// waiting is an order that has failed and is tried again.
type waiting struct {
	rec      *kgo.Record
	attempts []time.Time
	err      error
	due      time.Time
}

func run(ctx context.Context) error {
	rate, err := strconv.ParseFloat(env("FAILURE_RATE", "0.15"), 64)
	if err != nil {
		return fmt.Errorf("FAILURE_RATE: %w", err)
	}
	interval, err := time.ParseDuration(env("COMMIT_INTERVAL", "500ms"))
	if err != nil {
		return fmt.Errorf("COMMIT_INTERVAL: %w", err)
	}
	schema, err := order.ParseSchema(schemas.Order)
	if err != nil {
		return err
	}
	decoder, err := order.NewDecoder(schema, schema)
	if err != nil {
		return err
	}
	y := &yardstick{
		consumers:      env("CONSUMER_GROUP", "yardstick"),
		processed:      env("PROCESSED_TOPIC", "orders-processed"),
		dlq:            env("DLQ_TOPIC", "orders-dlq"),
		state:          env("STATE_TOPIC", "orders-state"),
		commitInterval: interval,
		decoder:        decoder,
		simulator:      order.Simulator{Rate: rate, Mode: order.Sticky, Seed: 1},
		parts:          map[int32]*partition{},
	}
	y.promise = func(_ *kgo.Record, err error) {
		if err != nil {
			y.failed.Store(&err)
		}
	}
	y.group, err = kgo.NewGroupTransactSession(
		kgo.SeedBrokers(strings.Split(env("KAFKA_BROKERS", "localhost:9092"), ",")...),
		kgo.TransactionalID(y.consumers),
		kgo.ConsumerGroup(y.consumers),
		kgo.ConsumeTopics(env("ORDERS_TOPIC", "orders")),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.RecordPartitioner(partitioner{state: y.state, rest: kgo.StickyKeyPartitioner(nil)}),
		kgo.MaxBufferedRecords(100_000),
	)
	if err != nil {
		return err
	}
	defer y.group.Close()
	for ctx.Err() == nil {
		if err := y.cycle(ctx); err != nil {
			return err
		}
	}
	return y.commit()
}

// cycle does one of: end a transaction, or work on what is due and on what was polled.
func (y *yardstick) cycle(ctx context.Context) error {
	now := time.Now()
	if !y.began.IsZero() && now.Sub(y.began) >= y.commitInterval {
		return y.commit()
	}
	if err := y.retry(now); err != nil {
		return err
	}
	until := now.Add(time.Minute)
	if !y.began.IsZero() {
		until = y.began.Add(y.commitInterval)
	}
	for i := range y.retries {
		if w := y.retries[i].first(); w != nil && w.due.Before(until) {
			until = w.due
		}
	}
	pollCtx, cancel := context.WithDeadline(ctx, until)
	fetches := y.group.PollRecords(pollCtx, batchSize)
	cancel()
	var err error
	fetches.EachError(func(topic string, partition int32, e error) {
		if !errors.Is(e, context.DeadlineExceeded) && !errors.Is(e, context.Canceled) {
			err = fmt.Errorf("fetching %s/%d: %w", topic, partition, e)
		}
	})
	if n := fetches.NumRecords(); n > 0 && err == nil {
		if err = y.begin(now); err != nil {
			return err
		}
		y.out.reserve(n)
	}
	fetches.EachRecord(func(rec *kgo.Record) {
		if err == nil {
			err = y.process(now, waiting{rec: rec})
		}
	})
	return err
}

// retry works on the orders whose wait is over.
func (y *yardstick) retry(now time.Time) error {
	for i := range y.retries {
		for w := y.retries[i].first(); w != nil && !w.due.After(now); w = y.retries[i].first() {
			y.retries[i].pop()
			if err := y.begin(now); err != nil {
				return err
			}
			y.part(w.rec).changed[w.rec.Offset] = nil
			if err := y.process(now, *w); err != nil {
				return err
			}
		}
	}
	return nil
}

func (y *yardstick) begin(now time.Time) error {
	if !y.began.IsZero() {
		return nil
	}
	y.began = now
	return y.group.Begin()
}

func (y *yardstick) part(rec *kgo.Record) *partition {
	p := y.parts[rec.Partition]
	if p == nil {
		p = &partition{number: rec.Partition, aggregates: map[string]*group{}, changed: map[int64]*waiting{}}
		y.parts[rec.Partition] = p
	}
	return p
}

// process gives an order its outcome: processed, dead letter, or another wait.
func (y *yardstick) process(now time.Time, w waiting) error {
	p := y.part(w.rec)
	o, err := y.check(w)
	if err != nil {
		w.err = err
		w.attempts = append(w.attempts, now)
		if retry := len(w.attempts) - 1; retry < len(delays) && transient(err) {
			w.due = now.Add(delays[retry])
			y.retries[retry].push(&w)
			p.changed[w.rec.Offset] = &w
			return nil
		}
		y.produce(y.deadLetter(&w))
		return nil
	}
	g := p.aggregates[o.Product]
	if g == nil {
		g = &group{}
		p.aggregates[o.Product] = g
	}
	g.dirty = true
	if err := g.AddFloat(o.Price); err != nil {
		return err
	}
	y.produce(y.out.record(y.processed, w.rec, o))
	return nil
}

func (y *yardstick) produce(rec *kgo.Record) {
	y.group.Produce(context.Background(), rec, y.promise)
}

// commit ends the open transaction with the state that it changed.
func (y *yardstick) commit() error {
	if y.began.IsZero() {
		return nil
	}
	for _, p := range y.parts {
		y.produceState(p)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := y.group.Client().Flush(ctx); err != nil {
		return err
	}
	if err := y.failed.Load(); err != nil {
		return fmt.Errorf("producing: %w", *err)
	}
	committed, err := y.group.End(ctx, kgo.TryCommit)
	if err == nil && !committed {
		err = errors.New("the group was rebalancing")
	}
	y.began = time.Time{}
	return err
}

// partitioner puts state records into the partition that they name.
type partitioner struct {
	state string
	rest  kgo.Partitioner
}

func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	if topic == p.state {
		return kgo.ManualPartitioner().ForTopic(topic)
	}
	return p.rest.ForTopic(topic)
}
