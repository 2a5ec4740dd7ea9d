package soak_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/config/schemas"
	"github.com/orderflow/orderflow/internal/order"
)

// pauses are the times between two faults: 5 to 20 s.
func pauses(rnd *rand.Rand) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		for yield(between(rnd, 5*time.Second, 20*time.Second)) {
		}
	}
}

func between(rnd *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rnd.Int64N(int64(most-least)))
}

// fault does one of the things that happen to a consumer in its life, and waits until it is over:
// 30 s at most.
func (s *soak) fault(rnd *rand.Rand) {
	down := between(rnd, 0, 10*time.Second) // both within the session timeout and beyond
	kinds := []struct {
		name   string
		weight int
		strike func()
	}{
		{"victim killed", 4, func() {
			s.victim.watch(0, "")
			s.process.Kill()
			time.Sleep(down)
			s.restart()
		}},
		{"victim frozen", 3, func() {
			require.NoError(s.t, s.process.Freeze())
			time.Sleep(down + 2*time.Second)
			require.NoError(s.t, s.process.Thaw())
		}},
		{"victim stopped", 3, func() {
			s.victim.watch(0, "")
			require.NoError(s.t, s.process.Terminate(20*time.Second))
			time.Sleep(down / 2)
			s.restart()
		}},
		{"broker killed", 1, func() {
			s.cluster.Kill(0)
			time.Sleep(down)
			s.cluster.Start(0)
		}},
		{"broker stopped", 1, func() {
			s.cluster.Stop(0)
			time.Sleep(down)
			s.cluster.Start(0)
		}},
	}
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	n := rnd.IntN(total)
	for _, k := range kinds {
		if n -= k.weight; n < 0 {
			s.faults[k.name]++
			k.strike()
			return
		}
	}
}

// load writes orders at a steady rate. A broker that was away is sent all that is owed.
func load(client *kgo.Client, orders int, begun time.Time) error {
	schema, err := order.ParseSchema(schemas.Order)
	if err != nil {
		return err
	}
	enc, err := order.NewEncoder(schema)
	if err != nil {
		return err
	}
	products := []string{"Pen", "Ink", "Paper", "Desk Lamp"}
	rnd := rand.New(rand.NewPCG(1, 2))
	refused := make(chan error, 1)
	for i := range orders {
		if wait := time.Until(begun.Add(time.Second * time.Duration(i) / rate)); wait > 0 {
			time.Sleep(wait) // paces the load
		}
		o := order.Order{ID: fmt.Sprintf("o-%d", i), Product: products[i%len(products)], Price: float64(rnd.IntN(50000)+1) / 100}
		value, err := enc.Append(nil, o)
		if err != nil {
			return err
		}
		client.Produce(context.Background(), &kgo.Record{Topic: "orders", Key: []byte(o.ID), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case refused <- err:
				default:
				}
			}
		})
	}
	if err := client.Flush(context.Background()); err != nil {
		return err
	}
	select {
	case err := <-refused:
		return err
	default:
		return nil
	}
}
