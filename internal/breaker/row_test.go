package breaker

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestARowOpensItHoweverSlowlyOrdersCome(t *testing.T) {
	b := New(usual)
	b.Counted()
	for i := range 12 {
		v, _ := b.Failed(at(float64(i*60)), time.Millisecond, false, true, []string{"away", "busy", "away"}[i%3], "service is away")
		require.Equal(t, i == 11, v == Opened, "order %d", i)
	}
	_, why := b.State()
	require.InDelta(t, 8.0/12, why.Share, 1e-9)
	why.Share = 0
	require.Equal(t, Reason{Failed: 12, Tried: 12, Within: 11 * time.Minute, Code: "away", Text: "service is away"}, why)
	for range enough {
		b.Passed(at(700))
	}
	v, _ := b.Failed(at(710), time.Millisecond, false, true, "away", "")
	require.Equal(t, Own, v, "what was before is forgotten")
}

// hang lets each of some threads try an order four times, as after delays of 1 s, 2 s and 4 s,
// then the next one. It returns when the breaker opens.
func hang(t *testing.T, b *Breaker, threads int, takes float64) time.Time {
	t.Helper()
	type failure struct {
		at    float64
		first bool
	}
	var failures []failure
	for thread := range threads {
		now := float64(thread) / 10
		for range 20 {
			for try, delay := range []float64{0, 1, 2, 4} {
				now += delay + takes
				failures = append(failures, failure{now, try == 0})
			}
		}
	}
	slices.SortStableFunc(failures, func(a, b failure) int { return int(1e6 * (a.at - b.at)) })
	for _, f := range failures {
		if v, _ := b.Failed(at(f.at), time.Duration(takes*float64(time.Second)), false, f.first, "timeout", "no answer"); v == Opened {
			return at(f.at)
		}
	}
	t.Fatal("the breaker has not opened")
	return time.Time{}
}

// A row of n orders, which begins with the first failure at 5 s, has to last 72 s / n.
func TestAServiceThatHangsOpensIt(t *testing.T) {
	for threads, want := range map[int]float64{
		1:  45,   // the second: 40 s since the first failed
		2:  32,   // the third: 27 s
		4:  27,   // 22 s
		6:  18,   // 13 s
		11: 11.6, // 6.6 s
		12: 11,   // 6 s
	} {
		b := New(usual)
		b.Counted()
		require.Equal(t, at(want), hang(t, b, threads, 5).Round(time.Millisecond), "%d threads", threads)
	}
}

func TestInAHangThereIsProbation(t *testing.T) {
	b := New(usual)
	b.Counted()
	b.Failed(at(5), 5*time.Second, false, true, "timeout", "")
	b.Failed(at(12), 5*time.Second, false, false, "timeout", "")
	_, on := b.Probation(at(12), 5*time.Second)
	require.False(t, on, "one order")
	b.Failed(at(13), 5*time.Second, false, true, "timeout", "")
	until, on := b.Probation(at(13), 5*time.Second)
	require.True(t, on)
	require.Equal(t, at(13+10), until, "it goes on filling the time")
	b.Failed(at(14), 5*time.Second, false, true, "timeout", "")
	until, on = b.Probation(at(14), 5*time.Second)
	require.True(t, on)
	require.Equal(t, at(14+10), until, "three orders")
	until, _ = b.Probation(at(22), 5*time.Second)
	require.Equal(t, at(5+24), until, "and no later than the row is long enough")
	_, on = b.Probation(at(29), 5*time.Second)
	require.False(t, on, "the next failure opens it")
	b.Answered()
	b.Failed(at(15), 5*time.Second, false, true, "timeout", "")
	_, on = b.Probation(at(15), 5*time.Second)
	require.False(t, on, "something has passed")
}

// Whatever happens, at most eleven times in a window: what opens the breaker is the row that the
// package's comment describes, and nothing else.
func TestARowIsWhatTheCommentSays(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		b := New(usual)
		now := zero
		var begin time.Time // of the row, and what it has
		var orders int
		var spent time.Duration
		passing := rapid.SampledFrom([]int{0, 1, 10}).Draw(r, "how likely passes are")
		for range rapid.IntRange(1, 120).Draw(r, "attempts") {
			now = now.Add(time.Duration(rapid.IntRange(550, 9000).Draw(r, "gap, ms")) * time.Millisecond)
			if rapid.IntRange(1, 40).Draw(r, "pass") <= passing {
				if rapid.Bool().Draw(r, "retry") {
					b.Answered()
				} else {
					b.Counted()
				}
				begin, orders, spent = time.Time{}, 0, 0
				continue
			}
			first := rapid.Bool().Draw(r, "first")
			took := time.Duration(rapid.SampledFrom([]int{0, 1, 5, 30}).Draw(r, "took, s")) * time.Second
			if begin.IsZero() {
				begin = now
			}
			lasts := now.Sub(begin)
			spent += min(took, lasts)
			if first {
				orders++
			}
			want := Own
			switch {
			case first && orders >= 12 && lasts >= 6*time.Second,
				orders >= 2 && 2*spent >= lasts && lasts >= 6*time.Second && lasts*time.Duration(orders) >= 72*time.Second:
				want = Opened
			}
			got, _ := b.Failed(now, took, false, first, "away", "")
			if lasts*time.Duration(orders) == 72*time.Second {
				return // rounding decides
			}
			require.Equal(r, want, got, "%d orders in %v, of which attempts took %v", orders, lasts, spent)
			if got == Opened {
				return
			}
		}
	})
}
