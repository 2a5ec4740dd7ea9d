package kafkatransactional

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderflow/orderflow/internal/session"
)

const (
	// leaveTimeout bounds what a stop waits for the group: a join in flight would hold it up.
	leaveTimeout = 2 * time.Second
	// endTimeout bounds the end of a transaction. With a dead broker it took 31 s at most.
	endTimeout = 40 * time.Second
	// stopTimeout bounds each step of a stop.
	stopTimeout = 5 * time.Second
	// limitsAge is how old the knowledge of topics may get.
	limitsAge = time.Minute
	// joinPatience bounds how long no transaction is begun because a join seems to be under
	// way. Beginning one too early costs an abort, waiting for ever would cost everything.
	joinPatience = 15 * time.Second
)

// client is the life of one Kafka client: its group membership, its transactions and the
// state of the partitions that it owns. After an error whose outcome is unknown it is thrown
// away and a new one takes over from what was committed.
//
// One goroutine at a time runs the loop (read, stop). Acknowledgements, outputs and the
// group's callbacks come from others.
type client struct {
	conf   *config
	id     string // transactional
	log    *service.Logger
	met    *instruments
	group  *kgo.GroupTransactSession
	cl     *kgo.Client
	ready  chan struct{} // closed when the fields above are set: the group begins before that
	admin  *kgo.Client
	adm    *kadm.Client
	limits *limits
	looked time.Time

	fetchLogged time.Time // when an error of a fetch was last logged

	// writing is held for reading while a record is produced, and for writing while a
	// transaction ends: kgo forbids both at once.
	writing sync.RWMutex

	mu         sync.Mutex
	wake       chan struct{} // has room for one: something that the loop waits for has changed
	parts      map[topicPartition]*partition
	epoch      uint64
	assigned   bool      // partitions came while orders were in flight, whose values a new view lacks
	joining    time.Time // since when a join is under way; zero if none is
	skipAssign bool      // the next assignment is the first of two
	revoked    bool      // a revocation has not been cleared by the end of a transaction
	txn        *transaction
	inFlight   map[*batch]struct{}
	cancelPoll context.CancelFunc
	closed     bool
	aborts     int // in a row
	// fresh tells that partitions were assigned for which the group had committed nothing. Where
	// to begin with them is committed at once: a restart would decide anew otherwise.
	fresh bool
}

// transaction is what is open between begin and end.
type transaction struct {
	began time.Time
	// used holds, by partition, the state from which an order was handed out. At the commit
	// each must still be the one that this client owns.
	used   map[topicPartition]*partition
	doomed error
	// refused tells that a produce failed, so that the client does not know a topic as it is.
	refused bool
}

// signal wakes the loop. c.mu must be held.
func (c *client) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
	if c.cancelPoll != nil {
		c.cancelPoll()
	}
}

// doom makes the open transaction end with an abort. c.mu must be held.
func (c *client) doom(err error) {
	if c.txn != nil && c.txn.doomed == nil {
		c.txn.doomed = err
		c.signal()
	}
}

// pause waits until something changes, until the time is up, or until ctx ends.
func (c *client) pause(ctx context.Context, until time.Time) error {
	var timeout <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout:
	case <-c.wake:
	}
	return nil
}

// read returns the next batch of orders. It ends transactions on its way. An error means that
// this client is of no more use.
func (c *client) read(ctx context.Context) (*batch, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if time.Since(c.looked) > limitsAge {
			c.refreshLimits(ctx)
		}
		now := time.Now()
		c.mu.Lock()
		t := c.txn
		switch {
		case t != nil && t.doomed != nil:
			c.mu.Unlock()
			if err := c.abort(ctx); err != nil {
				return nil, err
			}
			continue
		case t != nil && !now.Before(t.began.Add(c.conf.commitInterval)):
			c.mu.Unlock()
			if err := c.commit(ctx); err != nil {
				return nil, err
			}
			continue
		case t == nil && !c.joining.IsZero() && now.Before(c.joining.Add(joinPatience)):
			until := c.joining.Add(joinPatience)
			c.mu.Unlock()
			if err := c.pause(ctx, until); err != nil {
				return nil, err
			}
			continue
		case t == nil && c.revoked:
			c.mu.Unlock()
			if err := c.clearRevocation(ctx); err != nil {
				return nil, err
			}
			continue
		case t == nil && c.fresh:
			_, err := c.begin()
			c.mu.Unlock()
			if err != nil {
				return nil, err
			}
			continue
		}
		var commitAt time.Time
		if t != nil {
			commitAt = t.began.Add(c.conf.commitInterval)
		}
		if len(c.inFlight) >= c.conf.maxInFlight {
			c.mu.Unlock()
			if err := c.pause(ctx, commitAt); err != nil {
				return nil, err
			}
			continue
		}
		c.mu.Unlock()

		if err := c.adopt(ctx); err != nil {
			return nil, err
		}
		b, nextDue, err := c.takeDue(now)
		if b != nil || err != nil {
			return b, err
		}
		if b, err = c.poll(ctx, earlier(commitAt, nextDue)); b != nil || err != nil {
			return b, err
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// adopt restores partitions that are owned but have no state here. That is so when they were
// assigned while an abort threw all state away.
func (c *client) adopt(ctx context.Context) error {
	c.mu.Lock()
	idle := c.txn == nil && c.joining.IsZero()
	n := len(c.parts)
	c.mu.Unlock()
	if !idle {
		return nil
	}
	owned := 0
	for _, partitions := range c.cl.CommittedOffsets() {
		owned += len(partitions)
	}
	if owned <= n {
		return nil
	}
	return c.restoreOwned(ctx)
}

// begin opens a transaction if none is open. c.mu must be held.
func (c *client) begin() (*transaction, error) {
	if c.txn != nil {
		return c.txn, nil
	}
	if err := c.group.Begin(); err != nil {
		return nil, fmt.Errorf("beginning transaction: %w", err)
	}
	c.txn = &transaction{began: time.Now(), used: map[topicPartition]*partition{}}
	if c.fresh {
		owned := c.cl.CommittedOffsets()
		for tp, p := range c.parts {
			if _, ok := owned[tp.topic][tp.partition]; ok {
				c.txn.used[tp] = p
			}
		}
	}
	return c.txn, nil
}

// takeDue hands out waiting orders whose time has come, of partitions that are owned, and
// tells when the next one is due.
func (c *client) takeDue(now time.Time) (*batch, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var next time.Time
	var due []*partition
	for _, p := range c.parts {
		if at, ok := p.nextDue(); ok {
			if next = earlier(next, at); !at.After(now) {
				due = append(due, p)
			}
		}
	}
	if len(due) == 0 {
		return nil, next, nil
	}
	// A partition that is being taken away must neither hand out its orders nor make the loop
	// spin because they are overdue.
	owned := c.cl.CommittedOffsets()
	next = time.Time{}
	for _, p := range c.parts {
		if _, ok := owned[p.topic][p.partition]; !ok {
			due = slices.DeleteFunc(due, func(d *partition) bool { return d == p })
		} else if at, ok := p.nextDue(); ok && at.After(now) {
			next = earlier(next, at)
		}
	}
	b := &batch{client: c}
	for _, p := range due {
		for len(b.orders) < c.conf.batchSize {
			w := p.take(now)
			if w == nil {
				break
			}
			b.orders = append(b.orders, order{Context: context.Background(), batch: b, part: p, rec: w.rec, hist: w.hist, refused: w.refused})
		}
	}
	if len(b.orders) == 0 {
		return nil, next, nil
	}
	return b, next, c.hand(b)
}

// hand makes b part of the transaction. c.mu must be held.
func (c *client) hand(b *batch) error {
	t, err := c.begin()
	if err != nil {
		return err
	}
	b.txn = t
	for i := range b.orders {
		if p := b.orders[i].part; p != nil {
			t.used[p.topicPartition] = p
		}
	}
	c.inFlight[b] = struct{}{}
	return nil
}

// poll hands out new records. It returns nothing when until has passed or it was woken.
func (c *client) poll(ctx context.Context, until time.Time) (*batch, error) {
	c.mu.Lock()
	room := c.conf.maxWaiting - c.waitingLocked() - c.inFlightLocked()
	if room <= 0 {
		c.met.paused.Set(1)
		c.mu.Unlock()
		return nil, c.pause(ctx, until)
	}
	c.met.paused.Set(0)
	if until.IsZero() {
		until = time.Now().Add(time.Minute)
	}
	pollCtx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	c.cancelPoll = cancel
	select {
	case <-c.wake: // what was signalled before there was a poll to cancel
		cancel()
	default:
	}
	c.mu.Unlock()

	fetches := c.group.PollRecords(pollCtx, min(room, c.conf.batchSize))

	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancelPoll = nil
	if fetches.IsClientClosed() {
		return nil, service.ErrNotConnected
	}
	fetches.EachError(func(topic string, partition int32, err error) {
		_, foreign := errors.AsType[*errForeignState](err)
		switch {
		case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		case foreign:
			c.log.Errorf("Restoring: %v", err)
		case time.Since(c.fetchLogged) > time.Second: // one that persists comes back at once
			c.fetchLogged = time.Now()
			c.log.With("topic", topic, "partition", partition).Warnf("Fetching: %v", err)
		}
	})
	n := fetches.NumRecords()
	if n == 0 {
		return nil, nil
	}
	b := &batch{client: c, polled: n, orders: make([]order, 0, n)}
	var stray []topicPartition
	fetches.EachPartition(func(ftp kgo.FetchTopicPartition) {
		tp := topicPartition{ftp.Topic, ftp.Partition}
		p := c.parts[tp]
		if p == nil {
			stray = append(stray, tp)
			return
		}
		for _, rec := range ftp.Records {
			// After a reset of the group's offsets an order may be read again that still waits.
			// Its outcome will come from there.
			if _, ok := p.waiting[rec.Offset]; ok || !p.admit(rec) {
				continue
			}
			b.orders = append(b.orders, order{Context: context.Background(), batch: b, part: p, rec: rec})
		}
	})
	t, err := c.begin()
	if err != nil {
		return nil, err
	}
	// Orders that are held have to be in the state when the offsets pass them.
	fetches.EachPartition(func(ftp kgo.FetchTopicPartition) {
		tp := topicPartition{ftp.Topic, ftp.Partition}
		if p := c.parts[tp]; p != nil && len(ftp.Records) > 0 {
			t.used[tp] = p
		}
	})
	// Records of a partition that was taken away meanwhile were polled, so that their offsets
	// would be committed: this transaction must not commit.
	for _, tp := range stray {
		t.used[tp] = nil
	}
	if len(b.orders) == 0 {
		return nil, nil
	}
	return b, c.hand(b)
}

func (c *client) waitingLocked() int {
	n := 0
	for _, p := range c.parts {
		n += len(p.waiting)
	}
	return n
}

func (c *client) inFlightLocked() int {
	n := 0
	for b := range c.inFlight {
		n += b.polled
	}
	return n
}

// find returns the order at p that is in flight.
func (c *client) find(p session.Place) (session.Order, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for b := range c.inFlight {
		for i := range b.orders {
			if o := &b.orders[i]; o.is(p) {
				return o, true
			}
		}
	}
	return nil, false
}

// ack takes the pipeline's answer to a batch.
func (b *batch) ack(err error) {
	c := b.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.inFlight[b]; !ok {
		return
	}
	if c.closed && c.txn != nil && c.txn.doomed == nil {
		return // outputs may have written nothing any more: the stop puts the orders back
	}
	delete(c.inFlight, b)
	defer c.signal()
	if b.txn != c.txn || c.txn.doomed != nil {
		return
	}
	if err != nil {
		c.doom(fmt.Errorf("the pipeline rejected a batch: %w", err))
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.orders {
		if err := c.resolve(&b.orders[i]); err != nil {
			c.doom(err)
			return
		}
	}
}

// resolve moves an order's outcome into the state of its partition. c.mu must be held.
func (c *client) resolve(o *order) error {
	p := o.part
	if o.wait && o.produced > 0 {
		return fmt.Errorf("order %s/%d was written and waits to be written too: do not write one message to several topics of which one may refuse it", p.topicPartition, o.rec.Offset)
	}
	if o.wait {
		p.hold(&waiting{rec: o.rec, hist: o.hist, due: o.due, refused: o.refused})
		return nil
	}
	p.end(o.rec.Offset)
	p.release(o.rec)
	if o.produced == 0 {
		p.ledger.Dropped++
		p.ledgerDirty = true
	}
	if o.deadLettered {
		return nil
	}
	for _, con := range o.contributions {
		a, err := p.accumulatorFor(con.name, con.group, con.fresh)
		if err != nil {
			return err
		}
		a.value.Fold(con.value)
		a.dirty = true
	}
	return nil
}

// barrier waits until nothing is in flight, or until the transaction is doomed and there is
// no more point in waiting for answers that count.
func (c *client) barrier(ctx context.Context, evenIfDoomed bool) error {
	for {
		c.mu.Lock()
		done := len(c.inFlight) == 0 || (!evenIfDoomed && c.txn != nil && c.txn.doomed != nil)
		c.mu.Unlock()
		if done {
			return nil
		}
		if err := c.pause(ctx, time.Time{}); err != nil {
			return err
		}
	}
}

// commit ends the open transaction: all that was read, written, counted, and all that waits.
func (c *client) commit(ctx context.Context) error {
	began := time.Now()
	if err := c.barrier(ctx, false); err != nil {
		return err
	}
	c.met.barrier.Timing(time.Since(began).Nanoseconds())
	if c.isDoomed() {
		return nil // the loop aborts
	}
	began = time.Now()
	if err := c.produceState(ctx); err != nil {
		return err
	}
	if err := c.cl.Flush(ctx); err != nil {
		return err
	}
	if err := c.joined(ctx); err != nil {
		return err
	}
	if c.isDoomed() {
		return nil
	}

	c.writing.Lock()
	endCtx, cancel := c.endContext(ctx)
	committed, err := c.group.End(kgo.PreTxnCommitFnContext(endCtx, c.addOffsets), kgo.TryCommit)
	cancel()
	c.writing.Unlock()

	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		// Nobody knows how the transaction ended: a new client asks the broker.
		c.txn = &transaction{doomed: err}
		c.met.aborted.Incr(1)
		return fmt.Errorf("committing transaction: %w", err)
	}
	if !committed {
		c.txn.doomed = errors.New("the group was rebalancing")
		c.txn = &transaction{doomed: c.txn.doomed} // it is over, only the state has to be renewed
		return nil
	}
	c.met.commit.Timing(time.Since(began).Nanoseconds())
	c.met.committed.Incr(1)
	if c.fresh {
		c.fresh = false
		for tp := range c.parts {
			_, used := c.txn.used[tp]
			c.fresh = c.fresh || !used
		}
	}
	c.txn, c.aborts, c.revoked = nil, 0, false
	if c.assigned {
		c.assigned = false
		c.epoch++ // nothing is in flight now
	}
	c.observe()
	return nil
}

// endContext bounds the end of a transaction, which is not cut short by ctx.
func (c *client) endContext(ctx context.Context) (context.Context, context.CancelFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	timeout := endTimeout
	if c.closed {
		timeout = stopTimeout
	}
	return context.WithTimeout(context.WithoutCancel(ctx), timeout)
}

// joined waits until no join is under way: a commit would wait for it inside the client, where
// nothing could end it but the join.
func (c *client) joined(ctx context.Context) error {
	for {
		c.mu.Lock()
		since := c.joining
		doomed := c.txn.doomed != nil
		c.mu.Unlock()
		if until := since.Add(joinPatience); since.IsZero() || doomed || !time.Now().Before(until) {
			return nil
		} else if err := c.pause(ctx, until); err != nil {
			return err
		}
	}
}

func (c *client) isDoomed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.txn == nil || c.txn.doomed != nil
}

// observe sets the gauges. c.mu must be held.
func (c *client) observe() {
	var oldest time.Time
	for _, p := range c.parts {
		if at, ok := p.nextDue(); ok {
			oldest = earlier(oldest, at)
		}
	}
	c.met.waiting.Set(int64(c.waitingLocked()))
	var late float64
	if !oldest.IsZero() {
		late = max(0, time.Since(oldest).Seconds())
	}
	c.met.oldestDue.SetFloat64(late)
}

// produceState writes what has changed since the last commit.
func (c *client) produceState(ctx context.Context) error {
	c.mu.Lock()
	var recs []*kgo.Record
	for _, p := range c.parts {
		if c.txn.used[p.topicPartition] == nil {
			continue
		}
		err := p.changes(c.limits.maxState(), func(key, value []byte) {
			recs = append(recs, &kgo.Record{Topic: c.conf.stateTopic, Partition: p.partition, Key: key, Value: value})
		})
		if err != nil {
			c.doom(err)
			c.mu.Unlock()
			return nil
		}
	}
	c.mu.Unlock()
	for _, rec := range recs {
		c.produce(ctx, rec)
	}
	return nil
}

// produce buffers rec; an error of its delivery dooms the transaction.
func (c *client) produce(ctx context.Context, rec *kgo.Record) {
	rec.Context = context.Background() // a stop must not fail what it commits
	c.cl.Produce(ctx, rec, func(rec *kgo.Record, err error) {
		if err == nil {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.txn != nil && c.txn.doomed == nil { // an abort fails what is buffered, too
			c.txn.refused = true
			c.doom(fmt.Errorf("producing to %s: %w", rec.Topic, err))
		}
	})
}

// addOffsets completes the offsets of a transaction that is about to commit: End sends only
// those that moved, and a transaction that sends none is checked by nobody. It refuses to
// commit what was handed out from state that is no longer ours.
func (c *client) addOffsets(req *kmsg.TxnOffsetCommitRequest) error {
	owned := c.cl.CommittedOffsets()
	c.mu.Lock()
	defer c.mu.Unlock()
	for tp, p := range c.txn.used {
		_, ok := owned[tp.topic][tp.partition]
		if !ok || p == nil || c.parts[tp] != p {
			return fmt.Errorf("partition %s was taken away: %w", tp, kerr.RebalanceInProgress)
		}
	}
	sent := map[topicPartition]bool{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			sent[topicPartition{t.Topic, p.Partition}] = true
		}
	}
	for topic, partitions := range owned {
		i := slices.IndexFunc(req.Topics, func(t kmsg.TxnOffsetCommitRequestTopic) bool { return t.Topic == topic })
		for partition, at := range partitions {
			if sent[topicPartition{topic, partition}] || at.Offset < 0 {
				continue
			}
			if i < 0 {
				t := kmsg.NewTxnOffsetCommitRequestTopic()
				t.Topic = topic
				req.Topics = append(req.Topics, t)
				i = len(req.Topics) - 1
			}
			p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch = partition, at.Offset, at.Epoch
			req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
		}
	}
	return nil
}

// abort gives the transaction up, forgets all state, and reads it again as it was committed.
func (c *client) abort(ctx context.Context) error {
	if err := c.barrier(ctx, true); err != nil {
		return err
	}
	c.mu.Lock()
	reason, open := c.txn.doomed, !c.txn.began.IsZero()
	refused := c.txn.refused
	c.parts = map[topicPartition]*partition{}
	c.epoch++
	c.aborts++
	aborts := c.aborts
	c.mu.Unlock()
	c.met.aborted.Incr(1)
	c.log.With("reason", reason.Error()).Warn("Transaction aborted: going on from what was committed last")

	endCtx, cancel := c.endContext(ctx)
	defer cancel()
	if open {
		c.writing.Lock()
		_, err := c.group.End(endCtx, kgo.TryAbort)
		c.writing.Unlock()
		if err != nil {
			return fmt.Errorf("aborting transaction: %w", err)
		}
	} else if err := c.verifyOffsets(endCtx); err != nil {
		return err
	}
	c.mu.Lock()
	c.txn, c.revoked = nil, false
	c.mu.Unlock()
	if refused {
		// What the broker refused is better known by a client that has looked again.
		return fmt.Errorf("producing: %w", reason)
	}
	if aborts > 1 {
		wait := min(100*time.Millisecond<<min(aborts, 10), 10*time.Second)
		if err := c.pauseFull(ctx, wait); err != nil {
			return err
		}
	}
	if _, _, err := c.cl.ProducerID(endCtx); err != nil {
		return fmt.Errorf("renewing producer id: %w", err)
	}
	return c.restoreOwned(ctx)
}

// verifyOffsets fails if the group's offsets are not those that this client goes on from. After
// a commit that was not to be, they are others if the broker has committed all the same and
// only its answer was lost.
func (c *client) verifyOffsets(ctx context.Context) error {
	at, err := c.adm.FetchOffsets(kadm.RequireStable(ctx), c.conf.group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("verifying offsets: %w", err)
	}
	for topic, partitions := range c.cl.CommittedOffsets() {
		for partition, ours := range partitions {
			if theirs, ok := at.Lookup(topic, partition); ok && theirs.At >= 0 && theirs.At != ours.Offset {
				return fmt.Errorf("the group has committed offset %d of %s/%d, not %d", theirs.At, topic, partition, ours.Offset)
			}
		}
	}
	return nil
}

func (c *client) pauseFull(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// clearRevocation tells the group session that no transaction was open when partitions were
// taken away, or it would abort the next one. It sends nothing.
func (c *client) clearRevocation(ctx context.Context) error {
	c.writing.Lock()
	_, err := c.group.End(ctx, kgo.TryAbort)
	c.writing.Unlock()
	if err != nil {
		return fmt.Errorf("clearing revocation: %w", err)
	}
	c.mu.Lock()
	c.revoked = false
	c.mu.Unlock()
	return nil
}

// onRevoked and onLost drop the state of partitions that others will own.
func (c *client) onRevoked(_ context.Context, _ *kgo.Client, taken map[string][]int32) {
	c.drop(taken, true)
}

func (c *client) onLost(_ context.Context, _ *kgo.Client, taken map[string][]int32) {
	c.drop(taken, false)
	c.mu.Lock()
	c.revoked = true // the session takes even a loss of nothing for one
	c.mu.Unlock()
}

func (c *client) drop(taken map[string][]int32, rejoins bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return // a leave takes all; what was counted is still to be shown
	}
	n := 0
	for topic, partitions := range taken {
		for _, partition := range partitions {
			delete(c.parts, topicPartition{topic, partition})
			n++
		}
	}
	c.joining = time.Now()
	if n > 0 {
		c.epoch++
		c.revoked = true
		c.skipAssign = rejoins
		c.doom(errors.New("partitions were taken away"))
	}
	c.signal()
}

// onAssigned is called after every join, whether or not it brought partitions.
func (c *client) onAssigned(context.Context, *kgo.Client, map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.skipAssign {
		c.skipAssign = false
		return
	}
	c.joining = time.Time{}
	c.signal()
}

// Epoch changes when the state in memory was replaced.
func (c *client) Epoch() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

// Accumulators visits what was accumulated in the partitions that are owned.
func (c *client) Accumulators(name string, fresh func() session.Accumulator, fn func(string, session.Accumulator)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.parts {
		for _, key := range slices.Collect(maps.Keys(p.acc)) {
			if key.name != name {
				continue
			}
			a, err := p.accumulatorFor(key.name, key.group, fresh)
			if err != nil {
				c.doom(err)
				continue
			}
			fn(key.group, a.value)
		}
	}
}

func (c *client) refreshLimits(ctx context.Context) {
	c.looked = time.Now()
	lookCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// What is known stays known; an outage shows in the log of what it stops.
	_ = c.limits.look(lookCtx)
}
