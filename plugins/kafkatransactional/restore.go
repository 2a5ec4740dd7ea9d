package kafkatransactional

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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
	logs, err := c.logs(ctx, offsets)
	if err != nil {
		return nil, err
	}
	fresh, err := c.absolute(ctx, offsets, logs)
	if err != nil {
		return nil, err
	}
	starts := map[topicPartition]int64{}
	for topic, partitions := range offsets {
		for partition, at := range partitions {
			starts[topicPartition{topic, partition}] = at.EpochOffset().Offset
		}
	}
	if err := c.restore(ctx, starts, fresh, logs); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for tp := range c.shelved {
		if delete(offsets[tp.topic], tp.partition); len(offsets[tp.topic]) == 0 {
			delete(offsets, tp.topic)
		}
	}
	for tp := range fresh { // the others keep the leader epoch that was committed with them
		if p := c.parts[tp]; p != nil {
			offsets[tp.topic][tp.partition] = kgo.NewOffset().At(p.ledger.Next)
		}
	}
	if len(fresh) > 0 {
		c.fresh = true
		c.signal()
	}
	return offsets, nil
}

// extent is what there is of a log: from where to where it has records, and where the leader epoch
// has ended with which the group's offset was committed, or -1. If that was before the offset, the
// records around it are others than those that were read.
type extent struct {
	Span
	cut int64
}

// logs lists what there is of the partitions in offsets.
func (c *client) logs(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[topicPartition]extent, error) {
	topics := slices.Sorted(maps.Keys(offsets))
	if len(topics) == 0 {
		return nil, nil
	}
	ends, err := c.adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("listing offsets: %w", err)
	}
	starts, err := c.adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("listing offsets: %w", err)
	}
	var epochs kadm.OffsetForLeaderEpochRequest
	logs := map[topicPartition]extent{}
	for topic, partitions := range offsets {
		for partition, at := range partitions {
			start, ok := starts.Lookup(topic, partition)
			end, ok2 := ends.Lookup(topic, partition)
			if err := cmp.Or(start.Err, end.Err); err != nil || !ok || !ok2 {
				return nil, fmt.Errorf("listing the offsets of %s/%d: %w", topic, partition, err)
			}
			logs[topicPartition{topic, partition}] = extent{Span{start.Offset, max(start.Offset, end.Offset)}, -1}
			if e := at.EpochOffset(); e.Offset >= 0 && e.Epoch >= 0 {
				epochs.Add(topic, partition, e.Epoch)
			}
		}
	}
	if len(epochs) == 0 {
		return logs, nil
	}
	cuts, err := c.adm.OffsetForLeaderEpoch(ctx, epochs)
	for topic, partitions := range epochs {
		for partition := range partitions {
			tp := topicPartition{topic, partition}
			cut, answered := cuts[topic][partition]
			if answered && cut.Err == nil {
				logs[tp] = extent{logs[tp].Span, cut.EndOffset}
			} else if offsets[topic][partition].EpochOffset().Offset > logs[tp].To {
				// Was it cut, or does a new leader not know yet how far it is committed?
				return nil, fmt.Errorf("asking where the log of %s was cut: %w", tp, cmp.Or(cut.Err, err))
			}
		}
	}
	return logs, nil
}

// absolute replaces offsets that only say "earliest" or "latest", and tells which those were.
func (c *client) absolute(ctx context.Context, offsets map[string]map[int32]kgo.Offset, logs map[topicPartition]extent) (map[topicPartition]bool, error) {
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
			tp := topicPartition{topic, partition}
			fresh[tp] = true
			if c.conf.startOffset != startLatest {
				offsets[topic][partition] = kgo.NewOffset().At(logs[tp].From)
				continue
			}
			if listed == nil {
				var err error
				if listed, err = c.adm.ListCommittedOffsets(ctx, c.conf.topics...); err != nil {
					return nil, fmt.Errorf("listing offsets: %w", err)
				}
			}
			l, ok := listed.Lookup(topic, partition)
			if !ok || l.Err != nil {
				return nil, fmt.Errorf("listing the offset of %s/%d: %w", topic, partition, l.Err)
			}
			offsets[topic][partition] = kgo.NewOffset().At(l.Offset)
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
	return c.restore(ctx, starts, nil, nil)
}

// restore reads the state of partitions whose next offsets are given; those of the fresh ones are
// a guess, since the group has committed none. It reads what is
// committed up to the high watermark of this moment: what lies between the last stable offset
// and there may have been committed too, by a transaction whose markers are still on the way.
// Newly assigned partitions come with their logs; those that go on elsewhere than the group has
// committed become fresh. Without logs, what a rebalance has restored meanwhile stays, since it
// is newer.
func (c *client) restore(ctx context.Context, starts map[topicPartition]int64, fresh map[topicPartition]bool, logs map[topicPartition]extent) error {
	if len(starts) == 0 {
		return nil
	}
	began := time.Now()
	onlyMissing := logs == nil
	parts := map[topicPartition]*partition{}
	var numbers []int32
	for tp, start := range starts {
		if log, ok := logs[tp]; ok { // for one without state
			start = max(log.From, min(start, log.To))
		}
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
	now := time.Now()
	records, unreadable, err := readState(ctx, c.conf.clientOpts(), c.conf.stateTopic, state, func(k StateKey, rec *kgo.Record) error {
		if p := parts[topicPartition{k.Topic, k.Partition}]; p != nil {
			return c.restoreRecord(p, k, rec, now)
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
	if err := c.learn(ctx, parts); err != nil {
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
			p.ledger.Next = starts[tp]
		} else if c.resume(p, starts[tp], fresh[tp], logs[tp]) {
			fresh[tp] = true
		}
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
