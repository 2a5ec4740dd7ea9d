// Package committed reads what a topic holds: the committed records of its partitions, from the
// first one to an end that was fixed when the reading began. What is to be read is in committed.go,
// how it is read in reader.go.
package committed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
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

// TopicIDs returns the ids that tell topics from former ones of their names. One is missing where
// there is no such topic, or the broker, before Kafka 2.8, gives topics no ids.
func TopicIDs(ctx context.Context, adm *kadm.Client, topics ...string) (map[string]string, error) {
	found, err := adm.ListTopics(ctx, topics...)
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for topic, d := range found {
		if d.Err == nil && d.ID != (kadm.TopicID{}) {
			ids[topic] = d.ID.String()
		}
	}
	return ids, nil
}
