package backoffretry

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
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/test/calls"
)

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
