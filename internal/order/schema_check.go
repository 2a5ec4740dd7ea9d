package order

import (
	"fmt"

	"github.com/hamba/avro/v2"
)

// CanRead reports why a reader with one Avro schema could not read what a writer with another
// has written, or nil. A schema that is not valid is such a reason, so CanRead(s, s) checks s.
func CanRead(reader, writer string) error {
	r, err := ParseSchema(reader)
	if err != nil {
		return err
	}
	w, err := ParseSchema(writer)
	if err != nil {
		return err
	}
	if err := avro.NewSchemaCompatibility().Compatible(r.parsed, w.parsed); err != nil {
		return fmt.Errorf("comparing schemas: %w", err)
	}
	return nil
}
