package deadletter

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/failure"
	_ "github.com/orderflow/orderflow/plugins/backoffretry"
	"github.com/orderflow/orderflow/test/calls"
)

// sink is an output that keeps what it gets, and refuses what its refuses function says.
type sink struct {
	mu      sync.Mutex
	got     []*service.Message
	refuses func(*service.Message) error
}

func (s *sink) Connect(context.Context) error { return nil }
func (s *sink) Close(context.Context) error   { return nil }
func (s *sink) WriteBatch(_ context.Context, b service.MessageBatch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return b.WalkWithBatchedErrors(func(_ int, m *service.Message) error {
		if s.refuses != nil {
			if err := s.refuses(m); err != nil {
				return err
			}
		}
		s.got = append(s.got, m.DeepCopy())
		return nil
	})
}

var (
	sinks sync.Map // by name
	runs  atomic.Int64
)

func init() {
	service.MustRegisterBatchOutput("test_sink", service.NewConfigSpec().Field(service.NewStringField("name")),
		func(conf *service.ParsedConfig, _ *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
			name, err := conf.FieldString("name")
			if err != nil {
				return nil, service.BatchPolicy{}, 0, err
			}
			s, _ := sinks.Load(name)
			return s.(*sink), service.BatchPolicy{}, 1, nil
		})
	// Stands for order_decode: keeps the raw bytes and marks what it cannot read, in a batch.
	service.MustRegisterBatchProcessor("test_decode", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.BatchProcessor, error) { return decode{}, nil })
}

type decode struct{}

func (decode) Close(context.Context) error { return nil }
func (decode) ProcessBatch(_ context.Context, b service.MessageBatch) ([]service.MessageBatch, error) {
	for _, m := range b {
		raw, _ := m.AsBytes()
		m.MetaSetMut("original_value", raw)
		m.SetBytes(append([]byte("decoded "), raw...))
		if string(raw) == "broken" {
			m.SetError(failure.NewPermanent("decode", fmt.Errorf("no Avro")))
		}
	}
	return []service.MessageBatch{b}, nil
}

// run sends one batch through a stream whose pipeline is given, once, and returns what came
// out of both legs and how the batch was answered.
func run(t *testing.T, strict bool, pipeline []string, values ...string) (processed, letters []*service.Message, answer error) {
	t.Helper()
	prefix := fmt.Sprintf("%s/%d", t.Name(), runs.Add(1))
	first, second := &sink{}, &sink{}
	first.refuses = func(m *service.Message) error {
		if b, _ := m.AsBytes(); string(b) == "decoded huge" {
			return fmt.Errorf("too large for the topic")
		}
		return nil
	}
	sinks.Store(prefix+"processed", first)
	sinks.Store(prefix+"dlq", second)

	b := service.NewStreamBuilder()
	require.NoError(t, b.SetLoggerYAML("level: none"))
	b.SetStrict(strict)
	b.SetThreads(1)
	for _, p := range pipeline {
		require.NoError(t, b.AddProcessorYAML(p))
	}
	require.NoError(t, b.AddOutputYAML(fmt.Sprintf(`
fallback:
  - switch:
      cases:
        - check: '@dead_letter != true'
          output: {test_sink: {name: %q}}
        - output: {reject: 'dead letter'}
  - retry:
      output: {test_sink: {name: %q}}
    processors:
      - dead_letter: {all: true, group: g}
`, prefix+"processed", prefix+"dlq")))
	send, err := b.AddBatchProducerFunc()
	require.NoError(t, err)
	stream, err := b.Build()
	require.NoError(t, err)
	go func() {
		if err := stream.Run(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	var batch service.MessageBatch
	for i, v := range values {
		m := service.NewMessage([]byte(v))
		m.MetaSetMut("kafka_topic", "orders")
		m.MetaSetMut("kafka_partition", 0)
		m.MetaSetMut("kafka_offset", i)
		batch = append(batch, m)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour) // of virtual time
	defer cancel()
	answer = send(ctx, batch)
	require.NoError(t, stream.StopWithin(time.Minute))
	return first.got, second.got, answer
}

func contents(ms []*service.Message) (out []string) {
	for _, m := range ms {
		b, _ := m.AsBytes()
		out = append(out, string(b))
	}
	return out
}

func TestStreamsInBothErrorHandlingModes(t *testing.T) {
	validate := calls.Child(t, func(_ context.Context, m *service.Message) (service.MessageBatch, error) {
		if b, _ := m.AsBytes(); string(b) == "decoded free" {
			return nil, failure.NewPermanent("price", fmt.Errorf("price is 0"))
		}
		return service.MessageBatch{m}, nil
	})
	inside := []string{"{dead_letter: {group: g, processors: [{test_decode: {}}, " + validate + "]}}"}
	behind := []string{"{test_decode: {}}", validate, "{dead_letter: {group: g}}"}
	for _, test := range []struct {
		name     string
		strict   bool
		pipeline []string
	}{
		{"behind what fails", false, behind},
		{"around what fails", false, inside},
		{"around what fails, strict", true, inside},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				processed, letters, answer := run(t, test.strict, test.pipeline, "broken", "a", "free", "huge", "b")
				require.NoError(t, answer)
				require.Equal(t, []string{"decoded a", "decoded b"}, contents(processed))
				require.ElementsMatch(t, []string{"broken", "free", "huge"}, contents(letters))
				for _, m := range letters {
					require.NoError(t, m.GetError())
					want := map[string][2]string{
						"broken": {"decode", "orders/0/0"}, "free": {"price", "orders/0/2"}, "huge": {"output_refused", "orders/0/3"},
					}[contents([]*service.Message{m})[0]]
					h := headers(m)
					require.Equal(t, want, [2]string{h["dlq_code"], h["dlq_id"]})
					require.Equal(t, "permanent", h["dlq_class"])
					require.Equal(t, "g", h["dlq_group"])
				}
			})
		})
	}
}

// A canary for the reason why `processors` exists: in strict mode the host lets a failed
// message skip what follows, and with it, if it is the first of its batch, the sound ones.
func TestTheHostSkipsWholeBatchesInStrictMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ran := 0
		counts := calls.Child(t, func(_ context.Context, m *service.Message) (service.MessageBatch, error) {
			ran++
			return service.MessageBatch{m}, nil
		})
		processed, letters, _ := run(t, true, []string{"{test_decode: {}}", counts}, "broken", "a")
		require.Zero(t, ran, "the host has changed: the sound message was processed")
		require.Equal(t, []string{"decoded a"}, contents(processed))
		require.Empty(t, letters)
	})
}

// The whole way of a failing order: retried 1, 2 and 4 s apart, then a dead letter that says so.
func TestRetriesAreInTheDeadLetter(t *testing.T) {
	for _, strict := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			fails := calls.Child(t, func(context.Context, *service.Message) (service.MessageBatch, error) {
				return nil, failure.NewTransient("simulated", fmt.Errorf("Simulated processing failure"))
			})
			processed, letters, answer := run(t, strict, []string{
				"{dead_letter: {group: g, processors: [{test_decode: {}}, {backoff_retry: {processors: [{label: check, " + fails[1:] + "]}}]}}",
			}, "a")
			require.NoError(t, answer)
			require.Empty(t, processed)
			require.Equal(t, []string{"a"}, contents(letters))
			h := headers(letters[0])
			require.Equal(t, "Max retries exceeded: Simulated processing failure", h["dlq_error"])
			require.Equal(t, "check", h["dlq_stage"])
			require.Equal(t, "4", h["dlq_attempts"])
			require.Equal(t, "2000-01-01T00:00:00.000Z,2000-01-01T00:00:01.000Z,2000-01-01T00:00:03.000Z,2000-01-01T00:00:07.000Z", h["dlq_attempt_times"])
		})
	}
}
