package all

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	_ "github.com/redpanda-data/connect/v4/public/components/io"
	_ "github.com/redpanda-data/connect/v4/public/components/kafka"
	_ "github.com/redpanda-data/connect/v4/public/components/pure"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// components are the names that the bundle promises, and what each is.
var components = map[string][]string{
	"fake_order":          {"function"},
	"order_encode":        {"processor"},
	"order_decode":        {"processor"},
	"order_validate":      {"processor"},
	"backoff_retry":       {"processor"},
	"running_aggregate":   {"processor"},
	"dead_letter":         {"processor"},
	"dlq_redrive":         {"input", "processor", "output"},
	"dlq_summary":         {"processor"},
	"reject_dead_letters": {"processor"},
	"delivery_report":     {"output"},
	"kafka_transactional": {"input", "output"},
}

// bare is the component that has neither fields nor metrics.
const bare = "reject_dead_letters"

// required are the fields that have neither a default nor can be left out.
var required = []string{
	"backoff_retry.processors",
	"delivery_report.output",
	"dlq_redrive.sasl.mechanism",
	"dlq_redrive.seed_brokers",
	"dlq_redrive.topic",
	"kafka_transactional.consumer_group",
	"kafka_transactional.sasl.mechanism",
	"kafka_transactional.seed_brokers",
	"kafka_transactional.state_topic",
	"kafka_transactional.topic",
	"kafka_transactional.topics",
}

// folder is where a component's plugin is.
func folder(name string) string { return filepath.Join("..", strings.ReplaceAll(name, "_", "")) }

// views returns what the environment has of the components.
func views(t *testing.T) map[string]*service.ConfigView {
	t.Helper()
	found := map[string]*service.ConfigView{}
	env := service.GlobalEnvironment()
	for kind, walk := range map[string]func(func(string, *service.ConfigView)){
		"processor": env.WalkProcessors, "input": env.WalkInputs, "output": env.WalkOutputs,
	} {
		walk(func(name string, view *service.ConfigView) {
			if slices.Contains(components[name], kind) {
				found[kind+" "+name] = view
			}
		})
	}
	return found
}

func TestEachComponentIsListedByTheEnvironment(t *testing.T) {
	found := views(t)
	for name, kinds := range components {
		for _, kind := range kinds {
			if kind == "function" {
				lints, err := service.GlobalEnvironment().NewComponentConfigLinter().LintProcessorYAML([]byte("mapping: root = " + name + "()"))
				require.NoError(t, err)
				require.Empty(t, lints, name)
				continue
			}
			require.Contains(t, found, kind+" "+name)
		}
	}
}

// A folder that this package does not import would be a plugin that nobody can use.
func TestEachFolderIsThePluginOfAComponent(t *testing.T) {
	var want []string
	for name := range components {
		want = append(want, filepath.Base(folder(name)))
	}
	entries, err := os.ReadDir("..")
	require.NoError(t, err)
	var got []string
	for _, entry := range entries {
		if entry.IsDir() && entry.Name() != "all" {
			got = append(got, entry.Name())
		}
	}
	require.ElementsMatch(t, want, got)
}

// field is what `orderflow list --format json` shows of a field.
type field struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Default     json.RawMessage `json:"default"`
	Optional    bool            `json:"is_optional"`
	Children    []field         `json:"children"`
}

func TestEachFieldHasADescriptionAndADefault(t *testing.T) {
	var without []string
	var check func(t *testing.T, path string, f field)
	check = func(t *testing.T, path string, f field) {
		path += "." + f.Name
		require.NotEmpty(t, f.Description, path)
		if f.Default == nil && !f.Optional && len(f.Children) == 0 {
			without = append(without, path)
		}
		for _, child := range f.Children {
			check(t, path, child)
		}
	}
	for title, view := range views(t) {
		t.Run(title, func(t *testing.T) {
			require.NotEmpty(t, view.Summary())
			b, err := view.FormatJSON()
			require.NoError(t, err)
			var spec struct {
				Name   string `json:"name"`
				Config struct {
					Children []field `json:"children"`
				} `json:"config"`
			}
			require.NoError(t, json.Unmarshal(b, &spec))
			require.Equal(t, spec.Name == bare, len(spec.Config.Children) == 0)
			for _, f := range spec.Config.Children {
				check(t, spec.Name, f)
			}
		})
	}
	slices.Sort(without)
	require.Equal(t, required, slices.Compact(without))
}

// examples returns all YAML that documents a component: the examples of its specification and
// the snippets of its README.
func examples(t *testing.T, name string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for title, view := range views(t) {
		if _, component, _ := strings.Cut(title, " "); component != name {
			continue
		}
		data, err := view.TemplateData()
		require.NoError(t, err)
		for _, e := range data.Examples {
			all["example "+e.Title] = e.Config
		}
	}
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readme(t, name), -1) {
		all["README: "+m[1][:min(len(m[1]), 40)]] = m[1]
	}
	return all
}

func readme(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder(name), "README.md"))
	require.NoError(t, err)
	return string(content)
}

// shared are fields whose parts are explained by the host, or in the README of order_decode.
var shared = regexp.MustCompile(`^(tls|sasl|metadata|registry)\b.+`)

func TestEachFieldIsInTheREADME(t *testing.T) {
	for title, view := range views(t) {
		_, name, _ := strings.Cut(title, " ")
		data, err := view.TemplateData()
		require.NoError(t, err)
		for _, f := range data.Fields {
			if !shared.MatchString(f.FullName) {
				require.Regexp(t, "`"+regexp.QuoteMeta(f.FullName)+"[`.]", readme(t, name), title)
			}
		}
	}
}

func TestExamplesAndREADMEsLint(t *testing.T) {
	linter := service.GlobalEnvironment().FullConfigSchema("", "").NewStreamConfigLinter().SetRejectDeprecated(true)
	for name := range components {
		shown := 0
		for title, text := range examples(t, name) {
			t.Run(name+", "+title, func(t *testing.T) {
				lints, err := linter.LintYAML([]byte(text))
				require.NoError(t, err)
				require.Empty(t, lints)
			})
			if strings.HasPrefix(title, "README") && strings.Contains(text, name) {
				shown++
			}
		}
		require.Positive(t, shown, "the README of %s shows no YAML with it", name)
	}
}

// What is documented can also be built, and makes the metrics that the README lists.
func TestExamplesAreBuiltAndMakeTheMetricsOfTheREADME(t *testing.T) {
	for name := range components {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := map[string]bool{}
			for title, text := range examples(t, name) {
				for _, metric := range build(t, title, text) {
					made[metric] = true
				}
			}
			if !slices.Contains(components[name], "function") {
				require.Equal(t, name == bare, len(made) == 0)
			}
			for _, metric := range regexp.MustCompile(`orderflow_[a-z_]+`).FindAllString(readme(t, name), -1) {
				require.True(t, made[metric], "the README lists %s, which is not made", metric)
			}
			for metric := range made {
				if ofComponent(metric, name) {
					listed := strings.Contains(readme(t, name), metric) || strings.Contains(readme(t, name), "`_"+metric[strings.LastIndex(metric, "_")+1:]+"`")
					require.True(t, listed, "the README does not list %s", metric)
				}
			}
		})
	}
}

// ofComponent tells whether a metric is of a component and not of another in the same example.
func ofComponent(metric, name string) bool {
	prefix := map[string]string{"running_aggregate": "aggregate", "delivery_report": "delivery"}[name]
	if prefix == "" {
		prefix = name
	}
	return strings.HasPrefix(metric, "orderflow_"+prefix+"_")
}

// build runs a pipeline until all of its parts are made, and returns the metrics of ours. There
// is no broker and no registry for it.
func build(t *testing.T, title, text string) []string {
	t.Helper()
	var conf map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(text), &conf), title)
	for section, filler := range map[string]any{
		"input":  map[string]any{"generate": map[string]any{"mapping": "root = deleted()", "interval": "1h"}},
		"output": map[string]any{"drop": map[string]any{}},
	} {
		if conf[section] == nil {
			conf[section] = filler
		}
	}
	full, err := yaml.Marshal(conf)
	require.NoError(t, err)
	nowhere := strings.NewReplacer("localhost:9092", "127.0.0.1:1", "localhost:8081", "127.0.0.1:1", "localhost:8080", "127.0.0.1:1", "config/", "../../config/")

	r := &recorder{ready: make(chan struct{})}
	env := service.GlobalEnvironment().Clone()
	require.NoError(t, env.RegisterMetricsExporter("recorder", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Logger) (service.MetricsExporter, error) { return r, nil }))
	b := env.NewStreamBuilder()
	b.SetEnvVarLookupFunc(func(name string) (string, bool) {
		if name == "SCHEMA_REGISTRY_URL" {
			return "http://127.0.0.1:1", true
		}
		return "", false
	})
	require.NoError(t, b.SetYAML(nowhere.Replace(string(full))), title)
	require.NoError(t, b.SetMetricsYAML("recorder: {}"))
	require.NoError(t, b.SetLoggerYAML("level: NONE"))
	stream, err := b.Build()
	require.NoError(t, err, title)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- stream.Run(ctx) }()
	select {
	case <-r.ready:
	case err := <-done:
		require.NoError(t, err, "building %s", title)
	case <-time.After(30 * time.Second):
		t.Fatalf("building %s: not within 30 s", title)
	}
	cancel()
	<-done

	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ours
}

// recorder is a metrics exporter that notes which metrics of ours are made.
type recorder struct {
	mu    sync.Mutex
	ours  []string
	once  sync.Once
	ready chan struct{} // closed when the output, the last part, is made
}

func (r *recorder) note(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.HasPrefix(name, "orderflow_") {
		r.ours = append(r.ours, name)
	}
	if name == "output_sent" {
		r.once.Do(func() { close(r.ready) })
	}
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
