package readme_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	_ "github.com/redpanda-data/connect/v4/public/components/io"
	_ "github.com/redpanda-data/connect/v4/public/components/kafka"
	_ "github.com/redpanda-data/connect/v4/public/components/prometheus"
	_ "github.com/redpanda-data/connect/v4/public/components/pure"

	_ "github.com/orderflow/orderflow/plugins/all"
	"github.com/orderflow/orderflow/test/child"
)

// check lints a config, which need not be a whole one, and makes the processors that it has.
func check(text string) error {
	linter := service.GlobalEnvironment().FullConfigSchema("", "").NewStreamConfigLinter().
		SetRejectDeprecated(true).
		SetEnvVarLookupFunc(func(context.Context, string) (string, bool) { return "", false })
	lints, err := linter.LintYAML([]byte(text))
	if err != nil {
		return fmt.Errorf("linting: %w", err)
	}
	for _, lint := range lints {
		return fmt.Errorf("linting: %w", lint)
	}
	return build(text)
}

// build makes a stream of the config's processors, since the linter does not see wrong values.
// No message runs through them.
func build(text string) error {
	var conf struct {
		Pipeline yaml.Node `yaml:"pipeline"`
	}
	if err := yaml.Unmarshal([]byte(text), &conf); err != nil || conf.Pipeline.IsZero() {
		return err
	}
	pipeline, err := yaml.Marshal(map[string]*yaml.Node{"pipeline": &conf.Pipeline})
	if err != nil {
		return err
	}
	builder := service.NewStreamBuilder()
	builder.SetEnvVarLookupFunc(func(string) (string, bool) { return "", false })
	if err := builder.SetYAML(string(pipeline) + `
input:
  file: # of no files, so that it ends at once
    paths: []
output:
  drop: {}
http:
  enabled: false
logger:
  level: NONE
`); err != nil {
		return err
	}
	stream, err := builder.Build()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), child.Patience)
	defer cancel()
	return stream.Run(ctx)
}

func TestYAMLOfEveryPageLintsAndItsProcessorsCanBeMade(t *testing.T) {
	for _, p := range pages(t) {
		n := 0
		for _, b := range p.blocks {
			if b.lang == "yaml" {
				n++
				require.NoError(t, check(b.body), "%s:%d", p.path, b.line)
			}
		}
		if p.path != "ARCHITECTURE.md" {
			require.NotZero(t, n, "%s has no example", p.path)
		}
	}
}

func TestTheCheckFindsWhatIsWrong(t *testing.T) {
	for name, text := range map[string]string{
		"an unknown component": "pipeline:\n  processors:\n    - order_decodes: {}\n",
		"an unknown field":     "output:\n  kafka_transactional:\n    topic: a\n    topics: b\n",
		"a wrong value":        "pipeline:\n  processors:\n    - backoff_retry:\n        delays: [ 1s, 2x ]\n        processors:\n          - order_validate: {}\n",
	} {
		require.Error(t, check(text), name)
	}
}

// apply returns the file with a change that is written as a diff without line numbers.
func apply(file, diff string) (string, error) {
	var before, after strings.Builder
	for line := range strings.Lines(diff) {
		switch line[0] {
		case '-':
			before.WriteString(line[1:])
		case '+':
			after.WriteString(line[1:])
		default:
			before.WriteString(line[1:])
			after.WriteString(line[1:])
		}
	}
	if n := strings.Count(file, before.String()); n != 1 {
		return "", fmt.Errorf("is %d times in the file:\n%s", n, before.String())
	}
	return strings.Replace(file, before.String(), after.String(), 1), nil
}

func TestDiffsApplyToTheConsumerAndLint(t *testing.T) {
	consumer, err := os.ReadFile(filepath.Join(child.Root(t), "config", "pipelines", "consumer.yaml"))
	require.NoError(t, err)
	p, n := read(t, "README.md"), 0
	for _, b := range p.blocks {
		if b.lang == "diff" {
			n++
			changed, err := apply(string(consumer), b.body)
			require.NoError(t, err, "%s:%d", p.path, b.line)
			require.NoError(t, check(changed), "%s:%d", p.path, b.line)
		}
	}
	require.NotZero(t, n)
}
