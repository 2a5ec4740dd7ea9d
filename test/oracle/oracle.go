// Package oracle judges a run by what a reader of committed records finds on the broker, and by
// nothing else: each order has exactly one outcome, a processed record or a dead letter; nothing
// of it was altered; no order was tried too often or too early; and the processed orders add up
// to an exact sum. It shares no code with what it judges, nor the way it computes.
//
// An Oracle remembers what it has read, so it can be asked again and again while a run goes on:
// 32 bytes or so for each order. It is not safe for concurrent use.
package oracle

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Config says where to look and what was promised.
type Config struct {
	Orders, Processed, DeadLetters string // topics; empty: those of the classic run

	// IgnoreHeaders is for pipelines on the host's own Kafka parts, which make one header of those
	// that repeat and add one with the key.
	IgnoreHeaders bool

	// Waits are those before each retry; nil: 1 s, 2 s and 4 s.
	Waits []time.Duration
}

// Oracle reads three topics.
type Oracle struct {
	config Config
	opts   []kgo.Opt
	seed   maphash.Seed

	next   map[string]map[int32]int64 // the next offset to read
	orders map[origin]*order
	report Report
	overs  [][]time.Duration // how much longer each retry waited than it had to
	sums   map[string]*aggregate
}

// origin is what a record is.
type origin struct {
	topic     string
	partition int32
	offset    int64
}

func (o origin) String() string { return fmt.Sprintf("%s/%d/%d", o.topic, o.partition, o.offset) }

// order is what is remembered of an order: hashes, since a run can have a million of them.
type order struct {
	key, value, headers uint64
	outcomes            int
}

// New returns an oracle that connects with the given options (brokers, dialer, TLS).
func New(c Config, opts ...kgo.Opt) *Oracle {
	orDefault := func(topic *string, name string) {
		if *topic == "" {
			*topic = name
		}
	}
	orDefault(&c.Orders, "orders")
	orDefault(&c.Processed, "orders-processed")
	orDefault(&c.DeadLetters, "orders-dlq")
	if c.Waits == nil {
		c.Waits = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}
	}
	return &Oracle{
		config: c,
		opts:   opts,
		seed:   maphash.MakeSeed(),
		next:   map[string]map[int32]int64{},
		orders: map[origin]*order{},
		report: Report{Codes: map[string]int{}, Classes: map[string]int{}},
		overs:  make([][]time.Duration, len(c.Waits)),
		sums:   map[string]*aggregate{},
	}
}

// Read reads what was committed since the last time and reports on all of it.
func (o *Oracle) Read(ctx context.Context) (Report, error) {
	client, err := kgo.NewClient(o.opts...)
	if err != nil {
		return Report{}, fmt.Errorf("making a Kafka client: %w", err)
	}
	defer client.Close()

	// The ends of the outcomes' topics are taken first and the orders are read first: so each
	// outcome that is read has its order read before it, on a live system too.
	admin := kadm.NewClient(client)
	outcomes, err := committedEnds(ctx, admin, o.config.Processed, o.config.DeadLetters)
	if err != nil {
		return Report{}, err
	}
	orders, err := committedEnds(ctx, admin, o.config.Orders)
	if err != nil {
		return Report{}, err
	}
	if err := o.readTo(ctx, orders); err != nil {
		return Report{}, err
	}
	if err := o.readTo(ctx, outcomes); err != nil {
		return Report{}, err
	}
	return o.snapshot(), nil
}

// Await reads again and again until the report is as wanted. When the context ends first, it
// returns the last report with an error. A broker that does not answer for a while is no error.
func (o *Oracle) Await(ctx context.Context, wanted func(Report) bool) (Report, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	last := o.snapshot()
	var refused error // of the last read that the end of the context did not cut short
	for {
		report, err := o.Read(ctx)
		if err == nil {
			last = report
			if wanted(report) {
				return report, nil
			}
		}
		if ctx.Err() == nil {
			refused = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, errors.Join(fmt.Errorf("waiting for outcomes: %w; %v", ctx.Err(), last), refused)
		}
	}
}

// AwaitOutcomes waits until there are that many orders, and each has an outcome.
func (o *Oracle) AwaitOutcomes(ctx context.Context, orders int) (Report, error) {
	return o.Await(ctx, func(r Report) bool { return r.Orders >= orders && r.Missing == 0 })
}

// committedEnds returns the last stable offsets of topics.
func committedEnds(ctx context.Context, admin *kadm.Client, topics ...string) (kadm.ListedOffsets, error) {
	ends, err := admin.ListCommittedOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("asking for the ends of %s: %w", strings.Join(topics, ", "), err)
	}
	return ends, nil
}

// readTo reads committed records up to the given ends.
func (o *Oracle) readTo(ctx context.Context, ends kadm.ListedOffsets) error {
	from := map[string]map[int32]kgo.Offset{}
	left := 0
	ends.Each(func(end kadm.ListedOffset) {
		if o.next[end.Topic] == nil {
			o.next[end.Topic] = map[int32]int64{}
		}
		if o.next[end.Topic][end.Partition] >= end.Offset {
			return
		}
		if from[end.Topic] == nil {
			from[end.Topic] = map[int32]kgo.Offset{}
		}
		from[end.Topic][end.Partition] = kgo.NewOffset().At(o.next[end.Topic][end.Partition])
		left++
	})
	if left == 0 {
		return nil
	}
	client, err := kgo.NewClient(append(slices.Clone(o.opts),
		kgo.ConsumePartitions(from),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// A partition can end in the markers of transactions; without them its end is never seen.
		kgo.KeepControlRecords(),
	)...)
	if err != nil {
		return fmt.Errorf("making a Kafka client: %w", err)
	}
	defer client.Close()

	for left > 0 {
		fetches := client.PollFetches(ctx)
		for _, failed := range fetches.Errors() {
			return fmt.Errorf("reading %s/%d: %w", failed.Topic, failed.Partition, failed.Err)
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			end := ends[p.Topic][p.Partition].Offset
			next := o.next[p.Topic]
			for _, r := range p.Records {
				if r.Offset >= end || r.Offset < next[p.Partition] {
					continue
				}
				if !r.Attrs.IsControl() {
					o.take(r)
				}
				next[p.Partition] = r.Offset + 1
				if r.Offset+1 == end {
					left--
				}
			}
		})
	}
	return nil
}

// take counts one record.
func (o *Oracle) take(r *kgo.Record) {
	switch r.Topic {
	case o.config.Orders:
		o.report.Orders++
		o.report.Missing++
		o.orders[origin{r.Topic, r.Partition, r.Offset}] = &order{
			key:     o.hash(r.Key),
			value:   o.hash(r.Value),
			headers: o.hashHeaders(r.Headers),
		}
	case o.config.Processed:
		o.report.Processed++
		o.takeProcessed(r)
	case o.config.DeadLetters:
		o.report.DeadLettered++
		o.takeDeadLetter(r)
	}
}

// outcome finds the order that a record is the outcome of. It returns nil when there is none, or
// when the order had an outcome already.
func (o *Oracle) outcome(r *kgo.Record, of origin) *order {
	known, ok := o.orders[of]
	if !ok {
		o.find(&o.report.Strangers, "%s is the outcome of %s, which is no order", at(r), of)
		return nil
	}
	known.outcomes++
	if known.outcomes > 1 {
		o.find(&o.report.Duplicates, "%s is outcome no. %d of %s", at(r), known.outcomes, of)
		return nil
	}
	o.report.Missing--
	if known.key != o.hash(r.Key) {
		o.find(&o.report.Altered, "%s has not the key of %s", at(r), of)
	}
	return known
}

func at(r *kgo.Record) origin { return origin{r.Topic, r.Partition, r.Offset} }

// hash tells null from empty.
func (o *Oracle) hash(b []byte) uint64 {
	if b == nil {
		return 0
	}
	return maphash.Bytes(o.seed, b)
}

// hashHeaders is over the headers that an outcome must repeat, in their order: all but those that
// a dead letter sets itself.
func (o *Oracle) hashHeaders(headers []kgo.RecordHeader) uint64 {
	var h maphash.Hash
	h.SetSeed(o.seed)
	for _, header := range headers {
		if !strings.HasPrefix(header.Key, "dlq_") {
			maphash.WriteComparable(&h, header.Key)
			maphash.WriteComparable(&h, o.hash(header.Value))
		}
	}
	return h.Sum64()
}
