//go:build synctests

// The tag is franz-go's: with it the client's mutexes are such that a bubble's clock goes on
// while somebody waits for one, as happens when a rebalance meets a commit.

package kafkatransactional

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// kill takes an instance off the network for ever.
func (w *world) kill(r *running) {
	r.link.Cut()
	w.stop(r)
}

// expel removes the members of killed instances from the group. A broker does so when their
// session ends; kfake does not if they were killed in the middle of a join.
func (w *world) expel(dead []string) {
	adm := kadm.NewClient(w.cl)
	groups, err := adm.DescribeGroups(w.t.Context(), "g")
	require.NoError(w.t, err)
	for _, m := range groups["g"].Members {
		if slices.Contains(dead, m.ClientID) {
			req := kmsg.NewPtrLeaveGroupRequest()
			req.Group, req.MemberID = "g", m.MemberID
			member := kmsg.NewLeaveGroupRequestMember()
			member.MemberID = m.MemberID
			req.Members = append(req.Members, member)
			_, err := req.RequestWith(w.t.Context(), w.cl)
			require.NoError(w.t, err)
		}
	}
}

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
		var dead []string // client ids of killed instances
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
				victim := w.live[rnd.IntN(len(w.live))]
				w.kill(victim)
				dead = append(dead, victim.id)
				w.start(2, fields)
			case what == 3:
				r := w.live[rnd.IntN(len(w.live))]
				r.link.Cut()
				frozen := time.Duration(rnd.IntN(25000)) * time.Millisecond
				go func() {
					time.Sleep(frozen)
					r.link.Mend()
				}()
			}
		}
		w.reject(0, seed)
		for range 20 {
			time.Sleep(10 * time.Second)
			w.expel(dead)
		}
		// A client that was given up in a join leaves a member behind as well. It has the name of
		// a living one, so all of them have to join again.
		for range 5 {
			if len(w.committed("processed")) >= total {
				break
			}
			for _, r := range w.live {
				dead = append(dead, r.id)
			}
			w.expel(dead)
			time.Sleep(2 * time.Minute)
		}
		for len(w.live) > 0 {
			w.stop(w.live[0])
		}
		w.once(total)
	})
}

func TestChaos(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { chaos(t, seed) })
	}
}
