package readme_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// field is a field of a component's config.
type field struct {
	Name     string  `json:"name"`
	Default  any     `json:"default"`
	Children []field `json:"children"`
}

// specs returns the fields of the components that a page is about: those of an input before
// those of an output.
func specs(t *testing.T, name string) [][]field {
	t.Helper()
	var all [][]field
	env := service.GlobalEnvironment()
	for _, get := range []func(string) (*service.ConfigView, bool){env.GetInputConfig, env.GetProcessorConfig, env.GetOutputConfig} {
		view, ok := get(name)
		if !ok {
			continue
		}
		text, err := view.FormatJSON()
		require.NoError(t, err)
		var spec struct {
			Config field `json:"config"`
		}
		require.NoError(t, json.Unmarshal(text, &spec))
		all = append(all, spec.Config.Children)
	}
	return all
}

// find returns the field at a path such as registry.url.
func find(fields []field, path string) (field, bool) {
	name, rest, nested := strings.Cut(path, ".")
	i := slices.IndexFunc(fields, func(f field) bool { return f.Name == name })
	switch {
	case i < 0:
		return field{}, false
	case !nested || rest == "*":
		return fields[i], true
	default:
		return find(fields[i].Children, rest)
	}
}

// same tells whether a default is what a page says in backticks.
func same(t *testing.T, value any, told string) bool {
	t.Helper()
	if s, ok := value.(string); ok {
		return s == told
	}
	var v any
	require.NoError(t, yaml.Unmarshal([]byte(told), &v))
	if n, ok := v.(int); ok {
		v = float64(n) // as all numbers of JSON are
	}
	return fmt.Sprint(v) == fmt.Sprint(value)
}

func TestFieldsAreThoseOfTheComponents(t *testing.T) {
	components := 0
	for _, p := range pages(t) {
		title, _, _ := strings.Cut(strings.TrimPrefix(p.text, "# "), "\n")
		var tables []table
		for _, candidate := range p.tables() {
			if candidate.columns[0] == "field" {
				tables = append(tables, candidate)
			}
		}
		all := specs(t, title)
		all = slices.DeleteFunc(all, func(fields []field) bool { return len(fields) == 0 })
		require.Len(t, tables, len(all), "%s: a table of fields for each component", p.path)
		for i, fields := range all {
			components++
			checkFields(t, p.path, fields, tables[i])
		}
	}
	require.Greater(t, components, 9)
}

func checkFields(t *testing.T, path string, fields []field, told table) {
	t.Helper()
	var named []string
	for _, row := range told.rows {
		prefix := ""
		for _, name := range spans(row[0]) {
			// In a list such as `registry.tls`, `oauth` the others are beside the first.
			if i := strings.LastIndex(name, "."); i >= 0 {
				prefix = name[:i+1]
			} else {
				name = prefix + name
			}
			f, ok := find(fields, name)
			require.True(t, ok, "%s: there is no field %s", path, name)
			top, _, _ := strings.Cut(name, ".")
			named = append(named, top)
			if defaults := spans(row[1]); len(defaults) == 1 && strings.HasPrefix(row[1], "`") && f.Default != nil {
				require.True(t, same(t, f.Default, defaults[0]), "%s: default of %s is %v, not %s", path, name, f.Default, defaults[0])
			}
		}
	}
	for _, f := range fields {
		require.Contains(t, named, f.Name, "%s does not tell of the field", path)
	}
}
