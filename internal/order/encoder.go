package order

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/hamba/avro/v2"
)

// Encoder encodes orders with one schema. It is safe for concurrent use.
type Encoder struct {
	schema  avro.Schema
	writers sync.Pool
}

// NewEncoder fails if the schema does not fit an order: a field has another type, or the schema
// has fields without a default that an order does not have.
func NewEncoder(s *Schema) (*Encoder, error) {
	fields, places, err := s.orderRecord()
	if err != nil {
		return nil, fmt.Errorf("preparing encoder: %w", err)
	}
	for at, f := range fields {
		if !slices.Contains(places[:], at) && !f.hasDef {
			return nil, fmt.Errorf("preparing encoder: schema field %s: has no default and an order has no such field", plain(f.name))
		}
	}
	dec, err := NewDecoder(s, s)
	if err != nil {
		return nil, fmt.Errorf("preparing encoder: %w", err)
	}
	if err := s.root.writtenOut(new(int), nil); err != nil {
		return nil, fmt.Errorf("preparing encoder: %w", err)
	}
	parsed, err := library(s)
	if err != nil {
		return nil, fmt.Errorf("preparing encoder: %w", err)
	}
	api := avro.Config{}.Freeze()
	e := &Encoder{schema: parsed}
	e.writers.New = func() any { return avro.NewWriter(nil, 256, avro.WithWriterConfig(api)) }
	// One round trip, so that a default that the library cannot write shows now.
	sample := Order{ID: "id", Product: "product", Price: 1}
	data, err := e.Append(nil, sample)
	if err == nil {
		_, err = dec.Decode(data)
	}
	if err != nil {
		return nil, fmt.Errorf("preparing encoder: trying a sample: %w", err)
	}
	return e, nil
}

// Append appends the encoded order to dst.
func (e *Encoder) Append(dst []byte, o Order) ([]byte, error) {
	for _, f := range []struct{ name, code, value string }{
		{FieldID, CodeIDInvalid, o.ID},
		{FieldProduct, CodeProductInvalid, o.Product},
	} {
		if !utf8.ValidString(f.value) {
			return nil, permanent(f.code, "field %s: %s is not valid UTF-8", f.name, Clip(strings.ToValidUTF8(f.value, "\uFFFD")))
		}
	}
	w := e.writers.Get().(*avro.Writer)
	defer e.writers.Put(w)
	w.Reset(nil)
	w.Error = nil
	w.WriteVal(e.schema, &o)
	if w.Error != nil {
		return nil, w.Error
	}
	return append(dst, w.Buffer()...), nil
}
