// Package ordervalidate provides the processor order_validate, which checks the rules that an
// order must keep, and can simulate failures.
//
// An order that fails gets an error; its content stays as it was. Verdicts depend on the order,
// the attempt and the config alone. It has no state, so one instance may be used by many
// goroutines.
//
// It works on single messages: backoff_retry runs it on one at a time, and the host makes a
// batch of one dearer than a message.
package ordervalidate

import (
	"cmp"
	"context"
	"fmt"
	"math"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/orderflow/orderflow/internal/counter"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
)

const (
	name         = "order_validate"
	metricPrefix = "orderflow_order_validate"

	fieldMaxPrice     = "max_price"
	fieldSimulate     = "simulate"
	fieldRate         = "rate"
	fieldMode         = "mode"
	fieldSeed         = "seed"
	fieldRecoverAfter = "recover_after"

	// metaAttempt is the number of the attempt, set by backoff_retry.
	metaAttempt = "attempt"
)

func init() {
	service.MustRegisterProcessor(name, spec(), func(conf *service.ParsedConfig, mgr *service.Resources) (service.Processor, error) {
		return fromParsed(conf, mgr)
	})
}

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Beta().
		Categories("Utility").
		Summary("Checks that orders keep the rules, and can simulate failures.").
		Description(`
An order that breaks a rule gets a permanent error, which no retry can cure, with the code of the rule:

- `+"`not_an_order`"+`: the message is no JSON object.
- `+"`order_id_missing`, `product_missing`"+`: the field is missing, empty or blank.
- `+"`order_id_invalid`, `product_invalid`"+`: the field is no string.
- `+"`price_missing`, `price_invalid`"+`: the field is missing, or no number.
- `+"`price_not_finite`, `price_not_positive`, `price_above_maximum`"+`: the price is NaN or infinite, not above 0, or above `+"`max_price`"+`.

A simulated failure is transient; its code is `+"`simulated_failure`"+` and its text `+"`Simulated processing failure`"+`. Which orders it strikes depends on the seed and the order id alone, so it is the same on every instance and after a restart. The number of the attempt is the metadata `+"`attempt`"+` that `+"`backoff_retry`"+` sets; without it, it is 1. A header of that name has no effect.

The content of messages is not changed. Messages that already carry an error are left alone.`).
		Field(service.NewFloatField(fieldMaxPrice).
			Description("The highest price that is allowed.").
			Default(1000000.0).
			Example(5000.0)).
		Field(service.NewObjectField(fieldSimulate,
			service.NewFloatField(fieldRate).
				Description("The share of orders that fail, from 0 (none) to 1 (all).").
				Default(0.0).
				Example(0.15),
			service.NewStringEnumField(fieldMode, string(order.Sticky), string(order.Transient)).
				Description("Whether an order that fails does so at each attempt (`sticky`), or passes after `recover_after` attempts (`transient`).").
				Default(string(order.Sticky)),
			service.NewIntField(fieldSeed).
				Description("Another seed strikes other orders.").
				Default(1),
			service.NewIntField(fieldRecoverAfter).
				Description("How many attempts fail before an order passes, in mode `transient`.").
				Default(2),
		).Description("Simulated failures, to try out retries and dead letters.")).
		Example("Rules and simulated failures", "15 % of the orders fail at their first two attempts.", `
pipeline:
  processors:
    - order_validate:
        max_price: 5000
        simulate:
          rate: 0.15
          mode: transient
          recover_after: 2
          seed: 1
`)
}

func fromParsed(conf *service.ParsedConfig, mgr *service.Resources) (*processor, error) {
	var j judge
	var err error
	if j.maxPrice, err = conf.FieldFloat(fieldMaxPrice); err != nil {
		return nil, err
	}
	if !(j.maxPrice > 0) || math.IsInf(j.maxPrice, 0) {
		return nil, fmt.Errorf("field %s: %v is not allowed, must be a finite number above 0", fieldMaxPrice, j.maxPrice)
	}

	s := &j.simulator
	if s.Rate, err = conf.FieldFloat(fieldSimulate, fieldRate); err != nil {
		return nil, err
	}
	if !(s.Rate >= 0 && s.Rate <= 1) {
		return nil, fmt.Errorf("field %s.%s: %v is not allowed, must be from 0 to 1", fieldSimulate, fieldRate, s.Rate)
	}
	mode, err := conf.FieldString(fieldSimulate, fieldMode)
	if err != nil {
		return nil, err
	}
	if s.Mode = order.Mode(mode); s.Mode != order.Sticky && s.Mode != order.Transient {
		return nil, fmt.Errorf("field %s.%s: %q is not allowed, must be %s or %s", fieldSimulate, fieldMode, mode, order.Sticky, order.Transient)
	}
	seed, err := conf.FieldInt(fieldSimulate, fieldSeed)
	if err != nil {
		return nil, err
	}
	s.Seed = int64(seed)
	if s.Recover, err = conf.FieldInt(fieldSimulate, fieldRecoverAfter); err != nil {
		return nil, err
	}
	if s.Recover < 1 {
		return nil, fmt.Errorf("field %s.%s: %d is not allowed, must be 1 or more", fieldSimulate, fieldRecoverAfter, s.Recover)
	}
	return newProcessor(j, mgr), nil
}

type metrics struct {
	passed *counter.Counter
	failed *service.MetricCounter
}

type processor struct {
	stage   string
	judge   judge
	metrics metrics
}

func newProcessor(j judge, mgr *service.Resources) *processor {
	passed := mgr.Metrics().NewCounter(metricPrefix + "_passed_total")
	return &processor{stage: cmp.Or(mgr.Label(), "order_validate"), judge: j, metrics: metrics{
		passed: counter.New(func(by int64) { passed.Incr(by) }),
		failed: mgr.Metrics().NewCounter(metricPrefix+"_failed_total", "code"),
	}}
}

// Process fails for a message that breaks a rule.
func (p *processor) Process(_ context.Context, msg *service.Message) (service.MessageBatch, error) {
	if msg.GetError() == nil {
		if err := p.check(msg); err != nil {
			_, code := failure.Of(err)
			p.metrics.failed.Incr(1, code)
			return nil, failure.At(p.stage, err)
		}
		p.metrics.passed.Add(1)
	}
	return service.MessageBatch{msg}, nil
}

func (p *processor) check(msg *service.Message) error {
	doc, err := msg.AsStructured()
	if err != nil {
		return failure.NewPermanent(order.CodeNotAnOrder, fmt.Errorf("validating order: reading JSON: %w", err))
	}
	return p.judge.verdict(doc, func() int { return attempt(msg) })
}

// attempt returns the number of the attempt that this is. Only an int counts: a header is a
// string, so that no producer can pretend.
func attempt(msg *service.Message) int {
	if v, ok := msg.MetaGetImmut(metaAttempt); ok {
		if n, isInt := v.(int); isInt && n > 1 {
			return n
		}
	}
	return 1
}

// Close has nothing to do.
func (*processor) Close(context.Context) error { return nil }

var _ service.Processor = (*processor)(nil)
