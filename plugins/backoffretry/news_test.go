package backoffretry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/session"
	"github.com/orderflow/orderflow/test/calls"
	"github.com/orderflow/orderflow/test/carried"
)

// Aborts hand orders out again, without a history of what was tried in the transaction.
func TestAnOrderWhoseTransactionIsAbortedCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := build(t, withBreaker+"processors: ["+calls.Child(t, func(context.Context, *service.Message) (service.MessageBatch, error) {
			return nil, errBusy
		})+"]")
		fail := func(offset int) {
			t.Helper()
			msg, order := (&carried.Session{}).Message(offset, []byte("x"))
			out, err := p.Process(t.Context(), msg)
			require.NoError(t, err)
			require.Empty(t, out)
			require.Len(t, order.Due, 1)
		}
		for range 20 { // aborts, in 4 s
			for offset := range 11 {
				fail(offset)
				require.False(t, p.outage.breaker.Open())
			}
			time.Sleep(200 * time.Millisecond)
		}
		fail(11)
		require.True(t, p.outage.breaker.Open(), "the twelfth order")
		require.True(t, p.outage.news.is(session.Place{Topic: "orders", Offset: 3}), "after an outage all count again")
		time.Sleep(time.Minute)
	})
}

func TestNewsIsBounded(t *testing.T) {
	var n news
	for offset := range int64(5 * mostRemembered) {
		p := session.Place{Topic: "orders", Partition: 1, Offset: offset}
		require.True(t, n.is(p))
		require.False(t, n.is(p))
		require.LessOrEqual(t, len(n.young)+len(n.aged), 2*mostRemembered)
		if offset >= mostRemembered {
			require.False(t, n.is(session.Place{Topic: "orders", Partition: 1, Offset: offset - mostRemembered + 1}))
		}
	}
	require.True(t, n.is(session.Place{Topic: "orders", Partition: 1}), "long ago")
	require.True(t, n.is(session.Place{Topic: "orders", Partition: 2, Offset: 5*mostRemembered - 1}), "another partition")
}
