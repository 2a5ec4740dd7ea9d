package deliveryreport

import (
	"context"
	"sync"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

// flaky is a real output of the host that refuses some messages at first.
type flaky struct {
	mu      sync.Mutex
	refusal map[string]int // how often a content is refused
	batches [][]string
	closed  bool
}

func (f *flaky) Connect(context.Context) error { return nil }
func (f *flaky) WriteBatch(_ context.Context, b service.MessageBatch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var contents []string
	err := b.WalkWithBatchedErrors(func(_ int, msg *service.Message) error {
		content, _ := msg.AsBytes()
		contents = append(contents, string(content))
		if f.refusal[string(content)] > 0 {
			f.refusal[string(content)]--
			return errRefused
		}
		return nil
	})
	f.batches = append(f.batches, contents)
	return err
}
func (f *flaky) Close(context.Context) error { f.closed = true; return nil }

// counters is a metrics exporter that sums counters and counts timings.
type counters struct {
	mu  sync.Mutex
	sum map[string]int64
}

type counter struct {
	*counters
	name string
}

func (c counter) Incr(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum[c.name] += n
}
func (c counter) Timing(int64) { c.Incr(1) }
func (c counter) Set(int64)    {}

func (c *counters) NewCounterCtor(name string, _ ...string) service.MetricsExporterCounterCtor {
	return func(...string) service.MetricsExporterCounter { return counter{c, name} }
}
func (c *counters) NewTimerCtor(name string, _ ...string) service.MetricsExporterTimerCtor {
	return func(...string) service.MetricsExporterTimer { return counter{c, name} }
}
func (c *counters) NewGaugeCtor(name string, _ ...string) service.MetricsExporterGaugeCtor {
	return func(...string) service.MetricsExporterGauge { return counter{c, name} }
}
func (c *counters) Close(context.Context) error { return nil }

// In a real stream the host starts the child, replays what failed and closes it at the end. The
// child's own batching works through the output around it.
func TestInAStream(t *testing.T) {
	f := &flaky{refusal: map[string]int{`{"n":3}`: 1, `{"n":7}`: 2}}
	c := &counters{sum: map[string]int64{}}
	env := service.NewEnvironment()
	require.NoError(t, env.RegisterMetricsExporter("capture", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Logger) (service.MetricsExporter, error) { return c, nil }))
	require.NoError(t, env.RegisterBatchOutput("flaky", service.NewConfigSpec().Field(service.NewBatchPolicyField("batching")),
		func(conf *service.ParsedConfig, _ *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
			policy, err := conf.FieldBatchPolicy("batching")
			return f, policy, 1, err
		}))
	b := env.NewStreamBuilder()
	require.NoError(t, b.SetLoggerYAML("level: none"))
	require.NoError(t, b.SetMetricsYAML("capture: {}"))
	require.NoError(t, b.AddInputYAML(`
generate:
  count: 10
  interval: ""
  mapping: 'root.n = counter()'
`))
	require.NoError(t, b.AddOutputYAML(`
delivery_report:
  output:
    flaky:
      batching: { count: 5, period: 20ms }
`))
	s, err := b.Build()
	require.NoError(t, err)
	require.NoError(t, s.Run(t.Context()))
	require.True(t, f.closed)
	require.Len(t, f.batches[0], 5, "single messages in flight fill the child's batch")
	require.EqualValues(t, 10, c.sum["orderflow_delivery_total"])
	require.EqualValues(t, 3, c.sum["orderflow_delivery_failed_total"])
	require.EqualValues(t, 10, c.sum["orderflow_delivery_latency_seconds"])
}

func TestAChildThatCannotBeBuiltIsAnErrorOfTheField(t *testing.T) {
	env := service.NewEnvironment()
	require.NoError(t, env.RegisterBatchOutput("broken", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
			return nil, service.BatchPolicy{}, 0, errRefused
		}))
	b := env.NewStreamBuilder()
	require.NoError(t, b.SetLoggerYAML("level: none"))
	require.NoError(t, b.AddInputYAML("generate: { mapping: root = 1, count: 1 }"))
	require.NoError(t, b.AddOutputYAML("delivery_report: { output: { broken: {} } }"))
	s, err := b.Build()
	if err == nil {
		err = s.Run(t.Context())
	}
	require.ErrorContains(t, err, "field output: ")
	require.ErrorContains(t, err, "refused")
}
