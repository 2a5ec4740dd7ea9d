// Package committed reads what a topic holds: the committed records of its partitions, from the
// first one to an end that was fixed when the reading began.
package committed

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
)

// Range is a stretch of a partition: the offset of its first record, and the one after its last.
type Range struct{ From, To int64 }

// Stable returns what a reader of committed records sees of a topic now, by partition: it ends
// where the first open transaction begins. Without partitions it is all of them. A topic that
// does not exist is kerr.UnknownTopicOrPartition.
func Stable(ctx context.Context, adm *kadm.Client, topic string, partitions ...int32) (map[int32]Range, error) {
	return ranges(ctx, adm, adm.ListCommittedOffsets, topic, partitions)
}

// All is Stable up to the high watermark. To read that far may mean to wait for transactions
// that are open.
func All(ctx context.Context, adm *kadm.Client, topic string, partitions ...int32) (map[int32]Range, error) {
	return ranges(ctx, adm, adm.ListEndOffsets, topic, partitions)
}

func ranges(ctx context.Context, adm *kadm.Client, list func(context.Context, ...string) (kadm.ListedOffsets, error), topic string, partitions []int32) (map[int32]Range, error) {
	// The ends come first: what is deleted in between only makes a range shorter.
	ends, err := list(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("listing offsets of %s: %w", topic, err)
	}
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("listing offsets of %s: %w", topic, err)
	}
	if len(ends[topic]) == 0 || errors.Is(ends[topic][-1].Err, kerr.UnknownTopicOrPartition) {
		return nil, fmt.Errorf("topic %q does not exist: %w", topic, kerr.UnknownTopicOrPartition)
	}
	if len(partitions) == 0 {
		partitions = slices.Collect(maps.Keys(ends[topic]))
	}
	all := map[int32]Range{}
	for _, partition := range partitions {
		start, ok := starts.Lookup(topic, partition)
		end, ok2 := ends.Lookup(topic, partition)
		if !ok || !ok2 {
			return nil, fmt.Errorf("topic %q has no partition %d: %w", topic, partition, kerr.UnknownTopicOrPartition)
		}
		if err := cmp.Or(start.Err, end.Err); err != nil {
			return nil, fmt.Errorf("listing offsets of %s/%d: %w", topic, partition, err)
		}
		all[partition] = Range{From: start.Offset, To: end.Offset}
	}
	return all, nil
}

// Read calls fn for each committed record in the ranges, by partition in the order of their
// offsets, and returns how many there were. The options are those of a client: brokers and how
// to talk to them. An error of fn ends the reading and is returned as it is.
func Read(ctx context.Context, opts []kgo.Opt, topic string, ranges map[int32]Range, fn func(*kgo.Record) error) (int64, error) {
	left := map[int32]int64{}
	from := map[int32]kgo.Offset{}
	for partition, r := range ranges {
		if r.From < r.To {
			left[partition] = r.To
			from[partition] = kgo.NewOffset().At(r.From)
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
		return 0, err
	}
	defer cl.Close()
	var records int64
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return records, fmt.Errorf("reading %s: %w", topic, err)
		}
		var errs []error
		fetches.EachError(func(_ string, partition int32, err error) {
			errs = append(errs, fmt.Errorf("reading %s/%d: %w", topic, partition, err))
		})
		if len(errs) > 0 {
			return records, errors.Join(errs...)
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			rec := iter.Next()
			end, ok := left[rec.Partition]
			if !ok {
				continue
			}
			if !rec.Attrs.IsControl() && rec.Offset < end {
				records++
				if err := fn(rec); err != nil {
					return records, err
				}
			}
			if rec.Offset+1 >= end {
				delete(left, rec.Partition)
			}
		}
	}
	return records, nil
}
