package kafkatransactional

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// lateMarkers makes the broker that has the state learn how a transaction ended only a while after
// the one that has the group's offsets: the coordinator of a transaction writes a marker to each
// broker on its own, and nothing orders them. kfake writes them all at once, so what its readers
// see of the state's broker is held back instead.
type lateMarkers struct {
	w     *world
	node  int32 // leads the partitions of the state, and nothing else
	delay time.Duration

	mu      sync.Mutex
	pending []pendingMarker
	lagged  int // answers that gave an older last stable offset than kfake's
}

// pendingMarker says that until a certain time a transaction seems open to readers of a partition.
type pendingMarker struct {
	partition int32
	first     int64 // the transaction's first offset
	until     time.Time
}

func (w *world) lateMarkers(delay time.Duration) *lateMarkers {
	l := &lateMarkers{w: w, delay: delay, node: 1 - w.cluster.CoordinatorFor("g")}
	for _, topic := range []string{"orders", "processed", "dlq", "state"} {
		node := 1 - l.node
		if topic == "state" {
			node = l.node
		}
		for p := range int32(partitions) {
			require.NoError(w.t, w.cluster.MoveTopicPartition(topic, p, node))
		}
	}
	w.cluster.ControlKey(int16(kmsg.EndTxn), l.end)
	w.cluster.ControlKey(int16(kmsg.ListOffsets), l.list)
	w.cluster.ControlKey(int16(kmsg.Fetch), l.fetch)
	return l
}

// end notes where the open transactions begin, just before one of them ends.
func (l *lateMarkers) end(kmsg.Request) (kmsg.Response, error, bool) {
	l.w.cluster.KeepControl()
	l.w.cluster.SleepControl(func() {
		infos := l.w.cluster.PartitionInfos("state")
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, info := range infos {
			if info.LastStableOffset < info.HighWatermark {
				l.pending = append(l.pending, pendingMarker{info.Partition, info.LastStableOffset, time.Now().Add(l.delay)})
			}
		}
	})
	return nil, nil, false
}

// list answers where the committed records of the state end.
func (l *lateMarkers) list(kreq kmsg.Request) (kmsg.Response, error, bool) {
	l.w.cluster.KeepControl()
	const latest, readCommitted = -1, 1
	req := kreq.(*kmsg.ListOffsetsRequest)
	if len(req.Topics) != 1 || req.Topics[0].Topic != "state" || req.IsolationLevel != readCommitted || req.Topics[0].Partitions[0].Timestamp != latest {
		return nil, nil, false
	}
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	l.w.cluster.SleepControl(func() {
		infos := l.w.cluster.PartitionInfos("state")
		l.mu.Lock()
		defer l.mu.Unlock()
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = "state"
		for _, rp := range req.Topics[0].Partitions {
			p := kmsg.NewListOffsetsResponseTopicPartition()
			p.Partition, p.LeaderEpoch, p.Offset = rp.Partition, infos[rp.Partition].Epoch, infos[rp.Partition].LastStableOffset
			for _, m := range l.pending {
				if m.partition == p.Partition && time.Now().Before(m.until) && m.first < p.Offset {
					p.Offset = m.first
					l.lagged++
				}
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		resp.Topics = append(resp.Topics, topic)
	})
	return resp, nil, true
}

// fetch lets readers of committed records wait for the markers.
func (l *lateMarkers) fetch(kreq kmsg.Request) (kmsg.Response, error, bool) {
	l.w.cluster.KeepControl()
	if l.w.cluster.CurrentNode() != l.node || kreq.(*kmsg.FetchRequest).IsolationLevel != 1 {
		return nil, nil, false
	}
	l.w.cluster.SleepControl(func() {
		var until time.Time
		l.mu.Lock()
		for _, m := range l.pending {
			if m.until.After(until) {
				until = m.until
			}
		}
		l.mu.Unlock()
		time.Sleep(time.Until(until))
	})
	return nil, nil, false
}

// The group's offsets may be committed for all to see while the state that belongs to them is not:
// a restore that stops at what is stable then would begin with the state of the transaction before.
func TestARestoreWaitsForMarkersThatAreOnTheirWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, 2)
		defer w.close()
		late := w.lateMarkers(2 * time.Second)
		for i := range 5 { // each takes over at once from the one before
			w.produce(i*60, 60)
			r := w.start(2, "")
			time.Sleep(4 * time.Second)
			w.stop(r)
		}
		r := w.start(2, "")
		time.Sleep(settle)
		w.stop(r)
		w.once(300)
		require.Positive(t, late.lagged, "the markers were never late")
	})
}

// The group must not take an instance for dead while it restores.
func TestARestoreMayTakeLongerThanASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, 2)
		defer w.close()
		w.lateMarkers(12 * time.Second) // the session ends after 6 s
		w.produce(0, 60)
		r := w.start(2, "")
		time.Sleep(4 * time.Second)
		w.stop(r)
		w.produce(60, 60)
		r = w.start(2, "")
		time.Sleep(3 * time.Second)
		restored := w.cluster.PartitionInfo("processed", 0).HighWatermark
		joins := w.count(kmsg.JoinGroup, func(kmsg.Request) bool { return true })
		time.Sleep(6 * time.Second)
		require.Equal(t, restored, w.cluster.PartitionInfo("processed", 0).HighWatermark, "it still restores")
		time.Sleep(2 * settle)
		require.Zero(t, joins.Load())
		w.stop(r)
		w.once(120)
	})
}
