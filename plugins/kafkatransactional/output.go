package kafkatransactional

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/fields"
	"github.com/orderflow/orderflow/internal/rendezvous"
	"github.com/orderflow/orderflow/internal/session"
)

const (
	fieldTopic           = "topic"
	fieldKey             = "key"
	fieldPartitioner     = "partitioner"
	fieldPartition       = "partition"
	fieldHeaders         = "headers"
	fieldMetadata        = "metadata"
	fieldOriginalHeaders = "original_headers"
	fieldCompression     = "compression"
	fieldOutcome         = "outcome"
	fieldWhenRefused     = "when_refused"

	outcomeProcessed  = "processed"
	outcomeDeadLetter = "dead_letter"
	refusedFail       = "fail"
	refusedWait       = "wait"
)

func outputSpec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Beta().
		Categories("Services").
		Summary("Writes messages to Kafka in the transaction of the stream's `kafka_transactional` input.").
		Description("Returns as soon as the client has taken the records: they are delivered, or the transaction aborts and everything is read again. What a topic would refuse (no such topic, a record larger than its max.message.bytes, no key where it is compacted) is refused before it is produced, for that message alone, so that a `fallback` can route it.").
		Field(service.NewInterpolatedStringField(fieldTopic).
			Description("The topic to write to. It cannot be one that the input reads, or its state topic, and outputs with different outcomes need different topics.").Example("orders-processed")).
		Field(service.NewInterpolatedStringField(fieldKey).
			Description("The record's key. Without it the key of the record that the message came from is kept as it was: a null key stays null.").
			Optional().Example("${! this.orderId }")).
		Field(service.NewStringAnnotatedEnumField(fieldPartitioner, map[string]string{
			"murmur2_hash": "Kafka's default: a hash of the key; records without a key stick to one partition for a batch.",
			"round_robin":  "All partitions in turn.",
			"least_backup": "The partition with the fewest buffered records.",
			"manual":       "The one that the field partition gives.",
		}).Description("How a partition is chosen. One stream has one partitioner.").Default("murmur2_hash").Advanced()).
		Field(service.NewInterpolatedStringField(fieldPartition).
			Description("The partition to write to, with `partitioner: manual`.").Optional().Advanced()).
		Field(service.NewInterpolatedStringMapField(fieldHeaders).
			Description("Headers to add. They replace original headers of the same name.").
			Default(map[string]any{}).
			Example(map[string]any{"origin": "${! @kafka_topic }/${! @kafka_partition }/${! @kafka_offset }"})).
		Field(service.NewMetadataFilterField(fieldMetadata).
			Description("Which metadata becomes headers. A value that the record already had as its only or last header of that name leaves the original headers as they are.").
			Optional()).
		Field(service.NewBoolField(fieldOriginalHeaders).
			Description("Whether the headers of the record that the message came from are written again: in their order, repeated names repeated, values byte for byte. With `outcome: dead_letter`, headers of an older failure, in whatever dialect, are left out where the metadata tells of a new one.").
			Default(false)).
		Field(service.NewStringEnumField(fieldCompression, "snappy", "lz4", "gzip", "zstd", "none").
			Description("How batches are compressed. One stream has one compression.").Default("snappy").Advanced()).
		Field(service.NewStringAnnotatedEnumField(fieldOutcome, map[string]string{
			outcomeProcessed:  "The message counts: its contributions enter the aggregates.",
			outcomeDeadLetter: "The message failed: its contributions are forgotten.",
		}).Description("What it means for a message to be written here.").Default(outcomeProcessed)).
		Field(service.NewStringAnnotatedEnumField(fieldWhenRefused, map[string]string{
			refusedFail: "The message's write fails, for a `fallback` to handle.",
			refusedWait: "The message waits in the state topic and is tried again, after 1 s at first and 60 s at most; it is counted and logged as undeliverable.",
		}).Description("What happens to a message that the topic would refuse.").Default(refusedFail)).
		Field(service.NewOutputMaxInFlightField())
}

type output struct {
	topic           *service.InterpolatedString
	key             *service.InterpolatedString
	partition       *service.InterpolatedString
	headers         []header
	metadata        *service.MetadataFilter
	originalHeaders bool
	deadLetter      bool
	waitIfRefused   bool

	log           *service.Logger
	undeliverable *service.MetricCounter
	logged        atomic.Int64 // when an undeliverable order was last logged, Unix seconds
}

type header struct {
	name  string
	value template
}

func newOutput(pc *service.ParsedConfig, res *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
	out, maxInFlight, err := parseOutput(pc, res)
	return out, service.BatchPolicy{}, maxInFlight, err
}

func parseOutput(pc *service.ParsedConfig, res *service.Resources) (*output, int, error) {
	h, ok := rendezvous.Find[*hub](res)
	if !ok {
		return nil, 0, errors.New("output kafka_transactional needs an input kafka_transactional in the same stream: it writes in that input's transaction")
	}
	o := &output{log: res.Logger(), undeliverable: res.Metrics().NewCounter("orderflow_kafka_transactional_undeliverable_total")}
	var err error
	if o.topic, err = pc.FieldInterpolatedString(fieldTopic); err != nil {
		return nil, 0, fmt.Errorf("field %s: %w", fieldTopic, err)
	}
	if pc.Contains(fieldKey) {
		if o.key, err = pc.FieldInterpolatedString(fieldKey); err != nil {
			return nil, 0, fmt.Errorf("field %s: %w", fieldKey, err)
		}
	}
	if pc.Contains(fieldPartition) {
		if o.partition, err = pc.FieldInterpolatedString(fieldPartition); err != nil {
			return nil, 0, fmt.Errorf("field %s: %w", fieldPartition, err)
		}
	}
	if o.headers, err = parseHeaders(pc); err != nil {
		return nil, 0, fmt.Errorf("field %s: %w", fieldHeaders, err)
	}
	if pc.Contains(fieldMetadata) {
		filter, err := pc.FieldMetadataFilter(fieldMetadata)
		if err != nil {
			return nil, 0, fmt.Errorf("field %s: %w", fieldMetadata, err)
		}
		if !filter.IsEmpty() { // an empty one lets nothing pass, but walks all to find out
			o.metadata = filter
		}
	}
	f := fields.Of(pc)
	o.originalHeaders = f.Bool(fieldOriginalHeaders)
	partitioner, compression := f.Text(fieldPartitioner), f.Text(fieldCompression)
	o.deadLetter = f.Text(fieldOutcome) == outcomeDeadLetter
	o.waitIfRefused = f.Text(fieldWhenRefused) == refusedWait
	if err := f.Err(); err != nil {
		return nil, 0, err
	}
	if (partitioner == "manual") != (o.partition != nil) {
		return nil, 0, fmt.Errorf("field %s: is needed with %s manual, and only then", fieldPartition, fieldPartitioner)
	}
	topic, static := o.topic.Static()
	if !static {
		topic = ""
	}
	if err := h.add(topic, o.deadLetter, partitioner, compression); err != nil {
		return nil, 0, err
	}
	maxInFlight, err := pc.FieldMaxInFlight()
	return o, maxInFlight, err
}

func parseHeaders(pc *service.ParsedConfig) ([]header, error) {
	values, err := pc.FieldInterpolatedStringMap(fieldHeaders)
	if err != nil {
		return nil, err
	}
	texts, err := pc.FieldStringMap(fieldHeaders)
	if err != nil {
		return nil, err
	}
	var headers []header
	for _, name := range slices.Sorted(maps.Keys(values)) {
		headers = append(headers, header{name, newTemplate(texts[name], values[name])})
	}
	return headers, nil
}

// Connect does nothing: the client is the input's.
func (o *output) Connect(context.Context) error { return nil }

// Close does nothing.
func (o *output) Close(context.Context) error { return nil }

var errForeign = errors.New("the message does not come from the stream's kafka_transactional input")

// WriteBatch hands the messages to the client. Those that their topic would refuse fail, or
// wait, each for itself.
func (o *output) WriteBatch(ctx context.Context, msgs service.MessageBatch) error {
	var batchErr *service.BatchError
	s := newSlab(len(msgs), len(o.headers))
	for i, msg := range msgs {
		err := o.write(ctx, msg, s)
		switch {
		case err == nil:
		case isRefused(err) || errors.Is(err, errForeign):
			if batchErr == nil {
				batchErr = service.NewBatchError(msgs, err)
			}
			batchErr.Failed(i, err)
		default:
			// Some of the batch may be produced already, and a fallback would write it again.
			return o.doomed(msg, err)
		}
	}
	if batchErr != nil {
		return batchErr
	}
	return nil
}

func (o *output) write(ctx context.Context, msg *service.Message, s *slab) error {
	place, ok := session.PlaceOf(msg.MetaGetImmut)
	if !ok {
		return errForeign
	}
	found, ok := session.Of(msg.Context(), place)
	if !ok {
		if session.Carried(msg.Context()) {
			return nil // its transaction is over, see client.write
		}
		return errForeign
	}
	ord := found.(*order)
	rec, err := o.record(msg, ord.rec, s)
	if err != nil {
		return o.refuse(ord, &errRefused{err.Error()})
	}
	c := ord.batch.client
	if err := c.limits.check(ctx, rec); err != nil {
		if !isRefused(err) {
			return err
		}
		return o.refuse(ord, err)
	}
	return c.write(ctx, ord, rec, o.deadLetter)
}

// refuse fails the write of one message, or lets its order wait because nobody takes it, longer
// each time.
func (o *output) refuse(ord *order, reason error) error {
	if !o.waitIfRefused {
		return reason
	}
	o.undeliverable.Incr(1)
	ord.batch.mu.Lock()
	defer ord.batch.mu.Unlock()
	delay := min(time.Second<<min(ord.refused, 10), time.Minute)
	ord.refused++
	// One a second is enough to see it: with the topic missing, each order would be logged.
	if now := time.Now().Unix(); o.logged.Swap(now) != now {
		o.log.With("origin", fmt.Sprintf("%s/%d/%d", ord.rec.Topic, ord.rec.Partition, ord.rec.Offset), "next_try", delay.String()).
			Errorf("Undeliverable, it waits: %v", reason)
	}
	ord.wait, ord.due = true, time.Now().Add(delay)
	return nil
}

// doomed makes the transaction of a message end with an abort, and returns err.
func (o *output) doomed(msg *service.Message, err error) error {
	if carrier, ok := msg.Context().Value(session.Key).(*order); ok {
		c := carrier.batch.client
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.txn == carrier.batch.txn {
			c.doom(fmt.Errorf("writing: %w", err))
		}
	}
	return err
}

// write produces rec in the transaction of the order. If that is over, or will be aborted, it
// does nothing: nobody waits for the answer any more, the order is handed out again, and an
// error would only make a retry around the output try for ever.
func (c *client) write(ctx context.Context, ord *order, rec *kgo.Record, deadLetter bool) error {
	c.writing.RLock()
	defer c.writing.RUnlock()
	c.mu.Lock()
	over := c.closed || c.txn != ord.batch.txn || c.txn.doomed != nil
	c.mu.Unlock()
	if over {
		return nil
	}
	ord.batch.mu.Lock()
	ord.produced++
	ord.deadLettered = ord.deadLettered || deadLetter
	ord.batch.mu.Unlock()
	c.produce(ctx, rec)
	return nil
}

var _ service.BatchOutput = (*output)(nil)
