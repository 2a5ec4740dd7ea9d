// Package canary holds the host's two data-loss bugs still: each test asserts what the host does
// today, which is wrong. When an upgrade of the host makes one fail, the bug has changed, and the
// comment says what may then be simplified.
package canary

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	_ "github.com/redpanda-data/connect/v4/public/components/pure"
	"github.com/stretchr/testify/require"
)

// source is an input of one batch, with the replay of nacks that Kafka inputs have by default.
type source struct {
	contents []string

	mu   sync.Mutex
	read bool
	acks []error // what the offsets of the batch would be committed by
}

func (s *source) Connect(context.Context) error { return nil }
func (s *source) Close(context.Context) error   { return nil }

func (s *source) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read {
		return nil, nil, service.ErrEndOfInput
	}
	s.read = true
	var batch service.MessageBatch
	for _, text := range s.contents {
		batch = append(batch, service.NewMessage([]byte(text)))
	}
	return batch, func(_ context.Context, err error) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.acks = append(s.acks, err)
		return nil
	}, nil
}

// sink is an output that refuses a message so many times, each by an error for that message
// alone, as outputs and strict error handling do.
type sink struct {
	refuse map[string]int

	mu       sync.Mutex
	attempts [][]string // the batches that came
	taken    []string
}

func (s *sink) Connect(context.Context) error { return nil }
func (s *sink) Close(context.Context) error   { return nil }

func (s *sink) WriteBatch(_ context.Context, batch service.MessageBatch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var contents []string
	var failed *service.BatchError
	for i, msg := range batch {
		b, err := msg.AsBytes()
		if err != nil {
			return err
		}
		text := string(b)
		contents = append(contents, text)
		if s.refuse[text] > 0 {
			s.refuse[text]--
			if failed == nil {
				failed = service.NewBatchError(batch, errors.New("refused"))
			}
			failed.Failed(i, errors.New("refused"))
			continue
		}
		s.taken = append(s.taken, text)
	}
	s.attempts = append(s.attempts, contents)
	if failed != nil {
		return failed
	}
	return nil
}

// dropA drops the message "a", as a single-message processor may.
type dropA struct{}

func (dropA) Process(_ context.Context, msg *service.Message) (service.MessageBatch, error) {
	if b, err := msg.AsBytes(); err != nil || string(b) == "a" {
		return nil, err
	}
	return service.MessageBatch{msg}, nil
}

func (dropA) Close(context.Context) error { return nil }

// run sends a batch through processors to the sink until the input has its answer.
func run(t *testing.T, from *source, processors string, to *sink) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		env := service.NewEnvironment()
		require.NoError(t, env.RegisterBatchInput("source", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchInput, error) {
			return service.AutoRetryNacksBatched(from), nil
		}))
		require.NoError(t, env.RegisterBatchOutput("sink", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
			return to, service.BatchPolicy{}, 1, nil
		}))
		require.NoError(t, env.RegisterProcessor("drop_a", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.Processor, error) {
			return dropA{}, nil
		}))
		b := env.NewStreamBuilder()
		require.NoError(t, b.SetYAML("http: {enabled: false}\ninput: {source: {}}\npipeline: {threads: 1, processors: ["+processors+"]}\noutput: {sink: {}}\n"))
		require.NoError(t, b.SetLoggerYAML("level: NONE"))
		stream, err := b.Build()
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, stream.Run(ctx))
	})
}

// A batch is nacked with errors for single messages. What failed comes again, and when it is
// nacked in the same way a second time, a message is lost: nobody takes it, and its offset is
// committed.
//
// When this fails because m2 is delivered: the `retry` output around the DLQ leg in
// consumer_at_least_once.yaml is no longer what keeps orders from being lost, and the rule that
// no partial nack may reach an input can go from the documents.
func TestSecondPartialNackLosesAMessage(t *testing.T) {
	from := &source{contents: []string{"m1", "m2", "m3", "m4"}}
	to := &sink{refuse: map[string]int{"m2": 2, "m3": 2, "m4": 2}}
	run(t, from, "", to)

	require.Equal(t, [][]string{{"m1", "m2", "m3", "m4"}, {"m2", "m3", "m4"}, {"m3", "m4"}}, to.attempts)
	require.NotContains(t, to.taken, "m2", "the message that is lost")
	require.Equal(t, []error{nil}, from.acks, "and its offset is committed")
}

// The first partial nack is sound: only the message that failed comes again.
func TestFirstPartialNackLosesNothing(t *testing.T) {
	from := &source{contents: []string{"m1", "m2", "m3"}}
	to := &sink{refuse: map[string]int{"m2": 1}}
	run(t, from, "", to)

	require.Equal(t, [][]string{{"m1", "m2", "m3"}, {"m2"}}, to.attempts)
	require.Equal(t, []error{nil}, from.acks)
}

// After a batch processor that drops a message, the engine gives the others the contexts of
// their neighbours. An error of one message is then put on another: that one comes again, a
// duplicate, and the failed one is lost.
//
// When this fails because c is delivered: batch processors may drop messages, so backoff_retry
// and dead_letter need not be single-message processors, and internal/session need not compare
// the order in a context with the place in the metadata (session.Of).
func TestErrorAfterAFilteringBatchProcessorHitsAnotherMessage(t *testing.T) {
	from := &source{contents: []string{"a", "b", "c"}}
	to := &sink{refuse: map[string]int{"c": 1}}
	run(t, from, `{mapping: 'root = if content() == "a" { deleted() }'}`, to)

	require.Equal(t, [][]string{{"b", "c"}, {"b"}}, to.attempts, "b comes again, which was taken")
	require.NotContains(t, to.taken, "c", "the message that is lost")
	require.Equal(t, []error{nil}, from.acks, "and its offset is committed")
}

// A processor that is registered for single messages may drop one. backoff_retry relies on it.
func TestErrorAfterAFilteringSingleProcessorHitsItsMessage(t *testing.T) {
	from := &source{contents: []string{"a", "b", "c"}}
	to := &sink{refuse: map[string]int{"c": 1}}
	run(t, from, `{drop_a: {}}`, to)

	require.Equal(t, [][]string{{"b", "c"}, {"c"}}, to.attempts)
	require.Equal(t, []string{"b", "c"}, to.taken)
	require.Equal(t, []error{nil}, from.acks)
}
