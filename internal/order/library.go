package order

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hamba/avro/v2"
)

// The Avro library is used to encode and to compare schemas, not to decode. It panics at some
// schemas, follows a recursive type until the stack ends, and for some it takes minutes or
// gigabytes, so that it is only given what was looked at before.

// mostWrittenOut is how many types and symbols there may be once each named type is written out wherever it is
// used, and largestFixed how many bytes a fixed may have, since the library makes a value of it.
const (
	mostWrittenOut = 10_000
	largestFixed   = 1 << 20
)

// library returns the schema as the library has it. A schema with references is not taken.
func library(s *Schema) (parsed avro.Schema, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("parsing schema: %v", p)
		}
	}()
	// A cache of its own: in the library's global one, two versions of a type would collide.
	if parsed, err = avro.ParseWithCache(s.text, "", &avro.SchemaCache{}); err != nil {
		return nil, fmt.Errorf("parsing schema: %w", err)
	}
	return parsed, nil
}

// CanRead reports why a reader with one Avro schema could not read what a writer with another
// has written, or nil. A schema that is not valid is such a reason, so CanRead(s, s) checks s.
func CanRead(reader, writer string) (err error) {
	var parsed [2]avro.Schema
	for i, text := range []string{reader, writer} {
		s, err := ParseSchema(text)
		if err != nil {
			return err
		}
		if err := s.root.writtenOut(new(int), nil); err != nil && !errors.Is(err, errRecursive) {
			return fmt.Errorf("parsing schema: %w", err)
		}
		if parsed[i], err = library(s); err != nil {
			return err
		}
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("comparing schemas: %v", p)
		}
	}()
	if err := avro.NewSchemaCompatibility().Compatible(parsed[0], parsed[1]); err != nil {
		return fmt.Errorf("comparing schemas: %w", err)
	}
	return nil
}

var errRecursive = errors.New("the schema is recursive")

// writtenOut refuses what the library has no bounds for. The types above are those within which
// the type stands; a recursive type is refused after all else was looked at.
func (l *layout) writtenOut(types *int, above []*layout) error {
	if slices.Contains(above, l) {
		return errRecursive
	}
	if *types++; l.typ == typeEnum {
		*types += l.size
	}
	switch {
	case *types > mostWrittenOut:
		return fmt.Errorf("the schema has more than %d types and symbols, once they are written out where they are used", mostWrittenOut)
	case l.typ == typeFixed && l.size > largestFixed:
		return fmt.Errorf("fixed %s has %d bytes, at most %d are taken", Clip(l.name), l.size, largestFixed)
	}
	inner := l.inner
	for _, f := range l.fields {
		inner = append(inner, f.layout)
	}
	var recursive error
	for _, in := range inner {
		if err := in.writtenOut(types, append(above, l)); errors.Is(err, errRecursive) {
			recursive = err
		} else if err != nil {
			return err
		}
	}
	return recursive
}
