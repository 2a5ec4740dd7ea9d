package ordervalidate

import (
	"errors"
	"fmt"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
)

// judge is what decides on an order. It is a pure function of its settings and arguments.
type judge struct {
	maxPrice  float64
	simulator order.Simulator
}

// verdict returns nil for an order that passes, a permanent error for one that breaks a rule,
// and a transient one where a failure is simulated. attempt is asked only when it matters.
func (j judge) verdict(doc any, attempt func() int) error {
	o, err := order.FromStructured(doc)
	if err != nil {
		return fmt.Errorf("validating order: %w", err)
	}
	if err := order.Validate(o, j.maxPrice); err != nil {
		return fmt.Errorf("validating order %s: %w", order.Clip(o.ID), err)
	}
	// The first attempt fails if any does.
	if j.simulator.Fails(o.ID, 1) && j.simulator.Fails(o.ID, attempt()) {
		//lint:ignore ST1005 scripts rely on this text as it is
		return failure.NewTransient(order.CodeSimulated, errors.New(order.TextSimulated))
	}
	return nil
}
