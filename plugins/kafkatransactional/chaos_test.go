//go:build synctests

// The tag is franz-go's: with it the client's mutexes are such that a bubble's clock goes on
// while somebody waits for one, as happens when a rebalance meets a commit.

package kafkatransactional

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// chaos runs instances under a seeded schedule of kills, cuts, joins, leaves and rejections.
func chaos(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		rnd := rand.New(rand.NewPCG(seed, 1))
		w.reject(0.002*float64(rnd.IntN(2)), seed)
		fields := "commit_interval: 300ms\n    batch_size: 50"
		w.start(2, fields)
		total := 0
		for range 12 {
			n := 20 + rnd.IntN(100)
			w.produce(total, n)
			total += n
			time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
			switch what := rnd.IntN(6); {
			case what == 0 && len(w.live) < 3:
				w.start(2, fields)
			case what == 1 && len(w.live) > 1:
				w.stop(w.live[rnd.IntN(len(w.live))])
			case what == 2:
				w.kill(w.live[rnd.IntN(len(w.live))])
				w.start(2, fields)
			case what == 3:
				r := w.live[rnd.IntN(len(w.live))]
				r.net.set(true)
				frozen := time.Duration(rnd.IntN(25000)) * time.Millisecond
				go func() {
					time.Sleep(frozen)
					r.net.set(false)
				}()
			}
		}
		w.reject(0, seed)
		for range 20 {
			time.Sleep(10 * time.Second)
			w.expel()
		}
		for len(w.live) > 0 {
			w.stop(w.live[0])
		}
		w.once(total)
	})
}

func TestChaos(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { chaos(t, seed) })
	}
}
