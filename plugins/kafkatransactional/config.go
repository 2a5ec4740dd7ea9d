package kafkatransactional

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/connection"
	"github.com/orderflow/orderflow/internal/fields"
)

const (
	fieldTopics             = "topics"
	fieldGroup              = "consumer_group"
	fieldStartOffset        = "start_offset"
	fieldStateTopic         = "state_topic"
	fieldInstanceID         = "instance_id"
	fieldCommitInterval     = "commit_interval"
	fieldTransactionTimeout = "transaction_timeout"
	fieldSessionTimeout     = "session_timeout"
	fieldHeartbeatInterval  = "heartbeat_interval"
	fieldRebalanceTimeout   = "rebalance_timeout"
	fieldMaxWaiting         = "max_waiting"
	fieldMaxWaitingBytes    = "max_waiting_bytes"
	fieldMaxBatchBytes      = "max_batch_bytes"
	fieldBatchSize          = "batch_size"
	fieldMaxInFlight        = "max_in_flight"
	fieldMetadataMaxAge     = "metadata_max_age"
	fieldFetchMaxBytes      = "fetch_max_bytes"
	fieldOrdering           = "ordering"
	fieldOnDeadLetter       = "on_dead_letter"
	fieldSkipState          = "skip_unreadable_state"

	startEarliest  = "earliest"
	startLatest    = "latest"
	startCommitted = "committed"

	deadLetterContinue = "continue"
	deadLetterHoldKey  = "hold_key"
)

func inputSpec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Beta().
		Categories("Services").
		Summary("Consumes Kafka topics as a member of a consumer group and puts one transaction around all that happens to what it read: offsets, results, dead letters, waiting retries and aggregates become visible together or not at all.").
		Description("Needs a `kafka_transactional` output in the same pipeline, brokers of version 2.5 or newer, and a compacted state topic with as many partitions as the topics that are read. Whoever reads the results must read committed records only. Each message carries the metadata of the `redpanda` input, and `attempt`: 1, or more when the message waited for a retry.").
		Field(connection.BrokersField()).
		Field(service.NewStringListField(fieldTopics).
			Description("Topics to consume. An item may hold several, joined by commas.").
			Example([]string{"orders"})).
		Field(service.NewStringField(fieldGroup).
			Description("The consumer group. Instances of one group share the partitions.").
			Example("orderflow")).
		Field(service.NewStringField(fieldStateTopic).
			Description("The compacted topic that holds waiting messages and aggregates. Each consumer group needs its own.").
			Example("orders-state")).
		Field(service.NewStringField(fieldInstanceID).
			Description("A name that this instance keeps over restarts, unique in its group. It gives a static group member and a stable transactional id, so that a restarted instance ends its own leftovers at once. Empty: a random transactional id.").
			Default("").Example("consumer-0")).
		Field(service.NewDurationField(fieldCommitInterval).
			Description("How long a transaction stays open, and so how long a result may take to become visible.").
			Default("500ms")).
		Field(service.NewStringEnumField(fieldStartOffset, startEarliest, startLatest, startCommitted).
			Description("Where to begin in a partition for which the group has committed nothing. With `committed` that is an error.").
			Default(startEarliest)).
		Field(service.NewIntField(fieldMaxWaiting).
			Description("How many messages may wait for a retry; at this number fetching pauses until some are resolved. A waiting message takes about 500 bytes of memory plus its own size.").
			Default(100_000)).
		Field(service.NewStringField(fieldMaxWaitingBytes).
			Description("How many bytes the messages that wait, or are in the pipeline, may take in memory; at this number fetching pauses. A waiting message of 64 KiB or more takes next to none: it is read from its topic again when it is due, which has to keep it until then.").
			Default("256MB").Advanced()).
		Field(service.NewStringAnnotatedEnumField(fieldOrdering, map[string]string{
			orderingNone:      "A waiting message delays no other.",
			orderingKey:       "Later messages of the same key and partition wait behind it, so at most one message of a key is in the pipeline at a time. Messages without a key are free. When max_waiting is met, others wait too.",
			orderingPartition: "Later messages of the same partition wait behind it, so at most one message of a partition is in the pipeline at a time.",
		}).Description("Which messages may not overtake one that waits for a retry.").
			Default(orderingNone)).
		Field(service.NewStringAnnotatedEnumField(fieldOnDeadLetter, map[string]string{
			deadLetterContinue: "They go on. At a start it also releases the keys that `hold_key` has blocked before.",
			deadLetterHoldKey:  "They wait in the state topic until the dead letter was sent again (with the headers `dlq_id` and `dlq_redrives` that a redrive sets, to the partition it came from) and ended well, which is to be processed, or dropped by the pipeline. Then they go on in their order. If it dies again they go on waiting. Only with `ordering: key`; messages without a key are not held. Blocked keys and the messages they hold may take half of `max_waiting`; beyond that the keys that take the most are given up, which is logged and counted: their messages go on.",
		}).Description("What happens to later messages of a key of which one ended as a dead letter.").
			Default(deadLetterContinue)).
		Field(service.NewStringField(fieldMaxBatchBytes).
			Description("How large a batch of records on Kafka may be without its compression. One that is larger is not read, since a few bytes on the wire could take all memory: its messages come without key and value, with a permanent error that has the code `batch_too_large`, and the messages behind it go on.").
			Default("64MiB").Advanced()).
		Field(service.NewIntField(fieldBatchSize).
			Description("The most messages in a batch. A slow pipeline is given fewer.").
			Default(1000).Advanced()).
		Field(service.NewIntField(fieldMaxInFlight).
			Description("The most batches that are in the pipeline at once.").
			Default(8).Advanced()).
		Field(service.NewDurationField(fieldSessionTimeout).
			Description("How long the group waits for a heartbeat before it gives this instance's partitions to others.").
			Default("10s")).
		Field(service.NewDurationField(fieldHeartbeatInterval).
			Description("Time between heartbeats; at most a third of `session_timeout`.").
			Default("2s").Advanced()).
		Field(service.NewDurationField(fieldRebalanceTimeout).
			Description("How long members may take to join when the group rebalances.").
			Default("30s").Advanced()).
		Field(service.NewDurationField(fieldTransactionTimeout).
			Description("After this time the broker aborts the transaction of an instance that is gone. Brokers look every 10 seconds. It must be longer than `commit_interval`, and than the pipeline takes for one message: of a pipeline that is slow, a transaction takes on as many messages as fit.").
			Default("10s").Advanced()).
		Field(service.NewDurationField(fieldMetadataMaxAge).
			Description("How often the client looks for new partitions and moved leaders.").
			Default("1m").Advanced()).
		Field(service.NewIntField(fieldFetchMaxBytes).
			Description("The most bytes that the client fetches from one partition at a time.").
			Default(1 << 20).Advanced()).
		Field(service.NewStringListField(fieldSkipState).
			Description("Records of the state topic to do without, as TOPIC/PARTITION/OFFSET, when they cannot be read and nobody is left who could: it is then as if they had not been written. What a compacted log still holds of older state under the same key counts again. A waiting order that is not found any more is lost; `audit` shows it as missing. An item may hold several, joined by commas.").
			Default([]any{}).Example([]string{"orders-state/3/1234"}).Advanced()).
		Fields(connection.Fields()...)
}

// config is what the input was told.
type config struct {
	brokers            []string
	connection         []kgo.Opt
	topics             []string
	group              string
	stateTopic         string
	instanceID         string
	startOffset        string
	ordering           ordering
	commitInterval     time.Duration
	transactionTimeout time.Duration
	sessionTimeout     time.Duration
	heartbeatInterval  time.Duration
	rebalanceTimeout   time.Duration
	metadataMaxAge     time.Duration
	fetchMaxBytes      int
	maxWaiting         int
	maxWaitingBytes    int
	maxBatchBytes      int
	batchSize          int
	maxInFlight        int
	extra              []kgo.Opt
	skipState          []string
	faults             *faults
}

// transactionalID is that of the instance with this name.
func (c *config) transactionalID(instance string) string { return c.group + "-" + instance }

// clientOpts are the options of every client that this input makes.
func (c *config) clientOpts() []kgo.Opt {
	return slices.Concat(c.connection, []kgo.Opt{
		kgo.MetadataMaxAge(c.metadataMaxAge),
		kgo.MetadataMinAge(min(c.metadataMaxAge, 250*time.Millisecond)),
	}, c.extra)
}

func parseConfig(pc *service.ParsedConfig) (*config, error) {
	c := &config{faults: newFaults()}
	f := fields.Of(pc)
	if c.topics = connection.Split(f.List(fieldTopics)); len(c.topics) == 0 {
		f.Fail(fieldTopics, errors.New("is empty"))
	}
	c.group = f.Text(fieldGroup)
	c.stateTopic = f.Text(fieldStateTopic)
	c.instanceID = f.Optional(fieldInstanceID)
	c.startOffset = f.Optional(fieldStartOffset)
	c.ordering.by = f.Text(fieldOrdering)
	c.ordering.holdKeys = f.Text(fieldOnDeadLetter) == deadLetterHoldKey
	c.commitInterval = f.Duration(fieldCommitInterval, 10*time.Millisecond, time.Minute)
	c.transactionTimeout = f.Duration(fieldTransactionTimeout, time.Second, 15*time.Minute)
	c.sessionTimeout = f.Duration(fieldSessionTimeout, time.Second, 30*time.Minute)
	c.heartbeatInterval = f.Duration(fieldHeartbeatInterval, 100*time.Millisecond, 10*time.Minute)
	c.rebalanceTimeout = f.Duration(fieldRebalanceTimeout, time.Second, 30*time.Minute)
	c.metadataMaxAge = f.Duration(fieldMetadataMaxAge, 100*time.Millisecond, time.Hour)
	c.fetchMaxBytes = f.Number(fieldFetchMaxBytes, 1, 1<<30)
	c.maxWaiting = f.Number(fieldMaxWaiting, 1, 100_000_000)
	c.maxWaitingBytes = f.Bytes(fieldMaxWaitingBytes, 1<<20, 1<<40)
	c.maxBatchBytes = f.Bytes(fieldMaxBatchBytes, 1<<10, 1<<30)
	c.batchSize = f.Number(fieldBatchSize, 1, 100_000)
	c.skipState = connection.Split(f.List(fieldSkipState))
	c.maxInFlight = f.Number(fieldMaxInFlight, 1, 10_000)
	if err := f.Err(); err != nil {
		return nil, err
	}
	if c.transactionTimeout <= c.commitInterval {
		return nil, fmt.Errorf("field %s: %s is too short: it must be longer than %s, which is %s", fieldTransactionTimeout, c.transactionTimeout, fieldCommitInterval, c.commitInterval)
	}
	if c.ordering.holdKeys && c.ordering.by != orderingKey {
		return nil, fmt.Errorf("field %s: %s needs %s: %s, not %s", fieldOnDeadLetter, deadLetterHoldKey, fieldOrdering, orderingKey, c.ordering.by)
	}
	if 3*c.heartbeatInterval > c.sessionTimeout {
		// Whoever shortens the session means the heartbeats too.
		c.heartbeatInterval = c.sessionTimeout / 3
	}
	for _, place := range c.skipState {
		topic, number, ok := strings.Cut(place, "/")
		var partition int32
		var offset int64
		if _, err := fmt.Sscanf(number, "%d/%d", &partition, &offset); !ok || err != nil || topic != c.stateTopic || statePlace(topic, partition, offset) != place || partition < 0 || offset < 0 {
			return nil, fmt.Errorf("field %s: %q: want a place in the state topic, such as %s", fieldSkipState, place, statePlace(c.stateTopic, 3, 1234))
		}
	}
	for _, t := range c.topics {
		if t == c.stateTopic {
			return nil, fmt.Errorf("field %s: %q is also one of %s: the state needs a topic of its own", fieldStateTopic, t, fieldTopics)
		}
	}
	var err error
	c.connection, c.brokers, err = connection.Options(pc)
	return c, err
}
