package deadletter

import (
	"errors"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/deadletter"
	"github.com/orderflow/orderflow/internal/failure"
)

// said is what a message says of a failure, as an output that makes headers of metadata sees it.
func said(m *service.Message) (headers []deadletter.Header) {
	_ = m.MetaWalk(func(name, value string) error {
		if deadletter.IsOurs(name) {
			headers = append(headers, deadletter.Header{Name: name, Value: []byte(value)})
		}
		return nil
	})
	return headers
}

func TestEachDialectSaysTheSame(t *testing.T) {
	letters := map[deadletter.Dialect]deadletter.Letter{}
	for _, d := range deadletter.Dialects {
		p, _ := build(t, "group: orderflow\ndialect: "+string(d))
		m := record([]byte("raw"))
		m.SetError(&failure.History{Stage: "order_validate", Err: failure.NewPermanent("price", errors.New("price is 0"))})
		headers := said(process(t, p, m))
		letter, ok := deadletter.Parse(headers)
		require.True(t, ok)
		require.False(t, letter.LastFailedAt.IsZero())
		want := letter.Headers(d)
		require.ElementsMatch(t, want, headers, "%s: binary values as they should be", d)
		letter.FirstFailedAt, letter.LastFailedAt, letter.AttemptTimes = letters[d].FirstFailedAt, letters[d].LastFailedAt, nil
		letters[d] = letter
	}
	for d, l := range letters {
		require.Equal(t, letters[deadletter.Native], l, d)
	}
	require.Equal(t, "orders/3/42", letters[deadletter.Spring].ID)
}

func TestASecondFailureReplacesTheFirstInWhateverDialect(t *testing.T) {
	first := deadletter.Letter{
		ID: "elsewhere/0/0", Class: "transient", Code: "old", Error: "old", Stage: "old", Topic: "elsewhere", Group: "old", Attempts: 9,
	}
	for _, before := range deadletter.Dialects {
		for _, now := range deadletter.Dialects {
			p, _ := build(t, "dialect: "+string(now))
			m := record([]byte("raw"))
			for _, h := range first.Headers(before) {
				m.MetaSetMut(h.Name, string(h.Value))
			}
			m.MetaSetMut("kafka_dlt-key-exception-message", "old")
			m.MetaSetMut("trace", "of the order")
			m.SetError(failure.NewPermanent("price", errors.New("price is 0")))
			m = process(t, p, m)

			letter, _ := deadletter.Parse(said(m))
			require.ElementsMatch(t, letter.Headers(now), said(m), "%s after %s: no header more", now, before)
			require.Equal(t, [3]string{"orders/3/42", "price", "price is 0"}, [3]string{letter.ID, letter.Code, letter.Error})
			require.Empty(t, letter.Group)
			kept, _ := m.MetaGet("trace")
			require.Equal(t, "of the order", kept)
		}
	}
}
