package order

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// avroType is what a value is in Avro.
type avroType uint8

const (
	typeNull avroType = iota
	typeBoolean
	typeInt
	typeLong
	typeFloat
	typeDouble
	typeBytes
	typeString
	typeRecord
	typeEnum
	typeArray
	typeMap
	typeUnion
	typeFixed
)

func (t avroType) String() string {
	return [...]string{"null", "boolean", "int", "long", "float", "double", "bytes", "string", "record", "enum", "array", "map", "union", "fixed"}[t]
}

var primitives = map[string]avroType{
	"null": typeNull, "boolean": typeBoolean, "int": typeInt, "long": typeLong,
	"float": typeFloat, "double": typeDouble, "bytes": typeBytes, "string": typeString,
}

// maxNested bounds how deep values of a recursive type may be nested, since each level takes a
// piece of the stack.
const maxNested = 10_000

// layout is what the bytes of a type look like. A named type has one layout, so that a recursive
// type is a cycle.
//
// Skipping a value takes no memory, and no more steps than a few for each of its bytes, whatever
// the bytes and the schema say: what cannot have bytes is left out, and lengths are checked against
// the record before they are believed.
type layout struct {
	typ     avroType
	name    string // the full name of a record, enum or fixed
	size    int    // bytes of a fixed, symbols of an enum
	decimal bool   // bytes or a fixed that hold a decimal of this scale
	scale   int
	fields  []field   // of a record, as they are written
	inner   []*layout // the branches of a union, the items of an array, the values of a map

	// parts is what skipping goes by: the fields of a record that have bytes; else inner.
	parts []*layout
	empty emptiness
}

type field struct {
	name    string
	aliases []string
	layout  *layout
	def     any
	hasDef  bool
}

type emptiness uint8

const (
	unknown emptiness = iota
	asked
	empty
	notEmpty
)

// isEmpty tells whether values of this type have no bytes at all.
func (l *layout) isEmpty() bool {
	if l.empty == unknown {
		l.empty = asked
		found := notEmpty
		switch {
		case l.typ == typeNull, l.typ == typeFixed && l.size == 0:
			found = empty
		case l.typ == typeRecord:
			found = empty
			for _, f := range l.fields {
				if !f.layout.isEmpty() {
					found = notEmpty
				}
			}
		}
		l.empty = found
	}
	// While it is asked, a record was met within itself: it has no values that end.
	return l.empty == empty
}

// skip checks the value at the start of b and returns what follows it.
func (l *layout) skip(b []byte, nested int) ([]byte, error) {
	if nested > maxNested {
		return nil, fmt.Errorf("values are nested deeper than %d levels", maxNested)
	}
	switch l.typ {
	case typeNull:
		return b, nil
	case typeBoolean:
		if len(b) > 0 && b[0] > 1 {
			return nil, fmt.Errorf("boolean is %d, must be 0 or 1", b[0])
		}
		return skipBytes(b, 1)
	case typeInt:
		_, b, err := readInt(b)
		return b, err
	case typeLong:
		_, b, err := readLong(b)
		return b, err
	case typeFloat:
		return skipBytes(b, 4)
	case typeDouble:
		return skipBytes(b, 8)
	case typeFixed:
		return skipBytes(b, int64(l.size))
	case typeBytes, typeString:
		raw, b, err := readBytes(b)
		if err == nil && l.typ == typeString && !utf8.Valid(raw) {
			err = errNotUTF8
		}
		return b, err
	case typeEnum:
		n, b, err := readInt(b)
		if err == nil && (n < 0 || n >= int64(l.size)) {
			err = fmt.Errorf("enum has symbol %d of %d", n, l.size)
		}
		return b, err
	case typeUnion:
		n, b, err := l.readBranch(b)
		if err != nil {
			return nil, err
		}
		return l.parts[n].skip(b, nested+1)
	case typeArray, typeMap:
		return l.skipBlocks(b, nested)
	default: // typeRecord
		var err error
		for _, part := range l.parts {
			if b, err = part.skip(b, nested+1); err != nil {
				return nil, err
			}
		}
		return b, nil
	}
}

func (l *layout) skipBlocks(b []byte, nested int) ([]byte, error) {
	item := l.parts[0]
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
				if b, err = skipBytes(b, size); err != nil {
					return nil, err
				}
				continue
			}
			n = -n
		}
		if l.typ == typeArray && n > 0 && item.isEmpty() {
			continue
		}
		// Every item has a byte or more.
		if n < 0 || n > int64(len(b)) {
			return nil, fmt.Errorf("block of %d items in %d bytes", n, len(b))
		}
		for range n {
			if l.typ == typeMap {
				if _, b, err = readBytes(b); err != nil {
					return nil, err
				}
			}
			if b, err = item.skip(b, nested+1); err != nil {
				return nil, err
			}
		}
	}
}

// readBranch reads which branch of the union was written.
func (l *layout) readBranch(b []byte) (int, []byte, error) {
	n, b, err := readInt(b)
	if err == nil && (n < 0 || n >= int64(len(l.inner))) {
		err = fmt.Errorf("union has branch %d of %d", n, len(l.inner))
	}
	return int(n), b, err
}

var errNotUTF8 = errors.New("string is not valid UTF-8")

func readBytes(b []byte) (raw, rest []byte, err error) {
	n, b, err := readLong(b)
	if err != nil {
		return nil, nil, err
	}
	if rest, err = skipBytes(b, n); err != nil {
		return nil, nil, err
	}
	return b[:n], rest, nil
}

func skipBytes(b []byte, n int64) ([]byte, error) {
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
