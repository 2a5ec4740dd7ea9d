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
	// CodeSchemaHeaderInvalid is that of a header with a schema id that cannot be read.
	CodeSchemaHeaderInvalid = "schema_header_invalid"
	// CodeRegistryMissing is that of a value that needs a registry where there is none.
	CodeRegistryMissing = "registry_missing"
)

// Framing is what stands around the record in a value.
type Framing string

// The framings: none, the Confluent wire format, and a schema id in a header.
const (
	Plain     Framing = "plain"
	Confluent Framing = "confluent"
	InHeader  Framing = "header"
)

// Decoders finds the decoder for a schema id, or for the GUID that a schema has in all registries.
// How long it waits for one is its own affair. A failure that is unavailable says that nobody can
// know yet.
type Decoders interface {
	Decoder(ctx context.Context, id uint32) (*Decoder, error)
	DecoderByGUID(ctx context.Context, guid string) (*Decoder, error)
}

// ValueDecoder decodes the values of records, framed or not. It is safe for concurrent use.
type ValueDecoder struct {
	Plain    *Decoder
	Registry Decoders // nil without a registry
}

// Decode returns the order in a value and how it was framed. The header is the value of
// SchemaIDHeader, nil if the record has none (a header that is null is empty here). An error has
// a class, or is that of the context if it ended while the registry was waited for.
func (d *ValueDecoder) Decode(ctx context.Context, value, header []byte) (Order, Framing, error) {
	o, f, err := d.try(ctx, value, header)
	if err != nil {
		err = fmt.Errorf("decoding order: %w", err)
	}
	return o, f, err
}

func (d *ValueDecoder) try(ctx context.Context, value, header []byte) (Order, Framing, error) {
	switch {
	case value == nil:
		return Order{}, "", permanent(CodeNullValue, "the value is null")
	case len(value) == 0:
		return Order{}, "", permanent(CodeEmptyValue, "the value is empty")
	case header != nil:
		// It says what the bytes are. By another schema they might be an order as well, a wrong one.
		o, err := d.byHeader(ctx, value, header)
		return o, InHeader, err
	}
	id, record, framed := SplitFrame(value)
	if !framed || d.Registry == nil {
		o, err := d.Plain.Decode(value)
		if err == nil {
			return o, Plain, nil
		}
		if framed {
			return Order{}, "", permanent(CodeRegistryMissing, "%d bytes: %w (it begins like the Confluent wire format with schema id %d, which needs a registry: set registry.url)", len(value), err, id)
		}
		if what := foreign(value); what != "" {
			err = fmt.Errorf("it looks like %s, and is no order in Avro", what)
		}
		return Order{}, "", fmt.Errorf("%d bytes: %w", len(value), undecodable(err))
	}

	// A zero byte begins a frame, but also a plain record whose order id is empty. It is a frame
	// if the registry knows the id and the rest is a record of that schema.
	dec, err := d.Registry.Decoder(ctx, id)
	if err == nil {
		var o Order
		if o, err = dec.Decode(record); err == nil {
			return o, Confluent, nil
		}
		_, field := errors.AsType[*failure.Error](err)
		err = undecodable(fmt.Errorf("record of schema id %d: %w", id, err))
		if field { // so it is a record of that schema
			return Order{}, "", fmt.Errorf("%d bytes: %w", len(value), err)
		}
	}
	if _, answered := errors.AsType[*failure.Error](err); answered && !failure.Unavailable(err) {
		if o, plainErr := d.Plain.Decode(value); plainErr == nil {
			return o, Plain, nil
		}
	}
	return Order{}, "", fmt.Errorf("%d bytes: %w", len(value), err)
}

func (d *ValueDecoder) byHeader(ctx context.Context, value, header []byte) (Order, error) {
	id, guid, err := parseSchemaID(header)
	if err != nil {
		return Order{}, permanent(CodeSchemaHeaderInvalid, "header %s: %w", SchemaIDHeader, err)
	}
	what := "schema GUID " + guid
	if guid == "" {
		what = fmt.Sprintf("schema id %d", id)
	}
	if d.Registry == nil {
		return Order{}, permanent(CodeRegistryMissing, "header %s: %s needs a registry: set registry.url", SchemaIDHeader, what)
	}
	var dec *Decoder
	if guid == "" {
		dec, err = d.Registry.Decoder(ctx, id)
	} else {
		dec, err = d.Registry.DecoderByGUID(ctx, guid)
	}
	var o Order
	if err == nil {
		if o, err = dec.Decode(value); err != nil {
			err = undecodable(fmt.Errorf("record of %s: %w", what, err))
		}
	}
	if err != nil {
		return Order{}, fmt.Errorf("%d bytes: header %s: %w", len(value), SchemaIDHeader, err)
	}
	return o, nil
}

// undecodable makes an error of a Decoder permanent. It keeps the code of a field, if it is one's.
func undecodable(err error) error {
	code := CodeDecodeFailed
	if field, ok := errors.AsType[*failure.Error](err); ok {
		code = field.Code
	}
	return failure.NewPermanent(code, err)
}
