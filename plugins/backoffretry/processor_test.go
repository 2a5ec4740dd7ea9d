package backoffretry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/summary"
	"github.com/orderflow/orderflow/test/calls"
)

func build(t testing.TB, yaml string) *processor {
	t.Helper()
	p, _ := buildWith(t, yaml)
	return p
}

func buildWith(t testing.TB, yaml string) (*processor, *summary.Report) {
	t.Helper()
	conf, err := spec().ParseYAML(yaml, service.GlobalEnvironment())
	require.NoError(t, err)
	sum := &summary.Report{}
	p, err := fromParsed(conf, service.MockResources(), sum)
	require.NoError(t, err)
	return p, sum
}

func emit(_ context.Context, m *service.Message) (service.MessageBatch, error) {
	return service.MessageBatch{m}, nil
}

var errBusy = failure.NewTransient("busy", errors.New("busy"))

func history(t *testing.T, err error) *failure.History {
	t.Helper()
	h, ok := errors.AsType[*failure.History](err)
	require.True(t, ok, "%T: %v", err, err)
	return h
}

func TestAFailingMessageIsTriedFourTimesOneTwoAndFourSecondsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		p, sum := buildWith(t, "processors: ["+calls.Child(t, func(_ context.Context, m *service.Message) (service.MessageBatch, error) {
			at = append(at, time.Since(start))
			n, _ := m.MetaGetMut("attempt")
			require.Equal(t, len(at), n, "attempt is a Go int")
			time.Sleep(10 * time.Millisecond) // in virtual time: delays count from the failure
			return nil, errBusy
		})+"]")
		msg := service.NewMessage([]byte("order"))
		out, err := p.Process(t.Context(), msg)
		require.Empty(t, out)
		require.EqualError(t, err, "Max retries exceeded: busy")
		require.Equal(t, []time.Duration{0, 1010 * time.Millisecond, 3020 * time.Millisecond, 7030 * time.Millisecond}, at)

		h := history(t, err)
		require.Equal(t, "test_call", h.Stage)
		require.Len(t, h.Attempts, 4)
		for i, failedAt := range h.Attempts {
			require.Equal(t, at[i]+10*time.Millisecond, failedAt.Sub(start))
		}
		_, ok := msg.MetaGetMut("attempt")
		require.False(t, ok)

		var b bytes.Buffer
		_, _ = sum.WriteTo(&b)
		require.Equal(t, `Retries
  attempts            4
  retries             3 (retry 1: 1, retry 2: 1, retry 3: 1)
  recovered           0
  exhausted           1
  permanent failures  0
`, b.String())
	})
}

func TestEachAttemptStartsFromTheMessageAsItCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		p := build(t, "processors: ["+calls.Child(t, func(_ context.Context, m *service.Message) (service.MessageBatch, error) {
			tries++
			require.NoError(t, m.GetError())
			b, _ := m.AsBytes()
			require.JSONEq(t, `{"id":"a"}`, string(b))
			_, dirty := m.MetaGet("dirty")
			require.False(t, dirty)
			header, _ := m.MetaGet("header")
			require.Equal(t, "kept", header)

			v, err := m.AsStructuredMut()
			require.NoError(t, err)
			v.(map[string]any)["id"] = "changed"
			m.MetaSetMut("dirty", true)
			m.MetaDelete("header")
			if tries < 3 {
				return nil, errBusy
			}
			return service.MessageBatch{m}, nil
		})+"]")
		msg := service.NewMessage(nil)
		msg.SetStructured(map[string]any{"id": "a"})
		msg.MetaSetMut("header", "kept")
		msg.MetaSetMut("attempt", "a header of that name")
		msg.SetError(errors.New("from before"))

		out, err := p.Process(t.Context(), msg)
		require.NoError(t, err)
		require.Len(t, out, 1)
		require.NoError(t, out[0].GetError())
		b, _ := out[0].AsBytes()
		require.JSONEq(t, `{"id":"changed"}`, string(b))
		v, _ := out[0].MetaGetMut("attempt")
		require.Equal(t, "a header of that name", v)

		// The message itself is untouched, which is what goes on when all attempts fail.
		b, _ = msg.AsBytes()
		require.JSONEq(t, `{"id":"a"}`, string(b))
		require.Equal(t, 3, tries)
		require.EqualValues(t, 1, p.report.recovered.Load())
	})
}

func TestAttemptIsGoneAfterwards(t *testing.T) {
	p := build(t, "processors: ["+calls.Child(t, emit)+"]")
	out, err := p.Process(t.Context(), service.NewMessage([]byte("x")))
	require.NoError(t, err)
	_, ok := out[0].MetaGetMut("attempt")
	require.False(t, ok)
}

func TestPermanentFailuresAreNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p := build(t, "retry_if: 'true'\nprocessors: ["+calls.Child(t, func(context.Context, *service.Message) (service.MessageBatch, error) {
			return nil, fmt.Errorf("checking: %w", failure.NewPermanent("price", errors.New("price is 0")))
		})+"]")
		_, err := p.Process(t.Context(), service.NewMessage(nil))
		require.EqualError(t, err, "checking: price is 0")
		require.Zero(t, time.Since(start))
		require.Len(t, history(t, err).Attempts, 1)
		require.EqualValues(t, 1, p.report.permanent.Load())
	})
}

func TestErrorsThatAreFinalPassUntried(t *testing.T) {
	p := build(t, "processors: ["+calls.Child(t, func(context.Context, *service.Message) (service.MessageBatch, error) {
		t.Error("the message was tried")
		return nil, nil
	})+"]")
	for _, final := range []error{
		failure.NewPermanent("decode", errors.New("broken")),
		&failure.History{Err: errBusy},
		context.Canceled,
	} {
		msg := service.NewMessage([]byte("x"))
		msg.SetError(final)
		out, err := p.Process(t.Context(), msg)
		require.NoError(t, err)
		require.Equal(t, service.MessageBatch{msg}, out)
		require.Equal(t, final, msg.GetError())
	}
	require.Zero(t, p.report.attempts.Load())
}

func TestRetryIfDecidesOnFailuresWithoutAClass(t *testing.T) {
	tests := []struct {
		name     string
		retryIf  string
		err      error
		attempts int
		class    failure.Class
		checks   bool
	}{
		{"without it they are retried", "", errors.New("timeout"), 4, failure.Transient, false},
		{"true retries", `error().contains("timeout")`, errors.New("timeout"), 4, failure.Transient, false},
		{"false makes the failure permanent", `error().contains("timeout")`, errors.New("refused"), 1, failure.Permanent, false},
		{"a class is not overruled", `false`, errBusy, 4, failure.Transient, false},
		{"no boolean retries and is told", `error()`, errors.New("refused"), 4, failure.Transient, true},
		{"the text true retries and is told", `"true"`, errors.New("refused"), 4, failure.Transient, true},
		{"null retries and is told", `null`, errors.New("refused"), 4, failure.Transient, true},
		{"a query that fails retries and is told", `this.x.y.uppercase()`, errors.New("refused"), 4, failure.Transient, true},
		{"the message that failed can be asked", `this.again`, errors.New("refused"), 4, failure.Transient, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				yaml := "processors: [" + calls.Child(t, func(_ context.Context, m *service.Message) (service.MessageBatch, error) {
					m.SetStructured(map[string]any{"again": true})
					return nil, test.err
				}) + "]"
				if test.retryIf != "" {
					yaml += fmt.Sprintf("\nretry_if: %q", test.retryIf)
				}
				p := build(t, yaml)
				_, err := p.Process(t.Context(), service.NewMessage([]byte("{}")))
				h := history(t, err)
				require.Len(t, h.Attempts, test.attempts)
				class, _ := failure.Of(err)
				require.Equal(t, test.class, class)
				require.ErrorIs(t, err, test.err)
				warned := true
				p.warnOnce.Do(func() { warned = false })
				require.Equal(t, test.checks, warned)
			})
		})
	}
}

func TestChildrenMayDropAndMultiply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		double := calls.Child(t, func(_ context.Context, m *service.Message) (service.MessageBatch, error) {
			return service.MessageBatch{m, m.Copy()}, nil
		})
		drop := calls.Child(t, func(context.Context, *service.Message) (service.MessageBatch, error) { return nil, nil })
		never := calls.Child(t, func(context.Context, *service.Message) (service.MessageBatch, error) {
			t.Error("nothing was left to process")
			return nil, nil
		})
		seconds := 0
		failSecond := calls.Child(t, func(_ context.Context, m *service.Message) (service.MessageBatch, error) {
			seconds++
			if seconds == 2 {
				return nil, errBusy
			}
			return service.MessageBatch{m}, nil
		})
		after := calls.Child(t, func(_ context.Context, m *service.Message) (service.MessageBatch, error) {
			tries++
			return service.MessageBatch{m}, nil
		})

		out, err := build(t, "processors: ["+drop+","+never+"]").Process(t.Context(), service.NewMessage([]byte("x")))
		require.NoError(t, err)
		require.Empty(t, out)

		start := time.Now()
		out, err = build(t, "processors: ["+double+","+failSecond+","+after+"]").Process(t.Context(), service.NewMessage([]byte("x")))
		require.NoError(t, err)
		require.Len(t, out, 2)
		require.Equal(t, time.Second, time.Since(start), "one failed copy failed the attempt")
		require.Equal(t, 2, tries, "what follows a failure is skipped")
	})
}

func TestTheStageIsTheLabelElseTheName(t *testing.T) {
	for yaml, want := range map[string]string{
		`{mapping: 'root = throw("no")'}`:                                      "mapping",
		`{label: enrichment, mapping: 'root = throw("no")'}`:                   "enrichment",
		`{label: outer, try: [{label: inner, mapping: 'root = throw("no")'}]}`: "inner",
		`{label: mine, ` + calls.Child(t, func(context.Context, *service.Message) (service.MessageBatch, error) { return nil, errBusy })[1:]: "mine",
	} {
		synctest.Test(t, func(t *testing.T) {
			_, err := build(t, "delays: [1s]\nprocessors: ["+yaml+"]").Process(t.Context(), service.NewMessage([]byte("{}")))
			require.Equal(t, want, history(t, err).Stage, yaml)
		})
	}
}

func TestTheWaitEndsAtOnceWhenTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := build(t, "delays: [1h]\nprocessors: ["+calls.Child(t, func(context.Context, *service.Message) (service.MessageBatch, error) {
			return nil, errBusy
		})+"]")
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		time.AfterFunc(time.Second, cancel)
		msg := service.NewMessage([]byte("x"))
		out, err := p.Process(ctx, msg)
		require.Empty(t, out)
		require.Equal(t, context.Canceled, err)
		require.Equal(t, time.Second, time.Since(start))
		require.Zero(t, p.report.exhausted.Load())
	})
}

func TestAChildThatWasInterruptedIsNotAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := build(t, "processors: ["+calls.Child(t, func(ctx context.Context, _ *service.Message) (service.MessageBatch, error) {
			cancel()
			return nil, failure.NewPermanent("call", fmt.Errorf("calling: %w", ctx.Err()))
		})+"]")
		_, err := p.Process(ctx, service.NewMessage([]byte("x")))
		require.Equal(t, context.Canceled, err)
	})
}

func TestAttemptsAreOnePlusRetriesAndWaitsAreTheDelays(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		delays := rapid.SliceOfN(rapid.IntRange(1, 100_000), 1, 6).Draw(r, "delays")
		passesAt := rapid.IntRange(1, 8).Draw(r, "passes at attempt")
		synctest.Test(t, func(t *testing.T) {
			list := make([]string, len(delays))
			for i, ms := range delays {
				list[i] = fmt.Sprintf("%dms", ms)
			}
			start, tries := time.Now(), 0
			p := build(t, fmt.Sprintf("delays: [%s]\nprocessors: [%s]", strings.Join(list, ", "), calls.Child(t, func(_ context.Context, m *service.Message) (service.MessageBatch, error) {
				if tries++; tries < passesAt {
					return nil, errBusy
				}
				return service.MessageBatch{m}, nil
			})))
			_, err := p.Process(t.Context(), service.NewMessage(nil))
			attempts := min(passesAt, len(delays)+1)
			require.Equal(t, attempts, tries)
			require.Equal(t, passesAt > len(delays)+1, err != nil)
			var want time.Duration
			for _, ms := range delays[:attempts-1] {
				want += time.Duration(ms) * time.Millisecond
			}
			require.Equal(t, want, time.Since(start))
		})
	})
}

func TestWrongConfigurationNamesTheFieldTheValueAndWhatIsAllowed(t *testing.T) {
	ok := "processors: [{mapping: root = this}]\n"
	tests := []struct{ name, yaml, want string }{
		{"no duration", ok + "delays: [1s, soon]", `field delays.1: "soon": want a duration such as 500ms or 2s`},
		{"negative", ok + "delays: [-1s]", `field delays.0: -1s: want a duration above 0`},
		{"zero", ok + "delays: [0s]", `field delays.0: 0s: want a duration above 0`},
		{"empty", ok + "delays: []", `field delays: []: want at least one delay`},
		{"both", ok + "delays: [5s]\nmax_retries: 2", `fields delays and max_retries: give either delays, or initial_interval, multiplier, max_interval, jitter, max_retries`},
		{"initial interval", ok + "initial_interval: never", `field initial_interval: "never": want a duration such as 500ms or 2s`},
		{"initial interval of zero", ok + "initial_interval: 0s", `field initial_interval: 0s: want a duration above 0`},
		{"multiplier", ok + "multiplier: 0.9", `field multiplier: 0.9: want a finite number of at least 1`},
		{"maximum", ok + "max_interval: 10ms", `field max_interval: 10ms: want a duration of at least initial_interval (1s)`},
		{"maximum of zero", ok + "max_interval: 0s", `field max_interval: 0s: want a duration of at least initial_interval (1s)`},
		{"jitter", ok + "jitter: 2", `field jitter: 2: want a number from 0 to 1`},
		{"retries", ok + "max_retries: 0", `field max_retries: 0: want a number from 1 to 1000`},
		{"no children", "processors: []", `field processors: []: want at least one processor`},
		{"a catch", "processors: [{mapping: root = this}, {catch: []}]", `field processors.1: catch: it would never run, since a message that failed skips the processors that follow; use try_catch around the processors that may fail`},
		{"broken query", ok + "retry_if: 'error('", `'retry_if'`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conf, err := spec().ParseYAML(test.yaml, service.GlobalEnvironment())
			if err == nil {
				_, err = fromParsed(conf, service.MockResources(), &summary.Report{})
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestExponentialFieldsHaveDefaults(t *testing.T) {
	conf, err := spec().ParseYAML("processors: [{mapping: root = this}]\nmax_retries: 4\nmax_interval: 5s", service.GlobalEnvironment())
	require.NoError(t, err)
	s, err := scheduleFromParsed(conf)
	require.NoError(t, err)
	var got []time.Duration
	for i := range s.Retries() {
		d, _ := s.Delay(i+1, nil)
		got = append(got, d)
	}
	require.Equal(t, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second}, got)
}

func TestTheLinterRefusesBothWaysToGiveDelays(t *testing.T) {
	for yaml, clean := range map[string]bool{
		"backoff_retry: {delays: [1s, 2s], jitter: 0.1, processors: []}": false,
		"backoff_retry: {delays: [1s, 2s, 4s], processors: []}":          true,
		"backoff_retry: {jitter: 0.1, processors: []}":                   true,
		"backoff_retry: {processors: []}":                                true,
	} {
		lints, err := service.GlobalEnvironment().NewComponentConfigLinter().LintProcessorYAML([]byte(yaml))
		require.NoError(t, err)
		require.Equal(t, clean, len(lints) == 0, "%s: %v", yaml, lints)
	}
}

// The host must answer the batch of an interrupted message with an error, or not at all, and
// nothing of it may reach an output.
func TestAHardStopNeitherAcknowledgesNorDelivers(t *testing.T) {
	for _, strict := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			waiting := make(chan struct{})
			b := service.NewStreamBuilder()
			require.NoError(t, b.SetLoggerYAML("level: none"))
			b.SetStrict(strict)
			b.SetThreads(1)
			require.NoError(t, b.AddProcessorYAML("backoff_retry: {delays: [1h], processors: ["+calls.Child(t, func(_ context.Context, m *service.Message) (service.MessageBatch, error) {
				if b, _ := m.AsBytes(); string(b) == "fails" {
					close(waiting)
					return nil, errBusy
				}
				return service.MessageBatch{m}, nil
			})+"]}"))
			var delivered, acknowledged int
			send, err := b.AddBatchProducerFunc()
			require.NoError(t, err)
			require.NoError(t, b.AddBatchConsumerFunc(func(context.Context, service.MessageBatch) error {
				delivered++
				return nil
			}))
			stream, err := b.Build()
			require.NoError(t, err)
			go func() { _ = stream.Run(context.Background()) }()
			// The host may nack the batch or not answer at all: both deliver it again.
			ctx, cancel := context.WithCancel(t.Context())
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				if send(ctx, service.MessageBatch{service.NewMessage([]byte("sound")), service.NewMessage([]byte("fails"))}) == nil {
					acknowledged++
				}
			}()
			<-waiting
			start := time.Now()
			_ = stream.StopWithin(4 * time.Second)
			require.LessOrEqual(t, time.Since(start), 4*time.Second)
			synctest.Wait()
			cancel()
			<-answered
			require.Zero(t, delivered)
			require.Zero(t, acknowledged)
		})
	}
}

func TestManyThreadsWaitAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := build(t, "processors: ["+calls.Child(t, func(context.Context, *service.Message) (service.MessageBatch, error) { return nil, errBusy })+"]")
		start := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { _, _ = p.Process(t.Context(), service.NewMessage(nil)) })
		}
		wg.Wait()
		require.Equal(t, 7*time.Second, time.Since(start))
		require.EqualValues(t, 400, p.report.attempts.Load())
		require.EqualValues(t, 100, p.report.exhausted.Load())
	})
}

// BenchmarkNothingFails compares with the stock retry, both as the host runs them.
func BenchmarkNothingFails(b *testing.B) {
	outer := service.NewConfigSpec().Field(service.NewProcessorField("p"))
	for _, headers := range []int{0, 10, 11} {
		for _, name := range []string{"backoff_retry", "retry"} {
			b.Run(fmt.Sprintf("%s/metadata=%d", name, headers), func(b *testing.B) {
				conf, err := outer.ParseYAML(fmt.Sprintf("p: {%s: {processors: [%s]}}", name, calls.Child(b, emit)), service.GlobalEnvironment())
				require.NoError(b, err)
				p, err := conf.FieldProcessor("p")
				require.NoError(b, err)
				base := service.NewMessage([]byte(`{"orderId":"o-1","product":"apple","price":19.99}`))
				for i := range headers {
					base.MetaSetMut(fmt.Sprintf("header_%d", i), "value")
				}
				if headers == 11 { // one of them is the attempt number, as an input may give it
					base.MetaDelete("header_10")
					base.MetaSetMut("attempt", 1)
				}
				b.ReportAllocs()
				for b.Loop() {
					out, err := p.Process(b.Context(), base)
					if err != nil || len(out) != 1 {
						b.Fatal(out, err)
					}
				}
			})
		}
	}
}
