package order

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"unicode/utf8"
)

// orderField is a field of an order, as a reader's schema must have it.
type orderField struct {
	name             string
	typ              avroType
	missing, invalid string // codes
}

var orderFields = [...]orderField{
	{FieldID, typeString, CodeIDMissing, CodeIDInvalid},
	{FieldProduct, typeString, CodeProductMissing, CodeProductInvalid},
	{FieldPrice, typeDouble, CodePriceMissing, CodePriceInvalid},
}

// orderRecord returns the fields of a schema that is a record with an order's fields, and where
// among them those are.
func (s *Schema) orderRecord() ([]field, [len(orderFields)]int, error) {
	var places [len(orderFields)]int
	if s.root.typ != typeRecord {
		return nil, places, fmt.Errorf("schema is of type %s, an order is a record", s.root.typ)
	}
	for i, want := range orderFields {
		places[i] = slices.IndexFunc(s.root.fields, func(f field) bool { return f.name == want.name })
		if places[i] < 0 {
			return nil, places, fmt.Errorf("schema field %s: is missing, must be there with type %s", want.name, want.typ)
		}
		f := s.root.fields[places[i]]
		if f.layout.typ != want.typ {
			return nil, places, fmt.Errorf("schema field %s: is of type %s, must be %s", want.name, f.layout.typ, want.typ)
		}
		if !new(Order).setDefault(i, f) {
			return nil, places, fmt.Errorf("schema field %s: the default is %s, must be a %s", want.name, kind(f.def), want.typ)
		}
	}
	return s.root.fields, places, nil
}

// setDefault sets a field of an order to the default that a schema has for it, if it has one. It
// returns false if that has another type.
func (o *Order) setDefault(i int, f field) (ok bool) {
	if !f.hasDef {
		return true
	}
	switch orderFields[i].name {
	case FieldID:
		o.ID, ok = f.def.(string)
	case FieldProduct:
		o.Product, ok = f.def.(string)
	case FieldPrice:
		o.Price, ok = f.def.(float64)
	}
	return ok
}

// Decoder decodes records that were written with one schema. It is safe for concurrent use.
//
// It resolves as Avro says, as leniently as Java's and Python's libraries where they differ: names
// of records do not matter, and what cannot be read in a branch of a union does no harm before it
// is met. Beyond them it reads a decimal as the number that it is.
type Decoder struct {
	union *layout // the writer's schema, if it is a union
	plans []plan  // one for each of its branches, else one
}

// plan is how a record of one type is read.
type plan struct {
	steps  []step
	preset Order // what fields are that the writer does not have
	unfit  error // why the type cannot be read as an order
}

// step is a field of the writer's record.
type step struct {
	name   string
	layout *layout
	field  int // which of orderFields, or skipped
}

const skipped = -1

// NewDecoder resolves the writer's schema to the reader's, once for all records.
func NewDecoder(reader, writer *Schema) (*Decoder, error) {
	wanted, places, err := reader.orderRecord()
	if err != nil {
		return nil, fmt.Errorf("resolving schemas: reader: %w", err)
	}
	d := &Decoder{}
	types := []*layout{writer.root}
	if writer.root.typ == typeUnion {
		d.union, types = writer.root, writer.root.inner
	}
	unfit, fits := errors.New("the writer's is a union of nothing"), false
	for _, l := range types {
		p := newPlan(wanted, places, l)
		if d.plans = append(d.plans, p); p.unfit == nil {
			fits = true
		} else {
			unfit = p.unfit
		}
	}
	if !fits {
		return nil, fmt.Errorf("resolving schemas: %w", unfit)
	}
	return d, nil
}

func newPlan(wanted []field, places [len(orderFields)]int, writer *layout) (p plan) {
	switch writer.typ {
	case typeNull:
		return plan{unfit: permanent(CodeNullValue, "the record is null")}
	case typeRecord:
	default:
		return plan{unfit: fmt.Errorf("the writer's is of type %s, an order is a record", writer.typ)}
	}
	for _, f := range writer.fields {
		p.steps = append(p.steps, step{name: plain(f.name), layout: f.layout, field: skipped})
	}
	for at, want := range wanted {
		i := slices.Index(places[:], at)
		from := source(writer, want)
		switch {
		case from < 0 && !want.hasDef:
			p.unfit = fmt.Errorf("reader field %s is missing in writer schema and has no default", plain(want.name))
			return p
		case i == skipped: // an order has no such field
		case from < 0:
			p.preset.setDefault(i, want)
		case !writer.fields[from].layout.readableAs(orderFields[i].typ):
			p.unfit = fmt.Errorf("field %s: type %s cannot be read as %s", p.steps[from].name, writer.fields[from].layout.describe(), orderFields[i].typ)
			return p
		case p.steps[from].field != skipped: // two of the reader's fields had this name
			p.unfit = fmt.Errorf("field %s: would be read as %s and as %s", p.steps[from].name, orderFields[p.steps[from].field].name, want.name)
			return p
		default:
			p.steps[from].field = i
		}
	}
	p.steps = slices.DeleteFunc(p.steps, func(s step) bool { return s.field == skipped && s.layout.isEmpty() })
	return p
}

// source returns which field of the writer is the reader's, or -1. A former name counts where the
// present one is not there.
func source(writer *layout, want field) int {
	for _, name := range append([]string{want.name}, want.aliases...) {
		if at := slices.IndexFunc(writer.fields, func(f field) bool { return f.name == name }); at >= 0 {
			return at
		}
	}
	return -1
}

// readableAs tells whether some value of the type can be read as a string or a double.
func (l *layout) readableAs(want avroType) bool {
	switch l.typ {
	case typeUnion:
		return slices.ContainsFunc(l.inner, func(branch *layout) bool { return branch.readableAs(want) })
	case typeString:
		return want == typeString
	case typeBytes: // a number or a text, never both
		return l.decimal == (want == typeDouble)
	case typeFixed:
		return want == typeDouble && l.decimal
	case typeInt, typeLong, typeFloat, typeDouble:
		return want == typeDouble
	default:
		return false
	}
}

// describe names a type as its schema does.
func (l *layout) describe() string {
	if l.decimal {
		return l.typ.String() + " (decimal)"
	}
	return l.typ.String()
}

// Decode decodes one record, which must be all of data. An error of a field that is null, or of
// another type, has that field's code.
func (d *Decoder) Decode(data []byte) (Order, error) {
	p, b := &d.plans[0], data
	if d.union != nil {
		branch, rest, err := d.union.readBranch(b)
		if err != nil {
			return Order{}, err
		}
		p, b = &d.plans[branch], rest
	}
	if p.unfit != nil {
		return Order{}, p.unfit
	}
	o := p.preset
	for i := range p.steps {
		s := &p.steps[i]
		var err error
		if s.field == skipped {
			b, err = s.layout.skip(b, 0)
		} else {
			b, err = s.read(b, &o)
		}
		if err != nil {
			return Order{}, fmt.Errorf("field %s: %w", s.name, err)
		}
	}
	if len(b) > 0 {
		return Order{}, fmt.Errorf("%d bytes follow after the record", len(b))
	}
	return o, nil
}

func (s *step) read(b []byte, o *Order) (rest []byte, err error) {
	l, want := s.layout, &orderFields[s.field]
	if l.typ == typeUnion {
		branch, rest, err := l.readBranch(b)
		if err != nil {
			return nil, err
		}
		l, b = l.inner[branch], rest
	}
	switch {
	case l.typ == typeNull:
		return nil, permanent(want.missing, "is null")
	case !l.readableAs(want.typ):
		return nil, permanent(want.invalid, "is of type %s, must be a %s", l.describe(), want.typ)
	case want.typ == typeDouble:
		o.Price, rest, err = l.readNumber(b)
		return rest, err
	}
	raw, rest, err := readBytes(b)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(raw) {
		return nil, errNotUTF8
	}
	if want.name == FieldID {
		o.ID = string(raw)
	} else {
		o.Product = string(raw)
	}
	return rest, nil
}

func (l *layout) readNumber(b []byte) (n float64, rest []byte, err error) {
	var raw []byte
	switch l.typ {
	case typeInt:
		n, rest, err := readInt(b)
		return float64(n), rest, err
	case typeLong:
		n, rest, err := readLong(b)
		return float64(n), rest, err
	case typeFloat:
		if rest, err = skipBytes(b, 4); err != nil {
			return 0, nil, err
		}
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), rest, nil
	case typeDouble:
		if rest, err = skipBytes(b, 8); err != nil {
			return 0, nil, err
		}
		return math.Float64frombits(binary.LittleEndian.Uint64(b)), rest, nil
	case typeFixed:
		if rest, err = skipBytes(b, int64(l.size)); err != nil {
			return 0, nil, err
		}
		raw = b[:l.size]
	default: // typeBytes
		if raw, rest, err = readBytes(b); err != nil {
			return 0, nil, err
		}
	}
	n, err = decimal(raw, l.scale)
	return n, rest, err
}

// decimal returns the number of 64 bits that is nearest to a decimal: a two's complement number,
// big-endian, divided by ten to the power of scale.
func decimal(raw []byte, scale int) (float64, error) {
	const most = 1024 // bytes, eight times what the greatest price has; turning them into digits takes its time
	for len(raw) > 1 && (raw[0] == 0 && raw[1] < 0x80 || raw[0] == 0xff && raw[1] >= 0x80) {
		raw = raw[1:] // it only repeats the sign
	}
	if len(raw) > most {
		return 0, permanent(CodePriceInvalid, "a decimal of %d bytes, at most %d are read", len(raw), most)
	}
	n := new(big.Int).SetBytes(raw)
	if len(raw) > 0 && raw[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
	}
	f, err := strconv.ParseFloat(n.String()+"e-"+strconv.Itoa(scale), 64)
	if err != nil { // the only one possible
		return 0, permanent(CodePriceNotFinite, "a decimal is too large for a %s", typeDouble)
	}
	return f, nil
}
