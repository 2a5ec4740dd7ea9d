package deliveryreport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"

	"github.com/orderflow/orderflow/internal/summary"
)

// fakeChild delivers by a function.
type fakeChild struct {
	write  func(context.Context, service.MessageBatch) error
	close  func(context.Context) error
	primed int
	prime  error
	closed int
}

func (c *fakeChild) ConnectionTest(context.Context) service.ConnectionTestResults {
	return service.ConnectionTestNotSupported().AsList()
}
func (c *fakeChild) Prime() error { c.primed++; return c.prime }
func (c *fakeChild) WriteBatch(ctx context.Context, b service.MessageBatch) error {
	return c.write(ctx, b)
}
func (c *fakeChild) Close(ctx context.Context) error {
	c.closed++
	if c.close != nil {
		return c.close(ctx)
	}
	return nil
}

// rig is an output around a fake child, with its log, its summary and a clock that stands still
// unless the child moves it.
type rig struct {
	*output
	child  *fakeChild
	log    bytes.Buffer
	report summary.Report
	clock  time.Time
}

func newRig(t testing.TB, yaml string) *rig {
	parsed, err := spec().ParseYAML("output: { drop: {} }\n"+yaml, nil)
	require.NoError(t, err)
	conf, err := configFromParsed(parsed)
	require.NoError(t, err)
	r := &rig{child: &fakeChild{}, clock: time.Unix(1_700_000_000, 0)}
	logger := slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	mgr := service.MockResources(service.MockResourcesOptUseLogger(service.NewLoggerFromSlog(logger)))
	r.output = newOutput(conf, r.child, mgr, func() time.Time { return r.clock }, &r.report)
	return r
}

// takes makes the child need a time and then answer.
func (r *rig) takes(d time.Duration, answer func(service.MessageBatch) error) {
	r.child.write = func(_ context.Context, b service.MessageBatch) error {
		r.clock = r.clock.Add(d)
		if answer == nil {
			return nil
		}
		return answer(b)
	}
}

func (r *rig) summary(t testing.TB) string {
	var b strings.Builder
	_, err := r.report.WriteTo(&b)
	require.NoError(t, err)
	return b.String()
}

func batchOf(contents ...string) service.MessageBatch {
	var b service.MessageBatch
	for _, c := range contents {
		b = append(b, service.NewMessage([]byte(c)))
	}
	return b
}

func TestSummaryOfDeliveries(t *testing.T) {
	r := newRig(t, "")
	require.Empty(t, r.summary(t), "nothing to tell")

	r = newRig(t, "")
	r.takes(20*time.Millisecond, nil)
	require.NoError(t, r.WriteBatch(t.Context(), batchOf("a", "b", "c")))
	r.takes(40*time.Millisecond, nil)
	require.NoError(t, r.WriteBatch(t.Context(), batchOf("d")))
	require.NoError(t, r.WriteBatch(t.Context(), batchOf("e", "f")))
	require.Equal(t, `Delivery
  produced         6
  failed           0
  latency          average 30.00 ms, p50 20.04 ms, p99 40.35 ms
`, r.summary(t), "quantiles are within 1 %")
}

func TestFailuresInTheSummary(t *testing.T) {
	r := newRig(t, "")
	r.takes(time.Millisecond, func(service.MessageBatch) error { return errRefused })
	require.Same(t, errRefused, r.WriteBatch(t.Context(), batchOf("a", "b")))
	require.Equal(t, "Delivery\n  produced         0\n  failed           2\n  failed attempts  2\n", r.summary(t))

	r.report.Add(section(r.tally.figures))
	r.takes(0, nil)
	require.NoError(t, r.WriteBatch(t.Context(), batchOf("b", "a")))
	require.Equal(t, "Delivery\n  produced         2\n  failed           0\n  failed attempts  2\n"+
		"  latency          average 0.00 ms, p50 0.00 ms, p99 0.00 ms\n", r.summary(t))
}

func TestErrorsPassThroughAndCountPerMessage(t *testing.T) {
	for name, tt := range map[string]struct {
		answer            func(service.MessageBatch) error
		delivered, failed int64
	}{
		"no error":                   {nil, 3, 0},
		"an error of the batch":      {func(service.MessageBatch) error { return errRefused }, 0, 3},
		"not connected":              {func(service.MessageBatch) error { return service.ErrNotConnected }, 0, 3},
		"a batch error without more": {func(b service.MessageBatch) error { return service.NewBatchError(b, errRefused) }, 0, 3},
		"a batch error that names one": {func(b service.MessageBatch) error {
			return service.NewBatchError(b, errRefused).Failed(1, errRefused)
		}, 2, 1},
		"a batch error of a child that filtered and reordered": {func(b service.MessageBatch) error {
			return service.NewBatchError(service.MessageBatch{b[2], b[0]}, errRefused).Failed(0, errRefused)
		}, 2, 1},
		"a batch error inside another error": {func(b service.MessageBatch) error {
			return fmt.Errorf("writing: %w", service.NewBatchError(b, errRefused).Failed(0, errRefused))
		}, 2, 1},
		"a batch error about messages that are not ours": {func(service.MessageBatch) error {
			other := batchOf("x", "y", "z")
			return service.NewBatchError(other, errRefused).Failed(0, errRefused)
		}, 0, 3},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "")
			var answer error
			r.takes(time.Millisecond, func(b service.MessageBatch) error {
				if tt.answer != nil {
					answer = tt.answer(b)
				}
				return answer
			})
			require.Equal(t, answer, r.WriteBatch(t.Context(), batchOf("a", "b", "c")))
			f := r.tally.figures()
			require.Equal(t, tt.delivered, f.produced)
			require.Equal(t, tt.failed, f.failed)
		})
	}
}

func TestWhichMessageFailedIsFoundAfterReordering(t *testing.T) {
	r := newRig(t, "message_id: ${! content() }")
	r.takes(time.Millisecond, func(b service.MessageBatch) error {
		return service.NewBatchError(service.MessageBatch{b[2], b[0]}, errRefused).Failed(0, errRefused)
	})
	require.Error(t, r.WriteBatch(t.Context(), batchOf("a", "b", "c")))
	require.Equal(t, `level=DEBUG msg="Delivered message a in 1ms"
level=DEBUG msg="Delivered message b in 1ms"
level=DEBUG msg="Delivery of message c failed after 1ms: refused"
`, r.log.String())
}

func TestAMessageIsTheSameAfterTheChildChangedIt(t *testing.T) {
	r := newRig(t, "")
	r.takes(0, func(b service.MessageBatch) error { b[0].SetBytes([]byte("changed")); return errRefused })
	require.Error(t, r.WriteBatch(t.Context(), batchOf("a")))
	r.takes(0, func(b service.MessageBatch) error { b[0].SetBytes([]byte("changed otherwise")); return nil })
	require.NoError(t, r.WriteBatch(t.Context(), batchOf("a")))
	require.Zero(t, r.tally.figures().failed)
}

func TestProgressAtMostOncePerInterval(t *testing.T) {
	r := newRig(t, "log_interval: 5s")
	r.takes(time.Second, nil)
	for range 14 {
		require.NoError(t, r.WriteBatch(t.Context(), batchOf("a")))
	}
	require.Equal(t, 2, strings.Count(r.log.String(), "level=INFO"))
	for _, part := range []string{"msg=Deliveries", "produced=10", "failed=0", "failed_attempts=0", `average="1000.00 ms"`, "p50=", "p99="} {
		require.Contains(t, r.log.String(), part)
	}
	require.Contains(t, r.log.String(), `msg="Delivered message 0 of its batch in 1s"`)

	each := newRig(t, "log_interval: 0s")
	each.takes(0, nil)
	for range 3 {
		require.NoError(t, each.WriteBatch(t.Context(), batchOf("a", "b")))
	}
	require.Equal(t, 3, strings.Count(each.log.String(), "level=INFO"))
}

func TestTheChildIsStartedOnceAndClosedIfStarted(t *testing.T) {
	r := newRig(t, "")
	require.NoError(t, r.Close(t.Context()))
	require.Zero(t, r.child.closed, "a child that was never started is not waited for")

	r.child.prime = errRefused
	require.EqualError(t, r.Connect(t.Context()), "starting child output: refused")
	r.child.prime = nil
	for range 3 {
		require.NoError(t, r.Connect(t.Context()))
	}
	require.Equal(t, 2, r.child.primed)
	r.child.close = func(ctx context.Context) error {
		_, limited := ctx.Deadline()
		require.False(t, limited, "a child may need time to flush")
		return errRefused
	}
	require.EqualError(t, r.Close(t.Context()), "closing child output: refused")
}

func TestAHardStopDoesNotWaitForAHangingChild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "message_id: ${! content() }")
		hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		r.child.write = func(ctx context.Context, _ service.MessageBatch) error { return hang(ctx) }
		r.child.close = hang
		require.NoError(t, r.Connect(t.Context()))
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		require.ErrorIs(t, r.WriteBatch(ctx, batchOf("a")), context.DeadlineExceeded)
		require.Contains(t, r.log.String(), "message 0 of its batch", "a message that the child may be changing is not read")
		require.EqualValues(t, 1, r.tally.figures().failed, "not confirmed is failed")

		start := time.Now()
		require.ErrorIs(t, r.Close(context.Background()), context.DeadlineExceeded)
		require.Equal(t, closeLimit, time.Since(start))
	})
}

func TestWrongConfigNamesFieldValueAndWhatIsAllowed(t *testing.T) {
	for name, tt := range map[string]struct{ yaml, want string }{
		"nothing in flight":     {"max_in_flight: 0", "field max_in_flight: 0 is too small, allowed is 1 or more"},
		"a negative interval":   {"log_interval: -5s", `field log_interval: "-5s" is not allowed, allowed is a duration of 0s or more, such as 5s`},
		"an interval of a word": {"log_interval: often", `field log_interval: "often" is not allowed, allowed is a duration of 0s or more, such as 5s`},
		"a broken id":           {"message_id: ${! nope( }", `field message_id: "${! nope( }" is not allowed, allowed is a string with Bloblang functions: `},
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := spec().ParseYAML("output: { drop: {} }\n"+tt.yaml, nil)
			require.NoError(t, err)
			_, err = configFromParsed(parsed)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

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

func TestExamplesLint(t *testing.T) {
	linter := service.NewEnvironment().NewComponentConfigLinter()
	for _, yaml := range []string{
		"delivery_report: { output: { drop: {} } }",
		"delivery_report: { output: { drop: {} }, max_in_flight: 1, log_interval: 1m, message_id: '${! @order_id }' }",
	} {
		lints, err := linter.LintOutputYAML([]byte(yaml))
		require.NoError(t, err)
		require.Empty(t, lints)
	}
}

func BenchmarkWriteBatch(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			conf := config{logInterval: time.Hour}
			o := newOutput(conf, &fakeChild{write: func(context.Context, service.MessageBatch) error { return nil }},
				service.MockResources(), time.Now, new(summary.Report))
			batch := batchOf(strings.Fields(strings.Repeat(`{"orderId":"o-1","product":"pen","price":19.99} `, size))...)
			b.ReportAllocs()
			for b.Loop() {
				if err := o.WriteBatch(context.Background(), batch.Copy()); errors.Is(err, errRefused) {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/message")
		})
	}
}
