package deadletter

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

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/summary"
	"github.com/orderflow/orderflow/test/calls"
)

func build(t testing.TB, yaml string) (*processor, *summary.Report) {
	t.Helper()
	conf, err := spec().ParseYAML(yaml, service.GlobalEnvironment())
	require.NoError(t, err)
	sum := &summary.Report{}
	p, err := fromParsed(conf, service.MockResources(), sum)
	require.NoError(t, err)
	return p, sum
}

func process(t testing.TB, p *processor, m *service.Message) *service.Message {
	t.Helper()
	out, err := p.Process(t.Context(), m)
	require.NoError(t, err)
	require.Len(t, out, 1)
	return out[0]
}

// record is a message as a Kafka input gives it, after a decoder has changed its content.
func record(value []byte) *service.Message {
	m := service.NewMessage([]byte(`{"decoded":true}`))
	m.MetaSetMut("kafka_topic", "orders")
	m.MetaSetMut("kafka_partition", 3)
	m.MetaSetMut("kafka_offset", 42)
	m.MetaSetMut("kafka_timestamp_ms", int64(1_700_000_000_123))
	m.MetaSetMut("kafka_key", []byte("o-1"))
	m.MetaSetMut("header", "kept")
	m.MetaSetMut("original_value", value)
	return m
}

func headers(m *service.Message) map[string]string {
	h := map[string]string{}
	for _, name := range deadletter.Names {
		if v, ok := m.MetaGetMut(name); ok {
			h[name] = v.(string)
		}
	}
	return h
}

func isLetter(m *service.Message) bool {
	v, _ := m.MetaGetMut("dead_letter")
	return v == true
}

func TestAFailedMessageBecomesADeadLetterOfTheContract(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock starts at 2000-01-01
		p, sum := build(t, "group: orderflow")
		start := time.Now()
		m := record([]byte("\x00avro\xff"))
		m.SetError(&failure.History{
			Attempts: []time.Time{start.Add(-3 * time.Second), start.Add(-2 * time.Second)},
			Stage:    "order_validate",
			Err:      failure.NewTransient("simulated", errors.New("Max retries exceeded: Simulated processing failure")),
		})
		m = process(t, p, m)
		require.Equal(t, map[string]string{
			"dlq_id": "orders/3/42", "dlq_class": "transient", "dlq_code": "simulated",
			"dlq_error": "Max retries exceeded: Simulated processing failure", "dlq_stage": "order_validate", "dlq_attempts": "2",
			"dlq_attempt_times":   "1999-12-31T23:59:57.000Z,1999-12-31T23:59:58.000Z",
			"dlq_first_failed_at": "1999-12-31T23:59:57.000Z", "dlq_last_failed_at": "1999-12-31T23:59:58.000Z",
			"dlq_topic": "orders", "dlq_partition": "3", "dlq_offset": "42", "dlq_timestamp": "2023-11-14T22:13:20.123Z",
			"dlq_group": "orderflow", "dlq_redrives": "0",
		}, headers(m))
		require.True(t, isLetter(m))
		require.NoError(t, m.GetError())
		b, _ := m.AsBytes()
		require.Equal(t, "\x00avro\xff", string(b))
		kept, _ := m.MetaGet("header")
		require.Equal(t, "kept", kept)
		key, _ := m.MetaGetMut("kafka_key")
		require.Equal(t, []byte("o-1"), key)

		for range 6 {
			require.False(t, isLetter(process(t, p, record(nil))))
		}
		var out bytes.Buffer
		_, _ = sum.WriteTo(&out)
		require.Equal(t, `Orders
  seen                     7
  passed                   6
  dead-lettered            1
  success rate             85.7 %
    simulated (transient)  1
`, out.String())
	})
}

func TestAMessageWithoutHistoryFailedOnceAndNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := build(t, "")
		m := service.NewMessage([]byte("x"))
		m.SetError(errors.New("bad \xff"))
		require.Equal(t, map[string]string{
			"dlq_class": "transient", "dlq_code": "unclassified", "dlq_error": "bad \uFFFD", "dlq_attempts": "1",
			"dlq_attempt_times": "2000-01-01T00:00:00.000Z", "dlq_first_failed_at": "2000-01-01T00:00:00.000Z",
			"dlq_last_failed_at": "2000-01-01T00:00:00.000Z", "dlq_redrives": "0",
		}, headers(process(t, p, m)))
	})
}

func TestStageIsConfiguredOrKnown(t *testing.T) {
	m := func() *service.Message {
		m := record(nil)
		m.SetError(&failure.History{Stage: "known", Err: errors.New("bad")})
		return m
	}
	p, _ := build(t, "")
	require.Equal(t, "known", headers(process(t, p, m()))["dlq_stage"])
	p, _ = build(t, "stage: mine")
	require.Equal(t, "mine", headers(process(t, p, m()))["dlq_stage"])
}

func TestInterruptedMessagesStayAsTheyAre(t *testing.T) {
	p, _ := build(t, "")
	m := record(nil)
	m.SetError(fmt.Errorf("asking: %w", context.Canceled))
	m = process(t, p, m)
	require.False(t, isLetter(m))
	require.ErrorIs(t, m.GetError(), context.Canceled)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.SetError(errors.New("bad"))
	out, err := p.Process(ctx, m)
	require.Empty(t, out)
	require.Equal(t, context.Canceled, err)

	// A deadline of a service, and a cancellation that was retried to the end, are failures.
	for _, failed := range []error{context.DeadlineExceeded, &failure.History{Attempts: []time.Time{time.Now()}, Err: context.Canceled}} {
		m = record(nil)
		m.SetError(failed)
		require.True(t, isLetter(process(t, p, m)))
	}
}

func TestAllMakesDeadLettersOfWhatAnOutputRefused(t *testing.T) {
	p, sum := build(t, "all: true\ngroup: g")
	m := record([]byte("raw"))
	m.MetaSetMut("fallback_error", "too large")
	h := headers(process(t, p, m))
	require.Equal(t, "too large", h["dlq_error"])
	require.Equal(t, []string{"permanent", "output_refused", "output"}, []string{h["dlq_class"], h["dlq_code"], h["dlq_stage"]})
	b, _ := m.AsBytes()
	require.Equal(t, "raw", string(b))

	// What is a dead letter already is left alone.
	before := headers(m)
	m.MetaSetMut("fallback_error", "rejected")
	require.Equal(t, before, headers(process(t, p, m)))

	require.Equal(t, "refused by the output", headers(process(t, p, record(nil)))["dlq_error"])
	m = record(nil)
	m.SetError(failure.NewPermanent("price", errors.New("price is 0")))
	require.Equal(t, "price", headers(process(t, p, m))["dlq_code"], "an error of its own says more")

	var out bytes.Buffer
	_, _ = sum.WriteTo(&out)
	require.Equal(t, "Refused by the output         3\n  output_refused (permanent)  2\n  price (permanent)           1\n", out.String())
}

func TestChildren(t *testing.T) {
	changes := calls.Child(t, func(_ context.Context, m *service.Message) (service.MessageBatch, error) {
		m.SetBytes([]byte("changed"))
		m.MetaSetMut("added", "x")
		return service.MessageBatch{m}, nil
	})
	fails := calls.Child(t, func(_ context.Context, m *service.Message) (service.MessageBatch, error) {
		if _, ok := m.MetaGet("sound"); ok {
			return service.MessageBatch{m}, nil
		}
		return nil, failure.NewPermanent("price", errors.New("price is 0"))
	})
	p, _ := build(t, "processors: ["+changes+",{label: checks, "+fails[1:]+"]")

	m := process(t, p, service.NewMessage([]byte("original")))
	require.True(t, isLetter(m))
	b, _ := m.AsBytes()
	require.Equal(t, "original", string(b))
	require.Equal(t, "checks", headers(m)["dlq_stage"])
	_, ok := m.MetaGet("added")
	require.False(t, ok)

	sound := service.NewMessage([]byte("original"))
	sound.MetaSetMut("sound", "yes")
	m = process(t, p, sound)
	require.False(t, isLetter(m))
	b, _ = m.AsBytes()
	require.Equal(t, "changed", string(b))

	failed := service.NewMessage([]byte("original"))
	failed.SetError(errors.New("before"))
	m = process(t, p, failed)
	require.Equal(t, "before", headers(m)["dlq_error"], "what failed before is not processed")

	p, _ = build(t, "processors: ["+calls.Child(t, func(context.Context, *service.Message) (service.MessageBatch, error) { return nil, nil })+"]")
	out, err := p.Process(t.Context(), service.NewMessage(nil))
	require.NoError(t, err)
	require.Empty(t, out)
	require.Zero(t, p.report.passed.Load())
}

func TestWrongConfigurationNamesTheField(t *testing.T) {
	for yaml, want := range map[string]string{
		`original_value: ""`:                              `field original_value: "": want the name of a metadata key`,
		"all: true\nprocessors: [{mapping: root = this}]": `field all: true: want false where there are processors`,
		`all: maybe`:          `all`,
		`error: '${! throw('`: `error`,
		"processors: [{mapping: root = this}, {catch: []}]": `field processors.1: catch: it would never run`,
	} {
		conf, err := spec().ParseYAML(yaml, service.GlobalEnvironment())
		if err == nil {
			_, err = fromParsed(conf, service.MockResources(), &summary.Report{})
		}
		require.ErrorContains(t, err, want, yaml)
	}
}

func BenchmarkDeadLetter(b *testing.B) {
	p, _ := build(b, "group: orderflow")
	for name, failed := range map[string]error{"passes": nil, "fails": &failure.History{
		Attempts: make([]time.Time, 4), Stage: "order_validate", Err: failure.NewTransient("simulated", errors.New("busy")),
	}} {
		b.Run(name, func(b *testing.B) {
			base := record([]byte("raw"))
			base.SetError(failed)
			b.ReportAllocs()
			for b.Loop() {
				m := base
				if failed != nil {
					m = base.Copy()
				}
				if _, err := p.Process(b.Context(), m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
