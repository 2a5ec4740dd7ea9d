package kafkatransactional

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
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
	if err := c.restore(ctx, starts, false); err != nil {
		return nil, err
	}
	if fresh {
		c.mu.Lock()
		c.fresh = true
		c.signal()
		c.mu.Unlock()
	}
	return offsets, nil
}

// absolute replaces offsets that only say "earliest" or "latest", and tells if there were any.
func (c *client) absolute(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (bool, error) {
	var listed kadm.ListedOffsets
	for topic, partitions := range offsets {
		for partition, at := range partitions {
			if at.EpochOffset().Offset >= 0 {
				continue
			}
			if c.conf.startOffset == startCommitted {
				return false, fmt.Errorf("partition %s/%d has no committed offset and start_offset is %q", topic, partition, startCommitted)
			}
			if listed == nil {
				list := c.adm.ListStartOffsets
				if c.conf.startOffset == startLatest {
					list = c.adm.ListCommittedOffsets
				}
				var err error
				if listed, err = list(ctx, c.conf.topics...); err != nil {
					return false, fmt.Errorf("listing offsets: %w", err)
				}
			}
			l, ok := listed.Lookup(topic, partition)
			if !ok || l.Err != nil {
				return false, fmt.Errorf("listing the offset of %s/%d: %w", topic, partition, l.Err)
			}
			offsets[topic][partition] = kgo.NewOffset().At(l.Offset)
		}
	}
	return listed != nil, nil
}

// restoreOwned reads the state again after an abort.
func (c *client) restoreOwned(ctx context.Context) error {
	starts := map[topicPartition]int64{}
	for topic, partitions := range c.cl.CommittedOffsets() {
		for partition, at := range partitions {
			starts[topicPartition{topic, partition}] = at.Offset
		}
	}
	return c.restore(ctx, starts, true)
}

// restore reads the state of partitions whose next offsets are given. It reads what is
// committed up to the high watermark of this moment: what lies between the last stable offset
// and there may have been committed too, by a transaction whose markers are still on the way.
// With onlyMissing, what a rebalance has restored meanwhile stays, since it is newer.
func (c *client) restore(ctx context.Context, starts map[topicPartition]int64, onlyMissing bool) error {
	if len(starts) == 0 {
		return nil
	}
	began := time.Now()
	parts := map[topicPartition]*partition{}
	var numbers []int32
	for tp, start := range starts {
		p := newPartition(tp, Ledger{Group: c.conf.group, Start: start}, c.conf.ordering)
		parts[tp] = p
		numbers = append(numbers, tp.partition)
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	ends, err := c.adm.ListEndOffsets(ctx, c.conf.stateTopic) // isolation level 0: the high watermark
	if err != nil {
		return fmt.Errorf("restoring: listing offsets of %s: %w", c.conf.stateTopic, err)
	}
	if err := c.unblock(ctx, numbers, starts, ends); err != nil {
		return err
	}
	records, err := readState(ctx, c.conf.clientOpts(), c.adm, c.conf.stateTopic, numbers, ends, func(k StateKey, value []byte) error {
		if p := parts[topicPartition{k.Topic, k.Partition}]; p != nil {
			return p.restore(k, value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.fetchAbsent(ctx, parts); err != nil {
		return err
	}
	former := map[Owner]bool{}
	me := c.self()
	for _, p := range parts {
		p.arrange()
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
		}
		c.parts[tp] = p
	}
	c.epoch++
	c.assigned = len(c.inFlight) > 0
	c.signal()
	return nil
}

// ReadState calls fn for each record of a state topic that is committed now, by partition in
// the order of their offsets; a nil value is a tombstone. It does not wait for transactions
// that are open.
func ReadState(ctx context.Context, opts []kgo.Opt, topic string, fn func(StateKey, []byte) error) error {
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	ends, err := adm.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return fmt.Errorf("reading state: %w", err)
	}
	var partitions []int32
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil {
			partitions = append(partitions, o.Partition)
		}
	})
	if len(partitions) == 0 {
		return fmt.Errorf("reading state: topic %q does not exist", topic)
	}
	_, err = readState(ctx, opts, adm, topic, partitions, ends, fn)
	return err
}

// readState calls fn for each committed record of the state topic's partitions, in the order
// of their offsets, up to the given ends. It returns the number of records.
func readState(ctx context.Context, opts []kgo.Opt, adm *kadm.Client, topic string, partitions []int32, ends kadm.ListedOffsets, fn func(StateKey, []byte) error) (int64, error) {
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("restoring: listing offsets of %s: %w", topic, err)
	}
	left := map[int32]int64{}
	from := map[int32]kgo.Offset{}
	for _, n := range partitions {
		start, ok := starts.Lookup(topic, n)
		end, ok2 := ends.Lookup(topic, n)
		switch {
		case !ok || !ok2:
			return 0, fmt.Errorf("restoring: state topic %q has no partition %d: it needs as many partitions as the topics that are read", topic, n)
		case start.Err != nil:
			return 0, fmt.Errorf("restoring %s/%d: %w", topic, n, start.Err)
		case end.Err != nil:
			return 0, fmt.Errorf("restoring %s/%d: %w", topic, n, end.Err)
		case start.Offset < end.Offset:
			left[n] = end.Offset
			from[n] = kgo.NewOffset().At(start.Offset)
		}
	}
	if len(left) == 0 {
		return 0, nil
	}
	cl, err := kgo.NewClient(append(slices.Clone(opts),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // a partition that ends in markers would never reach its end
		kgo.FetchMaxWait(500*time.Millisecond),
	)...)
	if err != nil {
		return 0, fmt.Errorf("restoring: %w", err)
	}
	defer cl.Close()
	var records int64
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return records, fmt.Errorf("restoring: %w", err)
		}
		var failed error
		fetches.EachPartition(func(ftp kgo.FetchTopicPartition) {
			if ftp.Err != nil && failed == nil {
				failed = fmt.Errorf("restoring %s/%d: %w", topic, ftp.Partition, ftp.Err)
			}
			for _, rec := range ftp.Records {
				if failed != nil {
					return
				}
				if !rec.Attrs.IsControl() {
					records++
					k, err := ParseStateKey(rec.Key)
					if err == nil {
						err = fn(k, rec.Value)
					}
					if err != nil {
						failed = fmt.Errorf("restoring from %s/%d at offset %d: %w", topic, rec.Partition, rec.Offset, err)
						return
					}
				}
				if end, ok := left[rec.Partition]; ok && rec.Offset+1 >= end {
					delete(left, rec.Partition)
				}
			}
		})
		if failed != nil {
			return records, failed
		}
	}
	return records, nil
}
