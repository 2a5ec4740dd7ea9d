package backoff

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func noRandom() float64 { panic("a schedule without jitter must not ask for randomness") }

func delays(s Schedule) (out []time.Duration) {
	for retry := 1; ; retry++ {
		d, ok := s.Delay(retry, noRandom)
		if !ok {
			return out
		}
		out = append(out, d)
	}
}

func TestDefaultIsExactlyOneTwoFourSeconds(t *testing.T) {
	require.Equal(t, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}, delays(Default()))
	require.Equal(t, 3, Default().Retries())
}

func TestThereIsNoRetryOutsideTheSchedule(t *testing.T) {
	for _, retry := range []int{math.MinInt, -1, 0, 4, math.MaxInt} {
		_, ok := Default().Delay(retry, noRandom)
		require.False(t, ok, retry)
	}
	_, ok := Schedule{}.Delay(1, noRandom)
	require.False(t, ok)
}

func TestListKeepsItsOwnCopy(t *testing.T) {
	in := []time.Duration{time.Second, time.Minute}
	s, err := List(in...)
	require.NoError(t, err)
	in[0] = time.Hour
	require.Equal(t, []time.Duration{time.Second, time.Minute}, delays(s))
}

func TestExponential(t *testing.T) {
	tests := []struct {
		name string
		in   Exponential
		want []time.Duration
	}{
		{"doubles", Exponential{Initial: time.Second, Multiplier: 2, Retries: 3}, delays(Default())},
		{"stops growing at the maximum", Exponential{Initial: time.Second, Multiplier: 3, Max: 5 * time.Second, Retries: 4},
			[]time.Duration{time.Second, 3 * time.Second, 5 * time.Second, 5 * time.Second}},
		{"may stay the same", Exponential{Initial: 50 * time.Millisecond, Multiplier: 1, Retries: 2},
			[]time.Duration{50 * time.Millisecond, 50 * time.Millisecond}},
		{"never overflows", Exponential{Initial: time.Hour, Multiplier: 1e300, Retries: 3},
			[]time.Duration{time.Hour, math.MaxInt64, math.MaxInt64}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := test.in.Schedule()
			require.NoError(t, err)
			require.Equal(t, test.want, delays(s))
		})
	}
}

func TestWrongSchedulesNameTheField(t *testing.T) {
	ok := Exponential{Initial: time.Second, Multiplier: 2, Max: time.Minute, Jitter: 0.5, Retries: 3}
	tests := []struct {
		name string
		edit func(*Exponential)
		want string
	}{
		{"no initial interval", func(e *Exponential) { e.Initial = 0 }, "field initial_interval: 0s: want a duration above 0"},
		{"shrinking", func(e *Exponential) { e.Multiplier = 0.5 }, "field multiplier: 0.5: want a finite number of at least 1"},
		{"no number", func(e *Exponential) { e.Multiplier = math.NaN() }, "field multiplier: NaN: want a finite number of at least 1"},
		{"endless", func(e *Exponential) { e.Multiplier = math.Inf(1) }, "field multiplier: +Inf: want a finite number of at least 1"},
		{"maximum below the start", func(e *Exponential) { e.Max = time.Millisecond }, "field max_interval: 1ms: want a duration of at least initial_interval (1s)"},
		{"negative maximum", func(e *Exponential) { e.Max = -1 }, "field max_interval: -1ns: want a duration of at least initial_interval (1s)"},
		{"too much jitter", func(e *Exponential) { e.Jitter = 1.1 }, "field jitter: 1.1: want a number from 0 to 1"},
		{"jitter is no number", func(e *Exponential) { e.Jitter = math.NaN() }, "field jitter: NaN: want a number from 0 to 1"},
		{"no retries", func(e *Exponential) { e.Retries = 0 }, "field max_retries: 0: want a number from 1 to 1000"},
		{"too many retries", func(e *Exponential) { e.Retries = 1001 }, "field max_retries: 1001: want a number from 1 to 1000"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := ok
			test.edit(&e)
			_, err := e.Schedule()
			require.EqualError(t, err, test.want)
		})
	}
	_, err := List()
	require.EqualError(t, err, "field delays: []: want at least one delay")
	_, err = List(time.Second, -time.Second)
	require.EqualError(t, err, "field delays.1: -1s: want a duration above 0")
}

func TestDelaysStayWithinTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := Exponential{
			Initial:    time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "initial")),
			Multiplier: rapid.Float64Range(1, 10).Draw(t, "multiplier"),
			Jitter:     rapid.Float64Range(0, 1).Draw(t, "jitter"),
			Retries:    rapid.IntRange(1, 50).Draw(t, "retries"),
		}
		if rapid.Bool().Draw(t, "capped") {
			e.Max = time.Duration(rapid.Int64Range(int64(e.Initial), int64(24*time.Hour)).Draw(t, "max"))
		}
		s, err := e.Schedule()
		require.NoError(t, err)
		require.Equal(t, e.Retries, s.Retries())

		var before time.Duration
		for retry := 1; retry <= e.Retries; retry++ {
			middle, ok := s.Delay(retry, func() float64 { return 0.5 })
			require.True(t, ok)
			low, _ := s.Delay(retry, func() float64 { return 0 })
			high, _ := s.Delay(retry, func() float64 { return math.Nextafter(1, 0) })
			require.GreaterOrEqual(t, low, time.Duration(0))
			require.LessOrEqual(t, low, middle)
			require.LessOrEqual(t, middle, high)
			require.GreaterOrEqual(t, middle, before, "without jitter, no delay is shorter than the one before")
			if e.Max > 0 {
				require.LessOrEqual(t, middle, e.Max)
			}
			before = middle
		}
		_, ok := s.Delay(e.Retries+1, func() float64 { return 0 })
		require.False(t, ok)
	})
}
