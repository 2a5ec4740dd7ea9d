// Package orderdecode provides the processor order_decode, which turns Avro orders into documents.
//
// It is a batch processor that keeps number and order of the messages; a message that cannot be
// decoded gets an error and spoils no other. One instance may be used by many goroutines: all it
// changes is behind the registry client's lock.
package orderdecode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/internal/order/adapter"
	"github.com/orderflow/orderflow/internal/order/registry"
	"github.com/orderflow/orderflow/internal/session"
)

const (
	name         = "order_decode"
	metricPrefix = "orderflow_order_decode"

	// metaOriginal is where the value is kept as it came in, for the dead letter.
	metaOriginal = "original_value"

	// mostWait bounds how long the registry may hold up a batch of a session, whose transaction
	// waits for it. What has no answer by then waits in the session.
	mostWait = time.Second
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
		Summary("Decodes Avro orders into documents such as `{\"orderId\":\"A-1\",\"product\":\"Pen\",\"price\":1.5}`.").
		Description(`
Values are plain Avro binary, written with the schema of `+"`schema_path`"+`, or, if there is a registry, also the Confluent wire format (a zero byte, the schema id in four bytes, the record). Both may be mixed in one topic, since each message is looked at by itself: it is framed if it begins with a zero byte, the registry knows the id, and the rest is a record of that schema; all else is plain. A schema id or GUID in the metadata `+"`__value_schema_id`"+` (a header of newer serializers of Confluent) comes before all that, and is refused where there is no registry. The schema that an order was written with is resolved to that of `+"`schema_path`"+`, so older and newer versions can be read, and those of others: nullable fields, decimals, other names and further fields.

While the registry cannot be reached, messages wait. They do not fail. Those of the input `+"`kafka_transactional`"+` wait in its state topic, and hold up no other: they get an error that `+"`backoff_retry` or `dead_letter`"+`, whichever comes first, takes for that. So do those whose schema alone the registry does not answer for. With other inputs all wait here while the registry cannot be reached; where it does not answer for one schema, its messages get that error, and wait if this processor is among the children of a `+"`backoff_retry`"+`.

The value as it came in is kept in the metadata `+"`original_value`"+` (as bytes, null for a null value), whether the message could be decoded or not; not of messages of the input `+"`kafka_transactional`"+`, which keeps it itself. Messages that already carry an error are left alone.

A message that is no order gets a permanent error with one of these codes: `+"`null_value`, `empty_value`, `decode_failed`, `schema_header_invalid`, `registry_missing`, `schema_incompatible`, `schema_refused`"+`; or, where a field is null or of another type, that of the field, such as `+"`price_missing`"+`. An error that may pass, and is for `+"`backoff_retry`"+` to try again, has the code `+"`unknown_schema_id` or `schema_refused`"+`.`).
		Field(adapter.SchemaField()).
		Field(adapter.RegistryField()).
		Example("From a file", "Plain Avro binary by the schema file.", `
pipeline:
  processors:
    - order_decode:
        schema_path: config/schemas/order.avsc
`).
		Example("With a registry", "Plain and framed orders in one topic.", `
pipeline:
  processors:
    - order_decode:
        registry:
          url: http://localhost:8081
          basic_auth:
            enabled: true
            username: orderflow
            password: ${REGISTRY_PASSWORD:}
`)
}

func fromParsed(conf *service.ParsedConfig, mgr *service.Resources) (*processor, error) {
	reader, err := adapter.Schema(conf, mgr)
	if err != nil {
		return nil, err
	}
	client, err := adapter.Registry(conf, mgr, reader, metricPrefix)
	if err != nil {
		return nil, err
	}
	if client == nil {
		return newProcessor(reader, nil, nil, mgr)
	}
	return newProcessor(reader, client.With(registry.ForRegistry), client.With(registry.Briefly), mgr)
}

type metrics struct {
	decoded *service.MetricCounter
	failed  *service.MetricCounter
}

type processor struct {
	stage string
	// waiting waits for a registry that cannot be reached. brief does so for no longer than a batch
	// may, and is for messages that can wait elsewhere.
	waiting, brief order.ValueDecoder
	metrics        metrics
	log            *service.Logger
	warnOnce       sync.Once
}

func newProcessor(reader *order.Schema, waiting, brief order.Decoders, mgr *service.Resources) (*processor, error) {
	dec, err := order.NewDecoder(reader, reader)
	if err != nil {
		return nil, fmt.Errorf("field schema_path: %w", err)
	}
	return &processor{
		stage:   cmp.Or(mgr.Label(), "order_decode"),
		waiting: order.ValueDecoder{Plain: dec, Registry: waiting},
		brief:   order.ValueDecoder{Plain: dec, Registry: brief},
		log:     mgr.Logger(),
		metrics: metrics{
			decoded: mgr.Metrics().NewCounter(metricPrefix+"_decoded_total", "framing"),
			failed:  mgr.Metrics().NewCounter(metricPrefix+"_failed_total", "code"),
		},
	}, nil
}

// ProcessBatch decodes each message in place.
func (p *processor) ProcessBatch(ctx context.Context, batch service.MessageBatch) ([]service.MessageBatch, error) {
	decoded := map[order.Framing]int64{}
	briefly := ctx
	if p.brief.Registry != nil {
		var cancel context.CancelFunc
		briefly, cancel = context.WithTimeout(ctx, mostWait)
		defer cancel()
	}
	for _, msg := range batch {
		if msg.GetError() != nil {
			continue
		}
		value, err := msg.AsBytes()
		if err != nil {
			msg.SetError(failure.At(p.stage, err))
			continue
		}
		decode, until := &p.brief, briefly
		if !session.Carried(msg.Context()) { // else the session has it: no need to pay for it twice
			msg.MetaSetMut(metaOriginal, value)
			decode, until = &p.waiting, ctx
		}
		o, framing, err := decode.Decode(until, value, schemaID(msg))
		if err != nil {
			p.failed(err)
			msg.SetError(failure.At(p.stage, err))
			continue
		}
		msg.SetStructuredMut(o.Map())
		decoded[framing]++
	}
	for framing, n := range decoded {
		p.metrics.decoded.Incr(n, string(framing))
	}
	return []service.MessageBatch{batch}, nil
}

// failed counts a failure. A context that ended is neither the order's fault nor its outcome.
func (p *processor) failed(err error) {
	if _, told := errors.AsType[*failure.Error](err); !told {
		return
	}
	_, code := failure.Of(err)
	p.metrics.failed.Incr(1, code)
	if code == order.CodeRegistryMissing {
		p.warnOnce.Do(func() {
			p.log.Warnf("Orders come in the Confluent wire format, and there is no registry to decode them by: set registry.url. They fail with the code %s. This is logged once and counted in %s_failed_total. The first: %v", code, metricPrefix, err)
		})
	}
}

// schemaID returns the value of the header that names a schema, nil if the record has none. Inputs
// make text of headers, whose bytes that keeps.
func schemaID(msg *service.Message) []byte {
	switch v, ok := msg.MetaGetMut(order.SchemaIDHeader); v := v.(type) {
	case nil:
		if !ok {
			return nil
		}
		return []byte{}
	case string:
		return append([]byte{}, v...)
	case []byte:
		return append([]byte{}, v...)
	default: // somebody's own metadata
		return fmt.Append([]byte{}, v)
	}
}

// Close has nothing to do: connections to the registry are let go when idle.
func (*processor) Close(context.Context) error { return nil }

var _ service.BatchProcessor = (*processor)(nil)
