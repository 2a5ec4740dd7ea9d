package order

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/hamba/avro/v2"
)

// maxDepth and maxTypes bound how deep types may be nested in a writer's schema, and how many
// there may be once each named type is written out wherever it is used.
const (
	maxDepth = 64
	maxTypes = 10_000
)

// layout is what the bytes of a value look like, compiled from its writer's schema. Walking it
// over a record before the library decodes the record makes the decoding strict and safe: hamba
// takes a record that ends too early for a good one, allocates what a length says before it
// looks whether so many bytes are there, and loops for as long as an array's count says.
type layout struct {
	kind  avro.Type
	name  string // of the field, within a record
	size  int    // bytes of a fixed, symbols of an enum
	inner []*layout
}

// newLayout refuses what has no bounded walk: recursive types, and arrays whose items have no
// bytes. An order needs neither.
func newLayout(s avro.Schema) (*layout, error) {
	types := 0
	return layoutOf(s, 0, &types)
}

func layoutOf(s avro.Schema, depth int, types *int) (*layout, error) {
	if *types++; depth > maxDepth || *types > maxTypes {
		return nil, errors.New("the schema is recursive, or has too many or too deeply nested types")
	}
	l := &layout{kind: s.Type()}
	add := func(s avro.Schema, name string) error {
		in, err := layoutOf(s, depth+1, types)
		if err != nil {
			return err
		}
		if in.kind == avro.Null && l.kind != avro.Union {
			return errors.New("the schema has type null outside of a union") // hamba cannot skip it
		}
		in.name = name
		l.inner = append(l.inner, in)
		return nil
	}
	switch s := s.(type) {
	case *avro.RefSchema:
		return layoutOf(s.Schema(), depth+1, types)
	case *avro.RecordSchema:
		for _, f := range s.Fields() {
			if err := add(f.Type(), f.Name()); err != nil {
				return nil, err
			}
		}
	case *avro.UnionSchema:
		for _, t := range s.Types() {
			if err := add(t, ""); err != nil {
				return nil, err
			}
		}
	case *avro.ArraySchema:
		if err := add(s.Items(), ""); err != nil {
			return nil, err
		}
		if l.inner[0].empty() {
			return nil, errors.New("the schema has an array whose items have no bytes")
		}
	case *avro.MapSchema:
		if err := add(s.Values(), ""); err != nil {
			return nil, err
		}
	case *avro.EnumSchema:
		l.size = len(s.Symbols())
	case *avro.FixedSchema:
		if l.size = s.Size(); l.size < 0 {
			return nil, fmt.Errorf("the schema has a fixed type of size %d", l.size)
		}
	}
	return l, nil
}

// empty says whether a value of this type can have no bytes at all.
func (l *layout) empty() bool {
	switch l.kind {
	case avro.Null:
		return true
	case avro.Fixed:
		return l.size == 0
	case avro.Record:
		for _, f := range l.inner {
			if !f.empty() {
				return false
			}
		}
		return true
	default:
		return false
	}
}

// walk checks the value at the start of b and returns what follows it.
func (l *layout) walk(b []byte) ([]byte, error) {
	switch l.kind {
	case avro.Null:
		return b, nil
	case avro.Boolean:
		if len(b) > 0 && b[0] > 1 {
			return nil, fmt.Errorf("boolean is %d, must be 0 or 1", b[0])
		}
		return skip(b, 1)
	case avro.Int:
		_, b, err := readInt(b)
		return b, err
	case avro.Long:
		_, b, err := readLong(b)
		return b, err
	case avro.Float:
		return skip(b, 4)
	case avro.Double:
		return skip(b, 8)
	case avro.Fixed:
		return skip(b, int64(l.size))
	case avro.Bytes, avro.String:
		n, b, err := readLong(b)
		if err != nil {
			return nil, err
		}
		rest, err := skip(b, n)
		if err == nil && l.kind == avro.String && !utf8.Valid(b[:n]) {
			err = errors.New("string is not valid UTF-8")
		}
		return rest, err
	case avro.Enum:
		n, b, err := readInt(b)
		if err == nil && (n < 0 || n >= int64(l.size)) {
			err = fmt.Errorf("enum has symbol %d of %d", n, l.size)
		}
		return b, err
	case avro.Union:
		n, b, err := readInt(b)
		if err != nil {
			return nil, err
		}
		if n < 0 || n >= int64(len(l.inner)) {
			return nil, fmt.Errorf("union has branch %d of %d", n, len(l.inner))
		}
		return l.inner[n].walk(b)
	case avro.Array, avro.Map:
		return l.walkBlocks(b)
	case avro.Record:
		var err error
		for _, f := range l.inner {
			if b, err = f.walk(b); err != nil {
				return nil, fmt.Errorf("field %s: %w", f.name, err)
			}
		}
		return b, nil
	default:
		return nil, fmt.Errorf("type %s is not supported", l.kind)
	}
}

func (l *layout) walkBlocks(b []byte) ([]byte, error) {
	for {
		n, rest, err := readLong(b)
		if err != nil {
			return nil, err
		}
		if b = rest; n == 0 {
			return b, nil
		}
		if n < 0 {
			var size int64
			if size, b, err = readLong(b); err != nil {
				return nil, err
			}
			if size != 0 {
				// The count is not looked at: whoever skips the block goes by its size.
				if b, err = skip(b, size); err != nil {
					return nil, err
				}
				continue
			}
			n = -n
		}
		// Every item has a byte or more.
		if n < 0 || n > int64(len(b)) {
			return nil, fmt.Errorf("block of %d items in %d bytes", n, len(b))
		}
		for range n {
			if l.kind == avro.Map {
				size, rest, err := readLong(b)
				if err != nil {
					return nil, err
				}
				if b, err = skip(rest, size); err != nil {
					return nil, err
				}
			}
			if b, err = l.inner[0].walk(b); err != nil {
				return nil, err
			}
		}
	}
}

func skip(b []byte, n int64) ([]byte, error) {
	if n < 0 {
		return nil, fmt.Errorf("length is %d", n)
	}
	if n > int64(len(b)) {
		return nil, fmt.Errorf("record ends after %d of %d bytes", len(b), n)
	}
	return b[n:], nil
}

func readLong(b []byte) (int64, []byte, error) {
	if len(b) > 0 && b[0] < 0x80 { // nearly every length of an order
		return int64(b[0]>>1) ^ -int64(b[0]&1), b[1:], nil
	}
	u, n := binary.Uvarint(b)
	switch {
	case n == 0:
		return 0, nil, errors.New("record ends within a number")
	case n < 0:
		return 0, nil, errors.New("number has more than 64 bits")
	}
	return int64(u>>1) ^ -int64(u&1), b[n:], nil
}

func readInt(b []byte) (int64, []byte, error) {
	n, rest, err := readLong(b)
	if err == nil && (n < math.MinInt32 || n > math.MaxInt32 || len(b)-len(rest) > binary.MaxVarintLen32) {
		err = errors.New("number has more than 32 bits")
	}
	return n, rest, err
}
