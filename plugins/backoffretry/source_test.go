package backoffretry

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderflow/orderflow/internal/session"
)

// held is an order as a source keeps it: by value, so that a commit is a copy of all.
type held struct {
	arrives time.Time
	begun   bool // handed out at least once, so that the source keeps it
	flying  bool // in a thread now
	hist    session.History
	due     time.Time
	done    bool
	dead    bool
	ended   time.Time
}

// source is a session as kafka_transactional is one, in memory: it commits each half second, and a
// process that is killed goes on from there.
type source struct {
	mu        sync.Mutex // with several threads
	orders    []held
	committed []held
	commitAt  time.Time
	paused    bool
	until     time.Time
	waited    bool
}

func (s *source) Epoch() uint64 { return 0 }
func (s *source) Accumulators(string, func() session.Accumulator, func(string, session.Accumulator)) {
}
func (s *source) Pause(until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused, s.until = true, until
}
func (s *source) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = false
}

// one is an order that was handed out.
type one struct {
	context.Context
	src *source
	n   int
	due time.Time // zero: it does not wait
}

func (o *one) Value(key any) any {
	if key == session.Key {
		return session.Carrier(o)
	}
	return o.Context.Value(key)
}
func (o *one) In(session.Place) (session.Order, bool) { return o, true }
func (o *one) History() session.History               { return o.src.orders[o.n].hist }
func (o *one) SetHistory(h session.History)           { o.src.orders[o.n].hist = h }
func (o *one) Wait(due time.Time)                     { o.due = due }
func (o *one) Content() []byte                        { return nil }
func (o *one) Session() session.Session               { return o.src }
func (o *one) Contribute(string, string, any, func() session.Accumulator) {
}

// next returns the order to hand out now, or when to ask again; zero: never.
func (s *source) next(now time.Time) (n int, at time.Time) {
	soonest := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if s.paused && now.Before(s.until) {
		return -1, s.until
	}
	waiting, fresh := -1, -1
	for i := range s.orders {
		o := &s.orders[i]
		switch {
		case o.done || o.flying:
		case !o.begun && o.arrives.After(now):
			soonest(o.arrives)
		case !o.begun:
			if fresh < 0 {
				fresh = i
			}
		case o.due.After(now):
			soonest(o.due)
		case waiting < 0 || o.due.Before(s.orders[waiting].due):
			waiting = i
		}
	}
	if waiting < 0 || (s.paused && s.waited && fresh >= 0) {
		s.waited = false
		return fresh, at
	}
	s.waited = true
	return waiting, at
}

// run lets a process work on the orders until a time, or until all are done.
func (s *source) run(t require.TestingT, p *processor, until time.Time) {
	for {
		now := time.Now()
		if !now.Before(s.commitAt) {
			s.committed = slices.Clone(s.orders)
			s.commitAt = now.Add(500 * time.Millisecond)
		}
		if !now.Before(until) {
			return
		}
		n, at := s.next(now)
		if n < 0 {
			if at.IsZero() || at.After(until) {
				at = until
			}
			time.Sleep(time.Until(minTime(at, s.commitAt)))
			continue
		}
		s.handOut(t, p, n)
	}
}

// threads lets several threads of a process work on the orders until a time. There are no commits.
func (s *source) threads(t require.TestingT, p *processor, threads int, until time.Time) {
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			for time.Now().Before(until) {
				s.mu.Lock()
				n, _ := s.next(time.Now())
				if n >= 0 {
					s.orders[n].flying = true
				}
				s.mu.Unlock()
				if n < 0 {
					time.Sleep(50 * time.Millisecond)
					continue
				}
				s.handOut(t, p, n)
			}
		})
	}
	wg.Wait()
}

// handOut lets a process work on an order, and takes what becomes of it.
func (s *source) handOut(t require.TestingT, p *processor, n int) {
	o := &one{Context: context.Background(), src: s, n: n}
	msg := service.NewMessageWithContext(o, fmt.Appendf(nil, "%d", n))
	msg.MetaSetMut("kafka_topic", "orders")
	msg.MetaSetMut("kafka_partition", 0)
	msg.MetaSetMut("kafka_offset", n)
	_, err := p.Process(context.Background(), msg)
	s.mu.Lock()
	defer s.mu.Unlock()
	order := &s.orders[n]
	order.begun, order.flying = true, false
	require.LessOrEqual(t, len(order.hist.Attempts), 4)
	if !o.due.IsZero() {
		require.NoError(t, err)
		order.due = o.due
		return
	}
	order.done, order.dead, order.ended = true, err != nil, time.Now()
}

// kill is kill -9: what was not committed is gone.
func (s *source) kill() {
	s.orders = slices.Clone(s.committed)
	s.paused, s.waited = false, false
}

func (s *source) dead() (dead []int) {
	for n, o := range s.orders {
		if o.dead {
			dead = append(dead, n)
		}
	}
	return dead
}

// findings are what was found wrong in a bubble, where rapid cannot be told.
type findings []string

func (f *findings) Errorf(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

func (f findings) tell(r *rapid.T) {
	if len(f) > 0 {
		r.Fatalf("%d findings, the first: %s", len(f), f[0])
	}
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
