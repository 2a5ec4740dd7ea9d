//go:build synctests

package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// frozen is the longest that something stays as it should not be.
const frozen = 25 * time.Second

// fault adds one fault, and its end if it has one.
func (p *plan) fault(rnd *rand.Rand) {
	at := time.Duration(rnd.Int64N(int64(faulty)))
	n := rnd.IntN(6)
	back := 300*time.Millisecond + time.Duration(rnd.Int64N(int64(12*time.Second)))
	span := time.Duration(rnd.Int64N(int64(frozen)))
	if rnd.IntN(2) == 0 {
		span /= 10
	}
	live := func(do func(*world, *instance)) func(*world) {
		return func(w *world) {
			if i := w.pick(n); i != nil {
				do(w, i)
			}
		}
	}
	for {
		switch rnd.IntN(16) {
		case 0:
			p.add(at, "an instance joins", func(w *world) { w.join() })
		case 1:
			p.add(at, fmt.Sprintf("instance %d is stopped", n), live(func(w *world, i *instance) { w.stop(i) }))
			p.add(at+back, "an instance joins", func(w *world) { w.join() })
		case 2:
			p.add(at, fmt.Sprintf("instance %d crashes", n), live(func(w *world, i *instance) { w.crash(i) }))
			p.add(at+back, "an instance joins", func(w *world) { w.join() })
		case 3:
			p.add(at, fmt.Sprintf("instance %d is cut off for %v", n, span), live(func(_ *world, i *instance) { i.cutFor(span) }))
		case 4:
			p.add(at, fmt.Sprintf("instance %d is frozen for %v", n, span), live(func(_ *world, i *instance) { i.freeze(span) }))
		case 5:
			lag := time.Duration(1+rnd.IntN(800)) * time.Millisecond
			p.add(at, fmt.Sprintf("the brokers answer %v late each way for %v", lag, span), func(w *world) { w.slow(lag, span) })
		case 6:
			p.add(at, fmt.Sprintf("nobody reaches the brokers for %v", span), func(w *world) {
				for _, i := range w.all() {
					i.cutFor(span)
				}
			})
		case 7:
			if p.brokers == 1 {
				continue
			}
			p.add(at, "all partitions get other leaders", func(w *world) { w.cluster.ShufflePartitionLeaders() })
		case 8:
			if p.brokers == 1 {
				continue
			}
			p.add(at, "all groups and transactions get other coordinators", func(w *world) { w.cluster.RehashCoordinators() })
		case 9:
			if !p.moody {
				continue
			}
			rate := 0.5 * rnd.Float64()
			p.add(at, fmt.Sprintf("%.0f %% of the batches are rejected for %v", 100*rate, span), func(w *world) { w.setNacks(rate) })
			p.add(at+span, "none is rejected", func(w *world) { w.setNacks(0) })
		case 10:
			if !p.moody {
				continue
			}
			p.add(at, fmt.Sprintf("the pipeline of instance %d answers nothing for %v", n, span), live(func(_ *world, i *instance) { i.stick(span) }))
		case 11:
			p.add(at, fmt.Sprintf("instance %d is frozen for %v, one of the same name starts, and the frozen one is stopped at the end", n, span),
				live(func(w *world, i *instance) { w.replace(i, span) }))
		case 12, 13:
			p.trap(rnd, at, n, back, span)
		default:
			p.inject(rnd, at, span)
		}
		return
	}
}

// trap breaks something just before or just after the broker has handled a request.
func (p *plan) trap(rnd *rand.Rand, at time.Duration, n int, back, span time.Duration) {
	what := rnd.IntN(6)
	keys := trapped
	switch {
	case what == 3:
		keys = denied
	case what > 3 && p.oldTransactions:
		keys = repeatedOld
	case what > 3:
		keys = repeated
	}
	key := keys[rnd.IntN(len(keys))]
	skip, after := rnd.IntN(4), rnd.IntN(2) == 0
	add := func(after bool, what string, act func(*world, *instance, *conn, frame)) {
		when := "before"
		if after {
			when = "after"
		}
		p.add(at, fmt.Sprintf("instance %d, %s %s no. %d: %s", n, when, key.Name(), skip+1, what), func(w *world) {
			if i := w.pick(n); i != nil {
				i.net.set(&trap{key: int16(key), skip: skip, after: after, act: func(c *conn, f frame) { act(w, i, c, f) }})
			}
		})
	}
	switch what {
	case 0:
		add(after, "the connection is lost", func(_ *world, _ *instance, c *conn, _ frame) { c.shut() })
	case 1:
		add(after, fmt.Sprintf("it freezes for %v", span), func(_ *world, i *instance, _ *conn, _ frame) { i.freeze(span) })
	case 2:
		add(after, fmt.Sprintf("it crashes, and another one comes after %v", back), func(w *world, i *instance, _ *conn, _ frame) {
			w.crash(i)
			w.ended.Go(func() {
				time.Sleep(back)
				w.join()
			})
		})
	case 3:
		err := doneAllTheSame[rnd.IntN(len(doneAllTheSame))]
		add(true, "the answer becomes "+err.Message, func(_ *world, _ *instance, _ *conn, response frame) { response.deny(key, err) })
	case 4:
		add(false, fmt.Sprintf("it arrives again after %v", span/5), func(w *world, _ *instance, c *conn, request frame) { w.again(c, key, request, span/5) })
	default:
		add(false, fmt.Sprintf("the connection is lost, and it arrives all the same after %v", span/5), func(w *world, _ *instance, c *conn, request frame) {
			w.again(c, key, request, span/5)
			c.shut()
		})
	}
}

// trapped are the requests that a trap can lie in wait for.
var trapped = []kmsg.Key{
	kmsg.Produce, kmsg.Produce, kmsg.Fetch, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.TxnOffsetCommit,
	kmsg.EndTxn, kmsg.EndTxn, kmsg.EndTxn, kmsg.InitProducerID, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat, kmsg.OffsetFetch, kmsg.ListOffsets,
	kmsg.LeaveGroup, kmsg.FindCoordinator, kmsg.Metadata,
}

// repeated are the requests that can arrive twice, or after the client has given them up. What
// a broker does not answer twice over one connection, it does not answer once more over
// another: so there are no joins. With transactions before version 2 the protocol itself has no
// protection for requests that change a transaction: one that is late belongs to the next one.
var (
	repeatedOld = []kmsg.Key{kmsg.Fetch, kmsg.Heartbeat, kmsg.OffsetFetch, kmsg.ListOffsets, kmsg.LeaveGroup, kmsg.FindCoordinator, kmsg.Metadata}
	repeated    = append(slices.Clone(repeatedOld), kmsg.Produce, kmsg.Produce, kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.TxnOffsetCommit,
		kmsg.EndTxn, kmsg.EndTxn, kmsg.EndTxn, kmsg.InitProducerID)
)

// denied are the requests that a broker can carry out and answer with an error all the same, and
// doneAllTheSame those errors: it has not heard of its replicas in time.
var (
	denied         = []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.EndTxn, kmsg.InitProducerID}
	doneAllTheSame = []*kerr.Error{kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.CoordinatorNotAvailable, kerr.UnknownServerError}
)

// injected are the errors that the brokers answer with, by request.
var injected = []struct {
	key  kmsg.Key
	errs []*kerr.Error
}{
	{kmsg.Produce, []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.KafkaStorageError,
		kerr.InvalidProducerEpoch, kerr.TransactionAbortable, kerr.UnknownServerError, kerr.TopicAuthorizationFailed, kerr.InvalidTxnState,
	}},
	{kmsg.AddPartitionsToTxn, []*kerr.Error{
		kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.ConcurrentTransactions, kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.UnknownServerError,
	}},
	{kmsg.AddOffsetsToTxn, []*kerr.Error{
		kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.ConcurrentTransactions, kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.UnknownServerError,
	}},
	{kmsg.TxnOffsetCommit, []*kerr.Error{
		kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.RequestTimedOut, kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.RebalanceInProgress,
		kerr.InvalidProducerEpoch, kerr.TransactionAbortable, kerr.UnknownServerError, kerr.FencedInstanceID,
	}},
	{kmsg.EndTxn, []*kerr.Error{
		kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.ConcurrentTransactions, kerr.InvalidProducerEpoch, kerr.ProducerFenced,
		kerr.TransactionAbortable, kerr.UnknownServerError, kerr.RequestTimedOut,
	}},
	{kmsg.Fetch, []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.KafkaStorageError, kerr.UnknownTopicOrPartition, kerr.FencedLeaderEpoch, kerr.UnknownServerError, kerr.TopicAuthorizationFailed,
	}},
	{kmsg.Heartbeat, []*kerr.Error{
		kerr.RebalanceInProgress, kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.UnknownServerError,
	}},
	{kmsg.JoinGroup, []*kerr.Error{
		kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.UnknownMemberID, kerr.UnknownServerError,
	}},
	{kmsg.SyncGroup, []*kerr.Error{
		kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.RebalanceInProgress, kerr.UnknownServerError,
	}},
	{kmsg.FindCoordinator, []*kerr.Error{kerr.CoordinatorNotAvailable, kerr.UnknownServerError}},
	{kmsg.ListOffsets, []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.OffsetNotAvailable, kerr.UnknownServerError, kerr.TopicAuthorizationFailed,
	}},
	{kmsg.InitProducerID, []*kerr.Error{
		kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.ConcurrentTransactions, kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.UnknownServerError,
	}},
	{kmsg.OffsetFetch, []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.UnstableOffsetCommit, kerr.UnknownServerError}},
	{kmsg.Metadata, []*kerr.Error{kerr.LeaderNotAvailable, kerr.UnknownServerError}},
	{kmsg.LeaveGroup, []*kerr.Error{kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.UnknownMemberID}},
	{kmsg.DescribeTransactions, []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.TransactionalIDNotFound}},
	{kmsg.DescribeGroups, []*kerr.Error{kerr.CoordinatorNotAvailable, kerr.UnknownServerError}},
	{kmsg.DescribeConfigs, []*kerr.Error{kerr.UnknownServerError, kerr.TopicAuthorizationFailed}},
}

// inject makes brokers answer requests with an error: a few of them, or all for a while.
func (p *plan) inject(rnd *rand.Rand, at, span time.Duration) {
	in := injected[rnd.IntN(len(injected))]
	err := in.errs[rnd.IntN(len(in.errs))]
	f := kfake.Fault{Keys: []kmsg.Key{in.key}, Err: err, Count: 1 + rnd.IntN(4), When: ours}
	many := fmt.Sprintf("%d times", f.Count)
	if rnd.IntN(4) == 0 && in.key != kmsg.DescribeGroups { // which the world needs too
		f.Count = -1
		span = min(span, 10*time.Second)
		many = "always"
	}
	p.add(at, fmt.Sprintf("for %v, %s is answered %s with %s", span, in.key.Name(), many, err.Message), func(w *world) {
		h := w.cluster.Fault(f)
		w.ended.Go(func() {
			time.Sleep(span)
			h.Remove()
		})
	})
}

// ours tells the pipeline's requests from those of the world, which writes without transactions.
func ours(req kmsg.Request) bool {
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		return r.TransactionID != nil
	case *kmsg.InitProducerIDRequest:
		return r.TransactionalID != nil
	}
	return true
}
