package kafkatransactional

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

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
	if err == nil {
		c.pace.answered(b.handed, time.Now(), b.ahead, b.full)
	}
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
		p.hold(o.waiting(o.due))
		return nil
	}
	p.end(o.rec.Offset)
	if o.deadLettered && p.ordering.holdKeys {
		p.block(o.rec, time.Now())
	} else {
		p.release(o.rec)
	}
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
	c.goBehind()
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
		err = c.overdue(err)
		c.txn = &transaction{doomed: err}
		c.ended(false)
		return fmt.Errorf("committing transaction: %w", err)
	}
	if !committed {
		// It is over, only the state has to be renewed.
		c.txn = &transaction{doomed: c.overdue(errors.New("the group was rebalancing"))}
		return nil
	}
	c.met.commit.Timing(time.Since(began).Nanoseconds())
	c.ended(true)
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

// ended counts the end of a transaction.
func (c *client) ended(committed bool) {
	if committed {
		c.met.committed.Incr(1)
	} else {
		c.met.aborted.Incr(1)
	}
	c.met.stuck.Set(int64(c.pace.ended(committed)))
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
	blocked := 0
	for _, p := range c.parts {
		blocked += len(p.blocks)
		if at, ok := p.nextDue(); ok {
			oldest = earlier(oldest, at)
		}
	}
	c.met.waiting.Set(int64(c.waitingLocked()))
	c.met.bytes.Set(int64(c.waitingBytes()))
	c.met.blocked.Set(int64(blocked))
	c.met.aside.Set(int64(len(c.aside) + len(c.shelved)))
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
	c.cl.Produce(ctx, rec, c.promise)
}

// delivered takes the broker's answer to a record.
func (c *client) delivered(rec *kgo.Record, err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.txn != nil && c.txn.doomed == nil { // an abort fails what is buffered, too
		c.txn.refused = true
		c.doom(fmt.Errorf("producing to %s: %w", rec.Topic, err))
	}
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
