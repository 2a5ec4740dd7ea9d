package ordervalidate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
)

func parse(t testing.TB, yaml string) (*processor, error) {
	t.Helper()
	conf, err := spec().ParseYAML(yaml, nil)
	require.NoError(t, err)
	return fromParsed(conf, service.MockResources())
}

func build(t testing.TB, yaml string) *processor {
	t.Helper()
	p, err := parse(t, yaml)
	require.NoError(t, err)
	return p
}

// run does what the host does with a processor: an error marks the message, which goes on.
func run(t testing.TB, p *processor, msgs ...*service.Message) service.MessageBatch {
	t.Helper()
	for _, msg := range msgs {
		out, err := p.Process(context.Background(), msg)
		if err != nil {
			msg.SetError(err)
			continue
		}
		require.Equal(t, service.MessageBatch{msg}, out)
	}
	return msgs
}

func structured(v any) *service.Message {
	msg := service.NewMessage(nil)
	msg.SetStructuredMut(v)
	return msg
}

func TestEachRuleHasItsCode(t *testing.T) {
	p := build(t, `max_price: 500`)
	for name, c := range map[string]struct {
		msg        *service.Message
		code, text string
	}{
		"a blank id":          {service.NewMessage([]byte(`{"orderId":" ","product":"B","price":1}`)), "order_id_missing", `validating order " ": field orderId: must not be empty or blank`},
		"no product":          {service.NewMessage([]byte(`{"orderId":"A","price":1}`)), "product_missing", `validating order: field product: is missing`},
		"a text as price":     {service.NewMessage([]byte(`{"orderId":"A","product":"B","price":"1"}`)), "price_invalid", `validating order: field price: "1" is a string, not a number`},
		"a price of 0":        {service.NewMessage([]byte(`{"orderId":"A","product":"B","price":0}`)), "price_not_positive", `validating order "A": field price: 0 is not above 0`},
		"a price too high":    {service.NewMessage([]byte(`{"orderId":"A","product":"B","price":500.01}`)), "price_above_maximum", `validating order "A": field price: 500.01 is above the maximum of 500`},
		"a price of NaN":      {structured(order.Order{ID: "A", Product: "B", Price: math.NaN()}.Map()), "price_not_finite", `validating order "A": field price: NaN is no finite number`},
		"a price of infinity": {structured(order.Order{ID: "A", Product: "B", Price: math.Inf(1)}.Map()), "price_not_finite", `validating order "A": field price: +Inf is no finite number`},
		"a list":              {service.NewMessage([]byte(`[]`)), "not_an_order", `validating order: the message is an array, an order is an object`},
		"null":                {service.NewMessage([]byte(`null`)), "not_an_order", `validating order: the message is null, an order is an object`},
		"no JSON":             {service.NewMessage([]byte("\x06A-1")), "not_an_order", `validating order: reading JSON: `},
		"no bytes":            {service.NewMessage(nil), "not_an_order", `validating order: reading JSON: `},
	} {
		t.Run(name, func(t *testing.T) {
			good := service.NewMessage([]byte(`{"orderId":"A","product":"B","price":500}`))
			batch := run(t, p, good, c.msg, good.Copy())
			class, code := failure.Of(batch[1].GetError())
			require.Equal(t, failure.Permanent, class)
			require.Equal(t, c.code, code)
			require.ErrorContains(t, batch[1].GetError(), c.text)
			require.NoError(t, batch[0].GetError(), "others in the batch are untouched")
			require.NoError(t, batch[2].GetError())
		})
	}
}

func TestAnErrorStaysShort(t *testing.T) {
	p := build(t, ``)
	batch := run(t, p, structured(order.Order{ID: strings.Repeat("x", 1<<20), Product: "B"}.Map()))
	require.Less(t, len(batch[0].GetError().Error()), 200)
}

func TestSimulatedFailure(t *testing.T) {
	const (
		sticky    = "max_price: 500\nsimulate: { rate: 0.15, mode: sticky, seed: 1 }"
		transient = "max_price: 500\nsimulate: { rate: 0.15, mode: transient, seed: 1, recover_after: 2 }"
	)
	chosen := order.Simulator{Rate: 0.15, Seed: 1}
	for mode, yaml := range map[string]string{"sticky": sticky, "transient": transient} {
		p := build(t, yaml)
		for attempt := 1; attempt <= 4; attempt++ {
			for i := range 200 {
				id := fmt.Sprintf("order-%03d", i)
				msg := structured(order.Order{ID: id, Product: "B", Price: 5}.Map())
				if attempt > 1 {
					msg.MetaSetMut("attempt", attempt)
				}
				err := run(t, p, msg)[0].GetError()
				if !chosen.Fails(id, 1) || mode == "transient" && attempt > 2 {
					require.NoError(t, err)
					continue
				}
				require.EqualError(t, err, "Simulated processing failure")
				class, code := failure.Of(err)
				require.Equal(t, failure.Transient, class)
				require.Equal(t, "simulated_failure", code)
			}
		}
	}
}

func TestABrokenRuleGoesBeforeASimulatedFailure(t *testing.T) {
	p := build(t, "simulate: { rate: 1 }")
	_, code := failure.Of(run(t, p, structured(order.Order{ID: "A", Product: "B", Price: -1}.Map()))[0].GetError())
	require.Equal(t, "price_not_positive", code)
}

func TestOnlyAnIntIsAnAttempt(t *testing.T) {
	p := build(t, "simulate: { rate: 1, mode: transient, recover_after: 1 }")
	for value, fails := range map[any]bool{2: false, "2": true, int64(2): true, 2.0: true, 1: true, 0: true, -2: true, nil: true} {
		msg := structured(order.Order{ID: "A", Product: "B", Price: 1}.Map())
		msg.MetaSetMut("attempt", value)
		require.Equal(t, fails, run(t, p, msg)[0].GetError() != nil, "%T %v", value, value)
	}
}

func TestAnEarlierErrorStays(t *testing.T) {
	msg := service.NewMessage([]byte("broken"))
	first := errors.New("decoding order: broken")
	msg.SetError(first)
	require.Equal(t, first, run(t, build(t, ""), msg)[0].GetError())
}

func TestTheMessageIsNotChanged(t *testing.T) {
	p := build(t, "simulate: { rate: 0.5 }")
	for _, content := range []string{`{ "orderId":"A", "product":"B", "price":1.50 }`, `{"price":0}`, `[`} {
		msg := service.NewMessage([]byte(content))
		out, err := run(t, p, msg)[0].AsBytes()
		require.NoError(t, err)
		require.Equal(t, content, string(out))
	}
	require.NoError(t, p.Close(context.Background()))
}

func TestWrongConfig(t *testing.T) {
	for yaml, want := range map[string]string{
		`max_price: 0`:                   "field max_price: 0 is not allowed, must be a finite number above 0",
		`max_price: -1.5`:                "field max_price: -1.5 is not allowed, must be a finite number above 0",
		`max_price: .nan`:                "field max_price: NaN is not allowed, must be a finite number above 0",
		`max_price: .inf`:                "field max_price: +Inf is not allowed, must be a finite number above 0",
		`simulate: { rate: 1.1 }`:        "field simulate.rate: 1.1 is not allowed, must be from 0 to 1",
		`simulate: { rate: -0.1 }`:       "field simulate.rate: -0.1 is not allowed, must be from 0 to 1",
		`simulate: { rate: .nan }`:       "field simulate.rate: NaN is not allowed, must be from 0 to 1",
		`simulate: { mode: random }`:     `field simulate.mode: "random" is not allowed, must be sticky or transient`,
		`simulate: { recover_after: 0 }`: "field simulate.recover_after: 0 is not allowed, must be 1 or more",
	} {
		_, err := parse(t, yaml)
		require.EqualError(t, err, want)
	}
	_, err := spec().ParseYAML(`simulate: { rate: often }`, nil) // such as a wrong FAILURE_RATE
	require.ErrorContains(t, err, "field 'simulate': field 'rate': ")
	require.ErrorContains(t, err, "often")
}

func BenchmarkValidate(b *testing.B) {
	const n = 1000
	for name, yaml := range map[string]string{"rules": "", "with simulation": "simulate: { rate: 0.15 }"} {
		b.Run(name, func(b *testing.B) {
			p := build(b, yaml)
			batch := make(service.MessageBatch, n)
			for i := range batch {
				batch[i] = structured(order.Order{ID: fmt.Sprintf("order-000001-%06d", i), Product: "Desk Lamp", Price: 129.99}.Map())
			}
			b.ReportAllocs()
			for b.Loop() {
				for _, msg := range batch {
					_, _ = p.Process(context.Background(), msg)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/msg")
		})
	}
}
