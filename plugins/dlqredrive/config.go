package dlqredrive

import (
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/connection"
	"github.com/orderflow/orderflow/internal/fields"
)

// Fields of the input.
const (
	fieldTopic          = "topic"
	fieldBatchSize      = "batch_size"
	fieldCommitInterval = "commit_interval"
	fieldTimeout        = "transaction_timeout"
	fieldDryRun         = "dry_run"
)

// Fields of the processor.
const (
	fieldIDs    = "ids"
	fieldWhere  = "where"
	fieldMap    = "map"
	fieldDecode = "decode"
	fieldEncode = "encode"
	fieldRate   = "rate"
	fieldLimit  = "limit"
)

// Fields of the output.
const (
	fieldTargets      = "targets"
	fieldTarget       = "target"
	fieldAllowOther   = "allow_other_target"
	fieldMaxRedrives  = "max_redrives"
	fieldParkingTopic = "parking_topic"
	fieldStateTopic   = "state_topic"
)

const example = `
input:
  dlq_redrive:
    seed_brokers: [ localhost:9092 ]
    topic: orders-dlq
pipeline:
  processors:
    - dlq_redrive:
        where: '@dlq_code == "price_not_positive"'
        map: root.price = this.price.abs()
        decode:
          - order_decode: {}
        encode:
          - order_validate: {}
          - order_encode: {}
output:
  dlq_redrive:
    max_redrives: 3
`

func inputSpec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Beta().
		Categories("Services").
		Summary("Reads the open letters of a dead-letter topic, once, so that their orders can be sent again in transactions that mark them as redriven.").
		Description("Needs a processor and an output `dlq_redrive` in the same pipeline. It reads what the topic holds when it begins, leaves out what is marked, and ends. Each batch is one transaction, which sends the orders and marks their letters; so each order is sent once, whatever happens in between. Marks and an audit record are in a compacted topic beside the dead-letter topic, with `-redrives` behind its name. One redrive of a topic runs at a time: a second one takes over, and the first ends with an error. Messages carry the headers of the letter, the metadata of the `redpanda` input, and, whatever dialect the letter is in, the native `dlq_*` names.").
		Field(connection.BrokersField()).
		Field(service.NewStringField(fieldTopic).
			Description("The dead-letter topic.").Example("orders-dlq")).
		Field(service.NewBoolField(fieldDryRun).
			Description("Whether to write nothing at all: no order, no mark, no topic.").Default(false)).
		Field(service.NewIntField(fieldBatchSize).
			Description("The most letters that one transaction takes.").Default(500).Advanced()).
		Field(service.NewDurationField(fieldCommitInterval).
			Description("How long a batch may be held up by `rate`. What would have to wait for longer is left for the next.").
			Default("500ms").Advanced()).
		Field(service.NewDurationField(fieldTimeout).
			Description("After this time the broker aborts the transaction of a redrive that is gone. A new one ends it at once.").
			Default("1m").Advanced()).
		Fields(connection.Fields()...).
		Example("Mend one kind of failure", "Orders whose price was negative are mended, validated, encoded and sent to the topic that they came from.", example)
}

func processorSpec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Beta().
		Categories("Utility").
		Summary("Chooses the dead letters to be sent again, and mends their orders.").
		Description("`this` is the decoded order, null where it cannot be decoded, and `@` has the letter's headers. A letter that is not chosen is dropped and stays open. One that is chosen leaves with its original content, or with that of its mended order. What cannot be mended, is not valid afterwards, or has nowhere to go is dropped, counted as refused with its reason, and stays open. A letter on which `where` fails is not chosen; how many there were is told at the end. Without an input `dlq_redrive` in the stream it does the same to the messages of any input.").
		Field(service.NewStringListField(fieldIDs).
			Description("Choose only these: values of `dlq_id`, or places in the dead-letter topic such as `orders-dlq/0/17`. Empty: all.").
			Default([]any{}).Example([]string{"orders/3/17"})).
		Field(service.NewBloblangField(fieldWhere).
			Description("Choose only letters for which this query is true.").
			Default("true").Example(`@dlq_code == "price_not_positive" && this.price > -100`)).
		Field(service.NewStringField(fieldMap).
			Description("A mapping that mends the decoded order: `root` begins as that order, and `this` stays what it was. An order for which it fails, or that it deletes, is not sent. Empty: orders are sent byte for byte as they were.").
			Default("").Example("root.price = this.price.abs()")).
		Field(service.NewProcessorListField(fieldDecode).
			Description("Processors that decode the letter for `where` and `map`. Where one fails, `this` is null.").
			Default([]any{})).
		Field(service.NewProcessorListField(fieldEncode).
			Description("Processors that a mended order goes through: checks, and the encoding. Where one fails, the order is not sent.").
			Default([]any{})).
		Field(service.NewFloatField(fieldRate).
			Description("The most orders to send in a second, evenly spaced; 0 for no bound.").
			Default(0.0).Example(50)).
		Field(service.NewIntField(fieldLimit).
			Description("The most orders to send; 0 for no bound.").Default(0).Example(100)).
		Example("Mend one kind of failure", "Orders whose price was negative are mended, validated, encoded and sent to the topic that they came from.", example)
}

func outputSpec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Beta().
		Categories("Services").
		Summary("Sends the orders of dead letters again, in the transaction of the input `dlq_redrive` of the same stream, and marks the letters.").
		Description("An order is sent with the letter's key and with the headers that it once had, without those of its failure, and with `dlq_id` and `dlq_redrives`. A letter that was redriven too often goes to the parking topic as it is.").
		Field(service.NewStringListField(fieldTargets).
			Description("The topics that orders are read from. A letter that names another one as its origin is refused: it says what its writer wanted. An item may hold several topics, joined by commas.").
			Default([]any{"orders"}).Example([]string{"orders", "orders-eu"})).
		Field(service.NewStringField(fieldTarget).
			Description("The one topic to send to, whether or not it is one of `targets`. Empty: the one that each letter came from.").
			Default("").Example("orders")).
		Field(service.NewBoolField(fieldAllowOther).
			Description("Whether `target` may be another topic than the one that a letter came from.").Default(false)).
		Field(service.NewIntField(fieldMaxRedrives).
			Description("How often an order may be sent again. After that its letter goes to the parking topic.").Default(3)).
		Field(service.NewStringField(fieldParkingTopic).
			Description("The parking topic. Empty: the dead-letter topic with `-parking` behind its name.").
			Default("").Example("orders-dlq-parking")).
		Field(service.NewStringField(fieldStateTopic).
			Description("The state topic of the pipeline that reads the orders, to which nothing is ever sent. Empty: not known.").
			Default("orders-state").Example("orders-state").Advanced())
}

// maxBatchSize keeps a batch, with its marks, below what the client buffers: the output must not
// wait for deliveries.
const maxBatchSize = 4000

// config is what the input was told.
type config struct {
	opts           []kgo.Opt
	brokers        []string
	topic          string
	batchSize      int
	commitInterval time.Duration
	timeout        time.Duration
	dryRun         bool
}

func parseConfig(pc *service.ParsedConfig, extra []kgo.Opt) (*config, error) {
	f := fields.Of(pc)
	c := &config{
		topic:          f.Text(fieldTopic),
		batchSize:      f.Number(fieldBatchSize, 1, maxBatchSize),
		commitInterval: f.Duration(fieldCommitInterval, 10*time.Millisecond, time.Minute),
		timeout:        f.Duration(fieldTimeout, time.Second, 15*time.Minute),
		dryRun:         f.Bool(fieldDryRun),
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	var err error
	if c.opts, c.brokers, err = connection.Options(pc); err != nil {
		return nil, err
	}
	c.opts = append(c.opts, kgo.MetadataMinAge(250*time.Millisecond))
	c.opts = append(c.opts, extra...)
	return c, nil
}
