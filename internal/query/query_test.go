package query

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"
	_ "github.com/redpanda-data/connect/v4/public/components/pure"
	"github.com/stretchr/testify/require"
)

func TestAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		mapping string
		value   any
		boolean bool
		refused string // by Bool
		failed  string // both
	}{
		"true":                     {mapping: `this.n > 2`, value: true, boolean: true},
		"false":                    {mapping: `root = this.n > 3`, value: false},
		"of the metadata":          {mapping: `@m == "x"`, value: true, boolean: true},
		"the text is no boolean":   {mapping: `"true"`, value: "true", refused: `got "true", expected a boolean`},
		"nor is a number":          {mapping: `this.n`, value: json.Number("3"), refused: `got "3", expected a boolean`},
		"nor a document":           {mapping: `{"a": this.n}`, value: map[string]any{"a": json.Number("3")}, refused: `got "{\"a\":3}", expected a boolean`},
		"null is no value":         {mapping: `this.missing`, refused: `got "null", expected a boolean`},
		"nor is a deletion":        {mapping: `root = deleted()`, refused: `got "null", expected a boolean`},
		"an empty text is one":     {mapping: `""`, value: "", refused: `got "", expected a boolean`},
		"a long text is cut short": {mapping: `range(0, 99).map_each("ab").join("")`, value: strings.Repeat("ab", 99), refused: `got "` + strings.Repeat("ab", 50) + `", expected a boolean`},
		"a mapping may fail":       {mapping: `this.missing > 3`, failed: "this.missing"},
	} {
		t.Run(name, func(t *testing.T) {
			mapping, err := bloblang.Parse(test.mapping)
			require.NoError(t, err)
			msg := service.NewMessage([]byte(`{"n":3}`))
			msg.MetaSetMut("m", "x")
			value, err := Value(msg, mapping)
			yes, err2 := Bool(msg, mapping)
			if test.failed != "" {
				require.ErrorContains(t, err, test.failed)
				require.ErrorContains(t, err2, test.failed)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.value, value)
			if test.refused != "" {
				require.EqualError(t, err2, test.refused)
				return
			}
			require.NoError(t, err2)
			require.Equal(t, test.boolean, yes)
		})
	}
}
