package committed

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// MaxBatchBytes is how large a batch of records may be without its compression. One that is larger
// is not read, since a few bytes on the wire could take all memory: a Reader returns a record in
// its place that Unreadable tells from others.
const MaxBatchBytes = 64 << 20

type unreadable struct{}

// standIn makes the record that is returned in the place of a batch from the offset of first on,
// up to but not including next.
func standIn(topic string, partition int32, first, next int64) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Partition: partition, Offset: first,
		Context: context.WithValue(context.Background(), unreadable{}, next),
	}
}

// Unreadable tells whether rec stands for all records from its offset up to but not including
// next, which cannot be read, and why not.
func Unreadable(rec *kgo.Record) (next int64, err error) {
	if rec.Context == nil {
		return 0, nil
	}
	next, ok := rec.Context.Value(unreadable{}).(int64)
	if !ok {
		return 0, nil
	}
	return next, fmt.Errorf("records %s/%d/%d to %d are in one batch of more than %d MiB without its compression: they are not read", rec.Topic, rec.Partition, rec.Offset, next-1, MaxBatchBytes>>20)
}
