package kafka

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/cmd/orderflow/audit"
)

// cut takes the second half of the record batches out of the log of each partition of the orders,
// as an unclean leader election does. The only broker must not run. It returns how many orders
// are gone, each of which is a batch of its own.
func (s *site) cut() (gone int) {
	s.t.Helper()
	for partition := range 6 {
		dir := filepath.Join(s.cluster.dir, "data-0", fmt.Sprintf("%s-%d", s.env["ORDERS_TOPIC"], partition))
		logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
		require.NoError(s.t, err)
		require.Len(s.t, logs, 1, "one segment")
		content, err := os.ReadFile(logs[0])
		require.NoError(s.t, err)
		var batches []int // where each ends
		for at := 0; at+12 <= len(content); {
			size := int(binary.BigEndian.Uint32(content[at+8:]))
			if size == 0 {
				break // room that was set aside
			}
			at += 12 + size
			batches = append(batches, at)
		}
		if left := len(batches) / 2; left > 0 {
			require.NoError(s.t, os.Truncate(logs[0], int64(batches[left-1])))
			gone += len(batches) - left
		}
	}
	require.Positive(s.t, gone)
	return gone
}

// A log that was cut while nobody read it, and then under a consumer that runs: no order that is
// left or new is missed, and none that was counted is counted again.
func TestALogIsCut(t *testing.T) {
	cluster := Start(t, Options{})
	s := newSite(t, cluster, "cut")
	p := s.run()
	s.write(60)
	s.exactlyOnce(60, 60*time.Second)
	s.stop(p)

	cluster.Kill(0)
	gone := s.cut()
	cluster.Start(0)
	s.write(10)
	p = s.run()
	p.AwaitLog(t, "as an unclean leader election does", 60*time.Second)
	s.awaitProcessed(70)
	s.awaitAudit(30*time.Second, func(r audit.Report) bool { return r.OK && r.Orders == int64(70-gone) })
	s.caughtUp()

	cluster.Kill(0)
	again := s.cut()
	cluster.Start(0)
	s.write(60)
	s.awaitProcessed(130)
	report := s.awaitAudit(60*time.Second, func(r audit.Report) bool { return r.OK && r.Orders == int64(130-gone-again) })
	t.Logf("%d orders were cut off, then %d: %s", gone, again, report.Sums)
	require.Equal(t, 130, s.count(s.env["PROCESSED_TOPIC"]))
	require.Contains(t, string(s.orderflow("aggregates", "--json")), `"overall":{"count":130,`)
	s.caughtUp()
	s.stop(p)
}
