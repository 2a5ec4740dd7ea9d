package order

import (
	"context"
	"errors"
	"fmt"

	"github.com/orderflow/orderflow/internal/failure"
)

// The codes of values that are no order. A registry has codes of its own.
const (
	CodeNullValue    = "null_value"
	CodeEmptyValue   = "empty_value"
	CodeDecodeFailed = "decode_failed"
	// CodeRegistryMissing is that of a value that needs a registry where there is none.
	CodeRegistryMissing = "registry_missing"
)

// Framing is what stands around the record in a value.
type Framing string

// The framings: none, and the Confluent wire format.
const (
	Plain     Framing = "plain"
	Confluent Framing = "confluent"
)

// Decoders finds the decoder for a schema id. How long it waits for one is its own affair. A
// failure that is unavailable says that nobody can know yet.
type Decoders interface {
	Decoder(ctx context.Context, id uint32) (*Decoder, error)
}

// ValueDecoder decodes the values of records, framed or not. It is safe for concurrent use.
type ValueDecoder struct {
	Plain    *Decoder
	Registry Decoders // nil without a registry
}

// Decode returns the order in a value and how it was framed. An error has a class, or is that of
// the context if it ended while the registry was waited for.
func (d *ValueDecoder) Decode(ctx context.Context, value []byte) (Order, Framing, error) {
	o, f, err := d.try(ctx, value)
	if err != nil {
		err = fmt.Errorf("decoding order: %w", err)
	}
	return o, f, err
}

func (d *ValueDecoder) try(ctx context.Context, value []byte) (Order, Framing, error) {
	switch {
	case value == nil:
		return Order{}, "", permanent(CodeNullValue, "the value is null")
	case len(value) == 0:
		return Order{}, "", permanent(CodeEmptyValue, "the value is empty")
	}
	id, record, framed := SplitFrame(value)
	if !framed || d.Registry == nil {
		o, err := d.Plain.Decode(value)
		if err == nil {
			return o, Plain, nil
		}
		if framed && id > 0 { // registries begin at 1
			return Order{}, "", permanent(CodeRegistryMissing, "%d bytes: %w (it begins like the Confluent wire format with schema id %d, which needs a registry: set registry.url)", len(value), err, id)
		}
		return Order{}, "", permanent(CodeDecodeFailed, "%d bytes: %w", len(value), err)
	}

	// A zero byte begins a frame, but also a plain record whose order id is empty. It is a frame
	// if the registry knows the id and the rest is a record of that schema.
	dec, err := d.Registry.Decoder(ctx, id)
	if err == nil {
		var o Order
		if o, err = dec.Decode(record); err == nil {
			return o, Confluent, nil
		}
		err = failure.NewPermanent(CodeDecodeFailed, fmt.Errorf("record of schema id %d: %w", id, err))
	}
	if _, answered := errors.AsType[*failure.Error](err); answered && !failure.Unavailable(err) {
		if o, plainErr := d.Plain.Decode(value); plainErr == nil {
			return o, Plain, nil
		}
	}
	return Order{}, "", fmt.Errorf("%d bytes: %w", len(value), err)
}
