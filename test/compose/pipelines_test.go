package compose_test

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	_ "github.com/redpanda-data/connect/v4/public/components/io"
	_ "github.com/redpanda-data/connect/v4/public/components/kafka"
	_ "github.com/redpanda-data/connect/v4/public/components/prometheus"
	_ "github.com/redpanda-data/connect/v4/public/components/pure"

	_ "github.com/orderflow/orderflow/plugins/all"
)

// contract lists the variables that pipelines may read, and whether docker-compose.yml has to set
// one that a pipeline reads: those that say where things are have other values in a container.
var contract = map[string]bool{
	"KAFKA_BROKERS":            true,
	"KAFKA_TLS":                false,
	"KAFKA_TLS_CA":             false,
	"KAFKA_SASL_MECHANISM":     false,
	"KAFKA_SASL_USER":          false,
	"KAFKA_SASL_PASSWORD":      false,
	"SCHEMA_REGISTRY_URL":      true,
	"SCHEMA_REGISTRY_USER":     false,
	"SCHEMA_REGISTRY_PASSWORD": false,
	"SCHEMA_REGISTRY_TLS_CA":   false,
	"HTTP_ADDRESS":             true,
	"INSTANCE_ID":              true,
	"ORDERS_TOPIC":             true,
	"PROCESSED_TOPIC":          true,
	"DLQ_TOPIC":                true,
	"STATE_TOPIC":              true,
	"SKIP_UNREADABLE_STATE":    false,
	"CONSUMER_GROUP":           false,
	"DLQ_DIALECT":              false,
	"FAILURE_RATE":             false,
	"FAILURE_MODE":             false,
	"FAILURE_SEED":             false,
	"BREAKER_RATIO":            false,
	"COMMIT_INTERVAL":          false,
	"SESSION_TIMEOUT":          false,
	"ORDER_COUNT":              false,
	"ORDER_INTERVAL":           false,
	"ORDER_SEED":               false,
	"LOG_LEVEL":                false,
	"RUN_ID":                   false, // set by orderflow itself, new for each run
}

// variable is ${NAME} or ${NAME:default}.
var variable = regexp.MustCompile(`\$\{([A-Z][A-Z0-9_]*)(:[^}]*)?\}`)

// variables returns what a pipeline reads, with the defaults.
func variables(t *testing.T, pipeline string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, match := range variable.FindAllSubmatch(read(t, pipeline), -1) {
		found[string(match[1])] = strings.TrimPrefix(string(match[2]), ":")
	}
	return found
}

func environment(s types.ServiceConfig) map[string]string {
	values := map[string]string{}
	for name, value := range s.Environment {
		if value != nil {
			values[name] = *value
		}
	}
	return values
}

func TestVariablesOfAPipelineAreThoseThatItReads(t *testing.T) {
	project := load(t)
	require.Len(t, pipelines(project), 3)
	for name, pipeline := range pipelines(project) {
		reads, sets := variables(t, pipeline), environment(project.Services[name])
		for _, variable := range slices.Sorted(maps.Keys(reads)) {
			required, known := contract[variable]
			require.True(t, known, "%s reads %s, which is no variable of the contract", pipeline, variable)
			if required {
				require.NotEmpty(t, sets[variable], "service %s has to set %s, which %s reads", name, variable, pipeline)
			}
		}
		for _, variable := range slices.Sorted(maps.Keys(sets)) {
			require.Contains(t, reads, variable, "service %s sets %s, which %s does not read", name, variable, pipeline)
		}
	}
}

func TestTopicsAreThoseOfTheTopicsFile(t *testing.T) {
	project := load(t)
	topics := topicNames(t, environment(project.Services["topics"]))
	for name, pipeline := range pipelines(project) {
		values, defaults := environment(project.Services[name]), variables(t, pipeline)
		for _, values := range []map[string]string{values, defaults} {
			for variable, value := range values {
				if strings.HasSuffix(variable, "_TOPIC") {
					require.Contains(t, topics, value, "%s of service %s or its pipeline", variable, name)
				}
			}
		}
	}
}

// topicNames returns the topics that `orderflow topics create` makes with the given environment.
func topicNames(t *testing.T, set map[string]string) []string {
	t.Helper()
	var file struct{ Topics []struct{ Name string } }
	text := variable.ReplaceAllStringFunc(string(read(t, "config", "topics.yaml")), func(reference string) string {
		match := variable.FindStringSubmatch(reference)
		if value, ok := set[match[1]]; ok {
			return value
		}
		return strings.TrimPrefix(match[2], ":")
	})
	require.NoError(t, yaml.Unmarshal([]byte(text), &file))
	var names []string
	for _, topic := range file.Topics {
		names = append(names, topic.Name)
	}
	return names
}

func TestPipelinesLintWithTheVariablesOfTheirService(t *testing.T) {
	t.Chdir("../..") // where the pipelines' relative paths begin
	project := load(t)
	for name, pipeline := range pipelines(project) {
		sets := environment(project.Services[name])
		linter := service.GlobalEnvironment().FullConfigSchema("", "").NewStreamConfigLinter().
			SetRejectDeprecated(true).
			SetEnvVarLookupFunc(func(_ context.Context, name string) (string, bool) {
				value, ok := sets[name]
				return value, ok
			})
		lints, err := linter.LintYAML(read(t, pipeline))
		require.NoError(t, err, pipeline)
		require.Empty(t, lints, pipeline)
	}
}

func TestPipelinesServeTheirHealthcheck(t *testing.T) {
	project := load(t)
	for name := range pipelines(project) {
		s := project.Services[name]
		_, port, _ := strings.Cut(*s.Environment["HTTP_ADDRESS"], ":")
		require.Equal(t, "0.0.0.0:"+port, *s.Environment["HTTP_ADDRESS"], "Prometheus comes from another container")
		require.Contains(t, strings.Join(s.HealthCheck.Test, " "), "http://127.0.0.1:"+port+"/ready", name)
	}
}
