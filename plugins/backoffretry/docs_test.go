package backoffretry

import (
	"os"
	"strings"
	"testing"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	_ "github.com/orderflow/orderflow/plugins/deadletter"
)

func TestExamplesLint(t *testing.T) {
	view, ok := service.GlobalEnvironment().GetProcessorConfig("backoff_retry")
	require.True(t, ok)
	data, err := view.TemplateData()
	require.NoError(t, err)
	examples := map[string]string{}
	for _, e := range data.Examples {
		examples[e.Title] = e.Config
	}
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(readme), "```yaml\n")
	for found {
		var block string
		block, rest, _ = strings.Cut(rest, "```")
		examples[block] = block
		_, rest, found = strings.Cut(rest, "```yaml\n")
	}
	require.NotEmpty(t, examples)
	for title, yaml := range examples {
		lints, err := service.GlobalEnvironment().FullConfigSchema("", "").NewStreamConfigLinter().LintYAML([]byte(yaml))
		require.NoError(t, err, title)
		require.Empty(t, lints, title)
	}
	for _, f := range data.Fields {
		require.NotEmpty(t, f.Description, f.FullName)
		require.Contains(t, string(readme), "`"+f.FullName+"`")
	}
}
