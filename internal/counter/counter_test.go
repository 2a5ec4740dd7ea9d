package counter_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderflow/orderflow/internal/counter"
)

func TestEverythingCountedArrivesInFewSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var all []int64
		c := counter.New(func(by int64) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, by)
		})
		steps := func() []int64 {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(all)
		}
		var adding sync.WaitGroup
		for range 4 {
			adding.Go(func() {
				for range 1000 {
					c.Add(1)
				}
			})
		}
		adding.Wait()
		require.Empty(t, steps())
		time.Sleep(101 * time.Millisecond)
		require.Equal(t, []int64{4000}, steps())

		c.Add(2)
		time.Sleep(50 * time.Millisecond)
		c.Add(3)
		time.Sleep(51 * time.Millisecond)
		require.Equal(t, []int64{4000, 5}, steps(), "the delay begins with the first")
		time.Sleep(time.Hour)
		require.Len(t, steps(), 2, "nothing counted, nothing done")
	})
}

func BenchmarkAdd(b *testing.B) {
	c := counter.New(func(int64) {})
	for b.Loop() {
		c.Add(1)
	}
}
