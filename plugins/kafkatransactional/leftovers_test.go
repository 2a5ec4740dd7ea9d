package kafkatransactional

import (
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestWhatADeadOwnerLeftOpenIsEnded(t *testing.T) {
	for _, c := range []struct {
		name   string
		denied int // how often nobody tells what is open
	}{
		{"at once", 0},
		{"when it can be told", 2},
	} {
		t.Run(c.name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { leftOpen(t, c.denied) }) })
	}
}

func leftOpen(t *testing.T, denied int) {
	w := newWorld(t)
	defer w.close()
	w.produce(0, 60)
	first := w.start(0, "transaction_timeout: 10m\n    commit_interval: 2s")
	time.Sleep(3 * time.Second)
	w.produce(60, 60)
	time.Sleep(time.Second) // its transaction is open
	first.link.Cut()
	asked := w.deny(denied)
	second := w.start(0, "")
	time.Sleep(settle) // the session of the first ends after 6 s, its transaction would after 10 min
	require.EqualValues(t, denied, asked.Load())
	require.Len(t, slices.Collect(maps.Keys(w.committed("processed"))), 120)
	w.stop(second)
	w.stop(first)
	w.once(120)
}

// deny refuses to describe transactions, n times, and counts how often it did.
func (w *world) deny(n int) *atomic.Int64 {
	var denied atomic.Int64
	w.cluster.ControlKey(int16(kmsg.DescribeTransactions), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		if denied.Load() == int64(n) {
			return nil, nil, false
		}
		denied.Add(1)
		resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
		for _, id := range req.(*kmsg.DescribeTransactionsRequest).TransactionalIDs {
			t := kmsg.NewDescribeTransactionsResponseTransactionState()
			t.TransactionalID, t.ErrorCode = id, kerr.TransactionalIDAuthorizationFailed.Code
			resp.TransactionStates = append(resp.TransactionStates, t)
		}
		return resp, nil, true
	})
	return &denied
}
