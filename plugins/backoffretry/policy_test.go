package backoffretry

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/backoff"
	"github.com/orderflow/orderflow/internal/failure"
)

func TestPolicy(t *testing.T) {
	p := policy{schedule: backoff.Default()}
	broken := failure.NewPermanent("price", errors.New("price is 0"))
	busy := failure.NewTransient("busy", errors.New("busy"))
	tests := []struct {
		name    string
		err     error
		attempt int
		verdict verdict
		delay   time.Duration
	}{
		{"the first failure waits for the first delay", busy, 1, again, time.Second},
		{"the second for the second", busy, 2, again, 2 * time.Second},
		{"the third for the third", busy, 3, again, 4 * time.Second},
		{"then the retries are used up", busy, 4, exhausted, 0},
		{"also when a restart missed that", busy, 9, exhausted, 0},
		{"a permanent failure is not retried", broken, 1, hopeless, 0},
		{"nor one inside another error", fmt.Errorf("checking: %w", broken), 2, hopeless, 0},
		{"nor on the last attempt, where it is not the retries that failed", broken, 4, hopeless, 0},
		{"an error without a class may pass", errors.New("?"), 1, again, time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			verdict, delay := p.next(test.err, test.attempt)
			require.Equal(t, test.verdict, verdict)
			require.Equal(t, test.delay, delay)
		})
	}
}

func TestUsedUpRetriesKeepTheirCause(t *testing.T) {
	cause := failure.NewTransient("simulated", errors.New("Simulated processing failure"))
	err := error(&retriesExceeded{cause})
	require.EqualError(t, err, "Max retries exceeded: Simulated processing failure")
	class, code := failure.Of(err)
	require.Equal(t, failure.Transient, class)
	require.Equal(t, "simulated", code)
}
