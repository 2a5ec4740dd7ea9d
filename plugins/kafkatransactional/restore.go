package kafkatransactional

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderflow/orderflow/internal/committed"
)

// adjust runs when partitions were assigned, after their committed offsets are stable and
// before any of their records can be polled. It restores their state, and gives an absolute
// offset to those that were never committed: an abort would rewind them to 0 otherwise.
func (c *client) adjust(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	select {
	case <-c.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := c.setAside(ctx, offsets); err != nil {
		return nil, err
	}
	fresh, err := c.absolute(ctx, offsets)
	if err != nil {
		return nil, err
	}
	starts := map[topicPartition]int64{}
	for topic, partitions := range offsets {
		for partition, at := range partitions {
			starts[topicPartition{topic, partition}] = at.EpochOffset().Offset
		}
	}
	if err := c.restore(ctx, starts, fresh, false); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for tp := range c.shelved {
		if delete(offsets[tp.topic], tp.partition); len(offsets[tp.topic]) == 0 {
			delete(offsets, tp.topic)
		}
	}
	for tp := range fresh {
		if p := c.parts[tp]; p != nil {
			offsets[tp.topic][tp.partition] = kgo.NewOffset().At(p.ledger.Next)
		}
		c.fresh = true
		c.signal()
	}
	return offsets, nil
}

// absolute replaces offsets that only say "earliest" or "latest", and tells which those were.
func (c *client) absolute(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[topicPartition]bool, error) {
	fresh := map[topicPartition]bool{}
	var listed kadm.ListedOffsets
	for topic, partitions := range offsets {
		for partition, at := range partitions {
			if at.EpochOffset().Offset >= 0 {
				continue
			}
			if c.conf.startOffset == startCommitted {
				return nil, fmt.Errorf("partition %s/%d has no committed offset and start_offset is %q", topic, partition, startCommitted)
			}
			if listed == nil {
				list := c.adm.ListStartOffsets
				if c.conf.startOffset == startLatest {
					list = c.adm.ListCommittedOffsets
				}
				var err error
				if listed, err = list(ctx, c.conf.topics...); err != nil {
					return nil, fmt.Errorf("listing offsets: %w", err)
				}
			}
			l, ok := listed.Lookup(topic, partition)
			if !ok || l.Err != nil {
				return nil, fmt.Errorf("listing the offset of %s/%d: %w", topic, partition, l.Err)
			}
			offsets[topic][partition] = kgo.NewOffset().At(l.Offset)
			fresh[topicPartition{topic, partition}] = true
		}
	}
	return fresh, nil
}

// restoreOwned reads the state again after an abort.
func (c *client) restoreOwned(ctx context.Context) error {
	starts := map[topicPartition]int64{}
	for topic, partitions := range c.cl.CommittedOffsets() {
		for partition, at := range partitions {
			starts[topicPartition{topic, partition}] = at.Offset
		}
	}
	return c.restore(ctx, starts, nil, true)
}

// restore reads the state of partitions whose next offsets are given; those of the fresh ones are
// a guess, since the group has committed none. It reads what is
// committed up to the high watermark of this moment: what lies between the last stable offset
// and there may have been committed too, by a transaction whose markers are still on the way.
// With onlyMissing, what a rebalance has restored meanwhile stays, since it is newer.
func (c *client) restore(ctx context.Context, starts map[topicPartition]int64, fresh map[topicPartition]bool, onlyMissing bool) error {
	if len(starts) == 0 {
		return nil
	}
	began := time.Now()
	parts := map[topicPartition]*partition{}
	var numbers []int32
	for tp, start := range starts {
		p := newPartition(tp, Ledger{Group: c.conf.group, Start: start, Next: start}, c.conf.ordering)
		parts[tp] = p
		numbers = append(numbers, tp.partition)
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	state, err := committed.All(ctx, c.adm, c.conf.stateTopic, numbers...)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return fmt.Errorf("restoring: the state topic needs as many partitions as the topics that are read: %w", err)
	}
	if err == nil {
		err = c.unblock(ctx, numbers, starts, state)
	}
	if err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	records, unreadable, err := readState(ctx, c.conf.clientOpts(), c.conf.stateTopic, state, func(k StateKey, rec *kgo.Record) error {
		if p := parts[topicPartition{k.Topic, k.Partition}]; p != nil {
			return c.restoreRecord(p, k, rec)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	if err := c.shelve(parts, unreadable, onlyMissing); err != nil {
		return err
	}
	ids, err := committed.TopicIDs(ctx, c.adm, c.conf.topics...)
	if err != nil {
		return fmt.Errorf("restoring: listing topics: %w", err)
	}
	for tp, p := range parts {
		if err := p.identify(ids[tp.topic], c.conf.stateTopic); err != nil {
			return err
		}
	}
	if err := c.fetchAbsent(ctx, parts); err != nil {
		return err
	}
	former := map[Owner]bool{}
	me := c.self()
	released := false
	for tp, p := range parts {
		// Offsets are committed together with a state that names its owner.
		if p.ledger.Owner == (Owner{}) && !fresh[tp] && !onlyMissing {
			c.log.Errorf("Topic %s has no state of %s, which the group has read up to offset %d: if it had one, orders that waited are lost and aggregates begin anew", c.conf.stateTopic, tp, starts[tp])
		}
		released = p.arrange() || released
		former[p.ledger.Owner] = true
		if p.ledger.Owner != me {
			p.ledger.Owner, p.ledgerDirty = me, true
		}
	}
	c.endLeftovers(ctx, former)
	c.met.restore.Timing(time.Since(began).Nanoseconds())
	c.met.restored.Incr(records)
	c.log.With("partitions", len(parts), "records", records, "seconds", time.Since(began).Seconds()).Debug("Restored state")

	owned := c.cl.CommittedOffsets()
	c.mu.Lock()
	defer c.mu.Unlock()
	for tp, p := range parts {
		if onlyMissing {
			// A rebalance may have brought it, or taken it away, while it was read.
			if _, still := owned[tp.topic][tp.partition]; !still || c.parts[tp] != nil {
				continue
			}
			// The state is newer if a commit that failed, for all that this client was told, was one
			// all the same, or if others have had the partition since. Who else could have reset
			// the offset? Nobody may, while the group has members.
			if next := p.ledger.Next; next != unknownOffset && next != starts[tp] {
				return fmt.Errorf("restoring: the state of %s goes on at offset %d, but this client at %d", tp, next, starts[tp])
			}
		}
		c.resume(p, starts[tp], fresh[tp])
		c.parts[tp] = p
	}
	c.epoch++
	c.fresh = c.fresh || released
	c.assigned = len(c.inFlight) > 0
	c.observe()
	c.signal()
	return nil
}

// ReadState calls fn for each record of a state topic that is committed now, by partition in
// the order of their offsets; a nil value is a tombstone. It does not wait for transactions
// that are open. A record for which fn gives an error, or that is of a later version, is told by an
// *UnreadableError once all others were read; records that no version has written are left out.
func ReadState(ctx context.Context, opts []kgo.Opt, topic string, fn func(StateKey, []byte) error) error {
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	ranges, err := committed.Stable(ctx, kadm.NewClient(cl), topic)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return fmt.Errorf("reading state: topic %q does not exist", topic)
	}
	if err == nil {
		var unreadable []*Unreadable
		_, unreadable, err = readState(ctx, opts, topic, ranges, func(k StateKey, rec *kgo.Record) error { return fn(k, rec.Value) })
		unreadable = slices.DeleteFunc(unreadable, func(u *Unreadable) bool { return u.foreign })
		if err == nil && len(unreadable) > 0 {
			err = &UnreadableError{unreadable}
		}
	}
	if err != nil {
		return fmt.Errorf("reading state: %w", err)
	}
	return nil
}
