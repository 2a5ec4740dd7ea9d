package compose_test

import (
	"context"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/test/child"
)

// recorder is a metrics exporter that notes which metrics are made, before they have a value.
type recorder struct {
	mu    sync.Mutex
	names map[string][]string // name to label names
}

func (r *recorder) note(name string, labels []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[name] = labels
}

func (r *recorder) NewCounterCtor(name string, labels ...string) service.MetricsExporterCounterCtor {
	r.note(name, labels)
	return func(...string) service.MetricsExporterCounter { return nothing{} }
}

func (r *recorder) NewTimerCtor(name string, labels ...string) service.MetricsExporterTimerCtor {
	r.note(name, labels)
	return func(...string) service.MetricsExporterTimer { return nothing{} }
}

func (r *recorder) NewGaugeCtor(name string, labels ...string) service.MetricsExporterGaugeCtor {
	r.note(name, labels)
	return func(...string) service.MetricsExporterGauge { return nothing{} }
}

func (r *recorder) Close(context.Context) error { return nil }

type nothing struct{}

func (nothing) Incr(int64)   {}
func (nothing) Timing(int64) {}
func (nothing) Set(int64)    {}

// madeBy builds a pipeline and returns the metrics that it makes, its host's included, each with
// the names of its labels. The pipeline runs, but finds no broker.
func madeBy(t *testing.T, pipeline string, variables map[string]string) map[string][]string {
	t.Helper()
	r := &recorder{names: map[string][]string{}}
	env := service.GlobalEnvironment().Clone()
	require.NoError(t, env.RegisterMetricsExporter("recorder", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Logger) (service.MetricsExporter, error) { return r, nil }))

	builder := env.NewStreamBuilder()
	builder.SetEnvVarLookupFunc(func(name string) (string, bool) {
		switch name {
		case "KAFKA_BROKERS":
			return "127.0.0.1:1", true // nobody listens there
		case "SCHEMA_REGISTRY_URL":
			return "http://127.0.0.1:1", true
		case "HTTP_ADDRESS":
			return "127.0.0.1:0", true
		}
		value, ok := variables[name]
		return value, ok
	})
	require.NoError(t, builder.SetYAML(string(read(t, pipeline))))
	require.NoError(t, builder.SetMetricsYAML("recorder: {}"))
	require.NoError(t, builder.SetLoggerYAML("level: NONE"))
	stream, err := builder.Build()
	require.NoError(t, err, pipeline)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- stream.Run(ctx) }()
	// All parts are made by the time that the last one, the output, has its metrics.
	require.Eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		_, ok := r.names["output_sent"]
		return ok
	}, child.Patience, 5*time.Millisecond, pipeline)
	cancel()
	<-done

	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.names) // the host may make more
}

// metrics returns what all pipelines of docker-compose.yml make.
func metrics(t *testing.T) map[string][]string {
	t.Helper()
	t.Chdir("../..") // where the pipelines' relative paths begin
	all := map[string][]string{}
	project := load(t)
	for name, pipeline := range pipelines(project) {
		made := madeBy(t, pipeline, environment(project.Services[name]))
		for metric, labels := range made {
			all[metric] = append(all[metric], labels...)
		}
	}
	return all
}

// exported maps the name of a series back to that of the metric that a plugin makes.
func exported(series string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(series, suffix); ok {
			return base
		}
	}
	return series
}
