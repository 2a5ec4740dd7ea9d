// Package fakeorder provides the Bloblang function fake_order, which makes one random but seeded
// order per call.
//
// Each place in a mapping where it is written has a stream of its own, which begins when the
// mapping is parsed. It may be called by many goroutines.
package fakeorder

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/bloblang"

	"github.com/orderflow/orderflow/internal/order"
)

const (
	name          = "fake_order"
	paramSeed     = "seed"
	paramProducts = "products"
)

func init() {
	bloblang.MustRegisterFunctionV2(name, spec(), newFunction)
}

func spec() *bloblang.PluginSpec {
	return bloblang.NewPluginSpec().
		Beta().
		Impure(). // each call gives another order, so it must never be worked out ahead
		Category("Fake Data Generation").
		Description("Makes a random order: an object with `orderId`, `product` and `price` (two decimals, 10 to 490). With the same seed the orders are the same, one after the other. The order ids hold the seed and count up, as in `order-000001-000042`. Write the seed and the products as they are (an environment variable in the YAML is fine): an argument that is worked out for each message begins a new stream for each message.").
		Param(bloblang.NewInt64Param(paramSeed).
			Description("Which orders to make: 1 or more. With 0 they differ with each run.").
			Default(int64(1))).
		Param(bloblang.NewAnyParam(paramProducts).
			Description("The names of the products, a list of strings. By default eight of a computer shop.").
			Optional()).
		ExampleNotTested("The first order of seed 1.", `root = fake_order(seed: 1)`,
			[2]string{`{}`, `{"orderId":"order-000001-000001","price":52.77,"product":"Noise-Cancelling Headphones"}`}).
		ExampleNotTested("Other products, and other orders with each run.", `root = fake_order(seed: 0, products: ["Tea", "Coffee"])`,
			[2]string{`{}`, `{"orderId":"order-2839471102-000001","price":97.2,"product":"Tea"}`})
}

func newFunction(args *bloblang.ParsedParams) (bloblang.Function, error) {
	seed, err := args.GetInt64(paramSeed)
	if err != nil {
		return nil, err
	}
	if seed < 0 {
		return nil, fmt.Errorf("argument %s: %d is not allowed, must be 0 or more", paramSeed, seed)
	}
	if seed == 0 {
		seed = int64(rand.Uint32()) + 1
	}
	products, err := productsFrom(args)
	if err != nil {
		return nil, err
	}
	g := newGenerator(uint64(seed), products)
	return func() (any, error) { return g.next(), nil }, nil
}

func productsFrom(args *bloblang.ParsedParams) ([]string, error) {
	v, err := args.Get(paramProducts)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return catalog, nil
	}
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil, fmt.Errorf("argument %s: must be a list of at least one string", paramProducts)
	}
	products := make([]string, len(list))
	for i, v := range list {
		if products[i], ok = v.(string); !ok || strings.TrimSpace(products[i]) == "" {
			return nil, fmt.Errorf("argument %s: item %d is %s, must be a string that is not blank", paramProducts, i+1, order.Clip(fmt.Sprint(v)))
		}
	}
	return products, nil
}
