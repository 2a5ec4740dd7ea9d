package backoffretry

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/session"
	"github.com/orderflow/orderflow/test/calls"
	"github.com/orderflow/orderflow/test/carried"
)

func fails(context.Context, *service.Message) (service.MessageBatch, error) { return nil, errBusy }

func TestAnOrderOfASessionWaitsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := build(t, "processors: ["+calls.Child(t, fails)+"]")
		begun := time.Now()
		source := &carried.Session{}
		msg, order := source.Message(7, nil)
		for i, delay := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			out, err := p.Process(t.Context(), msg)
			require.NoError(t, err)
			require.Empty(t, out, "it is dropped here")
			require.Equal(t, time.Now().Add(delay), order.Due[i], "retry %d", i+1)
			require.Len(t, order.Past.Attempts, i+1)
			time.Sleep(delay)
		}
		require.Equal(t, 7*time.Second, time.Since(begun), "nothing waited but this test")

		_, err := p.Process(t.Context(), msg)
		require.EqualError(t, err, "Max retries exceeded: busy")
		require.Len(t, order.Due, 3)
		require.Len(t, history(t, err).Attempts, 4)
		require.Equal(t, []time.Time{begun, begun.Add(time.Second), begun.Add(3 * time.Second), begun.Add(7 * time.Second)}, order.Past.Attempts)
		order.Past.Attempts = nil
		require.Equal(t, session.History{Class: "transient", Code: "busy", Stage: "test_call", Text: "busy"}, order.Past)
	})
}

func TestWhatASessionTriedBeforeCounts(t *testing.T) {
	at := func(n int) []time.Time { return make([]time.Time, n) }
	for name, c := range map[string]struct {
		past  session.History
		tried bool
		want  string
	}{
		"two attempts leave one more retry":       {session.History{Attempts: at(2), Class: "transient"}, true, ""},
		"three leave the last attempt":            {session.History{Attempts: at(3), Class: "transient"}, true, "Max retries exceeded: busy"},
		"four leave none: only its letter is due": {session.History{Attempts: at(4), Class: "transient", Code: "c", Text: "slow"}, false, "Max retries exceeded: slow"},
		"a permanent failure is not tried again":  {session.History{Attempts: at(1), Class: "permanent", Code: "c", Text: "broken"}, false, "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tried := false
				p := build(t, "processors: ["+calls.Child(t, func(ctx context.Context, m *service.Message) (service.MessageBatch, error) {
					tried = true
					attempt, _ := m.MetaGetMut("attempt")
					require.Equal(t, len(c.past.Attempts)+1, attempt)
					return fails(ctx, m)
				})+"]")
				msg, order := new(carried.Session).Message(7, nil)
				order.Past = c.past
				_, err := p.Process(t.Context(), msg)
				require.Equal(t, c.tried, tried)
				if c.want == "" {
					require.NoError(t, err)
					require.Len(t, order.Due, 1)
					require.Equal(t, time.Now().Add(4*time.Second), order.Due[0])
				} else {
					require.EqualError(t, err, c.want)
					require.Empty(t, order.Due)
				}
				time.Sleep(time.Minute) // until the gauge of those that wait has gone down
			})
		})
	}
}

func TestAnOrderWhoseTransactionIsOverIsLeftToItsBatch(t *testing.T) {
	p := build(t, "processors: ["+calls.Child(t, emit)+"]")
	source := &carried.Session{Over: true}
	msg, order := source.Message(7, nil)
	_, err := p.Process(t.Context(), msg)
	require.ErrorContains(t, err, "the transaction of this message is over")
	require.True(t, errors.Is(err, context.Canceled))
	require.Empty(t, order.Past.Attempts)
}
