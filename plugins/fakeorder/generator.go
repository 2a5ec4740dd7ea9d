package fakeorder

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// catalog is what is sold when the mapping names no products.
var catalog = []string{
	"Mechanical Keyboard", "Wireless Mouse", "USB-C Dock", "Noise-Cancelling Headphones",
	"Webcam", "External SSD", "Monitor Arm", "Desk Lamp",
}

// The cheapest and the dearest order, in cents. The mean is 250.
const (
	minCents = 10_00
	maxCents = 490_00
)

// generator makes one stream of orders. It is safe for concurrent use.
type generator struct {
	seed     uint64
	products []string

	mu  sync.Mutex
	rnd *rand.Rand
	n   int
}

func newGenerator(seed uint64, products []string) *generator {
	return &generator{seed: seed, products: products, rnd: rand.New(rand.NewPCG(seed, 0))}
}

// next returns the next order. Id, product and price are drawn together, so that the n-th order
// of a seed is the same however many callers there are.
func (g *generator) next() map[string]any {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n++
	return map[string]any{
		"orderId": fmt.Sprintf("order-%06d-%06d", g.seed, g.n),
		"product": g.products[g.rnd.IntN(len(g.products))],
		"price":   float64(minCents+g.rnd.IntN(maxCents-minCents+1)) / 100,
	}
}
