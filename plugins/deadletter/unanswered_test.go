package deadletter

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/internal/session"
	"github.com/orderflow/orderflow/test/carried"
)

// Nobody knows yet whether the order is sound: it must not become a dead letter, whatever the
// pipeline has before this processor.
func TestAnOrderThatNobodyCouldJudgeIsPutBack(t *testing.T) {
	unanswered := fmt.Errorf("decoding order: %w", failure.NewUnavailable("registry_unavailable", errors.New("no answer")))
	for _, conf := range []string{"{}", "all: true"} {
		synctest.Test(t, func(t *testing.T) {
			p, _ := build(t, conf)
			source := &carried.Session{}
			msg, order := source.Message(7, []byte("x"))
			msg.SetError(unanswered)
			for i, wait := range []time.Duration{time.Second, 2 * time.Second} {
				out, err := p.Process(t.Context(), msg)
				require.NoError(t, err)
				require.Empty(t, out)
				require.Equal(t, time.Now().Add(wait), order.Due[i])
			}
			require.Equal(t, session.History{Code: "registry_unavailable", Text: "decoding order: no answer", Unanswered: 2}, order.Past)

			// Without a session there is nowhere to put it back to.
			alone := service.NewMessage([]byte("x"))
			alone.SetError(unanswered)
			out, err := p.Process(t.Context(), alone)
			require.NoError(t, err)
			require.Len(t, out, 1)
			code, _ := alone.MetaGetMut("dlq_code")
			require.Equal(t, "registry_unavailable", code)
			class, _ := alone.MetaGetMut("dlq_class")
			require.Equal(t, "transient", class)
		})
	}
}
