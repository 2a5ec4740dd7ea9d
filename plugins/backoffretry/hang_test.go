package backoffretry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/test/calls"
)

// hanging is a service that answers nothing for a time, so that a call ends by its timeout. Some
// orders make it hang at any time.
type hanging struct {
	from, to time.Time
	sticky   func(order int) bool
	timeout  time.Duration
	mu       sync.Mutex
	calls    int // in that time
}

func (h *hanging) call(_ context.Context, m *service.Message) (service.MessageBatch, error) {
	content, _ := m.AsBytes()
	var order int
	_, _ = fmt.Sscan(string(content), &order)
	now := time.Now()
	away := !now.Before(h.from) && now.Before(h.to)
	if away {
		h.mu.Lock()
		h.calls++
		h.mu.Unlock()
	}
	if away || h.sticky(order) {
		time.Sleep(h.timeout)
		return nil, errors.New("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
	}
	time.Sleep(10 * time.Millisecond)
	return service.MessageBatch{m}, nil
}

func none(int) bool { return false }

// A service that hangs lets few calls fail. No order is given up for it, however few threads there
// are, and soon after all pass.
func TestAServiceThatHangsKillsNoOrder(t *testing.T) {
	for _, threads := range []int{2, 3, 4, 8, 32} {
		for _, timeout := range []time.Duration{2 * time.Second, 5 * time.Second, 30 * time.Second} {
			for _, place := range []string{"in place", "in a session"} {
				t.Run(fmt.Sprintf("%d threads %s, %v a call", threads, place, timeout), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						zero := time.Now()
						h := &hanging{from: zero.Add(10 * time.Second), to: zero.Add(190 * time.Second), sticky: none, timeout: timeout}
						p := build(t, withBreaker+"processors: ["+calls.Child(t, h.call)+"]")
						s := &source{}
						for n := range 400 {
							s.orders = append(s.orders, held{arrives: zero.Add(time.Duration(n) * 500 * time.Millisecond)})
						}
						go func() {
							time.Sleep(time.Until(h.to))
							assert.True(t, p.outage.breaker.Open())
						}()
						run := s.threads
						if place == "in place" {
							run = s.inPlace
						}
						run(t, p, threads, h.to.Add(90*time.Second))
						require.Empty(t, s.dead())
						for n, o := range s.orders {
							require.True(t, o.done, "order %d", n)
						}
						require.False(t, p.outage.breaker.Open())
						most := int(180*time.Second/(timeout+time.Second)) + 1 + threads*int(2+50*time.Second/timeout)
						require.LessOrEqual(t, h.calls, most, "one at a time once it is known")
					})
				})
			}
		}
	}
}

// An order that is tried once more before it is known whether there is an outage is no news.
func TestAnOrderThatIsSparedCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{sticky: func(int) bool { return true }, timeout: 5 * time.Second}
		p := build(t, withBreaker+"processors: ["+calls.Child(t, h.call)+"]")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for n := range 2 {
			wg.Go(func() {
				_, err := p.Process(ctx, service.NewMessage(fmt.Appendf(nil, "%d", n)))
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			})
		}
		wg.Wait()
		since, why := p.outage.breaker.State()
		require.False(t, since.IsZero())
		require.EqualValues(t, 2, why.Failed)
		require.EqualValues(t, 2, why.Tried)
	})
}

// Orders that make the service hang die of it, and others pass.
func TestOrdersThatHangForReasonsOfTheirOwnAreNoOutage(t *testing.T) {
	for name, test := range map[string]struct {
		gap     time.Duration
		threads int
		every   int
	}{
		"one order a minute":        {time.Minute, 4, 7},
		"one order in ten seconds":  {10 * time.Second, 4, 7},
		"two a second":              {500 * time.Millisecond, 32, 7},
		"two a second, half of all": {500 * time.Millisecond, 64, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				zero := time.Now()
				h := &hanging{sticky: func(n int) bool { return n%test.every == 3%test.every }, timeout: 5 * time.Second}
				p := build(t, withBreaker+"processors: ["+calls.Child(t, h.call)+"]")
				s := &source{}
				var want []int
				for n := range 100 {
					s.orders = append(s.orders, held{arrives: zero.Add(time.Duration(n) * test.gap)})
					if h.sticky(n) {
						want = append(want, n)
					}
				}
				// More come than are looked at, so that what is looked at is not the end of a run.
				for n := 100; n < 100+int(90*time.Second/test.gap)+1; n++ {
					s.orders = append(s.orders, held{arrives: zero.Add(time.Duration(n) * test.gap)})
				}
				s.threads(t, p, test.threads, zero.Add(100*test.gap+time.Minute))
				dead := s.dead()
				require.GreaterOrEqual(t, len(dead), len(want))
				require.Equal(t, want, dead[:len(want)])
				for _, n := range want {
					require.Len(t, s.orders[n].hist.Attempts, 4)
				}
				require.False(t, p.outage.breaker.Open())
				for n, o := range s.orders {
					require.Zero(t, o.hist.Held, "order %d was held", n)
				}
			})
		})
	}
}

// inPlace is an input whose messages wait in their threads.
func (s *source) inPlace(t require.TestingT, p *processor, threads int, until time.Time) {
	var wg sync.WaitGroup
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	next := make(chan int)
	wg.Go(func() {
		defer close(next)
		for n, o := range s.orders {
			time.Sleep(time.Until(o.arrives))
			select {
			case next <- n:
			case <-ctx.Done():
				return
			}
		}
	})
	for range threads {
		wg.Go(func() {
			for n := range next {
				_, err := p.Process(ctx, service.NewMessage(fmt.Appendf(nil, "%d", n)))
				if ctx.Err() != nil {
					return
				}
				s.orders[n].done, s.orders[n].dead, s.orders[n].ended = true, err != nil, time.Now()
			}
		})
	}
	wg.Wait()
}
