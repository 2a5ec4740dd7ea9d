package runningaggregate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

// lines takes what was logged, once all that is due has been done. It needs a bubble.
func lines(r rig) []string {
	synctest.Wait()
	text := strings.TrimSpace(r.log.take())
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func TestLogAtMostOncePerIntervalAndNeverStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, byProduct+"log_interval: 10s")
		r.process(t, order("pen", 1.5))
		require.Equal(t, []string{`msg="Running aggregate" average=1.5 count=1 groups=1 max=1.5 min=1.5 sum=1.5`}, sorted(lines(r)), "the first change is shown at once")

		for range 9 {
			time.Sleep(time.Second)
			r.process(t, order("ink", 2.5), order("pen", 0.5))
		}
		require.Empty(t, lines(r))
		time.Sleep(time.Second)
		require.Equal(t, []string{`msg="Running aggregate" average=1.5 count=19 groups=2 max=2.5 min=0.5 sum=28.5`}, sorted(lines(r)), "the last change is shown without a further message")

		time.Sleep(time.Hour)
		require.Empty(t, lines(r), "no change, no line")

		failed := order("pen", "x")
		r.process(t, failed)
		require.Empty(t, lines(r), "what is not counted is no change")

		r.process(t, order("pen", 1.0))
		require.Len(t, lines(r), 1)
		r.process(t, order("pen", 1.0))
		require.Empty(t, lines(r))
		require.NoError(t, r.Close(context.Background()))
		require.Len(t, lines(r), 1, "what is not yet shown is shown at the end")
		require.NoError(t, r.Close(context.Background()))
		r.process(t, order("pen", 1.0))
		time.Sleep(time.Hour)
		require.Empty(t, lines(r), "a call that overlaps Close leaves no timer")
	})
}

func TestIntervalOfZeroLogsEachMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, byProduct+"log_interval: 0s\nname: revenue")
		r.process(t, order("pen", 1.5), order("ink", 2.0), order("ink", "x"))
		r.process(t, order("pen", 1.0))
		require.Equal(t, []string{
			`msg="Running aggregate" average=1.5 count=1 group=pen name=revenue value=1.5`,
			`msg="Running aggregate" average=1.75 count=2 group=ink name=revenue value=2`,
			`msg="Running aggregate" average=1.5 count=3 group=pen name=revenue value=1`,
		}, sorted(lines(r)))
		require.NoError(t, r.Close(context.Background()))
		require.Empty(t, lines(r))
	})
}

// sorted puts the fields of each line in order, since the host keeps them in a map.
func sorted(lines []string) []string {
	for i, line := range lines {
		head, rest, _ := strings.Cut(line, `" `)
		fields := strings.Fields(rest)
		for a := range fields {
			for b := range fields[:a] {
				if fields[a] < fields[b] {
					fields[a], fields[b] = fields[b], fields[a]
				}
			}
		}
		lines[i] = head + `" ` + strings.Join(fields, " ")
	}
	return lines
}

// capture is a metrics exporter that keeps the last value of each gauge.
type capture struct {
	mu     sync.Mutex
	gauges map[string]float64
}

type captured struct {
	*capture
	name string
}

func (c captured) Set(v int64) { c.SetFloat64(float64(v)) }

func (c captured) SetFloat64(v float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gauges[c.name] = v
}
func (c captured) Incr(int64)   {}
func (c captured) Timing(int64) {}

func (c *capture) NewCounterCtor(string, ...string) service.MetricsExporterCounterCtor {
	return func(...string) service.MetricsExporterCounter { return captured{} }
}

func (c *capture) NewTimerCtor(string, ...string) service.MetricsExporterTimerCtor {
	return func(...string) service.MetricsExporterTimer { return captured{} }
}

func (c *capture) NewGaugeCtor(name string, keys ...string) service.MetricsExporterGaugeCtor {
	return func(values ...string) service.MetricsExporterGauge {
		full := name
		for i, key := range keys {
			if key == "group" {
				full += fmt.Sprintf("{group=%q}", values[i])
			}
		}
		return captured{c, full}
	}
}

func (c *capture) Close(context.Context) error { return nil }

// In a real stream: registered, fed by the host, gauges set.
func TestInAStream(t *testing.T) {
	c := &capture{gauges: map[string]float64{}}
	env := service.NewEnvironment()
	require.NoError(t, env.RegisterMetricsExporter("capture", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Logger) (service.MetricsExporter, error) { return c, nil }))
	b := env.NewStreamBuilder()
	require.NoError(t, b.SetLoggerYAML("level: none"))
	require.NoError(t, b.SetMetricsYAML("capture: {}"))
	require.NoError(t, b.AddInputYAML(`
generate:
  count: 10
  interval: ""
  batch_size: 5
  mapping: |
    let n = counter()
    root = { "price": $n + 0.1, "product": if $n % 2 == 0 { "pen" } else { "a\"b" } }
`))
	require.NoError(t, b.AddProcessorYAML("running_aggregate:\n  value: this.price\n  group_by: this.product\n  log_interval: 1h"))
	var mu sync.Mutex
	var last string
	require.NoError(t, b.AddConsumerFunc(func(_ context.Context, msg *service.Message) error {
		mu.Lock()
		defer mu.Unlock()
		last, _ = msg.MetaGet("running_average")
		return msg.GetError()
	}))
	s, err := b.Build()
	require.NoError(t, err)
	require.NoError(t, s.Run(t.Context()))
	require.Equal(t, "5.6", last)
	for name, want := range map[string]float64{
		"orderflow_aggregate_count":                       10,
		"orderflow_aggregate_sum":                         56,
		"orderflow_aggregate_min":                         1.1,
		"orderflow_aggregate_max":                         10.1,
		"orderflow_aggregate_average":                     5.6,
		`orderflow_aggregate_group_count{group="pen"}`:    5,
		`orderflow_aggregate_group_sum{group="pen"}`:      30.5,
		`orderflow_aggregate_group_min{group="pen"}`:      2.1,
		`orderflow_aggregate_group_max{group="a\"b"}`:     9.1,
		`orderflow_aggregate_group_average{group="a\"b"}`: 5.1,
	} {
		require.Equal(t, want, c.gauges[name], name)
	}
}

func TestExamplesLint(t *testing.T) {
	linter := service.NewEnvironment().NewComponentConfigLinter()
	for _, yaml := range []string{
		"running_aggregate: {}",
		"running_aggregate:\n  value: this.price\n  group_by: this.product",
		"running_aggregate:\n  value: this.price * this.quantity\n  group_by: '@kafka_topic'\n  name: revenue\n  log_interval: 10s",
	} {
		lints, err := linter.LintProcessorYAML([]byte(yaml))
		require.NoError(t, err)
		require.Empty(t, lints)
	}
}
