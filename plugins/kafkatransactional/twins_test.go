package kafkatransactional

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// twin starts an instance whose instance_id others have too, and whose records tell which it is.
func (w *world) twin() *running {
	return w.run(func(id string) string {
		yaml := fmt.Sprintf(pipeline, strings.Join(w.cluster.ListenAddrs(), ","), id, "instance_id: twin", 1)
		return yaml + "          instance: " + id + "\n"
	})
}

// madeBy counts committed records by the instance that wrote them.
func (w *world) madeBy() map[string]int {
	n := map[string]int{}
	for _, rec := range w.records("processed") {
		for _, h := range rec.Headers {
			if h.Key == "instance" {
				n[string(h.Value)]++
			}
		}
	}
	return n
}

// Each that connects fences the other. If it came back at once, neither would commit anything.
func TestInstancesOfOneNameTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		const perSecond = 60
		total := 0
		load := func(d time.Duration) {
			for range d / time.Second {
				w.produce(total, perSecond)
				total += perSecond
				time.Sleep(time.Second)
			}
		}
		first, second := w.twin(), w.twin()
		load(20 * time.Second)
		before := w.madeBy()
		fencings := w.count(kmsg.InitProducerID, func(kmsg.Request) bool { return true })
		load(time.Minute)
		// With a session timeout of 6 s each turn takes about as long, and a connection.
		require.InDelta(t, 10, fencings.Load(), 2)
		after := w.madeBy()
		for _, r := range []*running{first, second} {
			require.Greater(t, after[r.id]-before[r.id], 60*perSecond/4, r.id)
		}

		w.stop(second)
		load(20 * time.Second)
		require.GreaterOrEqual(t, len(w.committed("processed")), total-2*perSecond, "the one that is left goes on alone")
		time.Sleep(settle)
		w.stop(first)
		w.once(total)
	})
}

// The client would ask to join as the same member for ever.
func TestAMemberThatIsFencedBetweenTransactionsConnectsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.produce(0, 90)
		r := w.start(1, "instance_id: one")
		time.Sleep(settle) // nothing is left to do
		members := w.cluster.GroupInfo("g").Members
		require.Len(t, members, 1)
		fenced := w.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat}, TopLevel: true, Err: kerr.FencedInstanceID, Count: -1,
			When: func(req kmsg.Request) bool {
				switch req := req.(type) {
				case *kmsg.JoinGroupRequest:
					return req.MemberID == members[0].MemberID
				case *kmsg.SyncGroupRequest:
					return req.MemberID == members[0].MemberID
				case *kmsg.HeartbeatRequest:
					return req.MemberID == members[0].MemberID
				}
				return false
			},
		})
		time.Sleep(6 * time.Second) // a heartbeat, and a pause
		require.Positive(t, fenced.Hits())
		w.produce(90, 90)
		time.Sleep(settle)
		require.Len(t, w.committed("processed"), 180)
		w.stop(r)
		w.once(180)
	})
}
