//go:build synctests

package simulation

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/test/oracle"
)

// outage is a service that orders are validated by, and that is away for a time.
type outage struct {
	gone  atomic.Bool
	tries atomic.Int64 // while it was
}

// insert puts the service in front of what validates orders.
func (o *outage) insert(config map[string]any) {
	for _, p := range config["pipeline"].(map[string]any)["processors"].([]any) {
		if retry, ok := p.(map[string]any)["backoff_retry"].(map[string]any); ok {
			retry["processors"] = append([]any{map[string]any{"away": map[string]any{}}}, retry["processors"].([]any)...)
		}
	}
}

func (o *outage) register(env *service.Environment) error {
	return env.RegisterProcessor("away", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.Processor, error) {
		return o, nil
	})
}

var errAway = failure.NewTransient("unavailable", errors.New("the stock service is away"))

func (o *outage) Process(_ context.Context, msg *service.Message) (service.MessageBatch, error) {
	if o.gone.Load() {
		o.tries.Add(1)
		return nil, errAway
	}
	return service.MessageBatch{msg}, nil
}

func (*outage) Close(context.Context) error { return nil }

// An outage of 30 s, with two orders a second before, in it and after it, sends nothing to the
// dead letters, and soon after it all orders are processed: whatever happens to the instances.
func TestAnOutage(t *testing.T) {
	const begins, ends = 10 * time.Second, 40 * time.Second
	stop := func(w *world) { w.stop(w.pick(0)) }
	crash := func(w *world) { w.crash(w.pick(0)) }
	for name, c := range map[string]struct {
		instances int
		orders    int // each half second
		down      func(*world)
		downs     []time.Duration
		ups       []time.Duration
		tries     int64 // while the service is away, at most
	}{
		"no restart":                             {1, 1, nil, nil, nil, 60},
		"a stop and a restart":                   {1, 1, stop, seconds(25), seconds(27), 60},
		"a kill and a restart":                   {1, 1, crash, seconds(25), seconds(27), 60},
		"a kill before it is known":              {1, 1, crash, seconds(14), seconds(15), 90},
		"a kill when it has just become known":   {1, 1, crash, seconds(16.2), seconds(17), 100},
		"many kills":                             {1, 1, crash, seconds(18, 24, 30), seconds(19, 25, 31), 60},
		"a kill at the end":                      {1, 1, crash, seconds(39.5), seconds(41), 60},
		"another instance takes the orders over": {2, 5, crash, seconds(25), nil, 230},
	} {
		t.Run(name, func(t *testing.T) {
			p := &plan{
				seed: 1, log: io.Discard, brokers: 1, instances: c.instances, static: c.instances,
				failureMode: "sticky", commitInterval: 500 * time.Millisecond, away: &outage{},
			}
			if os.Getenv(envLog) != "" {
				p.log = os.Stderr
			}
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, p)
				defer w.close()
				p.add(begins, "the service goes", func(*world) { p.away.gone.Store(true) })
				p.add(ends, "the service comes back", func(*world) { p.away.gone.Store(false) })
				for _, at := range c.downs {
					p.add(at, "an instance goes", c.down)
				}
				for _, at := range c.ups {
					p.add(at, "an instance comes", (*world).join)
				}
				for at := 3 * time.Second; at < ends+10*time.Second; at += 500 * time.Millisecond {
					p.add(at, "an order", func(w *world) { w.produce(c.orders) })
				}
				var changes int64
				p.add(begins+12*time.Second, "the state is measured", func(w *world) { changes = w.changes() })
				p.add(ends-3*time.Second, "the state is measured", func(w *world) { changes = w.changes() - changes })
				p.add(ends+9*time.Second, "the orders are counted", func(w *world) {
					report, err := oracle.New(oracle.Config{}, w.opts()...).Read(context.Background())
					require.NoError(t, err)
					require.LessOrEqual(t, report.Missing, 2*c.orders, "orders that came before the last second have their outcome: %v", report)
					require.Empty(t, report.Classes)
				})
				p.sort()
				require.NoError(t, w.run())
				require.LessOrEqual(t, p.away.tries.Load(), c.tries, "attempts in the outage")
				require.Less(t, changes, int64(75), "records in the state topic in 15 s: a probe a second and the ends of transactions, but not all orders that wait")
			})
		})
	}
}

func seconds(list ...float64) (at []time.Duration) {
	for _, s := range list {
		at = append(at, time.Duration(s*float64(time.Second)))
	}
	return at
}

// changes returns how far the state topic has been written.
func (w *world) changes() int64 {
	ends, err := w.admin.ListEndOffsets(context.Background(), topicState)
	require.NoError(w.t, err)
	var n int64
	for _, p := range ends[topicState] {
		n += p.Offset
	}
	return n
}
