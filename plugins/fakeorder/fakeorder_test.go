package fakeorder

import (
	"sync"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/order"
)

func query(t *testing.T, e *bloblang.Executor) map[string]any {
	t.Helper()
	v, err := e.Query(nil)
	require.NoError(t, err)
	return v.(map[string]any)
}

func TestTheFirstOrdersOfSeedOne(t *testing.T) {
	e, err := bloblang.Parse(`root = fake_order()`)
	require.NoError(t, err)
	for _, want := range []order.Order{
		{ID: "order-000001-000001", Product: "Noise-Cancelling Headphones", Price: 52.77},
		{ID: "order-000001-000002", Product: "USB-C Dock", Price: 21.36},
		{ID: "order-000001-000003", Product: "Webcam", Price: 276.62},
	} {
		require.Equal(t, want.Map(), query(t, e))
	}
}

// The classic run of the demo: rate 0.15, both seeds 1. The figures are part of the product's
// promise (10-15 % in the DLQ, average 100-500), so a change of ids or of the hash shows here.
func TestTheClassicRun(t *testing.T) {
	g := newGenerator(1, catalog)
	s := order.Simulator{Rate: 0.15, Mode: order.Sticky, Seed: 1}
	failed, sum := 0, 0.0
	for n := 1; n <= 100; n++ {
		o, err := order.FromStructured(g.next())
		require.NoError(t, err)
		require.NoError(t, order.Validate(o, 1_000_000))
		if s.Fails(o.ID, 1) {
			failed++
		}
		sum += o.Price
		switch n {
		case 50:
			require.Equal(t, 7, failed)
		case 100:
			require.Equal(t, 13, failed)
		}
		if n >= 50 {
			require.GreaterOrEqual(t, float64(failed)/float64(n), 0.10)
			require.LessOrEqual(t, float64(failed)/float64(n), 0.15)
			require.InDelta(t, 250, sum/float64(n), 50)
		}
	}
}

func TestOrdersDependOnSeedAndPositionOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64Range(1, 1<<32).Draw(t, "seed")
		one, two := newGenerator(seed, catalog), newGenerator(seed, catalog)
		seen := map[any]bool{}
		for range rapid.IntRange(1, 200).Draw(t, "n") {
			o := one.next()
			require.Equal(t, o, two.next())
			require.False(t, seen[o["orderId"]], "ids are unique")
			seen[o["orderId"]] = true
			price := o["price"].(float64)
			require.True(t, price >= 10 && price <= 490)
			require.Equal(t, float64(int(price*100+0.5))/100, price, "two decimals")
		}
	})
}

func TestManyCallersShareOneStream(t *testing.T) {
	g, want := newGenerator(7, catalog), newGenerator(7, catalog)
	var mu sync.Mutex
	got := map[any]any{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				o := g.next()
				mu.Lock()
				got[o["orderId"]] = o["price"]
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, got, 800)
	for range 800 {
		o := want.next()
		require.Equal(t, o["price"], got[o["orderId"]])
	}
}

func TestArguments(t *testing.T) {
	e, err := bloblang.Parse(`root = fake_order(seed: 42, products: ["Tea"])`)
	require.NoError(t, err)
	o := query(t, e)
	require.Equal(t, "order-000042-000001", o["orderId"])
	require.Equal(t, "Tea", o["product"])

	// Each mapping begins anew, and seed 0 is another one each time.
	again, err := bloblang.Parse(`root = fake_order(seed: 42, products: ["Tea"])`)
	require.NoError(t, err)
	require.Equal(t, o, query(t, again))
	a, err := bloblang.Parse(`root = [fake_order(seed: 0).orderId, fake_order(seed: 0).orderId]`)
	require.NoError(t, err)
	ids, err := a.Query(nil)
	require.NoError(t, err)
	require.NotEqual(t, ids.([]any)[0], ids.([]any)[1])

	for mapping, want := range map[string]string{
		`root = fake_order(seed: -1)`:               "argument seed: -1 is not allowed, must be 0 or more",
		`root = fake_order(products: [])`:           "argument products: must be a list of at least one string",
		`root = fake_order(products: "Tea")`:        "argument products: must be a list of at least one string",
		`root = fake_order(products: ["Tea", 5])`:   `argument products: item 2 is "5", must be a string that is not blank`,
		`root = fake_order(products: ["Tea", " "])`: `argument products: item 2 is " ", must be a string that is not blank`,
		`root = fake_order(seed: "one")`:            "seed",
	} {
		_, err := bloblang.Parse(mapping)
		require.ErrorContains(t, err, want, mapping)
	}
}

func BenchmarkFakeOrder(b *testing.B) {
	g := newGenerator(1, catalog)
	b.ReportAllocs()
	for b.Loop() {
		g.next()
	}
}
