package backoffretry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/session"
	"github.com/orderflow/orderflow/test/calls"
	"github.com/orderflow/orderflow/test/carried"
)

var (
	errUnanswered = failure.At("order_decode", fmt.Errorf("decoding order: %w", failure.NewUnavailable("registry_unavailable", errors.New("no answer"))))
	errUnknownID  = failure.At("order_decode", fmt.Errorf("decoding order: %w", failure.NewTransient("unknown_schema_id", errors.New("schema id 7"))))
)

func never(t *testing.T) string {
	return "processors: [" + calls.Child(t, func(context.Context, *service.Message) (service.MessageBatch, error) {
		t.Error("the children got what is not decoded")
		return nil, nil
	}) + "]"
}

// What failed before this processor for a passing reason is handed out again, so that it passes
// there again, and its attempts count.
func TestAFailureThatAnOrderComesWithIsAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := build(t, never(t))
		source := &carried.Session{}
		msg, order := source.Message(7, []byte("x"))
		for i, delay := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			msg.SetError(errUnknownID)
			out, err := p.Process(t.Context(), msg)
			require.NoError(t, err)
			require.Empty(t, out)
			require.Equal(t, time.Now().Add(delay), order.Due[i])
			time.Sleep(delay)
		}
		require.Equal(t, session.History{Attempts: order.Past.Attempts, Class: "transient", Code: "unknown_schema_id", Stage: "order_decode", Text: "decoding order: schema id 7"}, order.Past)
		msg.SetError(errUnknownID)
		_, err := p.Process(t.Context(), msg)
		require.EqualError(t, err, "Max retries exceeded: decoding order: schema id 7")
		require.Len(t, history(t, err).Attempts, 4)
		require.Equal(t, "order_decode", failure.Stage(err))
		_, code := failure.Of(err)
		require.Equal(t, "unknown_schema_id", code)
		time.Sleep(time.Minute)
	})
}

// Nothing brings a message without a session back to the processors before this one.
func TestAFailureThatAMessageComesWithIsKeptWhereNothingBringsItBack(t *testing.T) {
	p := build(t, never(t))
	for _, came := range []error{errUnknownID, errUnanswered} {
		msg := service.NewMessage([]byte("x"))
		msg.SetError(came)
		out, err := p.Process(t.Context(), msg)
		require.NoError(t, err)
		require.Equal(t, service.MessageBatch{msg}, out)
		require.Equal(t, came, msg.GetError())
	}
	require.Zero(t, p.report.attempts.Load())
}

func TestWhatIsNotAnsweredUsesUpNoRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, breaker := range []string{"", withBreaker} {
			p := build(t, breaker+"processors: ["+calls.Child(t, fails)+"]")
			source := &carried.Session{}
			msg, order := source.Message(7, []byte("x"))
			before := []time.Time{time.Now().Add(-time.Second)}
			order.Past = session.History{Attempts: before, Class: "transient", Code: "busy", Text: "busy"}
			var waits []time.Duration
			for range 20 {
				msg.SetError(errUnanswered)
				out, err := p.Process(t.Context(), msg)
				require.NoError(t, err)
				require.Empty(t, out)
				wait := time.Until(order.Due[len(order.Due)-1])
				waits = append(waits, wait/time.Second)
				time.Sleep(wait)
			}
			require.Equal(t, append([]time.Duration{1, 2, 4, 8, 16}, slices.Repeat([]time.Duration{30}, 15)...), waits)
			require.Equal(t, session.History{Attempts: before, Class: "transient", Code: "busy", Text: "busy", Unanswered: 20}, order.Past, "what it would fail with is kept")
			require.Empty(t, source.Pauses, "one order, however often it comes, is no outage")

			msg.SetError(nil)
			_, err := p.Process(t.Context(), msg)
			require.NoError(t, err)
			require.Equal(t, time.Now().Add(2*time.Second), order.Due[20], "the second retry follows")
			require.Len(t, order.Past.Attempts, 2)
			require.Zero(t, order.Past.Unanswered)
		}
		time.Sleep(time.Minute)
	})
}

func TestAnOutageOfWhatJudgesOpensTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := build(t, withBreaker+never(t))
		source := &carried.Session{}
		for n := range 100 {
			msg, order := source.Message(n, []byte("x"))
			msg.SetError(errUnanswered)
			out, err := p.Process(t.Context(), msg)
			require.NoError(t, err)
			require.Empty(t, out)
			require.Empty(t, order.Past.Attempts)
			require.Len(t, order.Due, 1)
			require.Equal(t, n >= 11, !order.Past.Held.IsZero(), "order %d", n)
		}
		require.NotEmpty(t, source.Pauses)
	})
}

func TestInPlaceWhatIsNotAnsweredIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		p := build(t, "processors: ["+calls.Child(t, func(_ context.Context, m *service.Message) (service.MessageBatch, error) {
			attempt, _ := m.MetaGetMut("attempt")
			require.Equal(t, 1, attempt)
			if time.Since(begin) < 5*time.Minute {
				return nil, errUnanswered
			}
			return service.MessageBatch{m}, nil
		})+"]")
		out, err := p.Process(t.Context(), service.NewMessage([]byte("x")))
		require.NoError(t, err)
		require.Len(t, out, 1)
		require.LessOrEqual(t, time.Since(begin), 5*time.Minute+30*time.Second)

		begin = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = p.Process(ctx, service.NewMessage([]byte("x")))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(begin))
	})
}
