package backoffretry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

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
