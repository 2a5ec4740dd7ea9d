package deadletter

import (
	"errors"
	"fmt"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/failure"
)

func TestCodesAreBounded(t *testing.T) {
	p, _ := build(t, "")
	for i := range 2 * maxCodes {
		m := service.NewMessage(nil)
		m.SetError(failure.NewPermanent(fmt.Sprintf("code_%d", i), errors.New("bad")))
		process(t, p, m)
	}
	require.Len(t, p.report.byCode, maxCodes+1)
	require.EqualValues(t, maxCodes, p.report.byCode[kind{"permanent", "other"}])
}

func TestPercentNeverRoundsUpToAll(t *testing.T) {
	require.Equal(t, "100.0", percent(5, 5))
	require.Equal(t, "99.9", percent(99_999, 100_000))
	require.Equal(t, "0.0", percent(0, 3))
	require.Equal(t, "66.6", percent(2, 3))
}
