// Package orderencode provides the processor order_encode, which turns documents into Avro orders.
//
// It is a batch processor that keeps number and order of the messages; a message that is no order
// gets an error, keeps its content and spoils no other. One instance may be used by many
// goroutines: all it changes is behind the registry client's lock.
package orderencode

import (
	"cmp"
	"context"
	"fmt"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/fields"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/order/adapter"
)

const (
	name         = "order_encode"
	metricPrefix = "orderflow_order_encode"

	fieldFraming  = "framing"
	fieldSubject  = "subject"
	fieldRegister = "register"

	framingAuto      = "auto"
	framingPlain     = "plain"
	framingConfluent = "confluent"
)

func init() {
	service.MustRegisterBatchProcessor(name, spec(), func(conf *service.ParsedConfig, mgr *service.Resources) (service.BatchProcessor, error) {
		return fromParsed(conf, mgr)
	})
}

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Beta().
		Categories("Parsing").
		Summary("Encodes documents such as `{\"orderId\":\"A-1\",\"product\":\"Pen\",\"price\":1.5}` as Avro orders.").
		Description(`
The result is plain Avro binary by the schema of `+"`schema_path`"+`. With a registry it is the Confluent wire format: a zero byte, the schema's id in four bytes, the record. The id is that of the same schema under `+"`subject`"+`.

While the registry cannot be reached, or gives no answer on the subject, messages wait. They do not fail.

Fields that an order does not have are left out. Messages that already carry an error are left alone. A message that is no order keeps its content and gets a permanent error that names the field and its value, with one of these codes: `+"`not_an_order`, `order_id_missing`, `order_id_invalid`, `product_missing`, `product_invalid`, `price_missing`, `price_invalid`, `price_not_finite`, `schema_refused`, `schema_not_registered`"+`. Business rules are not checked here; see `+"`order_validate`"+`.`).
		Field(adapter.SchemaField()).
		Field(service.NewStringEnumField(fieldFraming, framingAuto, framingPlain, framingConfluent).
			Description("What goes before the record: nothing (`plain`), the Confluent wire format's head (`confluent`, needs a registry), or the latter exactly when there is a registry (`auto`).").
			Default(framingAuto)).
		Field(service.NewStringField(fieldSubject).
			Description("The registry's name for the schema; by convention the topic with `-value`.").
			Default("orders-value")).
		Field(service.NewBoolField(fieldRegister).
			Description("Whether to register the schema if the subject does not have it. If not, such messages fail with `schema_not_registered`.").
			Default(true)).
		Field(adapter.RegistryField()).
		Example("From a file", "Plain Avro binary by the schema file.", `
pipeline:
  processors:
    - order_encode:
        schema_path: config/schemas/order.avsc
`).
		Example("With a registry", "The Confluent wire format, by a schema that was registered before.", `
pipeline:
  processors:
    - order_encode:
        subject: orders-value
        register: false
        registry:
          url: http://localhost:8081
`)
}

func fromParsed(conf *service.ParsedConfig, mgr *service.Resources) (*processor, error) {
	schema, err := adapter.Schema(conf, mgr)
	if err != nil {
		return nil, err
	}
	client, err := adapter.Registry(conf, mgr, schema, metricPrefix)
	if err != nil {
		return nil, err
	}
	f := fields.Of(conf)
	framing, subject, register := f.Optional(fieldFraming), f.Optional(fieldSubject), f.Bool(fieldRegister)
	if err := f.Err(); err != nil {
		return nil, err
	}

	var framed bool
	switch framing {
	case framingAuto:
		framed = client != nil
	case framingPlain:
	case framingConfluent:
		framed = true
	default:
		return nil, fmt.Errorf("field %s: %q is not allowed, must be %s, %s or %s", fieldFraming, framing, framingAuto, framingPlain, framingConfluent)
	}
	var schemaID func(context.Context) (uint32, error)
	if framed {
		if client == nil {
			return nil, fmt.Errorf("field %s: %q needs a registry, but registry.url is empty", fieldFraming, framing)
		}
		if subject == "" {
			return nil, fmt.Errorf("field %s: must not be empty when there is a registry", fieldSubject)
		}
		schemaID = func(ctx context.Context) (uint32, error) { return client.ID(ctx, subject, schema, register) }
	}
	return newProcessor(schema, schemaID, mgr)
}

type metrics struct {
	encoded *service.MetricCounter
	failed  *service.MetricCounter
}

type processor struct {
	encoder  *order.Encoder
	schemaID func(context.Context) (uint32, error) // nil when not framed; blocks while it cannot know
	metrics  metrics
	stage    string
}

func newProcessor(schema *order.Schema, schemaID func(context.Context) (uint32, error), mgr *service.Resources) (*processor, error) {
	enc, err := order.NewEncoder(schema)
	if err != nil {
		return nil, fmt.Errorf("field schema_path: %w", err)
	}
	return &processor{
		stage:   cmp.Or(mgr.Label(), "order_encode"),
		encoder: enc, schemaID: schemaID,
		metrics: metrics{
			encoded: mgr.Metrics().NewCounter(metricPrefix + "_encoded_total"),
			failed:  mgr.Metrics().NewCounter(metricPrefix+"_failed_total", "code"),
		},
	}, nil
}

// ProcessBatch encodes each message in place.
func (p *processor) ProcessBatch(ctx context.Context, batch service.MessageBatch) ([]service.MessageBatch, error) {
	var encoded int64
	for _, msg := range batch {
		if msg.GetError() != nil {
			continue
		}
		value, err := p.encode(ctx, msg)
		if err != nil {
			// A context that ended is neither the order's fault nor its outcome.
			if class, code := failure.Of(err); class == failure.Permanent {
				p.metrics.failed.Incr(1, code)
			}
			msg.SetError(failure.At(p.stage, fmt.Errorf("encoding order: %w", err)))
			continue
		}
		msg.SetBytes(value)
		msg.MetaDelete(order.SchemaIDHeader) // it told of the bytes that were decoded
		encoded++
	}
	if encoded > 0 {
		p.metrics.encoded.Incr(encoded)
	}
	return []service.MessageBatch{batch}, nil
}

func (p *processor) encode(ctx context.Context, msg *service.Message) ([]byte, error) {
	doc, err := msg.AsStructured()
	if err != nil {
		return nil, failure.NewPermanent(order.CodeNotAnOrder, fmt.Errorf("reading JSON: %w", err))
	}
	o, err := order.FromStructured(doc)
	if err != nil {
		return nil, err
	}
	const fixed = 5 + 8 + 2*3 // frame, price, lengths
	value := make([]byte, 0, fixed+len(o.ID)+len(o.Product))
	if p.schemaID != nil {
		id, err := p.schemaID(ctx)
		if err != nil {
			return nil, err
		}
		value = order.AppendFrame(value, id)
	}
	return p.encoder.Append(value, o)
}

// Close has nothing to do: connections to the registry are let go when idle.
func (*processor) Close(context.Context) error { return nil }

var _ service.BatchProcessor = (*processor)(nil)
