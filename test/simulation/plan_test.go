//go:build synctests

package simulation

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// plan is what a seed decides: the world, and what happens in it.
type plan struct {
	seed            uint64
	brokers         int
	instances       int // at the start
	static          int // slots with an INSTANCE_ID
	oldTransactions bool
	failureRate     float64
	failureMode     string
	brokenRate      float64
	commitInterval  time.Duration
	nacks           bool // the pipeline has an output that can reject
	lateDLQ         bool
	away            *outage // of what orders are validated by; nil: none
	events          []event

	log io.Writer
}

// event is one thing that happens.
type event struct {
	at   time.Duration
	what string
	do   func(*world)
}

func (p *plan) String() string {
	var b strings.Builder
	protocol := "transactions v2"
	if p.oldTransactions {
		protocol = "transactions v1"
	}
	fmt.Fprintf(&b, "seed %d: %d brokers (%s), %d instances (static: the first %d slots), failure rate %.2f %s, undecodable %.2f, commit interval %v",
		p.seed, p.brokers, protocol, p.instances, p.static, p.failureRate, p.failureMode, p.brokenRate, p.commitInterval)
	for _, e := range p.events {
		fmt.Fprintf(&b, "\n  %7.3f s  %s", e.at.Seconds(), e.what)
	}
	return b.String()
}

// faulty is the span of time in which new faults begin.
const faulty = 25 * time.Second

// newPlan makes the plan of a seed.
func newPlan(seed uint64) *plan {
	rnd := rand.New(rand.NewPCG(seed, 1))
	p := &plan{
		seed: seed, log: io.Discard,
		brokers:         1 + rnd.IntN(3),
		instances:       1 + rnd.IntN(3),
		static:          rnd.IntN(4),
		oldTransactions: rnd.IntN(4) == 0,
		failureRate:     0.15 + 0.15*rnd.Float64(),
		failureMode:     "sticky",
		commitInterval:  time.Duration(100+rnd.IntN(500)) * time.Millisecond,
		nacks:           rnd.IntN(4) == 0,
		lateDLQ:         rnd.IntN(10) == 0,
	}
	if rnd.IntN(4) == 0 {
		p.failureMode = "transient"
	}
	if rnd.IntN(3) == 0 {
		p.brokenRate = 0.03
	}
	for range 3 + rnd.IntN(5) {
		n := 5 + rnd.IntN(40)
		p.add(time.Duration(rnd.Int64N(int64(faulty))), fmt.Sprintf("%d orders", n), func(w *world) { w.produce(n) })
	}
	p.add(0, "30 orders", func(w *world) { w.produce(30) })
	for range 2 + rnd.IntN(6) {
		p.fault(rnd)
	}
	if p.lateDLQ {
		p.add(time.Duration(rnd.Int64N(int64(faulty))), "the dead-letter topic is created", func(w *world) { w.createTopic(topicDLQ, nil) })
	}
	p.sort()
	return p
}

func (p *plan) sort() {
	slices.SortStableFunc(p.events, func(a, b event) int { return int(a.at - b.at) })
}

func (p *plan) add(at time.Duration, what string, do func(*world)) {
	p.events = append(p.events, event{at, what, do})
}

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
		switch rnd.IntN(12) {
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
			p.add(at, fmt.Sprintf("instance %d is frozen for %v", n, span), live(func(_ *world, i *instance) { i.net.stall(span) }))
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
			if !p.nacks {
				continue
			}
			rate := 0.5 * rnd.Float64()
			p.add(at, fmt.Sprintf("%.0f %% of the batches are rejected for %v", 100*rate, span), func(w *world) { w.setNacks(rate) })
			p.add(at+span, "none is rejected", func(w *world) { w.setNacks(0) })
		case 10:
			p.trap(rnd, at, n, back, span)
		default:
			p.inject(rnd, at, span)
		}
		return
	}
}

// trap breaks something just before or just after the broker has handled a request.
func (p *plan) trap(rnd *rand.Rand, at time.Duration, n int, back, span time.Duration) {
	key := trapped[rnd.IntN(len(trapped))]
	skip, after := rnd.IntN(4), rnd.IntN(2) == 0
	when := "before"
	if after {
		when = "after"
	}
	where := fmt.Sprintf("instance %d, %s %s no. %d:", n, when, key.Name(), skip+1)
	add := func(what string, act func(*world, *instance, *conn)) {
		p.add(at, where+" "+what, func(w *world) {
			if i := w.pick(n); i != nil {
				i.net.set(&trap{key: int16(key), skip: skip, after: after, act: func(c *conn) { act(w, i, c) }})
			}
		})
	}
	switch rnd.IntN(3) {
	case 0:
		add("the connection is lost", func(_ *world, _ *instance, c *conn) { c.shut() })
	case 1:
		add(fmt.Sprintf("it freezes for %v", span), func(_ *world, i *instance, _ *conn) { i.net.stall(span) })
	default:
		add(fmt.Sprintf("it crashes, and another one comes after %v", back), func(w *world, i *instance, _ *conn) {
			w.crash(i)
			w.ended.Go(func() {
				time.Sleep(back)
				w.join()
			})
		})
	}
}

// trapped are the requests that a trap can lie in wait for.
var trapped = []kmsg.Key{
	kmsg.Produce, kmsg.Produce, kmsg.Fetch, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.TxnOffsetCommit,
	kmsg.EndTxn, kmsg.EndTxn, kmsg.EndTxn, kmsg.InitProducerID, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat, kmsg.OffsetFetch, kmsg.ListOffsets,
	kmsg.LeaveGroup, kmsg.FindCoordinator, kmsg.Metadata,
}

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
