package orderdecode

import (
	"context"
	"errors"
	"fmt"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/order"
)

// The codes of values that are no order. The registry has codes of its own.
const (
	codeNull   = "null_value"
	codeEmpty  = "empty_value"
	codeBroken = "decode_failed"
)

type framing string

const (
	plain     framing = "plain"
	confluent framing = "confluent"
)

// decoders finds the decoder for a schema id. It blocks while it cannot know.
type decoders interface {
	Decoder(ctx context.Context, id uint32) (*order.Decoder, error)
}

// decoder decodes values, framed or not.
type decoder struct {
	plain    *order.Decoder
	registry decoders // nil without a registry
}

// decode returns the order in a value and how it was framed. An error is permanent, or that of
// the context if it ended while the registry could not be reached.
func (d *decoder) decode(ctx context.Context, value []byte) (order.Order, framing, error) {
	o, f, err := d.try(ctx, value)
	if err != nil {
		err = fmt.Errorf("decoding order: %w", err)
	}
	return o, f, err
}

func (d *decoder) try(ctx context.Context, value []byte) (order.Order, framing, error) {
	switch {
	case value == nil:
		return order.Order{}, "", broken(codeNull, "the value is null")
	case len(value) == 0:
		return order.Order{}, "", broken(codeEmpty, "the value is empty")
	}
	id, record, framed := order.SplitFrame(value)
	if !framed || d.registry == nil {
		o, err := d.plain.Decode(value)
		if err == nil {
			return o, plain, nil
		}
		if framed {
			err = fmt.Errorf("%w (it begins like the Confluent wire format with schema id %d, which needs a registry: set registry.url)", err, id)
		}
		return order.Order{}, "", broken(codeBroken, "%d bytes: %w", len(value), err)
	}

	// A zero byte begins a frame, but also a plain record whose order id is empty. It is a frame
	// if the registry knows the id and the rest is a record of that schema.
	dec, err := d.registry.Decoder(ctx, id)
	if err == nil {
		var o order.Order
		if o, err = dec.Decode(record); err == nil {
			return o, confluent, nil
		}
		err = failure.NewPermanent(codeBroken, fmt.Errorf("record of schema id %d: %w", id, err))
	}
	if _, answered := errors.AsType[*failure.Error](err); answered {
		if o, plainErr := d.plain.Decode(value); plainErr == nil {
			return o, plain, nil
		}
	}
	return order.Order{}, "", fmt.Errorf("%d bytes: %w", len(value), err)
}

func broken(code, format string, args ...any) error {
	return failure.NewPermanent(code, fmt.Errorf(format, args...))
}
