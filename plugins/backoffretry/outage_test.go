package backoffretry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/failure"
	"github.com/orderflow/orderflow/test/calls"
)

const withBreaker = "breaker: {failure_ratio: 0.95}\n"

// service that is away for a time, and orders that always fail.
type flaky struct {
	from, to time.Time
	sticky   map[string]bool
	takes    time.Duration
	mu       sync.Mutex
	tries    map[string][]time.Time
}

func (f *flaky) call(_ context.Context, m *service.Message) (service.MessageBatch, error) {
	id, _ := m.AsBytes()
	begun := time.Now()
	f.mu.Lock()
	f.tries[string(id)] = append(f.tries[string(id)], begun)
	f.mu.Unlock()
	time.Sleep(f.takes)
	if f.sticky[string(id)] {
		return nil, errBusy
	}
	if !begun.Before(f.from) && begun.Before(f.to) {
		return nil, failure.NewTransient("unavailable", errors.New("stock service is away"))
	}
	return service.MessageBatch{m}, nil
}

// starter returns what starts a process, as often as wanted.
func starter(t *testing.T, f *flaky) func() *processor {
	yaml := withBreaker + "processors: [" + calls.Child(t, f.call) + "]"
	return func() *processor { return build(t, yaml) }
}

// An outage at any time, orders that arrive in any pattern with at most half a second between two,
// and a process that is restarted or killed at any time: no order dies but those that fail for
// ever, and soon after the outage all is done.
func TestAnOutageKillsNoOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		from := rapid.IntRange(0, 20_000).Draw(r, "outage begins, ms")
		length := rapid.IntRange(0, 40_000).Draw(r, "outage lasts, ms")
		end := from + length
		longest := rapid.SampledFrom([]int{50, 200, 500}).Draw(r, "longest gap, ms")
		shortest := rapid.SampledFrom([]int{longest / 4, longest}).Draw(r, "shortest gap, ms")
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed of the gaps"), 0))
		var arrivals []int
		for at := rnd.IntN(500); at < end+30_000; at += shortest + rnd.IntN(longest-shortest+1) {
			arrivals = append(arrivals, at)
		}
		// Orders that fail for ever are spread: those that die are no more than they are in the
		// classic run, and not all of what is left at the end.
		every := rapid.SampledFrom([]int{0, 5, 7, 20}).Draw(r, "every so-manieth order fails for ever")
		takes := time.Duration(rapid.IntRange(0, 5).Draw(r, "attempt takes, ms")) * time.Millisecond
		restarts := rapid.SliceOfN(rapid.IntRange(0, end+5000), 0, 4).Draw(r, "restarts, ms")
		slices.Sort(restarts)
		kill := rapid.SliceOfN(rapid.Bool(), 4, 4).Draw(r, "whether they are kill -9")

		var wrong findings
		synctest.Test(t, func(t *testing.T) {
			zero := time.Now()
			ms := func(n int) time.Time { return zero.Add(time.Duration(n) * time.Millisecond) }
			f := &flaky{from: ms(from), to: ms(end), takes: takes, sticky: map[string]bool{}, tries: map[string][]time.Time{}}
			s := &source{commitAt: zero}
			var want []int
			for n, at := range arrivals {
				s.orders = append(s.orders, held{arrives: ms(at)})
				if every > 0 && n%every == every-1 {
					f.sticky[fmt.Sprint(n)] = true
					want = append(want, n)
				}
			}
			start := starter(t, f)
			p := start()
			for i, at := range restarts {
				s.run(t, p, ms(at))
				if kill[i] {
					s.kill()
				}
				s.paused = false
				p = start()
			}
			s.run(t, p, ms(end+30_000+20_000))
			assert.Equal(&wrong, want, s.dead(), "dead letters")
			for n, o := range s.orders {
				assert.True(&wrong, o.done, "order %d", n)
				if !o.dead && o.arrives.Before(ms(end)) {
					late := 7*time.Second + takes*time.Duration(len(arrivals)) // there is one thread here
					if every > 0 {
						late += 10 * time.Second // probes that meet orders that fail for ever
					}
					assert.Less(&wrong, o.ended.Sub(ms(end)), late, "order %d was done late", n)
				}
				if o.dead {
					assert.Len(&wrong, o.hist.Attempts, 4)
				}
			}
		})
		wrong.tell(r)
	})
}

// No new orders come any more, so that nothing but the orders that were held can tell whoever
// takes over that there is an outage.
func TestAnOutageIsKnownToTheNextProcess(t *testing.T) {
	for _, name := range []string{"a restart", "a kill -9", "another instance, which is idle"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				zero := time.Now()
				f := &flaky{from: zero.Add(5 * time.Second), to: zero.Add(45 * time.Second), tries: map[string][]time.Time{}}
				start := starter(t, f)
				p, next := start(), start()
				_, err := next.Process(t.Context(), service.NewMessage([]byte("elsewhere")))
				require.NoError(t, err)
				s := &source{commitAt: zero}
				for at := time.Duration(0); at < 15*time.Second; at += 500 * time.Millisecond {
					s.orders = append(s.orders, held{arrives: zero.Add(at)})
				}
				for _, at := range []time.Duration{20 * time.Second, 30 * time.Second} {
					s.run(t, p, zero.Add(at))
					switch name {
					case "a kill -9":
						s.kill()
						fallthrough
					case "a restart":
						next = start()
					}
					s.paused = false
					p, next = next, p
				}
				s.run(t, p, zero.Add(60*time.Second))
				require.Empty(t, s.dead())
				tries := 0
				for n, o := range s.orders {
					require.True(t, o.done)
					require.Less(t, o.ended.Sub(f.to), 5*time.Second)
					for _, at := range f.tries[fmt.Sprint(n)] {
						if at.After(zero.Add(20*time.Second)) && at.Before(f.to) {
							tries++
						}
					}
				}
				require.LessOrEqual(t, tries, 28, "a probe a second, and one more when a process begins")
			})
		})
	}
}

// Without an outage nothing is held: not at the end of a run, when only orders that fail are
// left, and not after a restart at that time.
func TestOrdersThatFailForEverAreNoOutage(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		gap := rapid.SampledFrom([]int{0, 1, 150, 500}).Draw(r, "gap, ms")
		share := rapid.SampledFrom([]int{10, 7, 4, 3, 2}).Draw(r, "one of so many fails")
		restart := rapid.IntRange(0, 60_000).Draw(r, "restart, ms")
		kill := rapid.Bool().Draw(r, "killed")
		var wrong findings
		synctest.Test(t, func(t *testing.T) {
			zero := time.Now()
			f := &flaky{sticky: map[string]bool{}, tries: map[string][]time.Time{}}
			s := &source{commitAt: zero}
			var want []int
			for n := range 100 {
				s.orders = append(s.orders, held{arrives: zero.Add(time.Duration(n*gap) * time.Millisecond)})
				if n%share == 0 {
					f.sticky[fmt.Sprint(n)] = true
					want = append(want, n)
				}
			}
			start := starter(t, f)
			p := start()
			s.run(t, p, zero.Add(time.Duration(restart)*time.Millisecond))
			if kill {
				s.kill()
			}
			s.paused = false
			p = start()
			s.run(t, p, zero.Add(2*time.Minute))
			assert.Equal(&wrong, want, s.dead())
			assert.False(&wrong, p.outage.breaker.Open())
			for n, o := range s.orders {
				assert.True(&wrong, o.done)
				if o.dead {
					at := f.tries[fmt.Sprint(n)]
					assert.Less(&wrong, at[len(at)-1].Sub(at[0]), 21*time.Second, "the last retry of order %d", n)
				}
			}
		})
		wrong.tell(r)
	})
}

func TestInPlaceMessagesWaitUntilTheOutageIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zero := time.Now()
		f := &flaky{from: zero, to: zero.Add(30 * time.Second), tries: map[string][]time.Time{}}
		p := starter(t, f)()
		var wg sync.WaitGroup
		for n := range 100 { // 32 would do as threads; here each message has its own
			wg.Go(func() {
				time.Sleep(time.Duration(n) * 250 * time.Millisecond)
				out, err := p.Process(t.Context(), service.NewMessage(fmt.Appendf(nil, "%d", n)))
				require.NoError(t, err)
				require.Len(t, out, 1)
				require.Less(t, time.Since(f.to), 5*time.Second)
			})
		}
		wg.Wait()
		require.Zero(t, p.report.exhausted.Load())
		total := 0
		for _, at := range f.tries {
			total += len(at)
		}
		require.Less(t, total, 200, "each order once that passes, 12 that opened it and their retries, and a probe a second")
		require.False(t, p.outage.breaker.Open())
	})
}

func TestAHeldMessageLeavesAtOnceWhenTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{from: time.Now(), to: time.Now().Add(time.Hour), tries: map[string][]time.Time{}}
		p := build(t, "breaker: {failure_ratio: 1, min_orders: 1, probe_interval: 1h}\nprocessors: ["+calls.Child(t, f.call)+"]")
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		time.AfterFunc(time.Second, cancel)
		out, err := p.Process(ctx, service.NewMessage([]byte("a")))
		require.Empty(t, out)
		require.Equal(t, context.Canceled, err)
		require.Equal(t, time.Second, time.Since(start))
		require.Len(t, f.tries["a"], 1)
	})
}
