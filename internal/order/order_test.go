package order_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
	"github.com/orderflow/orderflow/test/hostile"
)

// requireFailure holds err to be a permanent failure with this code and text.
func requireFailure(t *testing.T, err error, code, text string) {
	t.Helper()
	class, got := failure.Of(err)
	require.Equal(t, failure.Permanent, class)
	require.Equal(t, code, got)
	require.EqualError(t, err, text)
}

func TestRules(t *testing.T) {
	good := order.Order{ID: "A", Product: "B", Price: 9.99}
	require.NoError(t, order.Validate(good, 1000))
	for name, c := range map[string]struct {
		o          order.Order
		code, text string
	}{
		"no id":          {order.Order{Product: "B", Price: 1}, "order_id_missing", "field orderId: must not be empty or blank"},
		"blank id":       {order.Order{ID: " \t\u00a0", Product: "B", Price: 1}, "order_id_missing", "field orderId: must not be empty or blank"},
		"no product":     {order.Order{ID: "A", Price: 1}, "product_missing", "field product: must not be empty or blank"},
		"blank product":  {order.Order{ID: "A", Product: "  ", Price: 1}, "product_missing", "field product: must not be empty or blank"},
		"free":           {order.Order{ID: "A", Product: "B"}, "price_not_positive", "field price: 0 is not above 0"},
		"negative":       {order.Order{ID: "A", Product: "B", Price: -5.5}, "price_not_positive", "field price: -5.5 is not above 0"},
		"no number":      {order.Order{ID: "A", Product: "B", Price: math.NaN()}, "price_not_finite", "field price: NaN is no finite number"},
		"infinite":       {order.Order{ID: "A", Product: "B", Price: math.Inf(1)}, "price_not_finite", "field price: +Inf is no finite number"},
		"minus infinity": {order.Order{ID: "A", Product: "B", Price: math.Inf(-1)}, "price_not_finite", "field price: -Inf is no finite number"},
		"too dear":       {order.Order{ID: "A", Product: "B", Price: 1000.01}, "price_above_maximum", "field price: 1000.01 is above the maximum of 1000"},
	} {
		t.Run(name, func(t *testing.T) { requireFailure(t, order.Validate(c.o, 1000), c.code, c.text) })
	}
	require.NoError(t, order.Validate(order.Order{ID: "A", Product: "B", Price: 1000}, 1000), "the maximum itself is allowed")
	require.NoError(t, order.Validate(order.Order{ID: "A", Product: "B", Price: math.SmallestNonzeroFloat64}, 1000))
}

func TestFromStructured(t *testing.T) {
	for _, price := range []any{7.0, json.Number("7"), json.Number("7e0"), int64(7), 7, uint64(7), float32(7), int32(7), uint32(7)} {
		o, err := order.FromStructured(map[string]any{"orderId": "A", "product": "B", "price": price, "more": true})
		require.NoError(t, err, "%T", price)
		require.Equal(t, order.Order{ID: "A", Product: "B", Price: 7}, o)
	}
	o := order.Order{ID: "A", Product: "", Price: 1.25}
	back, err := order.FromStructured(o.Map())
	require.NoError(t, err)
	require.Equal(t, o, back)

	doc := func(field string, v any) map[string]any {
		m := map[string]any{"orderId": "A", "product": "B", "price": 1.5}
		if m[field] = v; v == "absent" {
			delete(m, field)
		}
		return m
	}
	for name, c := range map[string]struct {
		in         any
		code, text string
	}{
		"null":            {nil, "not_an_order", "the message is null, an order is an object"},
		"an array":        {[]any{}, "not_an_order", "the message is an array, an order is an object"},
		"a string":        {"x", "not_an_order", "the message is a string, an order is an object"},
		"bytes":           {[]byte("x"), "not_an_order", "the message is bytes, an order is an object"},
		"no id":           {doc("orderId", "absent"), "order_id_missing", "field orderId: is missing"},
		"null id":         {doc("orderId", nil), "order_id_missing", "field orderId: is missing"},
		"id a number":     {doc("orderId", json.Number("17")), "order_id_invalid", "field orderId: 17 is a number, not a string"},
		"id an object":    {doc("orderId", map[string]any{}), "order_id_invalid", "field orderId: the value is an object, not a string"},
		"no product":      {doc("product", "absent"), "product_missing", "field product: is missing"},
		"product a bool":  {doc("product", true), "product_invalid", "field product: true is a boolean, not a string"},
		"product bytes":   {doc("product", []byte("Pen")), "product_invalid", `field product: "Pen" is bytes, not a string`},
		"no price":        {doc("price", "absent"), "price_missing", "field price: is missing"},
		"price a string":  {doc("price", "abc"), "price_invalid", `field price: "abc" is a string, not a number`},
		"price a list":    {doc("price", []any{1}), "price_invalid", "field price: the value is an array, not a number"},
		"price a struct":  {doc("price", struct{}{}), "price_invalid", "field price: the value is a struct {}, not a number"},
		"price no number": {doc("price", json.Number("1x")), "price_invalid", `field price: "1x" is no number`},
		"price too large": {doc("price", json.Number("1e999")), "price_not_finite", `field price: "1e999" is too large`},
		"price a huge text": {doc("price", strings.Repeat("9", 1<<20)), "price_invalid",
			`field price: "` + strings.Repeat("9", 64) + `"… (1048576 bytes) is a string, not a number`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := order.FromStructured(c.in)
			requireFailure(t, err, c.code, c.text)
		})
	}
}

func TestClipKeepsWholeCharacters(t *testing.T) {
	require.Equal(t, `"a\xff"`, order.Clip("a\xff"))
	require.Equal(t, `"`+strings.Repeat("x", 63)+`"… (66 bytes)`, order.Clip(strings.Repeat("x", 63)+"é1"))
}

func TestClippedTextIsSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { hostile.Check(t, order.Clip(hostile.Text().Draw(t, "text"))) })
}

func TestPricesInErrorsAreWrittenAsPeopleDo(t *testing.T) {
	for price, want := range map[float64]string{
		1000000.01:  "field price: 1000000.01 is above the maximum of 1000000",
		12345678.5:  "field price: 12345678.5 is above the maximum of 1000000",
		1e308:       "field price: 1e308 is above the maximum of 1000000",
		-0.00001:    "field price: -0.00001 is not above 0",
		-2000000:    "field price: -2000000 is not above 0",
		math.Inf(1): "field price: +Inf is no finite number",
	} {
		require.EqualError(t, order.Validate(order.Order{ID: "A", Product: "B", Price: price}, 1_000_000), want)
	}
}

func TestStickyFailuresFailAtEveryAttempt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := order.Simulator{Rate: rapid.Float64Range(0, 1).Draw(t, "rate"), Mode: order.Sticky, Seed: rapid.Int64().Draw(t, "seed"), Recover: 2}
		id := rapid.String().Draw(t, "id")
		first := s.Fails(id, 1)
		for attempt := 2; attempt < 9; attempt++ {
			require.Equal(t, first, s.Fails(id, attempt))
		}
		// A transient simulator strikes the same orders, and then lets go of them.
		passing := s
		passing.Mode = order.Transient
		require.Equal(t, first, passing.Fails(id, 1))
		require.Equal(t, first, passing.Fails(id, 2))
		require.False(t, passing.Fails(id, 3))
		// A higher rate strikes those of a lower one, too.
		if first {
			more := s
			more.Rate = min(1, s.Rate*1.5)
			require.True(t, more.Fails(id, 1))
		}
	})
}

func TestTheShareOfFailuresIsTheRate(t *testing.T) {
	const n = 20_000
	for _, seed := range []int64{0, 1, 2, -1, math.MaxInt64, math.MinInt64} {
		for _, rate := range []float64{0, 0.01, 0.15, 0.5, 1} {
			s := order.Simulator{Rate: rate, Mode: order.Sticky, Seed: seed}
			failed := 0
			for i := range n {
				if s.Fails(fmt.Sprintf("order-%06d", i), 1) {
					failed++
				}
			}
			// Five standard deviations; exact at 0 and 1.
			require.InDelta(t, rate*n, float64(failed), 5*math.Sqrt(rate*(1-rate)*n), "seed %d rate %v", seed, rate)
		}
	}
}

func TestAnotherSeedStrikesOtherOrders(t *testing.T) {
	one, two := order.Simulator{Rate: 0.5, Seed: 1}, order.Simulator{Rate: 0.5, Seed: 2}
	same := 0
	for i := range 10_000 {
		if id := fmt.Sprint(i); one.Fails(id, 1) == two.Fails(id, 1) {
			same++
		}
	}
	require.InDelta(t, 5000, same, 250)
}

func TestFailuresWrapTheirCause(t *testing.T) {
	err := order.Validate(order.Order{}, 1)
	var f *failure.Error
	require.True(t, errors.As(fmt.Errorf("validating order: %w", err), &f))
}

func BenchmarkFails(b *testing.B) {
	s := order.Simulator{Rate: 0.15, Mode: order.Sticky, Seed: 1}
	b.ReportAllocs()
	for b.Loop() {
		s.Fails("order-000001-000042", 1)
	}
}
