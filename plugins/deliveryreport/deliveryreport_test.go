package deliveryreport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
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
		"nothing in flight":     {"max_in_flight: 0", "field max_in_flight: 0: want a number of at least 1"},
		"a negative interval":   {"log_interval: -5s", `field log_interval: "-5s": want a duration such as 10s, or 0s for none`},
		"an interval of a word": {"log_interval: often", `field log_interval: "often": want a duration such as 10s, or 0s for none`},
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
