package breaker

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	usual = Config{Ratio: 0.95, Window: 6 * time.Second, Min: 12, Probe: time.Second}
	zero  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func at(seconds float64) time.Time {
	return zero.Add(time.Duration(seconds * float64(time.Second)))
}

// fail lets first attempts fail, one each half second from a time on, until the breaker opens, and
// returns when it does.
func fail(t *testing.T, b *Breaker, from float64) time.Time {
	t.Helper()
	for i := range 100 {
		now := at(from + float64(i)/2)
		if v, _ := b.Failed(now, 0, false, true, "away", "service is away"); v == Opened {
			return now
		}
	}
	t.Fatal("the breaker has not opened")
	return time.Time{}
}

func TestItOpensWithinAWindow(t *testing.T) {
	tests := []struct {
		name   string
		passed int // before the outage
		want   float64
	}{
		{"after as many orders as it takes, if none passed before", 0, 5.5},
		{"when what passed before is forgotten", 1, 6},
		{"and no later if it was much", 1_000_000, 6},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := New(usual)
			for range test.passed {
				b.Counted()
			}
			require.Equal(t, at(test.want), fail(t, b, 0))
			require.True(t, b.Open())
			since, why := b.State()
			require.Equal(t, at(test.want), since)
			require.Equal(t, Reason{Failed: 12, Tried: 12, Within: 6 * time.Second, Code: "away", Share: 1, Text: "service is away"}, why)
		})
	}
}

func TestWhatDoesNotOpenIt(t *testing.T) {
	tests := []struct {
		name string
		play func(b *Breaker, now time.Time, i int)
	}{
		{"retries", func(b *Breaker, now time.Time, _ int) { b.Failed(now, 0, false, false, "away", "") }},
		{"one pass in nineteen", func(b *Breaker, now time.Time, i int) {
			if i%18 == 0 {
				b.Counted()
			}
			b.Failed(now, 0, false, true, "away", "")
		}},
		{"few orders, whose retries fail for as long as they like", func(b *Breaker, now time.Time, i int) {
			b.Failed(now.Add(time.Duration(i)*time.Minute), 0, false, i < 11, "away", "")
		}},
		{"rows that end too soon", func(b *Breaker, now time.Time, i int) {
			if i%12 == 0 {
				b.Counted()
			}
			b.Failed(now.Add(time.Duration(i)*550*time.Millisecond), 0, false, i%12 > 0, "away", "")
		}},
		{"rows that a retry ends", func(b *Breaker, now time.Time, i int) {
			if i%11 == 0 {
				b.Answered()
			}
			b.Failed(now.Add(time.Duration(i)*550*time.Millisecond), 500*time.Millisecond, false, true, "away", "")
		}},
		{"one order whose attempts hang", func(b *Breaker, now time.Time, i int) {
			b.Failed(now.Add(time.Duration(i)*5*time.Second), 5*time.Second, false, i == 0, "away", "")
		}},
		{"one order a minute whose attempts hang", func(b *Breaker, now time.Time, i int) {
			minute := now.Add(time.Duration(i/4) * time.Minute)
			if i%40 == 0 {
				b.Counted()
			}
			b.Failed(minute.Add([]time.Duration{5, 11, 18, 27}[i%4]*time.Second), 5*time.Second, false, i%4 == 0, "away", "")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := New(usual)
			for i := range 1000 {
				test.play(b, at(float64(i)/100), i)
				require.False(t, b.Open(), "after %d", i)
			}
			since, why := b.State()
			require.Zero(t, since)
			require.Zero(t, why)
		})
	}
}

func TestTheReasonIsTheMostFrequentCode(t *testing.T) {
	b := New(Config{Ratio: 0.5, Window: time.Second, Min: 8, Probe: time.Second})
	for _, code := range []string{"busy", "timeout", "timeout"} {
		b.Failed(at(0), 0, false, true, code, code)
	}
	for range 3 {
		b.Counted()
	}
	for i, code := range []string{"busy", "timeout"} {
		v, _ := b.Failed(at(0.1), 0, false, true, code, code)
		require.Equal(t, []Verdict{Own, Opened}[i], v)
	}
	_, why := b.State()
	require.Equal(t, Reason{Failed: 5, Tried: 8, Within: time.Second, Code: "timeout", Share: 0.6, Text: "timeout"}, why)
}

func TestProbes(t *testing.T) {
	b := New(usual)
	opened := fail(t, b, 0) // at 5.5 s
	probe, again := b.Admit(opened)
	require.False(t, probe)
	require.Equal(t, at(6.5), again, "the first probe")

	probe, _ = b.Admit(at(6.5))
	require.True(t, probe)
	probe, again = b.Admit(at(6.6))
	require.False(t, probe, "one at a time")
	require.Equal(t, at(7.5), again)
	probe, again = b.Admit(at(8))
	require.False(t, probe, "also when it takes longer than the interval")
	require.Equal(t, at(9), again)
	v, again := b.Failed(at(8.5), 0, true, false, "away", "still away")
	require.Equal(t, Outage, v)
	require.Equal(t, at(9.5), again)
	_, why := b.State()
	require.Equal(t, "still away", why.Text)

	pass := func(seconds float64) (closed bool, after time.Duration) {
		probe, _ := b.Admit(at(seconds))
		require.True(t, probe)
		return b.Passed(at(seconds + 0.1))
	}
	for _, seconds := range []float64{9.5, 9.6} { // the next at once
		closed, _ := pass(seconds)
		require.False(t, closed)
	}
	probe, _ = b.Admit(at(9.7))
	require.True(t, probe)
	b.Undone(at(9.75))
	for i := range 4 { // after two that passed
		now := at(9.75 + float64(i))
		probe, _ = b.Admit(now)
		require.True(t, probe, "one that told nothing costs no time, one that failed a second")
		b.Failed(now, 0, true, false, "away", "")
	}
	for _, seconds := range []float64{13.75, 13.9} { // 2 of the last 6, since the first two are too long ago
		closed, _ := pass(seconds)
		require.False(t, closed)
	}
	probe, _ = b.Admit(at(14))
	require.True(t, probe)
	b.Failed(at(14), 0, true, false, "away", "")
	closed, after := pass(15)
	require.True(t, closed, "3 of the last 6, not in a row")
	require.Equal(t, 9600*time.Millisecond, after)
	require.False(t, b.Open())

	v, _ = b.Failed(at(15.2), 0, false, true, "away", "")
	require.Equal(t, Own, v, "what was before is forgotten")
}

func TestOnlyCodesOfAnOutageMatter(t *testing.T) {
	all, some := New(usual), New(Config{Codes: []string{"timeout"}})
	require.True(t, all.Matters("busy"))
	require.True(t, some.Matters("timeout"))
	require.False(t, some.Matters("busy"))
}

func TestAnOrderThatWasHeldTellsOfTheOutage(t *testing.T) {
	b := New(usual)
	require.True(t, b.Recall(at(-5), at(0), "away", "service is away"), "by the process before this one")
	require.False(t, b.Recall(at(-5), at(0), "away", ""), "it is open")
	for range enough {
		probe, _ := b.Admit(at(1))
		require.True(t, probe, "it probes at once")
		b.Passed(at(1))
	}
	require.False(t, b.Open())
	require.False(t, b.Recall(at(-5), at(2), "away", ""), "since then it is known that the outage is over")
	require.False(t, b.Recall(at(1), at(2), "away", ""))
	require.True(t, b.Recall(at(1.5), at(2), "away", ""), "another one began, as another instance has seen")
}

func TestProbation(t *testing.T) {
	b := New(usual)
	_, on := b.Probation(at(0), 0)
	require.False(t, on, "nothing has failed")
	b.Failed(at(1), 0, false, false, "away", "")
	until, on := b.Probation(at(7.4), 0)
	require.True(t, on, "nothing has passed since the start")
	require.Equal(t, at(7.5), until)
	_, on = b.Probation(at(7.5), 0)
	require.False(t, on, "a little more than a window has gone by")
	b.Counted()
	_, on = b.Probation(at(2), 0)
	require.False(t, on, "something has passed")

	fail(t, b, 10)
	for range enough {
		b.Passed(at(30))
	}
	b.Counted()
	_, on = b.Probation(at(36), 0)
	require.True(t, on, "after an outage, whatever has passed")
	_, on = b.Probation(at(36.5), 0)
	require.False(t, on)
}

// The figures of the package's comment: orders that fail for reasons of their own, two a second.
// What passes leaves the window with the first failure after it, so that it takes a row of 13
// failures, or of 12 at the beginning.
func TestOrdersOfTheirOwnRarelyOpenIt(t *testing.T) {
	for _, test := range []struct{ rate, most float64 }{{0.15, 2e-9}, {0.3, 1.1e-5}, {0.5, 0.006}} {
		const orders = 100
		// closed[n] is the probability that it is closed and the last n orders have failed; fresh
		// that all have failed so far.
		closed, fresh, opened := make([]float64, 13), 1.0, 0.0
		for i := range orders {
			next := make([]float64, 13)
			for n, p := range closed {
				next[0] += p * (1 - test.rate)
				if n == 12 {
					opened += p * test.rate
				} else {
					next[n+1] += p * test.rate
				}
			}
			if i < 12 {
				next[0] += fresh * (1 - test.rate)
				fresh *= test.rate
			}
			if i == 11 {
				opened += fresh
				fresh = 0
			}
			closed = next
		}
		require.Less(t, opened, test.most)
		require.Greater(t, opened, test.most/100)
		t.Logf("%.0f %% fail: it opens with a probability of %.2g", 100*test.rate, opened)
		// and the model is that of the breaker: a row of 13, and no shorter one, opens it
		b := New(usual)
		b.Counted()
		require.Equal(t, at(6), fail(t, b, 0))
	}
}

func TestAWindowIsBoundedWhateverItCounts(t *testing.T) {
	w := window{span: 6 * time.Second}
	for i := range 100_000 {
		now := at(float64(i) / 1000)
		w.fail(now, []string{"a", "b"}[i%2])
		w.pass(now, 2)
		require.LessOrEqual(t, len(w.parts), fineness+1)
	}
	require.InDelta(t, 6000, w.failed, 101)
	require.Equal(t, 2*w.failed, w.passed)
	w.pass(at(200), 0)
	require.Zero(t, w.failed+w.passed)
}

func TestManyAtOnce(t *testing.T) {
	b := New(Config{Ratio: 0.5, Window: time.Second, Min: 2, Probe: time.Nanosecond})
	var wg sync.WaitGroup
	var probes atomic.Int64
	for range 8 {
		wg.Go(func() {
			for i := range 2000 {
				now := time.Now()
				if !b.Open() {
					b.Counted()
					b.Failed(now, 0, false, true, "away", "")
					continue
				}
				if probe, _ := b.Admit(now.Add(time.Hour)); probe {
					assert.EqualValues(t, 1, probes.Add(1), "one at a time")
					probes.Add(-1)
					if i%5 > 0 {
						b.Passed(now)
					} else {
						b.Failed(now, 0, true, false, "away", "")
					}
				}
				b.Probation(now, 0)
				b.State()
			}
		})
	}
	wg.Wait()
}

// BenchmarkWhileNothingFails is what an order that passes pays.
func BenchmarkWhileNothingFails(bench *testing.B) {
	b := New(usual)
	for bench.Loop() {
		if !b.Open() {
			b.Counted()
		}
	}
}
