package order

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCanRead(t *testing.T) {
	const (
		base     = `{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}`
		optional = `{"type":"record","name":"R","fields":[{"name":"a","type":"string"},{"name":"b","type":"int","default":0}]}`
		required = `{"type":"record","name":"R","fields":[{"name":"a","type":"string"},{"name":"b","type":"int"}]}`
		retyped  = `{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}`
	)
	tests := map[string]struct {
		reader, writer string
		problem        string
	}{
		"a schema reads itself":                       {base, base, ""},
		"a new field with a default reads old data":   {optional, base, ""},
		"an old reader leaves out a new field":        {base, required, ""},
		"a new field without a default cannot":        {required, base, "comparing schemas"},
		"a changed type cannot":                       {retyped, base, "comparing schemas"},
		"a reader that is no Avro schema":             {`{"type":"recrod"}`, base, "parsing schema"},
		"a writer that is no Avro schema":             {base, `{`, "parsing schema"},
		"names of another schema are not known to it": {`"R"`, base, "parsing schema"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := CanRead(test.reader, test.writer)
			if test.problem == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.problem)
		})
	}
}
