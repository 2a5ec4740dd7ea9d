package order

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/hamba/avro/v2"
)

// Schema is a parsed Avro schema. It never changes.
type Schema struct {
	text   string
	parsed avro.Schema
}

// ParseSchema parses a schema. References are the schemas whose named types it uses, each after
// those that it uses itself.
func ParseSchema(text string, references ...string) (*Schema, error) {
	// A cache of its own: in the library's global one, two versions of a type would collide.
	cache := &avro.SchemaCache{}
	for i, ref := range references {
		if _, err := avro.ParseBytesWithCache([]byte(ref), "", cache); err != nil {
			return nil, fmt.Errorf("parsing schema: reference %d: %w", i+1, err)
		}
	}
	parsed, err := avro.ParseBytesWithCache([]byte(text), "", cache)
	if err != nil {
		return nil, fmt.Errorf("parsing schema: %w", err)
	}
	return &Schema{text: text, parsed: parsed}, nil
}

// String returns the schema's text as it was parsed.
func (s *Schema) String() string { return s.text }

// orderRecord returns the schema as a record that has an order's fields with their types.
func (s *Schema) orderRecord() (*avro.RecordSchema, error) {
	rec, ok := s.parsed.(*avro.RecordSchema)
	if !ok {
		return nil, fmt.Errorf("schema is of type %s, an order is a record", s.parsed.Type())
	}
	return rec, checkFields(rec)
}

func checkFields(rec *avro.RecordSchema) error {
	want := map[string]avro.Type{FieldID: avro.String, FieldProduct: avro.String, FieldPrice: avro.Double}
	for _, f := range rec.Fields() {
		if t, ok := want[f.Name()]; ok && f.Type().Type() != t {
			return fmt.Errorf("schema field %s: is of type %s, must be %s", f.Name(), f.Type().Type(), t)
		}
		delete(want, f.Name())
	}
	for _, name := range []string{FieldID, FieldProduct, FieldPrice} {
		if t, ok := want[name]; ok {
			return fmt.Errorf("schema field %s: is missing, must be there with type %s", name, t)
		}
	}
	return nil
}

// Decoder decodes records that were written with one schema. It is safe for concurrent use.
type Decoder struct {
	writer   *layout
	resolved avro.Schema
	recheck  bool // strings that were written as bytes are not yet known to be UTF-8
	pool     sync.Pool
}

// decoding is what one call needs; pooled, since the library makes the order escape to the heap.
type decoding struct {
	reader *avro.Reader
	order  Order
}

// NewDecoder resolves the writer's schema to the reader's, once for all records.
func NewDecoder(reader, writer *Schema) (*Decoder, error) {
	want, err := reader.orderRecord()
	if err != nil {
		return nil, fmt.Errorf("resolving schemas: reader: %w", err)
	}
	d := &Decoder{}
	// Before all else, since the library follows a recursive type until the stack ends.
	if d.writer, err = newLayout(writer.parsed); err != nil {
		return nil, fmt.Errorf("resolving schemas: writer: %w", err)
	}
	if _, err = newLayout(want); err != nil {
		return nil, fmt.Errorf("resolving schemas: reader: %w", err)
	}
	compat := avro.NewSchemaCompatibility()
	if err = compat.Compatible(want, writer.parsed); err != nil {
		return nil, fmt.Errorf("resolving schemas: %w", err)
	}
	// Resolve to the fields of an order only. What else the writer wrote is then skipped by the
	// writer's types; the library would skip by the reader's, which is wrong where a number was
	// promoted.
	var fields []*avro.Field
	for _, f := range want.Fields() {
		switch f.Name() {
		case FieldID, FieldProduct, FieldPrice:
			fields = append(fields, f)
		}
	}
	narrow, err := avro.NewRecordSchema(want.Name(), want.Namespace(), fields, avro.WithAliases(want.Aliases()))
	if err != nil {
		return nil, fmt.Errorf("resolving schemas: %w", err)
	}
	if d.resolved, err = compat.Resolve(narrow, writer.parsed); err != nil {
		return nil, fmt.Errorf("resolving schemas: %w", err)
	}
	rec, ok := d.resolved.(*avro.RecordSchema)
	if !ok {
		return nil, fmt.Errorf("resolving schemas: the writer's is of type %s, an order is a record", d.resolved.Type())
	}
	for _, f := range rec.Fields() {
		if f.Type().Type() == avro.Union && isOrderField(f.Name()) {
			return nil, fmt.Errorf("resolving schemas: field %s: a union cannot be read as one type", f.Name())
		}
	}
	for _, in := range d.writer.inner {
		d.recheck = d.recheck || in.kind == avro.Bytes
	}
	// The lengths are checked by the layout, against the record itself.
	api := avro.Config{MaxByteSliceSize: -1}.Freeze()
	d.pool.New = func() any {
		return &decoding{reader: avro.NewReader(nil, 0, avro.WithReaderConfig(api))}
	}
	return d, nil
}

func isOrderField(name string) bool {
	return name == FieldID || name == FieldProduct || name == FieldPrice
}

// Decode decodes one record, which must be all of data.
func (d *Decoder) Decode(data []byte) (Order, error) {
	rest, err := d.writer.walk(data)
	if err != nil {
		return Order{}, err
	}
	if len(rest) > 0 {
		return Order{}, fmt.Errorf("%d bytes follow after the record", len(rest))
	}
	c := d.pool.Get().(*decoding)
	c.reader.Reset(data)
	c.reader.ReadVal(d.resolved, &c.order)
	o, err := c.order, c.reader.Error
	// The pool must not hold on to a message, nor on to an error.
	c.reader.Reset(nil)
	c.reader.Error, c.order = nil, Order{}
	d.pool.Put(c)
	if err != nil {
		return Order{}, err
	}
	if d.recheck && (!utf8.ValidString(o.ID) || !utf8.ValidString(o.Product)) {
		return Order{}, errors.New("string is not valid UTF-8")
	}
	return o, nil
}

// Encoder encodes orders with one schema. It is safe for concurrent use.
type Encoder struct {
	schema  avro.Schema
	writers sync.Pool
}

// NewEncoder fails if the schema does not fit an order: a field has another type, or the schema
// has fields without a default that an order does not have.
func NewEncoder(s *Schema) (*Encoder, error) {
	rec, err := s.orderRecord()
	if err != nil {
		return nil, fmt.Errorf("preparing encoder: %w", err)
	}
	for _, f := range rec.Fields() {
		if !isOrderField(f.Name()) && !f.HasDefault() {
			return nil, fmt.Errorf("preparing encoder: schema field %s: has no default and an order has no such field", f.Name())
		}
	}
	dec, err := NewDecoder(s, s)
	if err != nil {
		return nil, fmt.Errorf("preparing encoder: %w", err)
	}
	api := avro.Config{}.Freeze()
	e := &Encoder{schema: s.parsed}
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
