package kafka

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/plugins/kafkatransactional"
	"github.com/orderflow/orderflow/test/child"
)

// After the death of one of two instances, its partitions flow again when the group and the
// broker have noticed. The README has the figures.
func TestFailover(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		named   bool
		restart bool
	}{
		{"no restart", false, false},
		{"restart with a random id", false, true},
		{"restart with instance_id", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRun(t, 1)
			name := func(s string) string {
				if c.named {
					return s
				}
				return ""
			}
			r.env["FAILURE_RATE"] = "0"
			r.instance(name("a"))
			victim := r.instance(name("b"))
			const orders = 12_000
			sent := r.stream(orders, 35*time.Second)
			r.shared(2)
			stalls := r.watch()
			victim.Kill()
			if c.restart {
				time.Sleep(300 * time.Millisecond)
				r.instance(name("b"))
			}
			require.NoError(t, <-sent)
			r.exactlyOnce(orders, child.Patience)
			t.Logf("longest time without a processed order, by partition: %v", stalls())
		})
	}
}

// shared waits until as many instances have committed something for partitions that are theirs.
func (r *run) shared(instances int) {
	opts := []kgo.Opt{kgo.SeedBrokers(r.cluster.Addresses()...)}
	require.Eventually(r.t, func() bool {
		owners := map[kafkatransactional.StateKey]string{}
		err := kafkatransactional.ReadState(context.Background(), opts, "orders-state", func(k kafkatransactional.StateKey, value []byte) error {
			if k.Kind != kafkatransactional.KindLedger {
				return nil
			}
			l, err := kafkatransactional.DecodeLedger(value)
			owners[k] = l.Owner.TransactionalID
			return err
		})
		return err == nil && len(slices.Compact(slices.Sorted(maps.Values(owners)))) == instances
	}, child.Patience, 200*time.Millisecond)
}

// watch reads the processed orders as they become visible to a committed reader. The function
// it returns gives, for each source partition, the longest time without one.
func (r *run) watch() func() []time.Duration {
	cl := r.cluster.Client(kgo.ConsumeTopics("orders-processed"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond))
	ctx, cancel := context.WithCancel(context.Background())
	longest, last := map[string]time.Duration{}, map[string]time.Time{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			now := time.Now()
			fetches.EachRecord(func(rec *kgo.Record) {
				for _, h := range rec.Headers {
					if h.Key != "origin" {
						continue
					}
					source := strings.Split(string(h.Value), "/")[1]
					if before, ok := last[source]; ok {
						longest[source] = max(longest[source], now.Sub(before))
					}
					last[source] = now
				}
			})
		}
	}()
	return func() []time.Duration {
		cancel()
		<-done
		var all []time.Duration
		for _, d := range longest {
			all = append(all, d.Round(100*time.Millisecond))
		}
		slices.Sort(all)
		return all
	}
}
