package readme_test

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/test/child"
)

// variable is ${NAME} or ${NAME:default}.
var variable = regexp.MustCompile(`\$\{([A-Z][A-Z0-9_]*)(:[^}]*)?\}`)

// pipelines returns the files of config/pipelines that are no tests.
func pipelines(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(child.Root(t), "config", "pipelines", "*.yaml"))
	require.NoError(t, err)
	return slices.DeleteFunc(all, func(path string) bool { return strings.HasSuffix(path, "_test.yaml") })
}

// variables returns what the files read, each with its defaults. Comments do not count.
func variables(t *testing.T, files []string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			for _, match := range variable.FindAllStringSubmatch(line, -1) {
				value := strings.TrimPrefix(match[2], ":")
				if !slices.Contains(found[match[1]], value) {
					found[match[1]] = append(found[match[1]], value)
				}
			}
		}
	}
	return found
}

// documented returns the variables of the README's table, each with its defaults.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, row := range read(t, "README.md").table(t, "variable").rows {
		defaults := spans(row[1])
		if row[1] == "empty" {
			defaults = []string{""}
		}
		all[strings.Trim(row[0], "`")] = defaults
	}
	return all
}

func TestVariablesAreThoseThatPipelinesRead(t *testing.T) {
	files := append(pipelines(t), filepath.Join(child.Root(t), "config", "topics.yaml"))
	reads, told := variables(t, files), documented(t)
	delete(reads, "RUN_ID") // set by the binary, and told in the text
	require.Equal(t, slices.Sorted(maps.Keys(reads)), slices.Sorted(maps.Keys(told)))
	for name, defaults := range reads {
		require.ElementsMatch(t, defaults, told[name], "default of %s", name)
	}
}

// recorder is a metrics exporter that notes which metrics are made, before they have a value.
type recorder struct {
	mu    sync.Mutex
	names map[string]bool
}

func (r *recorder) note(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[name] = true
}

func (r *recorder) NewCounterCtor(name string, _ ...string) service.MetricsExporterCounterCtor {
	r.note(name)
	return func(...string) service.MetricsExporterCounter { return nothing{} }
}

func (r *recorder) NewTimerCtor(name string, _ ...string) service.MetricsExporterTimerCtor {
	r.note(name)
	return func(...string) service.MetricsExporterTimer { return nothing{} }
}

func (r *recorder) NewGaugeCtor(name string, _ ...string) service.MetricsExporterGaugeCtor {
	r.note(name)
	return func(...string) service.MetricsExporterGauge { return nothing{} }
}

func (r *recorder) Close(context.Context) error { return nil }

type nothing struct{}

func (nothing) Incr(int64)   {}
func (nothing) Timing(int64) {}
func (nothing) Set(int64)    {}

// madeBy runs a pipeline that finds no broker until all of its parts have made their metrics.
func madeBy(t *testing.T, pipeline string) []string {
	t.Helper()
	r := &recorder{names: map[string]bool{}}
	text, err := os.ReadFile(pipeline)
	require.NoError(t, err)
	env := service.GlobalEnvironment().Clone()
	require.NoError(t, env.RegisterMetricsExporter("recorder", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Logger) (service.MetricsExporter, error) { return r, nil }))
	builder := env.NewStreamBuilder()
	builder.SetEnvVarLookupFunc(func(name string) (string, bool) {
		value, ok := map[string]string{
			"KAFKA_BROKERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1", "HTTP_ADDRESS": "127.0.0.1:0",
		}[name]
		return value, ok
	})
	require.NoError(t, builder.SetYAML(string(text)))
	require.NoError(t, builder.SetMetricsYAML("recorder: {}"))
	require.NoError(t, builder.SetLoggerYAML("level: NONE"))
	stream, err := builder.Build()
	require.NoError(t, err, pipeline)

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- stream.Run(ctx) }()
	// All parts are made by the time that the last one, the output, has its metrics.
	require.Eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.names["output_sent"]
	}, child.Patience, 5*time.Millisecond, pipeline)
	cancel()
	<-done
	// The host may leave a goroutine behind that still makes metrics.
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.names))
}

func TestMetricsAreThoseThatPipelinesMake(t *testing.T) {
	var made []string
	for _, pipeline := range pipelines(t) {
		made = append(made, madeBy(t, pipeline)...)
	}
	slices.Sort(made)
	made = slices.DeleteFunc(slices.Compact(made), func(name string) bool { return !strings.HasPrefix(name, "orderflow_") })
	require.NotEmpty(t, made)

	p := read(t, "README.md")
	var told []string
	for _, row := range p.table(t, "metric").rows {
		told = append(told, spans(row[0])...)
	}
	require.ElementsMatch(t, made, told)

	named := regexp.MustCompile(`\borderflow_[a-z_]+`).FindAllString(p.text, -1)
	for _, name := range named {
		require.Contains(t, made, name, "the README names a metric that no pipeline makes")
	}
}

// sources returns the Go code of the module, without its tests.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	root := child.Root(t)
	for _, dir := range []string{"cmd", "internal", "plugins"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			all.Write(text)
			return err
		}))
	}
	return all.String()
}

// host lists the messages of the troubleshooting table that are not ours.
var host = []string{"unable to dial", "configuration file read error", "TOPIC_AUTHORIZATION_FAILED"}

func TestMessagesAreThoseOfTheSources(t *testing.T) {
	code, n := sources(t), 0
	number := regexp.MustCompile(`\b\d+\b`)
	for _, row := range read(t, "README.md").table(t, "message").rows {
		cell := row[0]
		if !strings.HasPrefix(cell, "`") {
			continue // a symptom in words
		}
		message := spans(cell)[0]
		n++
		for part := range strings.SplitSeq(message, "…") {
			for _, fragment := range number.Split(part, -1) {
				if fragment = strings.Trim(fragment, " :,"); strings.Contains(message, "Kafka 2.5") {
					fragment = strings.Trim(part, " :,") // its numbers are part of the text
				}
				for _, piece := range strings.Split(fragment, ": ") {
					if !slices.Contains(host, piece) {
						require.Contains(t, code, piece, "message %q", message)
					}
				}
			}
		}
	}
	require.Greater(t, n, 10)
}
